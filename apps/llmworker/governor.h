/* apps/llmworker/governor.h: how many compute threads pay off while other programs want the same cores.
 *
 * The compute threads of one step wait for each other actively, hundreds of times per token. When another program takes a core from one of
 * them, all others burn theirs: two threads beside one busy neighbour are ten times slower than one thread alone. The governor looks at the
 * CPU time a step got: far less than threads x wall clock means that threads were pushed off their cores, and it goes down by one; after a
 * while it tries one more again, less and less often while that fails.
 * Threads: values only.
 */
#pragma once

#include <stdint.h>

struct cds_governor {
    uint32_t most, now;
    double share;       /**< smoothed: CPU time got / CPU time wanted, 0..1 */
    uint64_t raise_ms;  /**< time of the next try with one more */
    uint32_t wait_ms;   /**< until the try after that */
    uint64_t raised_ms; /**< when the running number was tried */
};
struct cds_governor cds_governor_begin(uint32_t most);
/** After a step: its wall clock and CPU time of the whole process, microseconds. @return threads for the next one */
uint32_t cds_governor_step(struct cds_governor *governor, uint64_t wall_us, uint64_t cpu_us, uint64_t now_ms);
