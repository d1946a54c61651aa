/* apps/llmserver/memory.h: what a model needs in memory, and what there is for it, before it is loaded.
 *
 * Estimate: weights as in the file, 2 bytes for each number of the cache (all cells), the buffers of one batch, and what the process itself takes.
 *           Layers that are sure to go to a GPU take none of it; how many go there beyond those is found out by the model process (offload.h there).
 *           tests/service/model_memory.test.mjs holds it against the resident memory of the process.
 * Source:   proc(5) meminfo; cgroups(7) memory.max, memory.current.
 * Threads:  loop thread only.
 */
#pragma once

#include "apps/llmserver/model.h"

struct cds_memory_need {
    uint64_t weights_bytes, cache_bytes, buffers_bytes, base_bytes, total_bytes; /**< total: of all four, wherever they lie */
    uint64_t gpu_bytes;                                                          /**< so many of them on a GPU: not in the memory of this machine */
};
/** From the facts of the header and the numbers of the load; zeros for what the header does not say. */
struct cds_memory_need cds_memory_need(const cds_json *facts, uint64_t cells, uint64_t batch);
/** Of a model of so many layers and its output: bytes of one layer's weights, of the output's. */
void cds_memory_layers(const cds_json *facts, uint64_t weights_bytes, uint64_t *ret_layer_bytes, uint64_t *ret_output_bytes);
/** What goes to a GPU with so many layers (one more than the model has: its output too): their weights, their share of the cache. The buffers of a
 *  batch count here and there: they may be needed on both sides. */
uint64_t cds_memory_on_gpu(const cds_json *facts, const struct cds_memory_need *need, uint32_t layers);
/** Layers that the setting "gpu_layers" puts on a GPU whatever room it finds there; what depends on that room counts as memory of this machine. */
uint32_t cds_memory_sure_layers(const cds_json *wish);
/** All that a load takes with its settings: draft model, adapters, the sure layers on a GPU. */
struct cds_memory_need cds_memory_of(const struct cds_model *model, uint64_t cells, uint64_t batch);
/** Free memory of this machine, or of our control group when that is less. UINT64_MAX: not known. */
uint64_t cds_memory_free(void);
/** Text of a meminfo file: bytes of MemAvailable; UINT64_MAX: it has none. Exposed for tests. */
uint64_t cds_memory_available(const char *meminfo);
/** Is there room for so many bytes more of a loaded model? what: what they are for. @return CDS_OK; CDS_EXHAUSTED (rule llm.memory) */
CDS_MUST_USE cds_rc cds_memory_more(const struct cds_model *model, uint64_t bytes, const char *what, struct cds_err *reterr);
/**
 * Is there room for this model beside those that are loaded, for the part of it that is not on a GPU? Counted twice: against the memory that is
 * really free (less llm.memory_reserve_bytes), and against llm.memory_bytes for all models together.
 * @param ret_limit_bytes  what its process may take: the estimate, half as much again, and 1 GiB
 * @return CDS_OK; CDS_EXHAUSTED with what it needs and what there is (rule llm.memory)
 */
CDS_MUST_USE cds_rc cds_memory_allows(const struct cds_model *model, uint64_t cells, uint64_t batch, uint64_t *ret_limit_bytes,
                                      struct cds_err *reterr);
