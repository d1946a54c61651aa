#include "apps/llmserver/generation.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "apps/llmserver/flow.h"
#include "apps/llmserver/grammars.h"
#include "apps/llmserver/lexicon.h"
#include "apps/llmserver/once.h"
#include "apps/llmserver/pace.h"
#include "apps/llmserver/poison.h"
#include "apps/llmserver/settings.h"
#include "apps/llmserver/tasks.h"
#include "apps/llmserver/turns.h"
#include "lib/base/clock.h"
#include "lib/base/str.h"
#include "lib/http/reply.h"
#include "lib/metrics/metrics.h"

/* --- time --------------------------------------------------------------------------------------------------------------- */

static void on_deadline(void *user)
{
    struct cds_gen *gen = user;
    struct cds_err err = {0};
    if (gen->stage == CDS_GEN_RUNNING) {
        cds_strcpy(gen->notice, sizeof(gen->notice), "The answer was ended because it took longer than one request may.");
        cds_flow_stop(gen, "deadline");
    } else if (gen->stage < CDS_GEN_RUNNING) {
        cds_fail(&err, CDS_TIMED_OUT, __func__, "The request waited too long for the model and was given up; nothing was charged.");
        cds_err_hint(&err, "Try again when the model is less busy.");
        err.retry_after_ms = 5000;
        cds_flow_fail(gen, &err, "timeout");
    }
}

static void on_alive(void *user)
{
    struct cds_gen *gen = user;
    uint64_t now = cds_now_ms();
    struct cds_err err = {0};
    if (gen->stage == CDS_GEN_SETTLING) {
        cds_flow_settle_late(gen);
        return;
    }
    const struct cds_model *model = gen->model;
    uint64_t waits_for_ms = cds_config_u64(gen->app->config, CDS_OPT_LLM_LOAD_WAIT_MS);
    uint64_t since_ms = model && model->progress_ms > gen->started_ms ? model->progress_ms : gen->started_ms; /* a load that goes on is waited for */
    cds_timer_set(gen->alive, now + (gen->stage == CDS_GEN_WAITING && waits_for_ms < CDS_GEN_ALIVE_MS ? waits_for_ms : CDS_GEN_ALIVE_MS));
    if (gen->stage == CDS_GEN_WAITING && now - since_ms >= waits_for_ms) {
        cds_fail(&err, CDS_BUSY, __func__, "The model %s is being started (%d %%, %u requests wait for it) and did not become ready in time.",
                 gen->model_id, model ? model->percent : 0, model ? cds_gen_waiting(model) : 0);
        cds_err_hint(&err, "Try again in a few seconds.");
        err.retry_after_ms = 5000;
        cds_flow_fail(gen, &err, "busy");
        return;
    }
    if (gen->stage < CDS_GEN_SETTLING)
        cds_gen_write_alive(gen);
}

/* --- begin -------------------------------------------------------------------------------------------------------------- */

static void on_gone(void *user)
{
    struct cds_gen *gen = user;
    gen->req = NULL;
    if (gen->replay)
        cds_replay_left(gen->replay); /* it may come back */
    else
        cds_gen_left(gen, true);
}

static void on_sent(void *user)
{
    struct cds_gen *gen = user;
    gen->req = NULL;
    cds_gen_left(gen, false);
}

/** Ends it with what there is, as if that were its end. */
static void end_early(struct cds_gen *gen)
{
    if (gen->stage == CDS_GEN_RUNNING) {
        cds_flow_stop(gen, "cancelled");
    } else if (gen->stage == CDS_GEN_RESERVING) {
        gen->stop_wanted = true;
    } else if (gen->stage < CDS_GEN_RESERVING) {
        cds_flow_leave_model(gen);
        gen->end = (struct cds_wire_end){.finish_reason = "stop", .ended = "cancelled"};
        cds_flow_finish(gen);
    }
}

/** Nobody came back for a resumable stream. */
static void on_abandoned(void *user)
{
    struct cds_gen *gen = user;
    gen->status = 499;
    end_early(gen);
}

static cds_rc choose_model(struct cds_llm *app, const struct cds_credential *credential, const struct cds_ask *ask, struct cds_model **ret,
                           struct cds_err *err)
{
    struct cds_model *model = cds_task_model(app, ask);
    if (!model) {
        if (*ask->model)
            cds_fail(err, CDS_NOT_FOUND, __func__, "There is no model \"%s\" here.", ask->model);
        else
            cds_fail(err, CDS_MODEL_NOT_LOADED, __func__, "model not loaded: there is no model for %s on this server.", cds_task_what(ask->task));
        cds_err_pointer(err, "/model");
        return cds_err_hint(err, "GET /v1/models lists the models.");
    }
    /* Before its state is looked at: whether a model that is forbidden is loaded is nobody's business. */
    cds_rc rc = cds_credential_model(credential, model->id, err);
    if (rc != CDS_OK)
        return rc;
    if (cds_task_allows(app, model, ask, err) != CDS_OK)
        return CDS_BAD_PARAM;
    if (cds_lexicon_serves(model, ask)) {
        *ret = model;
        return CDS_OK;
    }
    bool on_demand = (cds_config_u64(app->config, CDS_OPT_LLM_AUTOLOAD) || cds_task_on_first_use(model)) &&
                     ((model->state == CDS_MODEL_UNLOADED && !model->proc && model->file.state != CDS_FILE_CORRUPT) || model->evicting);
    if (!on_demand && ((model->state != CDS_MODEL_LOADED && model->state != CDS_MODEL_LOADING) || model->unloading)) {
        if (model->state == CDS_MODEL_FAILED)
            cds_fail(err, CDS_MODEL_NOT_LOADED, __func__, "model not loaded: %s failed to start: %s", model->id, model->failure.message);
        else
            cds_fail(err, CDS_MODEL_NOT_LOADED, __func__, "model not loaded: %s.", model->id);
        return cds_err_hint(err, "An administrator can load it.");
    }
    *ret = model;
    return CDS_OK;
}

/** What the text of a seed depends on beside the request. */
static void make_fingerprint(const struct cds_model *model, char *buf, size_t size)
{
    uint64_t hash = 1469598103934665603ULL ^ model->file_bytes;
    for (const char *c = model->path; *c; c++)
        hash = (hash ^ (unsigned char)*c) * 1099511628211ULL;
    snprintf(buf, size, "fp_%016llx", (unsigned long long)hash);
}

static struct cds_gen *gen_new(struct cds_llm *app, struct cds_http_req *req, const struct cds_credential *credential, struct cds_model *model,
                               unsigned choices)
{
    struct cds_gen *gen = calloc(1, sizeof(*gen));
    if (gen)
        gen->choices = calloc(choices, sizeof(*gen->choices));
    if (!gen || !gen->choices) {
        free(gen);
        return NULL;
    }
    for (unsigned i = 0; i < choices; i++)
        cds_choice_init(&gen->choices[i]);
    gen->choice_count = choices;
    make_fingerprint(model, gen->fingerprint, sizeof(gen->fingerprint));
    gen->app = app;
    gen->req = req;
    gen->model = model;
    gen->started_ms = gen->wrote_ms = cds_now_ms();
    gen->out = cds_buf_init(CDS_GEN_OUT_MAX);
    gen->who = *credential;
    cds_strcpy(gen->user_id, sizeof(gen->user_id), credential->claims.user_id);
    cds_strcpy(gen->key, sizeof(gen->key), credential->claims.user_id);
    cds_strcpy(gen->key_id, sizeof(gen->key_id), credential->claims.key_id);
    cds_strcpy(gen->model_id, sizeof(gen->model_id), model->id);
    cds_strcpy(gen->http_id, sizeof(gen->http_id), cds_http_request_id(req));
    cds_strcpy(gen->request_id, sizeof(gen->request_id), gen->http_id);
    uint64_t load_wait_ms = cds_config_u64(app->config, CDS_OPT_LLM_LOAD_WAIT_MS);
    uint64_t first_look_ms = load_wait_ms < CDS_GEN_ALIVE_MS ? load_wait_ms : CDS_GEN_ALIVE_MS;
    uint64_t deadline = gen->deadline_at_ms = gen->started_ms + cds_config_u64(app->config, CDS_OPT_LLM_REQUEST_MS);
    if (cds_timer_add(app->loop, deadline, on_deadline, gen, &gen->deadline) != CDS_OK ||
        cds_timer_add(app->loop, gen->started_ms + first_look_ms, on_alive, gen, &gen->alive) != CDS_OK) {
        cds_timer_remove(&gen->deadline);
        free(gen->choices);
        free(gen);
        return NULL;
    }
    gen->job = ++app->jobs;
    struct cds_gen **bucket = &app->gens[(uint64_t)gen->job % CDS_GEN_BUCKETS];
    gen->next = *bucket;
    *bucket = gen;
    return gen;
}

/** What only the server knows: grammars by name, who may bring a template, what has killed a model process. */
static cds_rc complete(struct cds_llm *app, const struct cds_credential *credential, struct cds_ask *ask, struct cds_err *err)
{
    if (*ask->grammar_name) {
        const char *text = cds_grammars_find(app->grammars, ask->grammar_name, err);
        if (!text)
            return err->code;
        cds_json_set(ask->prompt, "grammar", cds_json_string(text));
    }
    if (ask->always_guesses) {
        cds_rc refused = cds_credential_need(credential, CDS_ROLE_ADMIN, "speculation that need not pay", err);
        if (refused != CDS_OK)
            return cds_err_pointer(err, "/speculation/always"), refused;
    }
    if (!ask->own_template)
        return CDS_OK;
    /* A template is a program: one that never ends stops the model for everybody. */
    cds_rc rc = cds_credential_need(credential, CDS_ROLE_ADMIN, "a chat template of your own", err);
    if (rc != CDS_OK)
        cds_err_pointer(err, "/chat_template");
    return rc;
}

/** Where the refused request would stand. */
static void add_place(struct cds_http_req *req, unsigned place)
{
    char text[16];
    snprintf(text, sizeof(text), "%u", place);
    cds_http_add_header(req, "x-cds-queue-place", text);
}

/** The body in the words of its dialect, and as the server reads it. */
static cds_rc read_body(const struct cds_dialect *dialect, const char *body, size_t len, bool counts, cds_json **ret_asked, struct cds_ask *ask,
                        struct cds_err *err)
{
    if (!dialect->to_chat)
        return cds_ask_parse(body, len, dialect->task, ask, err);
    CDS_JSON_AUTO json = NULL;
    CDS_JSON_AUTO chat = NULL;
    cds_rc rc = cds_json_parse(body, len, &json, err);
    if (rc == CDS_OK && !cds_json_is(json, CDS_JSON_OBJECT))
        rc = cds_fail(err, CDS_BAD_PARAM, __func__, "The request body must be a JSON object.");
    if (rc == CDS_OK)
        rc = dialect->to_chat(json, counts, &chat, err);
    if (rc == CDS_OK)
        rc = cds_ask_read(chat, CDS_TASK_CHAT, ask, err);
    if (rc == CDS_OK)
        *ret_asked = cds_json_ref(json);
    return rc;
}

/** A place for the events of a stream that its client may leave. */
static cds_rc keep_events(struct cds_gen *gen, struct cds_err *err)
{
    if (!gen->ask.resumable)
        return CDS_OK;
    if (gen->app->replays)
        gen->replay = cds_replay_new(gen->app->replays, gen->user_id, gen->http_id, on_abandoned, gen);
    if (gen->replay) {
        cds_replay_note_model(gen->replay, gen->model->id);
        return CDS_OK;
    }
    cds_fail(err, CDS_BUSY, __func__, "%d streams are kept for their clients already.", CDS_REPLAY_COUNT_MAX);
    err->retry_after_ms = 5000;
    return cds_err_hint(err, "Ask without \"resumable\", or try again in a few seconds.");
}

void cds_gen_begin(struct cds_llm *app, struct cds_http_req *req, const struct cds_credential *credential, const struct cds_dialect *dialect,
                   bool counts, struct cds_once *once)
{
    struct cds_err err = {0};
    struct cds_ask ask = {0};
    struct cds_model *model = NULL;
    CDS_JSON_AUTO asked = NULL;
    size_t len;
    const char *body = cds_http_body(req, &len);
    cds_rc rc = cds_credential_need(credential, CDS_ROLE_DEVELOPER, cds_task_what(dialect->task), &err);
    if (rc == CDS_OK)
        rc = read_body(dialect, body, len, counts, &asked, &ask, &err);
    if (rc == CDS_OK)
        rc = complete(app, credential, &ask, &err);
    if (rc == CDS_OK && app->draining)
        rc = cds_fail(&err, CDS_UNAVAILABLE, __func__, "The model server is shutting down.");
    if (rc == CDS_OK)
        rc = choose_model(app, credential, &ask, &model, &err);
    if (rc == CDS_OK && model)
        cds_settings_apply(model, &ask);
    unsigned place = 0;
    uint64_t fingerprint = rc == CDS_OK && model ? cds_poison_fingerprint(credential->claims.user_id, model->id, body, len) : 0;
    if (rc == CDS_OK)
        rc = cds_poison_check(app->poison, fingerprint, cds_now_ms(), &err);
    if (rc == CDS_OK)
        rc = cds_turns_admit(app, model, credential->claims.user_id, &place, &err);
    bool let_in = rc == CDS_OK && (rc = cds_pace_begin(app->pace, credential, req, &err)) == CDS_OK;
    struct cds_gen *gen = rc == CDS_OK && model ? gen_new(app, req, credential, model, ask.prompts * ask.per_prompt) : NULL;
    if (rc == CDS_OK && !gen)
        rc = cds_fail(&err, CDS_EXHAUSTED, __func__, "There is not enough memory for the request.");
    if (rc != CDS_OK || !gen) {
        if (let_in)
            cds_pace_cancel(app->pace, credential);
        cds_ask_clear(&ask);
        cds_once_drop(&once);
        cds_metric_add(CDS_M_LLM_REQUESTS, "refused", 1);
        if (place)
            add_place(req, place);
        if (dialect->own_names)
            dialect->own_names(&err);
        cds_routes_fail(req, credential->claims.user_id, &err);
        return;
    }
    cds_pace_adopt(gen);
    gen->dialect = dialect;
    gen->asked = cds_json_ref(asked);
    gen->counts = counts;
    gen->once = once;
    gen->ask = ask;
    gen->suspect = fingerprint;
    if (ask.deadline_ms && gen->started_ms + ask.deadline_ms < gen->deadline_at_ms) {
        gen->deadline_at_ms = gen->started_ms + ask.deadline_ms;
        cds_timer_set(gen->deadline, gen->deadline_at_ms);
    }
    /* Everybody may go behind the others; only an admin may go before them. */
    bool first = ask.priority > CDS_QUEUE_NORMAL && credential->role != CDS_ROLE_ADMIN;
    gen->priority = first ? CDS_QUEUE_NORMAL : ask.priority;
    gen->wire = (struct cds_wire){
        .chat = ask.chat,
        .include_usage = ask.include_usage,
        .request_id = gen->request_id,
        .model = gen->model_id,
        .fingerprint = gen->fingerprint,
        .created_s = (int64_t)(cds_wall_ms() / 1000),
    };
    cds_http_set_user(req, gen, on_gone, on_sent);
    cds_metric_add(CDS_M_LLM_QUEUE, NULL, 1);
    if (keep_events(gen, &err) != CDS_OK) {
        cds_flow_fail(gen, &err, "refused");
        return;
    }
    if (model->up && !model->yielding && !model->unloading)
        cds_flow_prepare(gen);
    else if (cds_lexicon_serves(model, &gen->ask))
        cds_lexicon_ask(gen);
    else if (model->state == CDS_MODEL_UNLOADED)
        cds_model_demand(model);
}

void cds_gen_counted(struct cds_gen *gen)
{
    cds_flow_leave_model(gen);
    gen->stage = CDS_GEN_LEAVING;
    gen->status = 200;
    gen->end = (struct cds_wire_end){.ended = "counted", .prompt_tokens = gen->prompt_tokens};
    cds_timer_set(gen->deadline, UINT64_MAX);
    cds_timer_set(gen->alive, UINT64_MAX);
    CDS_JSON_AUTO answer = gen->dialect->counted(gen);
    if (gen->req)
        cds_http_reply_json(gen->req, 200, answer);
    else
        cds_flow_over(gen);
}

/* --- cancel and leave ---------------------------------------------------------------------------------------------------- */

cds_rc cds_gen_cancel(struct cds_llm *app, const char *request_id, const struct cds_credential *credential, struct cds_err *reterr)
{
    struct cds_gen *found = NULL;
    for (size_t i = 0; i < CDS_GEN_BUCKETS; i++)
        for (struct cds_gen *gen = app->gens[i]; gen; gen = gen->next) {
            bool same = cds_streq(gen->request_id, request_id) || cds_streq(gen->http_id, request_id);
            bool allowed = credential->role == CDS_ROLE_ADMIN || cds_streq(gen->user_id, credential->claims.user_id);
            if (same && allowed && gen->stage < CDS_GEN_STOPPING)
                found = gen;
        }
    if (!found)
        return cds_fail(reterr, CDS_NOT_FOUND, __func__, "No running request of yours has this id.");
    end_early(found);
    return CDS_OK;
}

void cds_gen_left(struct cds_gen *gen, bool gone)
{
    if (gone && gen->once) {
        cds_buf_free(&gen->out); /* it goes on: whoever asks again gets its answer */
        if (gen->stage >= CDS_GEN_LEAVING)
            cds_flow_over(gen);
        return;
    }
    if (gone) {
        gen->status = 499;
        cds_buf_free(&gen->out);
        for (unsigned i = 0; i < gen->choice_count; i++)
            cds_choice_clear(&gen->choices[i]);
    }
    if (gen->stage == CDS_GEN_RUNNING)
        cds_flow_stop(gen, "cancelled");
    else if (gen->stage == CDS_GEN_LEAVING || gen->stage < CDS_GEN_RUNNING)
        cds_flow_over(gen);
}
