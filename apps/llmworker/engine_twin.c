#include "apps/llmworker/engine_inside.h"

#include <stdlib.h>

#include "apps/llmworker/loading.h"
#include "lib/base/cleanup.h"

cds_rc cds_engine_twin(const struct cds_engine *engine, const struct cds_loading *loading, uint32_t cells, uint32_t batch, struct cds_engine **ret,
                       struct cds_err *reterr)
{
    CDS_CLEANUP(cds_engine_close) struct cds_engine *twin = calloc(1, sizeof(*twin));
    if (!twin)
        return cds_fail(reterr, CDS_EXHAUSTED, __func__, "There is not enough memory.");
    *twin = *engine;
    twin->twin = true;
    twin->context = NULL;
    twin->batch = (struct llama_batch){0};
    twin->order = twin->at = NULL;
    twin->drafter = NULL;
    twin->batch_max = batch;
    twin->tile = 0;
    struct llama_context_params params = llama_context_default_params();
    params.n_ctx = cells;
    params.n_batch = params.n_ubatch = batch;
    params.n_seq_max = 1;
    params.n_threads = params.n_threads_batch = (int32_t)engine->threads;
    params.flash_attn_type = LLAMA_FLASH_ATTN_TYPE_AUTO;
    params.kv_unified = true;
    params.no_perf = true;
    twin->context = cds_loading_context(loading, engine->model, &params);
    if (!twin->context || !cds_engine_make_rows(twin))
        // NOLINTNEXTLINE(clang-analyzer-unix.Malloc): freed at its declaration (CDS_CLEANUP)
        return cds_fail(reterr, CDS_EXHAUSTED, __func__, "There is not enough memory for a context of %u tokens of its own.", cells);
    *ret = twin;
    twin = NULL;
    return CDS_OK;
}
