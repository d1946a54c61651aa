/* apps/cyberdevstudio/capture.h: run a helper program to its end and keep what it printed.
 *
 * Threads: main thread only. The helper is killed at the deadline, when the caller loses its patience, and when it dies.
 * Memory:  out is owned by the result; free it with cds_capture_free.
 */
#pragma once

#include <stdbool.h>
#include <stdint.h>

#include "apps/cyberdevstudio/env.h"
#include "apps/cyberdevstudio/runas.h"
#include "lib/base/buf.h"

/** What a step that may take long asks about every 100 ms: tells that it goes on, and says whether it shall. go_on NULL: no question. */
struct cds_patience {
    bool (*go_on)(void *user); /**< false: give up */
    void *user;
};

/** What to run. Everything is borrowed; zero is a fine default. */
struct cds_capture_how {
    const char *const *argv;       /**< argv[0] is an absolute path */
    const char *input;             /**< at most 4096 bytes for stdin, NULL: none */
    const struct cds_identity *as; /**< NULL: same user */
    struct cds_env_rules env;
    uint64_t deadline_ms;
    struct cds_patience patience;
    size_t max_bytes; /**< most output kept; the rest is read and dropped */
};

/** The fate of a helper that did start. */
struct cds_capture {
    struct cds_buf out; /**< stdout and stderr together, cut at the ceiling, white space at the end removed */
    int exit_code;      /**< 128 + signal number when a signal ended it */
    bool timed_out;     /**< it was killed at the deadline */
};

/** @return CDS_OK when it ran (look at exit_code); CDS_NOT_FOUND when argv[0] cannot be executed; CDS_CANCELLED (patience); CDS_SYSTEM,
 *  CDS_EXHAUSTED */
CDS_MUST_USE cds_rc cds_capture_run(const struct cds_capture_how *how, struct cds_capture *ret, struct cds_err *reterr);
void cds_capture_free(struct cds_capture *capture);
