#include "apps/llmserver/residency.h"

#include <string.h>

#include "apps/llmserver/generation.h"
#include "lib/base/clock.h"
#include "lib/base/str.h"
#include "lib/log/log.h"

bool cds_residency_named(const char *list, const char *id)
{
    size_t len = strlen(id);
    for (const char *at = list; *at;) {
        at += strspn(at, ", ");
        size_t part = strcspn(at, ", ");
        if (part == len && len && memcmp(at, id, len) == 0)
            return true;
        at += part;
    }
    return false;
}

static bool may_leave(const struct cds_model *model)
{
    const struct cds_config *c = model->app->config;
    return model->up && !model->unloading && !cds_residency_named(cds_config_str(c, CDS_OPT_LLM_PINNED), model->id) &&
           cds_now_ms() - model->up_ms >= cds_config_u64(c, CDS_OPT_LLM_RESIDENCY_MS);
}

static void leave(struct cds_model *model, const char *why)
{
    cds_log(CDS_LOG_INFO, "a model makes room", CDS_LS("model", model->id), CDS_LS("why", why));
    model->evicting = true;
    cds_model_unload(model);
}

/** The one used longest ago among those that may leave; idle: without requests. */
static struct cds_model *candidate(struct cds_llm *app, bool idle)
{
    struct cds_model *best = NULL;
    for (struct cds_model *model = app->models.first; model; model = model->next)
        if (may_leave(model) && (!idle || cds_gen_begun(model) + (model->yielding ? 0 : cds_gen_waiting(model)) == 0) &&
            (!best || model->used_ms < best->used_ms))
            best = model;
    return best;
}

/** @return false: nobody is there who could ever leave */
static bool make_room(struct cds_llm *app, const struct cds_model *wanted)
{
    bool others = false;
    for (const struct cds_model *model = app->models.first; model; model = model->next) {
        if (model->unloading)
            return true; /* room is on its way */
        others = others || (model != wanted && model->proc);
    }
    struct cds_model *victim = candidate(app, true);
    if (victim) {
        leave(victim, "another model is wanted");
        return true;
    }
    /* All are busy. After a fair time the one used longest ago takes no new requests, so that it becomes idle. */
    if (cds_now_ms() - wanted->wanted_ms >= cds_config_u64(app->config, CDS_OPT_LLM_RESIDENCY_MS) && (victim = candidate(app, false)))
        victim->yielding = true;
    return others;
}

static void look(struct cds_llm *app, struct cds_model *model)
{
    uint64_t now = cds_now_ms(), idle_ms = cds_config_u64(app->config, CDS_OPT_LLM_IDLE_MS);
    if (cds_gen_begun(model) + cds_gen_waiting(model) > 0)
        model->used_ms = now;
    else if (idle_ms && may_leave(model) && now - model->used_ms >= idle_ms)
        leave(model, "nobody has used it for llm.idle_ms");
    if (!model->wants_room)
        return;
    struct cds_err err = {0};
    if (cds_gen_waiting(model) == 0)
        cds_model_unload(model); /* nobody waits for it any more */
    else if (!cds_model_try_room(model, &err) && !make_room(app, model))
        cds_model_refuse(model, &err);
}

/** Who was to come does not want to any more: what was held back goes on. */
static void stop_yielding(struct cds_llm *app)
{
    for (const struct cds_model *model = app->models.first; model; model = model->next)
        if (model->wants_room)
            return;
    for (struct cds_model *model = app->models.first; model; model = model->next) {
        if (!model->yielding || model->unloading)
            continue;
        model->yielding = false;
        if (model->up)
            cds_gen_model_up(model);
    }
}

static void on_look(void *user)
{
    struct cds_llm *app = user;
    for (struct cds_model *model = app->models.first; model && !app->draining; model = model->next)
        look(app, model);
    stop_yielding(app);
    cds_timer_set(app->residency_timer, cds_now_ms() + CDS_RESIDENCY_LOOK_MS);
}

cds_rc cds_residency_start(struct cds_llm *app, struct cds_err *reterr)
{
    if (cds_timer_add(app->loop, cds_now_ms() + CDS_RESIDENCY_LOOK_MS, on_look, app, &app->residency_timer) == CDS_OK)
        return CDS_OK;
    return cds_fail(reterr, CDS_EXHAUSTED, __func__, "There is not enough memory.");
}

void cds_residency_stop(struct cds_llm *app)
{
    cds_timer_remove(&app->residency_timer);
}
