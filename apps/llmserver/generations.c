/* The requests of a model, or all of them, at once: found, counted, and told what becomes of the model. */
#include "apps/llmserver/generation.h"

#include <stdlib.h>

#include "apps/llmserver/flow.h"
#include "apps/llmserver/poison.h"
#include "apps/llmserver/threads.h"
#include "lib/base/clock.h"

/* --- finding ------------------------------------------------------------------------------------------------------------ */

struct cds_gen *cds_gen_find(const struct cds_llm *app, int64_t job)
{
    struct cds_gen *gen = app->gens[(uint64_t)job % CDS_GEN_BUCKETS];
    while (gen && gen->job != job)
        gen = gen->next;
    return gen;
}

/** Job numbers of the live requests of a model (NULL: all): the list changes while they are handled. Caller frees. */
static int64_t *collect(const struct cds_llm *app, const struct cds_model *model, size_t *ret_count)
{
    int64_t *list = calloc((size_t)cds_gen_count(app) + 1, sizeof(*list));
    *ret_count = 0;
    for (size_t i = 0; list && i < CDS_GEN_BUCKETS; i++)
        for (const struct cds_gen *gen = app->gens[i]; gen; gen = gen->next)
            if (gen->stage != CDS_GEN_OVER && (!model || gen->model == model))
                list[(*ret_count)++] = gen->job;
    return list;
}

unsigned cds_gen_count(const struct cds_llm *app)
{
    unsigned count = 0;
    for (size_t i = 0; i < CDS_GEN_BUCKETS; i++)
        for (const struct cds_gen *gen = app->gens[i]; gen; gen = gen->next)
            count += gen->stage != CDS_GEN_OVER;
    return count;
}

static unsigned in_stages(const struct cds_model *model, enum cds_gen_stage from, enum cds_gen_stage to)
{
    unsigned count = 0;
    for (size_t i = 0; i < CDS_GEN_BUCKETS; i++)
        for (const struct cds_gen *gen = model->app->gens[i]; gen; gen = gen->next)
            count += gen->model == model && gen->stage >= from && gen->stage <= to;
    return count;
}

unsigned cds_gen_waiting(const struct cds_model *model)
{
    return in_stages(model, CDS_GEN_WAITING, CDS_GEN_WAITING);
}

unsigned cds_gen_begun(const struct cds_model *model)
{
    return in_stages(model, CDS_GEN_PREPARING, CDS_GEN_STOPPING);
}

/* --- ends and new beginnings of their model ----------------------------------------------------------------------------- */

void cds_gen_stop_all(struct cds_llm *app)
{
    size_t count;
    int64_t *list = collect(app, NULL, &count);
    struct cds_err err = {0};
    cds_fail(&err, CDS_UNAVAILABLE, __func__, "The model server is shutting down.");
    for (size_t i = 0; i < count; i++) {
        struct cds_gen *gen = cds_gen_find(app, list[i]);
        if (gen && gen->stage == CDS_GEN_RUNNING)
            cds_flow_stop(gen, "cancelled");
        else if (gen && gen->stage < CDS_GEN_RUNNING)
            cds_flow_fail(gen, &err, "error");
    }
    free(list);
}

void cds_gen_model_up(struct cds_model *model)
{
    model->threads = 0;
    cds_threads_share(model->app);
    size_t count;
    int64_t *list = collect(model->app, model, &count);
    for (size_t i = 0; i < count; i++) {
        struct cds_gen *gen = cds_gen_find(model->app, list[i]);
        if (gen && gen->stage == CDS_GEN_WAITING)
            cds_flow_prepare(gen);
    }
    free(list);
}

void cds_gen_model_down(struct cds_model *model, const struct cds_err *err, bool comes_back)
{
    size_t count;
    int64_t *list = collect(model->app, model, &count);
    for (size_t i = 0; i < count; i++) {
        struct cds_gen *gen = cds_gen_find(model->app, list[i]);
        if (!gen || gen->model != model)
            continue;
        if (err->code == CDS_MODEL_CRASHED && (gen->stage == CDS_GEN_PREPARING || gen->stage == CDS_GEN_RUNNING || gen->stage == CDS_GEN_STOPPING))
            cds_poison_add(model->app->poison, gen->suspect, cds_now_ms());
        if (comes_back && (gen->stage == CDS_GEN_QUEUED || (gen->stage == CDS_GEN_PREPARING && !gen->prepared_in_vain))) {
            /* Its prompt died with the process; nothing was computed, so it may try again. But one that dies twice while its prompt is
             * prepared may be what kills the process: it is not tried a third time. */
            gen->prepared_in_vain = gen->stage == CDS_GEN_PREPARING;
            cds_queue_remove(&model->queue, &gen->queued);
            gen->stage = CDS_GEN_WAITING;
        } else if (gen->stage != CDS_GEN_WAITING || !comes_back) {
            cds_flow_fail(gen, err, err->code == CDS_MODEL_CRASHED ? "crashed" : "error");
        }
    }
    free(list);
}

void cds_gen_model_drain(struct cds_model *model, const struct cds_err *err)
{
    size_t count;
    int64_t *list = collect(model->app, model, &count);
    for (size_t i = 0; i < count; i++) {
        struct cds_gen *gen = cds_gen_find(model->app, list[i]);
        if (gen && gen->model == model && gen->stage <= CDS_GEN_QUEUED)
            cds_flow_fail(gen, err, "error");
    }
    free(list);
}
