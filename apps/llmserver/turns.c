#include "apps/llmserver/turns.h"

#include <stdio.h>

#include "apps/llmserver/flow.h"
#include "apps/llmserver/threads.h"
#include "lib/base/clock.h"
#include "lib/base/str.h"
#include "lib/metrics/metrics.h"

enum { RETRY_MIN_MS = 1000, RETRY_MAX_MS = 60000, RETRY_UNKNOWN_MS = 2000, LIST_MAX = 100 };

static const char *const class_names[CDS_QUEUE_CLASSES] = {"low", "normal", "high"};

static unsigned slots_of(const struct cds_llm *app)
{
    return (unsigned)cds_config_u64(app->config, CDS_OPT_LLM_SLOTS);
}

static struct cds_gen *gen_of(const struct cds_queued *entry)
{
    return (struct cds_gen *)(void *)((char *)(uintptr_t)entry - offsetof(struct cds_gen, queued));
}

/* --- how many may wait --------------------------------------------------------------------------------------------------- */

/** Requests of a model that do not hold a slot yet, of one key or (NULL) of all. */
static unsigned waiting(const struct cds_llm *app, const struct cds_model *model, const char *key)
{
    unsigned count = 0;
    for (size_t i = 0; i < CDS_GEN_BUCKETS; i++)
        for (const struct cds_gen *gen = app->gens[i]; gen; gen = gen->next)
            count += gen->model == model && gen->stage <= CDS_GEN_QUEUED && (!key || cds_streq(gen->key, key));
    return count;
}

/** When it is worth while to ask again: as long as the queue takes at the pace of the last requests. */
static uint32_t retry_ms(const struct cds_llm *app, const struct cds_model *model, unsigned ahead)
{
    if (!model->slot_ms)
        return RETRY_UNKNOWN_MS;
    uint64_t ms = (uint64_t)model->slot_ms * (ahead + 1) / slots_of(app);
    return ms < RETRY_MIN_MS ? RETRY_MIN_MS : ms > RETRY_MAX_MS ? RETRY_MAX_MS : (uint32_t)ms;
}

cds_rc cds_turns_admit(const struct cds_llm *app, const struct cds_model *model, const char *key, unsigned *ret_place, struct cds_err *reterr)
{
    unsigned most = (unsigned)cds_config_u64(app->config, CDS_OPT_LLM_QUEUE);
    unsigned most_of_key = (unsigned)cds_config_u64(app->config, CDS_OPT_LLM_QUEUE_USER);
    unsigned all = waiting(app, model, NULL), mine = waiting(app, model, key);
    cds_rc rc = CDS_OK;
    if (all >= most)
        rc = cds_fail(reterr, CDS_BUSY, __func__, "%u requests wait for %s already; this one would be number %u.", most, model->id, all + 1);
    else if (mine >= most_of_key)
        rc = cds_fail(reterr, CDS_RATE_LIMITED, __func__, "%u requests of yours wait for %s already; this one would be number %u of all.", mine,
                      model->id, all + 1);
    *ret_place = all + 1;
    if (rc == CDS_OK)
        return CDS_OK;
    cds_err_hint(reterr, "Try again in a few seconds.");
    if (reterr)
        reterr->retry_after_ms = retry_ms(app, model, rc == CDS_BUSY ? all : mine);
    return rc;
}

/* --- who begins ---------------------------------------------------------------------------------------------------------- */

static uint32_t cost(const struct cds_gen *gen)
{
    return gen->prompt_tokens + gen->slices.granted * gen->choice_count;
}

static unsigned running_of(const struct cds_model *model, const char *key, uint64_t *ret_tokens)
{
    unsigned count = 0;
    for (size_t i = 0; i < CDS_GEN_BUCKETS; i++)
        for (const struct cds_gen *gen = model->app->gens[i]; gen; gen = gen->next) {
            if (!gen->holds_slot || gen->model != model || !cds_streq(gen->key, key))
                continue;
            count++;
            if (ret_tokens)
                *ret_tokens += cost(gen);
        }
    return count;
}

/** Does somebody run whose place the entry may take in the model process? */
static bool may_pass(const struct cds_model *model, const struct cds_queued *entry)
{
    unsigned mine = running_of(model, entry->key, NULL);
    for (size_t i = 0; i < CDS_GEN_BUCKETS; i++)
        for (const struct cds_gen *gen = model->app->gens[i]; gen; gen = gen->next) {
            if (!gen->holds_slot || gen->model != model)
                continue;
            if (gen->queued.priority < entry->priority)
                return true;
            if (gen->queued.priority == entry->priority && !cds_streq(gen->key, entry->key) && running_of(model, gen->key, NULL) >= mine + 2)
                return true;
        }
    return false;
}

static struct cds_queued *next_entry(struct cds_model *model)
{
    unsigned slots = slots_of(model->app);
    if (model->running < slots)
        return cds_queue_pop(&model->queue, cds_now_ms());
    if (model->running >= 2 * slots)
        return NULL;
    const struct cds_queued *seen = NULL;
    for (struct cds_queued *entry = NULL; (entry = cds_queue_after(&model->queue, entry)) != NULL;) {
        if (seen && seen->priority == entry->priority && cds_streq(seen->key, entry->key))
            continue; /* only the first one of a key may be next */
        seen = entry;
        if (!may_pass(model, entry))
            continue;
        cds_queue_remove(&model->queue, entry);
        return entry;
    }
    return NULL;
}

void cds_turns_pump(struct cds_model *model)
{
    for (struct cds_queued *entry; model->up && (entry = next_entry(model)) != NULL;) {
        struct cds_gen *gen = gen_of(entry);
        model->running++;
        gen->holds_slot = true;
        gen->slot_since_ms = cds_now_ms();
        cds_metric_add(CDS_M_LLM_QUEUE, NULL, -1);
        cds_metric_add(CDS_M_LLM_ACTIVE, NULL, 1);
        cds_threads_share(model->app);
        cds_flow_reserve(gen);
    }
}

void cds_turns_wait(struct cds_gen *gen)
{
    struct cds_model *model = gen->model;
    uint64_t running = 0;
    running_of(model, gen->key, &running);
    gen->stage = CDS_GEN_QUEUED;
    gen->queued = (struct cds_queued){.key = gen->key, .tokens = cost(gen), .priority = gen->priority, .since_ms = cds_now_ms()};
    cds_queue_push(&model->queue, &gen->queued, running);
    if (gen->req && !gen->streaming && model->running >= slots_of(model->app)) {
        char place[16];
        snprintf(place, sizeof(place), "%u", cds_turns_place(gen));
        cds_http_add_header(gen->req, "x-cds-queue-place", place);
    }
    cds_turns_pump(model);
}

void cds_turns_release(struct cds_gen *gen)
{
    struct cds_model *model = gen->model;
    if (!gen->holds_slot)
        return;
    gen->holds_slot = false;
    model->running--;
    uint64_t held_ms = cds_now_ms() - gen->slot_since_ms;
    uint32_t ms = held_ms < UINT32_MAX ? (uint32_t)held_ms : UINT32_MAX;
    model->slot_ms = model->slot_ms ? model->slot_ms - model->slot_ms / 8 + ms / 8 : ms;
    cds_metric_add(CDS_M_LLM_ACTIVE, NULL, -1);
    cds_threads_share(model->app);
}

/* --- what can be seen ---------------------------------------------------------------------------------------------------- */

unsigned cds_turns_place(const struct cds_gen *gen)
{
    return gen->model ? cds_queue_place(&gen->model->queue, &gen->queued) : 0;
}

cds_json *cds_turns_list(const struct cds_model *model)
{
    cds_json *list = cds_json_array();
    uint64_t now = cds_now_ms();
    for (const struct cds_queued *entry = NULL; cds_json_size(list) < LIST_MAX && (entry = cds_queue_after(&model->queue, entry)) != NULL;)
        cds_json_append(list, cds_json_pack("{s:s,s:s,s:i,s:I,s:I}", "user_id", gen_of(entry)->user_id, "class", class_names[entry->priority],
                                            "place", (int)cds_queue_place(&model->queue, entry), "tokens", (long long)entry->tokens, "waited_ms",
                                            (long long)(now - entry->since_ms)));
    return list;
}
