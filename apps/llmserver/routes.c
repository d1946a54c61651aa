#include <stdlib.h>
#include <string.h>

#include "apps/llmserver/app.h"
#include "apps/llmserver/audit.h"
#include "apps/llmserver/generation.h"
#include "apps/llmserver/once.h"
#include "apps/llmserver/probe.h"
#include "apps/llmserver/states.h"
#include "apps/llmserver/tasks.h"
#include "lib/base/clock.h"
#include "lib/base/str.h"
#include "lib/http/reply.h"
#include "lib/log/log.h"

/** A request whose credential is being checked. */
struct caller {
    struct cds_llm *app;
    struct cds_http_req *req; /**< NULL: the client left meanwhile */
    struct cds_credential_wait *wait;
};

void cds_routes_log(const struct cds_http_req *req, const char *user_id, int status)
{
    cds_log(CDS_LOG_INFO, "request", CDS_LS("request_id", cds_http_request_id(req)), CDS_LS("user_id", user_id),
            CDS_LS("method", cds_http_method(req)), CDS_LS("path", cds_http_path(req)), CDS_LI("status", status),
            CDS_LI("ms", cds_now_ms() - cds_http_started_ms(req)));
}

void cds_routes_fail(struct cds_http_req *req, const char *user_id, const struct cds_err *err)
{
    cds_log(cds_rc_http(err->code) >= 500 ? CDS_LOG_WARN : CDS_LOG_INFO, "request", CDS_LS("request_id", cds_http_request_id(req)),
            CDS_LS("user_id", user_id), CDS_LS("method", cds_http_method(req)), CDS_LS("path", cds_http_path(req)),
            CDS_LI("status", cds_rc_http(err->code)), CDS_LI("ms", cds_now_ms() - cds_http_started_ms(req)), CDS_LS("code", cds_rc_name(err->code)),
            CDS_LS("error", err->message), CDS_LS("rule", *err->rule ? err->rule : NULL), CDS_LS("detail", *err->detail ? err->detail : NULL));
    cds_audit_failed(req, err->code);
    cds_routes_reply_error(req, err);
}

void cds_routes_reply_error(struct cds_http_req *req, const struct cds_err *err)
{
    if (cds_starts_with(cds_http_path(req), "/v1/messages"))
        cds_http_reply_err(req, err); /* main.c says which shape that is */
    else
        cds_http_reply_openai_err(req, err);
}

/** The short names, one line each. */
static const struct {
    const char *name, *path;
} short_names[] = {
    {"/chat", "/v1/chat/completions"}, {"/completion", "/v1/completions"}, {"/embed", "/v1/embeddings"}, {"/models", "/v1/models"},
    {"/download", "/admin/download"},  {"/load", "/admin/load"},           {"/unload", "/admin/unload"},
};

const char *cds_routes_path(const struct cds_http_req *req)
{
    for (size_t i = 0; i < CDS_ARRAY_LEN(short_names); i++)
        if (cds_streq(cds_http_path(req), short_names[i].name))
            return short_names[i].path;
    return cds_http_path(req);
}

static cds_rc ready(void *user, struct cds_err *err)
{
    struct cds_llm *app = user;
    if (app->draining)
        return cds_fail(err, CDS_UNAVAILABLE, __func__, "The model server is shutting down.");
    cds_rc rc = cds_meter_ready(app->meter, err);
    if (rc == CDS_OK)
        rc = cds_credentials_ready(app->creds, err);
    if (rc == CDS_OK)
        rc = cds_standing_ready(app->standing, err);
    for (struct cds_model *model = app->models.first; model && rc == CDS_OK; model = model->next) {
        if (model->state == CDS_MODEL_LOADING && !model->on_demand)
            rc = cds_fail(err, CDS_UNAVAILABLE, __func__, "The model %s is being loaded (%d %%).", model->id, model->percent);
        else if (model->state == CDS_MODEL_FAILED)
            rc = cds_fail(err, CDS_MODEL_NOT_LOADED, __func__, "The model %s did not start: %s", model->id, model->failure.message);
        else
            rc = cds_probe(model, err);
    }
    return rc;
}

static bool is(const struct cds_http_req *req, const char *method, const char *path)
{
    return cds_streq(cds_http_method(req), method) && cds_streq(cds_routes_path(req), path);
}

/** POST /v1/requests/{id}/cancel */
static bool cancel_route(struct cds_llm *app, struct cds_http_req *req, const struct cds_credential *credential)
{
    static const char before[] = "/v1/requests/", after[] = "/cancel";
    const char *path = cds_http_path(req), *user_id = credential->claims.user_id;
    size_t len = strlen(path), fixed = sizeof(before) - 1 + sizeof(after) - 1;
    if (!cds_streq(cds_http_method(req), "POST") || !cds_starts_with(path, before) || len != fixed + CDS_UUID_LEN ||
        !cds_streq(path + sizeof(before) - 1 + CDS_UUID_LEN, after))
        return false;
    char id[CDS_UUID_LEN + 1];
    memcpy(id, path + sizeof(before) - 1, CDS_UUID_LEN);
    id[CDS_UUID_LEN] = '\0';
    struct cds_err err = {0};
    if (cds_gen_cancel(app, id, credential, &err) != CDS_OK) {
        cds_routes_fail(req, user_id, &err);
        return true;
    }
    CDS_JSON_AUTO answer = cds_json_pack("{s:b}", "cancelled", 1);
    cds_routes_log(req, user_id, 202);
    cds_http_reply_json(req, 202, answer);
    return true;
}

static void dispatch(struct cds_llm *app, struct cds_http_req *req, const struct cds_credential *credential)
{
    static const struct {
        const char *path;
        const struct cds_dialect *dialect;
        bool counts;
    } doors[] = {
        {"/v1/chat/completions", &cds_dialect_chat, false}, {"/v1/completions", &cds_dialect_text, false},
        {"/v1/responses", &cds_dialect_responses, false},   {"/v1/responses/input_tokens", &cds_dialect_responses, true},
        {"/v1/messages", &cds_dialect_messages, false},     {"/v1/messages/count_tokens", &cds_dialect_messages, true},
    };
    struct cds_err err = {0};
    if (cds_starts_with(cds_http_path(req), "/v1/messages"))
        cds_http_add_header(req, "request-id", cds_http_request_id(req)); /* Anthropic's clients look for it under this name */
    for (size_t i = 0; i < CDS_ARRAY_LEN(doors); i++)
        if (is(req, "POST", doors[i].path)) {
            if (doors[i].counts || !cds_once_route(app, req, credential, doors[i].dialect))
                cds_gen_begin(app, req, credential, doors[i].dialect, doors[i].counts, NULL);
            return;
        }
    const struct cds_dialect *task = cds_streq(cds_http_method(req), "POST") ? cds_task_dialect(cds_routes_path(req)) : NULL;
    if (task && cds_once_route(app, req, credential, task))
        return;
    if (task)
        cds_gen_begin(app, req, credential, task, false, NULL);
    else if (!cancel_route(app, req, credential) && !cds_resume_route(app, req, credential) && !cds_states_route(app, req, credential) &&
             !cds_admin_route(app, req, credential)) {
        cds_fail(&err, CDS_NO_METHOD, __func__, "There is no %s %.200s on this server.", cds_http_method(req), cds_http_path(req));
        cds_routes_fail(req, credential->claims.user_id, &err);
    }
}

static void on_gone(void *user)
{
    struct caller *caller = user;
    cds_credential_forget(&caller->wait);
    free(caller);
}

static void on_checked(void *user, const struct cds_credential *credential, const struct cds_err *err)
{
    struct caller *caller = user;
    struct cds_llm *app = caller->app;
    struct cds_http_req *req = caller->req;
    cds_http_set_user(req, NULL, NULL, NULL);
    free(caller);
    struct cds_err refused = {0};
    if (!err && cds_credential_may(credential, "llm", "this address", &refused) != CDS_OK)
        err = &refused;
    if (err)
        cds_routes_fail(req, credential ? credential->claims.user_id : NULL, err);
    else if (!cds_audit_first(app, req, credential, dispatch))
        dispatch(app, req, credential);
}

static const enum cds_metric shown_metrics[] = {CDS_M_LLM_REQUEST_COUNT,
                                                CDS_M_TOKEN_SPEND,
                                                CDS_M_LLM_REQUESTS,
                                                CDS_M_LLM_TTFT,
                                                CDS_M_LLM_TOKENS_PROMPT,
                                                CDS_M_LLM_TOKENS_COMPLETION,
                                                CDS_M_LLM_DRAFT_TOKENS,
                                                CDS_M_LLM_FORCED_TOKENS,
                                                CDS_M_LLM_QUEUE,
                                                CDS_M_LLM_ACTIVE,
                                                CDS_M_LLM_WORKER_RESTARTS,
                                                CDS_M_LLM_LOADED,
                                                CDS_M_LEDGER_BATCHES,
                                                CDS_M_LEDGER_REFUSED,
                                                CDS_M_ACCESS_CHANGES,
                                                CDS_M_ACCESS_ENDED,
                                                CDS_M_COUNT};

void cds_routes_on_request(void *user, struct cds_http_req *req)
{
    struct cds_llm *app = user;
    if (cds_http_ops(req, shown_metrics, ready, app))
        return;
    struct cds_err err = {0};
    struct caller *caller = calloc(1, sizeof(*caller));
    if (!caller) {
        cds_fail(&err, CDS_EXHAUSTED, __func__, "There is not enough memory for the request.");
        cds_routes_fail(req, NULL, &err);
        return;
    }
    caller->app = app;
    caller->req = req;
    cds_http_set_user(req, caller, on_gone, NULL);
    /* Anthropic's clients send their key without a scheme. */
    const char *authorization = cds_http_header(req, "Authorization");
    if (!authorization)
        authorization = cds_http_header(req, "x-api-key");
    struct cds_credential now;
    /* The usual case is answered without waiting, and without a handle that could outlive the call. */
    cds_rc rc = cds_credential_check_now(app->creds, authorization, &now, &err);
    if (rc == CDS_UNAVAILABLE && cds_streq(err.rule, "auth.fetch_needed"))
        cds_credential_check(app->creds, authorization, on_checked, caller, &caller->wait);
    else
        on_checked(caller, rc == CDS_OK ? &now : NULL, rc == CDS_OK ? NULL : &err);
}
