#include "apps/llmserver/flow.h"

#include <stdlib.h>

#include "apps/llmserver/once.h"
#include "apps/llmserver/pace.h"
#include "apps/llmserver/results.h"
#include "apps/llmserver/settings.h"
#include "apps/llmserver/states.h"
#include "apps/llmserver/turns.h"
#include "lib/base/clock.h"
#include "lib/base/str.h"
#include "lib/log/log.h"
#include "lib/metrics/metrics.h"

/* --- leaving ------------------------------------------------------------------------------------------------------------ */

void cds_flow_leave_model(struct cds_gen *gen)
{
    struct cds_model *model = gen->model;
    if (!model)
        return;
    if (gen->stage <= CDS_GEN_QUEUED)
        cds_metric_add(CDS_M_LLM_QUEUE, NULL, -1);
    if (gen->stage == CDS_GEN_QUEUED)
        cds_queue_remove(&model->queue, &gen->queued);
    if (model->up && gen->stage > CDS_GEN_WAITING && gen->stage <= CDS_GEN_STOPPING)
        cds_proc_send(model->proc, "cancel", cds_json_pack("{s:I,s:I}", "job", (long long)gen->job, "at_ns", (long long)cds_now_ns()));
    if (gen->stage != CDS_GEN_SAVING)
        cds_states_release(gen->app, gen->job);
    cds_turns_release(gen);
    gen->model = NULL;
    cds_turns_pump(model);
}

static void gen_free(struct cds_gen *gen)
{
    struct cds_gen **link = &gen->app->gens[(uint64_t)gen->job % CDS_GEN_BUCKETS];
    while (*link != gen)
        link = &(*link)->next;
    *link = gen->next;
    cds_timer_remove(&gen->deadline);
    cds_timer_remove(&gen->alive);
    if (gen->replay)
        cds_replay_drop(gen->replay);
    cds_once_lose(&gen->once); /* all other ends have taken it */
    cds_ask_clear(&gen->ask);
    cds_json_unref(gen->asked);
    cds_segments_free(&gen->segments);
    for (unsigned i = 0; i < gen->choice_count; i++)
        cds_choice_clear(&gen->choices[i]);
    free(gen->choices);
    cds_json_unref(gen->result);
    cds_buf_free(&gen->out);
    free(gen);
}

static void write_log(const struct cds_gen *gen)
{
    const struct cds_err *why = gen->failure.code ? &gen->failure : NULL;
    /* The client's mistakes are news for the client; the log shouts only about ours. */
    bool ours = why && cds_rc_http(why->code) >= 500;
    cds_log(ours ? CDS_LOG_WARN : CDS_LOG_INFO, "request", CDS_LS("request_id", gen->http_id), CDS_LS("user_id", gen->user_id),
            CDS_LS("method", "POST"), CDS_LS("path", gen->dialect->path), CDS_LI("status", gen->status), CDS_LI("ms", cds_now_ms() - gen->started_ms),
            CDS_LS("model", gen->model_id), CDS_LI("prompt_tokens", gen->end.prompt_tokens), CDS_LI("completion_tokens", gen->end.completion_tokens),
            CDS_LI("cached_tokens", gen->cached_tokens), CDS_LI("recomputed_tokens", gen->recomputed_tokens),
            CDS_LI("foreign_tokens", gen->foreign_tokens), CDS_LI("steps_to_first", gen->steps_to_first), CDS_LS("ended", gen->end.ended),
            CDS_LS("code", why ? cds_rc_name(why->code) : NULL), CDS_LS("error", why ? why->message : NULL),
            CDS_LS("rule", why && *why->rule ? why->rule : NULL), CDS_LS("detail", why && *why->detail ? why->detail : NULL));
}

void cds_flow_over(struct cds_gen *gen)
{
    if (gen->stage != CDS_GEN_OVER) {
        cds_flow_leave_model(gen);
        gen->stage = CDS_GEN_OVER;
        cds_timer_set(gen->deadline, UINT64_MAX);
        cds_timer_set(gen->alive, UINT64_MAX);
        cds_pace_end(gen);
        write_log(gen);
    }
    if (gen->ledger_calls == 0 && !gen->req)
        gen_free(gen);
}

void cds_flow_finish(struct cds_gen *gen)
{
    cds_metric_add(CDS_M_LLM_REQUESTS, cds_streq(gen->end.ended, "finished") ? gen->end.finish_reason : gen->end.ended, 1);
    gen->stage = CDS_GEN_LEAVING;
    cds_pace_end(gen);
    cds_timer_set(gen->deadline, UINT64_MAX);
    cds_timer_set(gen->alive, UINT64_MAX);
    bool kept = gen->replay || !gen->req; /* it is written to what is kept, which nobody has to read before this request is over */
    if (cds_gen_has_reader(gen))
        cds_gen_write_end(gen);
    else
        kept = true;
    if (kept)
        cds_flow_over(gen);
}

void cds_flow_fail(struct cds_gen *gen, const struct cds_err *err, const char *outcome)
{
    if (gen->stage >= CDS_GEN_SETTLING) {
        /* It is decided already; only the model goes away. */
        gen->model = NULL;
        return;
    }
    bool held = gen->stage >= CDS_GEN_RUNNING;
    cds_flow_leave_model(gen);
    if (held && !gen->booked)
        cds_flow_settle_zero(gen, err->code == CDS_MODEL_CRASHED ? "crashed" : "failed");
    cds_metric_add(CDS_M_LLM_REQUESTS, outcome, 1);
    gen->failure = *err;
    gen->end = (struct cds_wire_end){.ended = outcome};
    cds_pace_end(gen);
    /* While a reservation is under way the stage tells its answer that nobody wants it any more. */
    gen->stage = CDS_GEN_LEAVING;
    cds_timer_set(gen->deadline, UINT64_MAX);
    cds_timer_set(gen->alive, UINT64_MAX);
    bool over = !gen->req;
    if (gen->dialect->own_names)
        gen->dialect->own_names(&gen->failure);
    if (gen->booked)
        cds_once_lose(&gen->once);
    else
        cds_once_drop(&gen->once);
    if (cds_gen_has_reader(gen))
        cds_gen_write_error(gen, &gen->failure);
    if (over)
        cds_flow_over(gen);
}

void cds_flow_stop(struct cds_gen *gen, const char *ended)
{
    gen->end.ended = ended;
    gen->stage = CDS_GEN_STOPPING;
    cds_proc_send(gen->model->proc, "cancel", cds_json_pack("{s:I,s:I}", "job", (long long)gen->job, "at_ns", (long long)cds_now_ns()));
}

/* --- further slices ----------------------------------------------------------------------------------------------------- */

static void send_grant(struct cds_gen *gen, bool last)
{
    cds_proc_send(gen->model->proc, "grant",
                  cds_json_pack("{s:I,s:I,s:b}", "job", (long long)gen->job, "granted", (long long)gen->slices.granted, "last", last));
}

static void refuse_slice(struct cds_gen *gen, const struct cds_err *err)
{
    cds_slices_refused(&gen->slices);
    cds_strcpy(gen->notice, sizeof(gen->notice), err->message);
    if (gen->stage == CDS_GEN_RUNNING)
        send_grant(gen, true);
}

static void on_extended(void *user, const struct cds_err *err)
{
    struct cds_gen *gen = user;
    gen->ledger_calls--;
    gen->extending = false;
    if (gen->stage == CDS_GEN_OVER) {
        cds_flow_over(gen);
    } else if (gen->stage == CDS_GEN_SETTLING) {
        cds_flow_settle(gen);
    } else if (err) {
        refuse_slice(gen, err);
    } else {
        cds_slices_granted(&gen->slices, gen->slice_tokens);
        if (gen->stage == CDS_GEN_RUNNING)
            send_grant(gen, gen->slices.granted >= gen->slices.max_tokens);
    }
}

static void ask_for_slice(struct cds_gen *gen)
{
    uint32_t tokens = cds_slices_due(&gen->slices, gen->furthest);
    if (tokens == 0)
        return;
    struct cds_err err = {0};
    if (cds_pace_more(gen, tokens, &gen->slice_tokens, &err) != CDS_OK) {
        refuse_slice(gen, &err);
        return;
    }
    struct cds_meter_request request = cds_flow_ledger_request(gen);
    gen->extending = true;
    gen->ledger_calls++;
    struct cds_meter_used so_far = {.prompt_tokens = gen->prompt_tokens, .completion_tokens = gen->completion_tokens};
    if (cds_meter_extend(gen->app->meter, &request, gen->slice_tokens * gen->choice_count, &so_far, on_extended, gen, &err) == CDS_OK)
        return;
    gen->extending = false;
    gen->ledger_calls--;
    refuse_slice(gen, &err);
}

/* --- reserving and running ---------------------------------------------------------------------------------------------- */

static void start(struct cds_gen *gen)
{
    gen->stage = CDS_GEN_RUNNING;
    gen->admitted_ms = cds_now_ms();
    uint64_t most_bytes = 0;
    struct cds_err err = {0};
    if (*gen->ask.save_state && cds_states_reserve(gen, &most_bytes, &err) != CDS_OK) {
        cds_flow_fail(gen, &err, "refused");
        return;
    }
    cds_metric_add(CDS_M_LLM_REQUEST_COUNT, gen->model_id, 1);
    cds_proc_send(gen->model->proc, "start",
                  cds_json_pack("{s:I,s:I,s:I}", "job", (long long)gen->job, "granted", (long long)gen->slices.granted, "save_bytes",
                                (long long)(most_bytes < INT64_MAX ? most_bytes : INT64_MAX)));
    cds_gen_open_stream(gen);
}

static void on_reserved(void *user, const struct cds_err *err)
{
    struct cds_gen *gen = user;
    gen->ledger_calls--;
    if (gen->stage != CDS_GEN_RESERVING) {
        if (!err)
            cds_flow_settle_zero(gen, "gone");
        if (gen->stage == CDS_GEN_OVER)
            cds_flow_over(gen);
        return;
    }
    if (err && err->code == CDS_CONFLICT) {
        /* The caller used this id for an earlier request: the ledger gets one of our own. */
        cds_uuid7(gen->request_id);
        cds_once_moved(gen->once, gen->request_id);
        cds_flow_reserve(gen);
    } else if (err) {
        cds_flow_fail(gen, err, "refused");
    } else if (gen->stop_wanted) {
        gen->end = (struct cds_wire_end){.finish_reason = "stop", .ended = "cancelled"};
        cds_flow_leave_model(gen);
        gen->stage = CDS_GEN_SETTLING;
        cds_flow_settle(gen);
    } else {
        start(gen);
    }
}

void cds_flow_reserve(struct cds_gen *gen)
{
    struct cds_err err = {0};
    cds_meter_now(gen->admitted);
    struct cds_meter_request request = cds_flow_ledger_request(gen);
    gen->stage = CDS_GEN_RESERVING;
    gen->ledger_calls++;
    cds_rc rc = cds_pace_first(gen, &err);
    uint32_t tokens = gen->prompt_tokens + gen->slices.granted * gen->choice_count;
    cds_pace_tell(gen);
    if (rc == CDS_OK)
        rc = cds_meter_reserve(gen->app->meter, &request, tokens, on_reserved, gen, &err);
    if (rc == CDS_CONFLICT) {
        /* Another request of this caller runs under the same id: the ledger gets one of our own. */
        cds_uuid7(gen->request_id);
        cds_once_moved(gen->once, gen->request_id);
        rc = cds_meter_reserve(gen->app->meter, &request, tokens, on_reserved, gen, &err);
    }
    if (rc == CDS_OK)
        return;
    gen->ledger_calls--;
    cds_flow_fail(gen, &err, rc == CDS_RATE_LIMITED ? "refused" : "busy");
}

/* --- frames ------------------------------------------------------------------------------------------------------------- */

int64_t cds_flow_scope(const char *id)
{
    uint64_t hash = 1469598103934665603ULL;
    for (const char *c = id; *c; c++)
        hash = (hash ^ (unsigned char)*c) * 1099511628211ULL;
    return (int64_t)(hash >> 1);
}

/** Memory of the context that deterministic answers have for themselves: it is made for the first one, and stays. */
static cds_rc room_alone(struct cds_model *model, struct cds_err *err)
{
    enum { ROWS = 65 };
    if (model->solo_bytes)
        return CDS_OK;
    struct cds_memory_need need = cds_settings_need(model, (uint64_t)model->request_tokens, ROWS);
    uint64_t bytes = need.cache_bytes + need.buffers_bytes;
    cds_rc rc = cds_memory_more(model, bytes, "deterministic answers", err);
    if (rc == CDS_OK) {
        model->solo_bytes = bytes;
        model->need_bytes += bytes;
    }
    return rc;
}

void cds_flow_prepare(struct cds_gen *gen)
{
    gen->asks_lexicon = false;
    if (gen->ask.needs_draft && !gen->model->drafts) {
        struct cds_err err = {0};
        cds_fail(&err, CDS_BAD_PARAM, __func__, "The model %s has no draft model%s%s", gen->model_id, *gen->model->draft_problem ? ": " : ".",
                 gen->model->draft_problem);
        cds_err_hint(&err, "Leave \"speculation\" out; an administrator names draft models in llm.draft_models.");
        cds_err_pointer(&err, "/speculation");
        cds_flow_fail(gen, &err, "refused");
        return;
    }
    struct cds_err full = {0};
    if (gen->ask.deterministic && room_alone(gen->model, &full) != CDS_OK) {
        cds_flow_fail(gen, &full, "refused");
        return;
    }
    gen->stage = CDS_GEN_PREPARING;
    if (!cds_json_get(gen->ask.prompt, "seed")) {
        uint32_t seed = 0;
        if (!gen->ask.deterministic)
            cds_random(&seed, sizeof(seed));
        cds_json_set(gen->ask.prompt, "seed", cds_json_int(seed));
    }
    cds_json_set(gen->ask.prompt, "job", cds_json_int(gen->job));
    cds_json_set(gen->ask.prompt, "max_tokens", cds_json_int(gen->ask.max_tokens));
    cds_json_set(gen->ask.prompt, "scope", cds_json_int(cds_flow_scope(gen->user_id)));
    cds_json_set(gen->ask.prompt, "key", cds_json_int(cds_flow_scope(gen->key)));
    cds_json_set(gen->ask.prompt, "priority", cds_json_int(gen->priority));
    cds_proc_send(gen->model->proc, "prepare", cds_json_ref(gen->ask.prompt));
}

static void on_prepared(struct cds_gen *gen, const cds_json *params)
{
    if (gen->stage != CDS_GEN_PREPARING)
        return;
    gen->prompt_tokens = (uint32_t)cds_json_get_i64(params, "prompt_tokens", 0);
    gen->end.dropped_messages = (uint32_t)cds_json_get_i64(params, "dropped_messages", 0);
    gen->end.dropped_tokens = (uint32_t)cds_json_get_i64(params, "dropped_tokens", 0);
    if (gen->counts) {
        cds_gen_counted(gen);
        return;
    }
    gen->slices = cds_slices_begin((uint32_t)cds_json_get_i64(params, "max_tokens", 1));
    cds_results_prepared(gen, params);
    cds_turns_wait(gen);
}

static void on_refused(struct cds_gen *gen, const cds_json *params)
{
    struct cds_err err = {0};
    const char *message = cds_json_get_str(params, "message"), *hint = cds_json_get_str(params, "hint"), *detail = cds_json_get_str(params, "detail");
    const char *pointer = cds_json_get_str(params, "pointer");
    cds_fail(&err, cds_rc_from_openai(cds_json_get_str(params, "code")), __func__, "%s", message ? message : "The model refused the request.");
    cds_err_hint(&err, "%s", hint ? hint : "");
    cds_err_detail(&err, "%s", detail ? detail : "");
    if (err.code == CDS_BAD_PARAM || err.code == CDS_CONTEXT_LENGTH)
        cds_err_pointer(&err, "%s", pointer && *pointer ? pointer : gen->wire.chat ? "/messages" : "/prompt");
    cds_flow_fail(gen, &err, "refused");
}

/** The first token is there: from now on the request's own time counts. */
static void on_first_token(struct cds_gen *gen)
{
    uint64_t now = cds_now_ms(), own = now + gen->ask.time_ms, whole = gen->deadline_at_ms;
    cds_metric_us(CDS_M_LLM_TTFT, NULL, (now - gen->admitted_ms) * 1000);
    if (gen->ask.time_ms && own < whole)
        cds_timer_set(gen->deadline, own);
}

static void on_text(struct cds_gen *gen, const cds_json *event)
{
    const cds_json *extra = cds_json_at(event, 3), *text = cds_json_at(event, 2);
    int64_t index = cds_json_get_i64(extra, "c", 0);
    if ((gen->stage != CDS_GEN_RUNNING && gen->stage != CDS_GEN_STOPPING) || index < 0 || index >= gen->choice_count)
        return;
    struct cds_choice *choice = &gen->choices[index];
    if (gen->completion_tokens == 0)
        on_first_token(gen);
    uint32_t tokens = (uint32_t)cds_json_i64(cds_json_at(event, 1), choice->tokens);
    gen->completion_tokens += tokens - choice->tokens;
    choice->tokens = tokens;
    gen->furthest = tokens > gen->furthest ? tokens : gen->furthest;
    if (gen->stage != CDS_GEN_RUNNING)
        return;
    ask_for_slice(gen);
    if (gen->stage != CDS_GEN_RUNNING)
        return;
    const cds_json *ids = cds_json_get(extra, "ids");
    for (size_t i = 0; i < cds_json_size(ids); i++) {
        choice->ids = choice->ids ? choice->ids : cds_json_array();
        cds_json_append(choice->ids, cds_json_ref(cds_json_at(ids, i)));
    }
    const cds_json *deltas = cds_json_get(extra, "d"), *chances = cds_json_get(extra, "lp");
    if (deltas)
        cds_gen_write_deltas(gen, (unsigned)index, deltas, chances);
    else if (cds_json_str_len(text) || chances)
        cds_gen_write_text(gen, (unsigned)index, cds_json_str(text), cds_json_str_len(text), chances);
}

/** Events of one step: lists that begin with the number of their request. */
static void each_event(struct cds_model *model, const cds_json *events, void (*take)(struct cds_gen *gen, const cds_json *event))
{
    for (size_t i = 0; i < cds_json_size(events); i++) {
        const cds_json *event = cds_json_at(events, i);
        struct cds_gen *gen = cds_gen_find(model->app, cds_json_i64(cds_json_at(event, 0), 0));
        if (gen && gen->model == model)
            take(gen, event);
    }
}

void cds_gen_frame(struct cds_model *model, const char *method, const cds_json *params)
{
    each_event(model, cds_json_get(params, "texts"), on_text);
    each_event(model, cds_json_get(params, "vectors"), cds_results_add);
    struct cds_gen *gen = cds_gen_find(model->app, cds_json_get_i64(params, "job", 0));
    if (!gen || gen->model != model)
        return;
    if (cds_streq(method, "prepared"))
        on_prepared(gen, params);
    else if (cds_streq(method, "told"))
        cds_results_told(gen, params);
    else if (cds_streq(method, "refused"))
        on_refused(gen, params);
    else if (cds_streq(method, "done"))
        cds_flow_done(gen, params);
}
