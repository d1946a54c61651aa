/* sandbox/micro_msb.h: microsandbox (msb) as a way to run a machine: its command line, and whether it works here.
 *
 * msb is a program of another project with a VMM inside it; it is started as the jobs' user with a folder of its own, without a network for the
 * machine, and never as root. It counts as working when its own doctor is content and a machine has printed a word through the very command line
 * that jobs use.
 * Source:  `msb run --help`, `msb doctor` of 0.7.2 (tools/pins/msb.txt).
 * Threads: loop thread only.
 */
#pragma once

#include "sandbox/host.h"

enum { MICRO_MSB_ARGS = 128, MICRO_MSB_TEXT = 1024 };

struct micro_tier_state;
/** What can be said without running it: sets FAILS when there is no such program. */
void micro_msb_look(const char *msb, struct micro_tier_state *state);

struct micro_msb_plan {
    const char *msb;  /**< program */
    const char *root; /**< folder that is the machine's root */
    const char *tmp;  /**< folder of the host with code and files: /tmp of the machine */
    const char *work; /**< folder that becomes /work; NULL: none */
    bool work_read_only;
    unsigned memory_mib, wall_ms, max_tasks;
    const char *const *argv; /**< of the program, NULL-terminated */
    const char *const *env;  /**< "NAME=value", NULL-terminated */
};
struct micro_msb_command {
    const char *argv[MICRO_MSB_ARGS]; /**< NULL-terminated; points into text and into the plan */
    char text[MICRO_MSB_TEXT];
};
/** False: too many arguments. */
CDS_MUST_USE bool micro_msb_command(const struct micro_msb_plan *plan, struct micro_msb_command *ret);

struct micro_msb_canary;
/** Called once. */
typedef void micro_msb_done(void *user, bool works, const char *reason, const char *remedy);
/** Asks msb's doctor, then runs a machine. @param root  folder of the machine's root @return CDS_OK; CDS_SYSTEM, CDS_EXHAUSTED */
CDS_MUST_USE cds_rc micro_msb_try(struct sandbox_host *host, const char *msb, const char *root, micro_msb_done *done, void *user,
                                  struct micro_msb_canary **ret);
/** Ends it without a word. */
void micro_msb_end(struct micro_msb_canary **canary);
