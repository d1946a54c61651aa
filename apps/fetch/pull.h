/* apps/fetch/pull.h: a model from its source to a whole, verified file (or all its parts) in the folder of the models.
 *
 * Order:   source read → hub's list (or the address) → first pieces of each part → header read in a confined child → the gate and the room on
 *          the disk → the rest, piece by piece → SHA-256 → name.
 * Says:    one line of JSON on `out` for each change: {"state", "file", "part", "parts", "received", "total", "facts"}; the last one is
 *          {"end":"done"|"present", "files":[...], "facts":{...}} or {"end":"failed", "code", "message", "hint", "rule"}.
 * Threads: one thread; it blocks. Killing the process at any time is fine: the next pull of the source goes on where it stopped.
 */
#pragma once

#include <stdint.h>

#include "lib/base/err.h"

struct cds_pull_options {
    const char *source, *dir; /**< borrowed */
    const char *sha256;       /**< that the (single) file must have, or "" */
    const char *hub, *hosts;  /**< see apps/fetch/source.h */
    const char *key_file;     /**< file with the access key of the hub, or "" */
    uint64_t parameters_max;  /**< 0: no gate */
    uint64_t file_bytes_max;  /**< of all parts together */
    uint64_t reserve_bytes;   /**< that must stay free on the disk */
    uint32_t stall_ms, connect_ms;
    uint32_t backoff_ms;  /**< first wait before another try; it doubles */
    uint64_t deadline_ms; /**< absolute */
    int out;
};
/** @return exit status: 0 when the model is there */
int cds_pull(const struct cds_pull_options *options);
