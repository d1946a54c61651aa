/* apps/llmserver/helper.h: one run of a helper program (cds-fetch) that answers with lines of JSON.
 *
 * Source:  pidfd_open(2), pipe2(2).
 * Threads: loop thread only.
 * Life:    from start until on_exit, which is called exactly once, after the process was reaped, unless cds_helper_free came first. The
 *          helper gets an empty environment and /dev/null as stdin; what it says on stderr is ours.
 */
#pragma once

#include "lib/base/loop.h"
#include "lib/json/json.h"

enum { CDS_HELPER_LINE_MAX = 64 << 10, CDS_HELPER_ARGS_MAX = 24 };

struct cds_helper;
struct cds_helper_ops {
    void (*on_line)(void *user, const cds_json *line);
    /** status: exit status, or 128 + signal. The helper is freed after it returns. */
    void (*on_exit)(void *user, int status);
};
/** argv: NULL-terminated, argv[0] absolute; borrowed for the call. deadline_ms: absolute; it is killed then. */
CDS_MUST_USE cds_rc cds_helper_start(struct cds_loop *loop, const char *const *argv, uint64_t deadline_ms, const struct cds_helper_ops *ops,
                                     void *user, struct cds_helper **ret, struct cds_err *reterr);
/** Kills it; on_exit still comes. */
void cds_helper_stop(struct cds_helper *helper);
/** Kills and reaps it without on_exit. Sets *helper to NULL; no-op on NULL. */
void cds_helper_free(struct cds_helper **helper);
