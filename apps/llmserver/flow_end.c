#include "apps/llmserver/flow.h"

#include "apps/llmserver/results.h"
#include "apps/llmserver/states.h"
#include "lib/base/clock.h"
#include "lib/base/str.h"
#include "lib/metrics/metrics.h"

/* --- settling ----------------------------------------------------------------------------------------------------------- */

struct cds_meter_request cds_flow_ledger_request(const struct cds_gen *gen)
{
    return (struct cds_meter_request){.user_id = gen->user_id,
                                      .request_id = gen->request_id,
                                      .model = gen->model_id,
                                      .key_id = gen->key_id,
                                      .admitted = gen->admitted,
                                      .prompt_tokens = gen->prompt_tokens};
}

/** Books nothing and gives the hold back. */
void cds_flow_settle_zero(struct cds_gen *gen, const char *outcome)
{
    static const struct cds_meter_used nothing = {0};
    struct cds_meter_request request = cds_flow_ledger_request(gen);
    cds_meter_settle(gen->app->meter, &request, &nothing, outcome, NULL, NULL);
}

/** The outcome as the ledger calls it. */
static const char *ledger_outcome(const struct cds_gen *gen)
{
    if (cds_streq(gen->end.ended, "cancelled") || cds_streq(gen->end.ended, "revoked"))
        return gen->status == 499 ? "gone" : "cancelled";
    return cds_streq(gen->end.finish_reason, "length") ? "length" : "stop";
}

static void on_settled(void *user, const struct cds_meter_booked *booked)
{
    struct cds_gen *gen = user;
    gen->ledger_calls--;
    if (gen->stage == CDS_GEN_SETTLING) {
        gen->end.cost_micro = booked->cost_micro;
        gen->end.soft_percent = booked->soft_percent;
        cds_strcpy(gen->end.soft_budget, sizeof(gen->end.soft_budget), booked->soft_budget ? booked->soft_budget : "");
        cds_flow_finish(gen);
    } else if (gen->stage == CDS_GEN_OVER) {
        cds_flow_over(gen);
    }
}

static struct cds_meter_used used_in_the_end(const struct cds_gen *gen)
{
    return (struct cds_meter_used){gen->end.prompt_tokens, gen->end.cached_tokens, gen->end.completion_tokens};
}

static void book(struct cds_gen *gen, cds_meter_settled_fn *done)
{
    struct cds_meter_request request = cds_flow_ledger_request(gen);
    struct cds_meter_used used = used_in_the_end(gen);
    cds_meter_settle(gen->app->meter, &request, &used, ledger_outcome(gen), done, done ? gen : NULL);
}

void cds_flow_settle(struct cds_gen *gen)
{
    gen->ledger_calls++;
    cds_timer_set(gen->deadline, UINT64_MAX);
    cds_timer_set(gen->alive, cds_now_ms() + CDS_GEN_SETTLE_WAIT_MS);
    book(gen, on_settled);
}

void cds_flow_settle_late(struct cds_gen *gen)
{
    bool booked = !gen->extending;
    cds_meter_forget(gen->app->meter, gen);
    gen->ledger_calls = 0;
    gen->extending = false;
    if (!booked)
        book(gen, NULL);
    cds_strcpy(gen->notice, sizeof(gen->notice), "The cost is still being booked; usage will show it.");
    gen->end.notice = gen->notice;
    cds_flow_finish(gen);
}

/** A slice that is still being reserved must not arrive behind the settlement. */
static void settle_or_wait(struct cds_gen *gen)
{
    if (!gen->extending) {
        cds_flow_settle(gen);
        return;
    }
    struct cds_meter_request request = cds_flow_ledger_request(gen);
    struct cds_meter_used used = used_in_the_end(gen);
    cds_meter_ended(gen->app->meter, &request, &used, ledger_outcome(gen));
}

/** Why each choice ended. */
static void take_reasons(struct cds_gen *gen, const cds_json *choices)
{
    bool late = cds_streq(gen->end.ended, "deadline");
    for (unsigned i = 0; i < gen->choice_count; i++) {
        const cds_json *one = cds_json_at(choices, i);
        const char *end = cds_json_get_str(one, "end");
        struct cds_choice *choice = &gen->choices[i];
        bool by_length = cds_streq(end, "length") || (late && !cds_streq(end, "stop"));
        bool calls = cds_streq(end, "stop") && cds_json_get_i64(one, "calls", 0) > 0;
        choice->finish_reason = by_length ? "length" : calls ? "tool_calls" : "stop";
        choice->tokens = (uint32_t)cds_json_get_i64(one, "tokens", choice->tokens);
        choice->score = cds_json_num(cds_json_get(one, "score"), 0);
        choice->stop = (int)cds_json_get_i64(one, "stop", -1);
    }
    gen->end.finish_reason = gen->choices[0].finish_reason;
}

static int64_t since_start(const struct cds_gen *gen, uint64_t ms)
{
    return ms > gen->started_ms ? (int64_t)(ms - gen->started_ms) : ms != 0;
}

/** When thought and text of the first choice came. */
static void take_segments(struct cds_gen *gen)
{
    const struct cds_choice *choice = &gen->choices[0];
    gen->end.thought.from_ms = since_start(gen, choice->thought_from_ms);
    gen->end.thought.to_ms = since_start(gen, choice->thought_to_ms);
    gen->end.text.from_ms = since_start(gen, choice->text_from_ms);
    gen->end.text.to_ms = since_start(gen, choice->text_to_ms);
}

void cds_flow_done(struct cds_gen *gen, const cds_json *params)
{
    if (gen->stage != CDS_GEN_RUNNING && gen->stage != CDS_GEN_STOPPING)
        return;
    const char *how = cds_json_get_str(params, "end");
    if (cds_streq(how, "failed")) {
        struct cds_err err = {0};
        cds_fail(&err, CDS_INTERNAL, __func__, "The model could not compute this request; nothing was charged.");
        cds_flow_fail(gen, &err, "error");
        return;
    }
    gen->prompt_tokens = (uint32_t)cds_json_get_i64(params, "prompt_tokens", gen->prompt_tokens);
    gen->cached_tokens = (uint32_t)cds_json_get_i64(params, "cached_tokens", 0);
    gen->evaluated_tokens = (uint32_t)cds_json_get_i64(params, "evaluated_tokens", gen->prompt_tokens);
    gen->completion_tokens = (uint32_t)cds_json_get_i64(params, "completion_tokens", gen->completion_tokens);
    gen->end.reasoning_tokens = (uint32_t)cds_json_get_i64(params, "reasoning_tokens", 0);
    gen->recomputed_tokens = (uint32_t)cds_json_get_i64(params, "recomputed_tokens", 0);
    gen->foreign_tokens = (uint32_t)cds_json_get_i64(params, "foreign_tokens", 0);
    gen->end.validated_tokens = (uint32_t)cds_json_get_i64(params, "validated_tokens", 0);
    gen->end.dropped_tokens += (uint32_t)cds_json_get_i64(params, "shifted_tokens", 0);
    gen->end.refuted_tokens = (uint32_t)cds_json_get_i64(params, "refuted_tokens", 0);
    gen->end.forced_tokens = (uint32_t)cds_json_get_i64(params, "forced_tokens", 0);
    cds_metric_add(CDS_M_LLM_FORCED_TOKENS, NULL, gen->end.forced_tokens);
    cds_metric_add(CDS_M_LLM_DRAFT_TOKENS, "validated", gen->end.validated_tokens);
    cds_metric_add(CDS_M_LLM_DRAFT_TOKENS, "refuted", gen->end.refuted_tokens);
    gen->steps_to_first = (uint32_t)cds_json_get_i64(params, "steps_to_first", 0);
    bool cancelled = cds_streq(how, "cancelled");
    for (unsigned i = 0; i < gen->choice_count; i++) {
        uint32_t tokens = (uint32_t)cds_json_get_i64(cds_json_at(cds_json_get(params, "choices"), i), "tokens", 0);
        gen->furthest = tokens > gen->furthest ? tokens : gen->furthest;
    }
    bool dry = gen->slices.refused && cds_streq(how, "length") && gen->furthest >= gen->slices.granted;
    if (!cancelled)
        gen->end.ended = dry ? "budget" : "finished";
    else if (!gen->end.ended)
        gen->end.ended = "cancelled";
    take_reasons(gen, cds_json_get(params, "choices"));
    take_segments(gen);
    cds_results_done(gen, params);
    gen->end.notice = (dry || cds_streq(gen->end.ended, "deadline")) && *gen->notice ? gen->notice : NULL;
    gen->end.prompt_tokens = cancelled ? gen->evaluated_tokens : gen->prompt_tokens;
    gen->end.cached_tokens = gen->cached_tokens;
    gen->end.completion_tokens = gen->completion_tokens;
    struct cds_err err = {0};
    if (!cancelled && cds_gen_check_texts(gen, &err) != CDS_OK) {
        cds_flow_fail(gen, &err, "error");
        return;
    }
    struct cds_model *model = gen->model;
    bool saves = *gen->ask.save_state && !cancelled;
    gen->stage = saves ? CDS_GEN_SAVING : CDS_GEN_SETTLING;
    cds_flow_leave_model(gen);
    if (saves) {
        cds_states_save(gen, model, cds_json_get(params, "state"));
        return;
    }
    settle_or_wait(gen);
}

void cds_flow_saved(struct cds_gen *gen, const struct cds_err *err)
{
    if (err) {
        gen->end.state = NULL;
        /* The prompt was computed, and that its state has no room is what its user asked for. Faults of ours cost nothing. */
        if (err->code == CDS_EXHAUSTED) {
            book(gen, NULL);
            gen->booked = true;
        }
        cds_flow_fail(gen, err, "error");
        return;
    }
    gen->stage = CDS_GEN_SETTLING;
    settle_or_wait(gen);
}
