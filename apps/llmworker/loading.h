/* apps/llmworker/loading.h: how a model is loaded, as its settings say, and what this process computes with; includes llama.h with engine.c.
 *
 * Source:  deps/llama/include/llama.h (llama_model_params, llama_context_params), ggml-backend.h; dl_iterate_phdr(3).
 * Threads: values; called before the first step.
 * Ranges:  llmserver has checked them (apps/llmserver/settings_table.c); what cannot be read is refused here again.
 */
#pragma once

#include <stdbool.h>
#include <stdint.h>

#include "lib/json/json.h"

struct llama_model;
struct llama_context;
struct llama_model_params;
struct llama_context_params;
struct cds_loading;

/** Text of an object: load_mode, lazy_rows, cache_type_k, cache_type_v, flash_attention, swa_full, check_tensors, numa, metadata,
 *  context_tokens_min; other members are not of this file. text NULL: everything as the library does it.
 *  @return CDS_OK; CDS_BAD_PARAM naming the member; CDS_EXHAUSTED */
CDS_MUST_USE cds_rc cds_loading_read(const char *text, struct cds_loading **ret, struct cds_err *reterr);
void cds_loading_free(struct cds_loading **loading); /**< sets it to NULL */

/** Bytes for checkpoints (checkpoints.h), setting checkpoint_mib. */
uint64_t cds_loading_checkpoint_bytes(const struct cds_loading *loading);
/** What must be said before a model is there. loading may be NULL in all of these. */
void cds_loading_begin(const struct cds_loading *loading);
/** The overrides are borrowed until the model was loaded. */
void cds_loading_model(const struct cds_loading *loading, struct llama_model_params *params);
/** Makes the context; with fewer cells (halves, down to context_tokens_min) while that fails. NULL: not even then. */
struct llama_context *cds_loading_context(const struct cds_loading *loading, struct llama_model *model, struct llama_context_params *params);
/** loading_try.c: the loop of that. make returns NULL when it fails. least 0: one try. */
void *cds_loading_try(void *(*make)(void *user, uint32_t cells), void *user, uint32_t cells, uint32_t least);

/** {"devices": [{"name", "description", "kind", "backend", "free_bytes", "total_bytes"}], "cpu_variant", "mmap", "mlock", "gpu", "numa", "info"};
 * owned by the caller. After the compute libraries were loaded. */
cds_json *cds_loading_system(void);
