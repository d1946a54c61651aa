/* apps/api/leaf_llm.c: llm.* as calls to llmserver's HTTP API, with the caller's own credential.
 *
 * llmserver checks the credential itself, reserves and settles; this file only translates. */
#include <ctype.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "apps/api/llm.h"
#include "apps/api/message.h"
#include "lib/base/clock.h"
#include "lib/base/str.h"

/* An OpenAI error object, or whatever came with that status, as our error value. Parameters of llm.* have the names of the body's members. */
void llm_error_of(const cds_json *body, int status, struct cds_err *err)
{
    static const struct {
        int status;
        cds_rc code;
    } by_status[] = {{400, CDS_BAD_PARAM}, {401, CDS_UNAUTHENTICATED}, {403, CDS_DENIED},      {404, CDS_NOT_FOUND}, {409, CDS_CONFLICT},
                     {413, CDS_TOO_LARGE}, {429, CDS_RATE_LIMITED},    {503, CDS_UNAVAILABLE}, {504, CDS_TIMED_OUT}};
    char param[sizeof(err->pointer)];
    cds_rc otherwise = CDS_INTERNAL;
    for (size_t i = 0; i < CDS_ARRAY_LEN(by_status); i++)
        if (by_status[i].status == status)
            otherwise = by_status[i].code;
    cds_openai_error_parse(body, otherwise, err);
    cds_strcpy(param, sizeof(param), err->pointer);
    if (*param)
        cds_err_pointer(err, "/params%s", param);
    if (!*err->message) {
        cds_fail(err, otherwise, __func__, "The model server gave an answer that could not be read.");
        cds_err_detail(err, "llmserver status %d", status);
    }
}

void llm_unreachable(struct cds_err *err, const struct cds_err *why)
{
    cds_rc code = why && why->code == CDS_TIMED_OUT ? CDS_TIMED_OUT : CDS_UNAVAILABLE;
    cds_fail(err, code, __func__, "The model server is not reachable at the moment; it is being started again.");
    cds_err_hint(err, "Try again in a few seconds.");
    err->retry_after_ms = 1000;
    if (why)
        cds_err_detail(err, "%s %s", why->message, why->detail);
}

cds_rc llm_send(const struct llm_caller *caller, const char *method, const char *path, const char *header, const cds_json *body,
                struct cds_http_call_spec *spec, struct cds_http_call **ret, struct cds_err *err)
{
    char url[300], auth[CDS_JWT_MAX + 32], id[80];
    struct cds_buf text CDS_CLEANUP(cds_buf_free) = cds_buf_init((size_t)API_WS_MESSAGE_MAX * 2);
    if (body && cds_json_dump(body, &text))
        return cds_fail(err, CDS_EXHAUSTED, __func__, "Out of memory.");
    snprintf(url, sizeof(url), "%s%s", caller->api->llm_url, path);
    snprintf(auth, sizeof(auth), "Authorization: %s", caller->authorization);
    snprintf(id, sizeof(id), "x-request-id: %s", caller->request_id);
    const char *headers[] = {"Content-Type: application/json", auth, id, header, NULL};
    spec->method = method;
    spec->url = url;
    spec->headers = headers;
    spec->body = text.data;
    spec->body_len = text.len;
    return cds_http_call_start(caller->api->client, spec, ret, err);
}

cds_rc llm_post(struct call *call, const char *method, const char *path, const char *header, const cds_json *body, struct cds_http_call_spec *spec,
                struct cds_http_call **ret, struct cds_err *err)
{
    const struct llm_caller caller = {call->api, call_authorization(call), call->request_id};
    return llm_send(&caller, method, path, header, body, spec, ret, err);
}

/* ---- models ---- */
struct plain {
    struct call *call;
    struct cds_http_call *http;
    cds_json *(*translate)(const cds_json *answer);
};

static void plain_drop(struct call *call)
{
    struct plain *plain = call->leaf;
    cds_http_call_cancel(&plain->http);
    free(plain);
    call->leaf = NULL;
}

/* Only for what changes nothing: a load goes on in llmserver whoever waits for it. */
static bool plain_cancel(struct call *call)
{
    struct cds_err err;
    plain_drop(call);
    cds_fail(&err, CDS_CANCELLED, __func__, "The call was cancelled.");
    call_fail(call, &err);
    return true;
}

static cds_json *cancelled_of(const cds_json *answer)
{
    return cds_json_pack("{s:b}", "cancelled", cds_json_true(cds_json_get(answer, "cancelled"), false));
}

/* It is what we show, member by member. */
static cds_json *settings_of(const cds_json *answer)
{
    return cds_json_copy(answer);
}

static void on_plain_done(void *user, int status, const char *body, size_t len, const struct cds_err *http_err)
{
    struct plain *plain = user;
    struct call *call = plain->call;
    cds_json *(*translate)(const cds_json *) = plain->translate;
    bool gone = translate == cancelled_of && status == 404; /* what is over is not cancelled, which is an answer */
    struct cds_err err;
    CDS_JSON_AUTO answer = NULL;
    free(plain);
    call->leaf = NULL;
    if (http_err) {
        llm_unreachable(&err, http_err);
        call_fail(call, &err);
        return;
    }
    if (gone) {
        call_succeed(call, translate(NULL));
        return;
    }
    cds_rc rc = cds_json_parse(body, len, &answer, &err);
    if (status / 100 != 2 || rc) {
        llm_error_of(answer, status, &err);
        /* A setting is an item of a list here; llmserver has it as a member. */
        if (translate == settings_of && *err.pointer && !cds_streq(err.pointer, "/params/model"))
            cds_err_pointer(&err, "/params/changes");
        call_fail(call, &err);
        return;
    }
    call_succeed(call, translate(answer));
}

static cds_json *models_of(const cds_json *answer)
{
    const cds_json *data = cds_json_get(answer, "data");
    cds_json *models = cds_json_array();
    for (size_t i = 0; i < cds_json_size(data); i++) {
        const cds_json *row = cds_json_at(data, i), *facts = cds_json_get(row, "cds");
        cds_json_append(models, cds_json_pack("{s:O,s:O,s:O?,s:O?,s:O?,s:O?}", "id", cds_json_get(row, "id"), "state", cds_json_get(facts, "state"),
                                              "kind", cds_json_get(facts, "kind"), "size_bytes", cds_json_get(facts, "size_bytes"), "parameters",
                                              cds_json_get(facts, "parameters"), "context_tokens", cds_json_get(facts, "context_tokens")));
    }
    return cds_json_pack("{s:o}", "models", models);
}

static cds_json *state_of(const cds_json *answer)
{
    return cds_json_pack("{s:O,s:O}", "model", cds_json_get(answer, "model"), "state", cds_json_get(answer, "state"));
}

static cds_json *download_of(const cds_json *answer)
{
    static const char *const members[] = {"id", "source", "state", "file", "received_bytes", "total_bytes", "running"};
    cds_json *result = cds_json_object();
    for (size_t i = 0; i < CDS_ARRAY_LEN(members); i++)
        cds_json_set(result, members[i], cds_json_ref(cds_json_get(answer, members[i])));
    return result;
}

static void plain_start(struct call *call, const char *method, const char *path, const cds_json *body, cds_json *(*translate)(const cds_json *))
{
    struct cds_err err;
    struct plain *plain = calloc(1, sizeof(*plain));
    if (!plain)
        abort();
    plain->call = call;
    plain->translate = translate;
    call->leaf = plain;
    struct cds_http_call_spec spec = {.deadline_ms = call->deadline_ms, .body_max_bytes = LLM_EVENT_MAX, .on_done = on_plain_done, .user = plain};
    if (llm_post(call, method, path, NULL, body, &spec, &plain->http, &err)) {
        free(plain);
        call->leaf = NULL;
        call_fail(call, &err);
        return;
    }
    call->leaf_drop = plain_drop;
    if (cds_streq(method, "GET"))
        call->leaf_cancel = plain_cancel;
}

/* One method for both: {"cancel": id} ends, everything else starts. */
static void download_start(struct call *call)
{
    const char *id = cds_json_get_str(call->params, "cancel");
    CDS_JSON_AUTO body = id ? cds_json_pack("{s:s}", "id", id) : cds_json_ref(call->params);
    plain_start(call, id ? "DELETE" : "POST", "/admin/download", body, download_of);
}

/* Ids hold nothing that an address would have to escape. */
static cds_rc llm_settings_path(const char *id, char *path, size_t size, struct cds_err *err)
{
    for (const char *c = id; *c; c++)
        if (!isalnum((unsigned char)*c) && !strchr("._-", *c)) {
            cds_fail(err, CDS_NOT_FOUND, __func__, "There is no model of that name here.");
            cds_err_pointer(err, "/params/model");
            return CDS_NOT_FOUND;
        }
    snprintf(path, size, "/admin/models/%s/settings", id);
    return CDS_OK;
}

/* A list of names and values, as an object for llmserver. */
static void settings_start(struct call *call, bool set)
{
    char path[256];
    const cds_json *changes = cds_json_get(call->params, "changes");
    CDS_JSON_AUTO body = set ? cds_json_object() : NULL;
    for (size_t i = 0; i < cds_json_size(changes); i++)
        cds_json_set(body, cds_json_get_str(cds_json_at(changes, i), "name"), cds_json_ref(cds_json_get(cds_json_at(changes, i), "value")));
    struct cds_err err;
    if (llm_settings_path(cds_json_get_str(call->params, "model"), path, sizeof(path), &err) == CDS_OK)
        plain_start(call, set ? "PUT" : "GET", path, body, settings_of);
    else
        call_fail(call, &err);
}

/* By the request id, from any connection of the same user. */
static void cancel_start(struct call *call)
{
    char path[128];
    CDS_JSON_AUTO empty = cds_json_object();
    snprintf(path, sizeof(path), "/v1/requests/%s/cancel", cds_json_get_str(call->params, "request_id"));
    plain_start(call, "POST", path, empty, cancelled_of);
}

void llm_start(struct call *call)
{
    const char *name = call->method->name;
    if (cds_streq(name, "llm.chat") || cds_streq(name, "llm.complete") || cds_streq(name, "llm.resume"))
        llm_stream_start(call);
    else if (cds_streq(name, "llm.embed"))
        llm_embed_start(call);
    else if (cds_streq(name, "llm.cancel"))
        cancel_start(call);
    else if (cds_streq(name, "llm.start"))
        plain_start(call, "POST", "/admin/load", call->params, state_of);
    else if (cds_streq(name, "llm.stop"))
        plain_start(call, "POST", "/admin/unload", call->params, state_of);
    else if (cds_streq(name, "llm.settings.get") || cds_streq(name, "llm.settings.set"))
        settings_start(call, cds_streq(name, "llm.settings.set"));
    else if (cds_streq(name, "llm.download"))
        download_start(call);
    else
        plain_start(call, "GET", "/v1/models", NULL, models_of);
}
