/* apps/llmworker/governor.h: how many compute threads pay off while other programs want the same cores.
 *
 * The compute threads of one step wait for each other actively, hundreds of times per token. When another program takes a core from one of
 * them, all others burn theirs: two threads beside one busy neighbour are ten times slower than one thread alone. The governor looks at the
 * CPU time a step got: far less than threads x wall clock means that threads were pushed off their cores, and it goes down by one; after a
 * while it tries one more again, less and less often while that fails.
 * Two threads that wait for each other actively on two busy cores get their CPU time and still come forward several times slower than one, so
 * the share alone does not tell. It also counts who else wants to run (the run queue of the machine), and keeps as many cores free as others
 * ask for; and it remembers what a row costs with each number of threads: one that is slower than fewer were is left.
 * Source:  proc(5) loadavg, fourth field; docs/adr/0053-threads-beside-others.md
 * Threads: values only.
 */
#pragma once

#include <stdbool.h>
#include <stdint.h>

enum { CDS_GOVERNOR_TIMES = 16, CDS_GOVERNOR_LOOK_MS = 200 };

struct cds_governor {
    uint32_t most, now;
    double share;       /**< smoothed: CPU time got / CPU time wanted, 0..1 */
    uint64_t raise_ms;  /**< time of the next try with one more */
    uint32_t wait_ms;   /**< until the try after that */
    uint64_t raised_ms; /**< when the running number was tried */
    double others;      /**< smoothed: threads of others that want to run */
    uint32_t cores;     /**< of the machine; 0: not known, others are not counted */
    uint64_t looked_ms; /**< when the run queue was looked at */
    struct {
        double us;             /**< smoothed wall clock of one row */
        uint64_t ms;           /**< when it was measured last; 0: never */
    } row[CDS_GOVERNOR_TIMES]; /**< with 1, 2, ... threads, in steps of answers */
};
/** Is it time to look at the run queue again? */
bool cds_governor_looks(const struct cds_governor *governor, uint64_t now_ms);
/** So many threads of the machine's `cores` cores want to run, ours included. @return threads for the next step */
uint32_t cds_governor_queue(struct cds_governor *governor, uint32_t runnable, uint32_t cores, uint64_t now_ms);
/** Text of /proc/loadavg: threads that want to run; 0: it does not say. */
uint32_t cds_governor_runnable(const char *loadavg);
/** A step with so many rows took so long; before cds_governor_step. Only steps of like size are compared: pass those of answers. */
void cds_governor_row(struct cds_governor *governor, uint32_t rows, uint64_t wall_us, uint64_t now_ms);
struct cds_governor cds_governor_begin(uint32_t most);
/** After a step: its wall clock and CPU time of the whole process, microseconds. @return threads for the next one */
uint32_t cds_governor_step(struct cds_governor *governor, uint64_t wall_us, uint64_t cpu_us, uint64_t now_ms);
