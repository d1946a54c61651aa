/* apps/llmworker/serve.h: the conversation with the server over the inherited socket; runs steps between frames.
 *
 * Wire:    frames of lib/rpc/frame.h, notifications both ways; README.md lists them.
 * Threads: one. The socket is looked at between two steps, so a cancel takes effect before the next one.
 */
#pragma once

#include <stdbool.h>
#include <stdint.h>

#include "apps/llmworker/nodes.h"
#include "lib/base/err.h"

struct cds_worker_options {
    int fd; /**< our end of the socket pair; owned */
    const char *model_path, *lib_dir;
    const char *draft_path;   /**< NULL: no draft model */
    const char *load;         /**< settings of the load, text of an object (loading.h); NULL: none */
    enum cds_backend backend; /**< which build of libllama lib_dir holds */
    const char *offload;      /**< what of the model goes to the GPU (offload.h); NULL: all that fits */
    const char *denied;       /**< device file that may not be opened, or "" */
    int exchange;             /**< memory file for states, inherited (exchange.h); below 0: none */
    bool vocabulary_only;     /**< no weights and no context: tokens, vocabulary and template */
    const char *adapter_dir;  /**< folder of the adapters that the load names; NULL: none can be named */
    uint32_t context_tokens, request_tokens, slots, threads, jobs;
};
/** Loads the model, says hello, serves until the server closes the socket. @return CDS_OK at that end; else the reason the model did not start */
CDS_MUST_USE cds_rc cds_worker_serve(const struct cds_worker_options *options, struct cds_err *reterr);
