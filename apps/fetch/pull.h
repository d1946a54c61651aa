/* apps/fetch/pull.h: a model from its source to a whole, verified file (or all its parts) in the folder of the models.
 *
 * Order:   source read → hub's list (or the address) → first pieces of each part → header read in a confined child → the gate and the room on
 *          the disk → the rest, piece by piece, of several parts at once → SHA-256 → name.
 * Says:    one line of JSON on `out` for each change: {"state", "file", "part", "parts", "received", "total", "facts"}, part being the first
 *          one that is not whole; the last line is {"end":"done"|"present", "files":[...], "facts":{...}} or {"end":"failed", "code", "message",
 *          "hint", "rule"}.
 * Threads: called by the first thread; it blocks. While the bulk comes there is one more thread for each part that comes at the same time.
 *          Killing the process at any time is fine: the next pull of the source goes on where each part stopped.
 */
#pragma once

#include "apps/fetch/reach.h"

enum { CDS_PULL_PARALLEL_MAX = 8 };

struct cds_pull_options {
    struct cds_reach_options reach;
    const char *dir;         /**< borrowed */
    uint64_t parameters_max; /**< 0: no gate */
    uint64_t file_bytes_max; /**< of all parts together */
    uint64_t reserve_bytes;  /**< that must stay free on the disk */
    uint32_t parallel;       /**< parts of a split model that come at the same time, 1 to CDS_PULL_PARALLEL_MAX */
    int out;
};
/** @return exit status: 0 when the model is there */
int cds_pull(const struct cds_pull_options *options);
