/* sandbox/micro_msb.h: microsandbox (msb) as a monitor of machines: its command lines, and what it says when it fails.
 *
 * msb is a program of another project with a monitor and a kernel inside it. It boots a small throw-away root, mounts our root image (the erofs that
 * QEMU gets, read-only) and starts our agent, which enters the image, calls the broker by vsock and speaks frames as in any other machine. Nothing of
 * a job is on the command line or in a folder of the host. Why it is so: docs/adr/0046-msb.md.
 * Source:  `msb run --help`, `msb doctor` of 0.7.2 (tools/pins/msb.txt).
 * Threads: no state.
 */
#pragma once

#include <stdbool.h>
#include <stddef.h>

#include "lib/base/err.h"

enum { MICRO_MSB_ARGS = 32, MICRO_MSB_TEXT = 2048, MICRO_MSB_PORT = 1024 };

struct micro_tier_state;
/** What can be said without running it: sets FAILS when there is no such program. */
void micro_msb_look(const char *msb, struct micro_tier_state *state);

/** All of it as msb sees it. */
struct micro_msb_plan {
    bool doctor;                /**< asks only whether the host has what it needs */
    const char *msb;            /**< program */
    const char *root;           /**< empty folder that it boots; it writes there */
    const char *agents, *agent; /**< folder, shown read-only, and name of our agent in it */
    const char *image;          /**< root image of the job */
    const char *socket;         /**< of the broker, for the agent to call */
    unsigned memory_mib;
};
struct micro_msb_command {
    const char *argv[MICRO_MSB_ARGS]; /**< NULL-terminated; points into text and into the plan */
    char text[MICRO_MSB_TEXT];
};
/** False: too long. */
CDS_MUST_USE bool micro_msb_command(const struct micro_msb_plan *plan, struct micro_msb_command *ret);

/** Its sentence of the error and what it advises, out of all that it said; "" where there is none. said is changed. */
void micro_msb_words(char *said, char *reason, size_t reason_size, char *remedy, size_t remedy_size);
