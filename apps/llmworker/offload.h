/* apps/llmworker/offload.h: how many layers of a model go to the GPU.
 *
 * A model of N layers has N + 1 that can go: the last one is its output. What one takes is weights and its share of the cache; the buffers of a
 * batch and what must stay free come off the memory of the devices first.
 * Source:  what the server says about the model (apps/llmserver/backend.h); deps/llama/include/llama.h, n_gpu_layers.
 * Threads: pure functions.
 */
#pragma once

#include <stdint.h>

#include "lib/json/json.h"

struct cds_offload {
    enum { CDS_OFFLOAD_AUTO, CDS_OFFLOAD_MAX, CDS_OFFLOAD_COUNT, CDS_OFFLOAD_RANGE, CDS_OFFLOAD_FIT } wish;
    uint32_t least, most; /**< of COUNT (both the same) and RANGE */
    uint32_t cells;       /**< of FIT: the context that must have room */
    uint32_t layers;      /**< of the model, without the output; 0: not known */
    uint64_t layer_bytes, output_bytes;
    uint64_t cell_bytes; /**< of one cell, all layers together */
    uint64_t buffer_bytes, reserve_bytes;
};

/** Text of an object: layers ("auto", "max", a number, {"min", "max"}, {"fit_context"}), count, layer_bytes, output_bytes, cell_bytes,
 *  buffer_bytes, reserve_bytes. NULL: as many as fit of a model that is not known: all. @return CDS_OK; CDS_BAD_PARAM */
CDS_MUST_USE cds_rc cds_offload_read(const char *text, struct cds_offload *ret, struct cds_err *reterr);
/**
 * @param cells       of the context that will be made
 * @param free_bytes  of all devices together
 * @param ret_layers  0 to layers + 1, or what was asked for by number
 * @return CDS_OK; CDS_EXHAUSTED: fewer fit than must, with both numbers (rule llm.gpu_layers)
 */
CDS_MUST_USE cds_rc cds_offload_choose(const struct cds_offload *offload, uint32_t cells, uint64_t free_bytes, uint32_t *ret_layers,
                                       struct cds_err *reterr);
