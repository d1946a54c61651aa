/* apps/api/leaf_llm.c: llm.* as calls to llmserver's HTTP API, with the caller's own credential.
 *
 * llmserver checks the credential itself, reserves and settles; this file only translates. */
#include <stdlib.h>
#include <string.h>

#include "apps/api/message.h"
#include "apps/api/sse.h"
#include "lib/base/clock.h"
#include "lib/base/str.h"

enum { EVENT_MAX = 1024 * 1024, ERROR_MAX = 64 * 1024, ANSWER_MAX = 4 * 1024 * 1024, CANCEL_MS = 2000 };

struct chat {
    struct call *call;
    struct cds_http_call *http, *cancel; /* the stream; the request to end it */
    struct cds_sse sse;
    struct cds_buf content, error_body;
    int status;
    cds_json *model, *finish, *usage, *cds; /* owned parts of the stream */
    struct cds_err failed;                  /* an error event came */
    bool broken;
};

static void chat_free(struct chat *chat)
{
    cds_http_call_cancel(&chat->cancel);
    cds_sse_free(&chat->sse);
    cds_buf_free(&chat->content);
    cds_buf_free(&chat->error_body);
    cds_json_unref(chat->model);
    cds_json_unref(chat->finish);
    cds_json_unref(chat->usage);
    cds_json_unref(chat->cds);
    chat->call->leaf = NULL;
    free(chat);
}

/* An OpenAI error object, or whatever came with that status, as our error value. Parameters of llm.* have the names of the body's members. */
static void error_of(const cds_json *body, int status, struct cds_err *err)
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

static void take_part(cds_json **place, cds_json *value)
{
    if (!value || cds_json_is(value, CDS_JSON_NULL))
        return;
    cds_json_unref(*place);
    *place = cds_json_ref(value);
}

static bool on_event(void *user, const char *data, size_t len)
{
    struct chat *chat = user;
    if (len == 6 && !memcmp(data, "[DONE]", 6))
        return true;
    CDS_JSON_AUTO event = NULL;
    if (cds_json_parse(data, len, &event, &chat->failed)) {
        cds_fail(&chat->failed, CDS_INTERNAL, __func__, "The model server sent a stream event that is not JSON.");
        chat->broken = true;
        return false;
    }
    if (cds_json_get(event, "error")) {
        error_of(event, 500, &chat->failed);
        chat->broken = true;
        return false;
    }
    const cds_json *choice = cds_json_at(cds_json_get(event, "choices"), 0);
    const cds_json *piece = cds_json_get(cds_json_get(choice, "delta"), "content");
    take_part(&chat->model, cds_json_get(event, "model"));
    take_part(&chat->finish, cds_json_get(choice, "finish_reason"));
    take_part(&chat->usage, cds_json_get(event, "usage"));
    take_part(&chat->cds, cds_json_get(event, "cds"));
    if (cds_json_str_len(piece) == 0)
        return true;
    if (cds_buf_add(&chat->content, cds_json_str(piece), cds_json_str_len(piece))) {
        cds_fail(&chat->failed, CDS_TOO_LARGE, __func__, "The answer is longer than %d bytes.", ANSWER_MAX);
        chat->broken = true;
        return false;
    }
    call_notify(chat->call, "llm.delta", cds_json_pack("{s:O}", "content", piece));
    return true;
}

static void on_head(void *user, int status, const char *content_type)
{
    struct chat *chat = user;
    chat->status = status;
}

static bool on_data(void *user, const char *data, size_t len)
{
    struct chat *chat = user;
    if (chat->broken)
        return true;
    if (chat->status != 200) {
        cds_rc rc = cds_buf_add(&chat->error_body, data, len);
        (void)rc; /* an error text over the ceiling is cut and then told as unreadable */
    } else if (cds_sse_feed(&chat->sse, data, len, on_event, chat)) {
        cds_fail(&chat->failed, CDS_INTERNAL, __func__, "The model server sent an event over %d bytes.", EVENT_MAX);
        chat->broken = true;
    }
    return true;
}

static void fail_chat(struct chat *chat, const struct cds_err *err)
{
    struct call *call = chat->call;
    struct cds_err copy = *err;
    chat_free(chat);
    call_fail(call, &copy);
}

static void unreachable(struct cds_err *err, const struct cds_err *why)
{
    cds_rc code = why && why->code == CDS_TIMED_OUT ? CDS_TIMED_OUT : CDS_UNAVAILABLE;
    cds_fail(err, code, __func__, "The model server is not reachable at the moment; it is being started again.");
    cds_err_hint(err, "Try again in a few seconds.");
    err->retry_after_ms = 1000;
    if (why)
        cds_err_detail(err, "%s %s", why->message, why->detail);
}

static void on_chat_done(void *user, int status, const char *body, size_t len, const struct cds_err *http_err)
{
    struct chat *chat = user;
    struct call *call = chat->call;
    struct cds_err err;
    chat->http = NULL;
    if (chat->broken) {
        fail_chat(chat, &chat->failed);
    } else if (status != 200 && chat->error_body.len) {
        CDS_JSON_AUTO problem = NULL;
        cds_rc rc = cds_json_parse(chat->error_body.data, chat->error_body.len, &problem, &err);
        (void)rc; /* unreadable: error_of speaks of the status then */
        error_of(problem, status, &err);
        fail_chat(chat, &err);
    } else if (http_err || status != 200) {
        unreachable(&err, http_err);
        fail_chat(chat, &err);
    } else if (!chat->usage || !chat->finish || !chat->model) {
        cds_fail(&err, CDS_MODEL_CRASHED, __func__, "The model's answer broke off before its end.");
        cds_err_hint(&err, "Ask again; nothing was charged for a request that the model process lost.");
        fail_chat(chat, &err);
    } else {
        const char *id = cds_json_get_str(chat->cds, "request_id");
        cds_json *result =
            cds_json_pack("{s:s,s:O,s:o,s:O,s:{s:I,s:I,s:I},s:I}", "request_id", id ? id : call->request_id, "model", chat->model, "content",
                          cds_json_stringn(chat->content.data ? chat->content.data : "", chat->content.len), "finish_reason", chat->finish, "usage",
                          "prompt_tokens", cds_json_get_i64(chat->usage, "prompt_tokens", 0), "completion_tokens",
                          cds_json_get_i64(chat->usage, "completion_tokens", 0), "total_tokens", cds_json_get_i64(chat->usage, "total_tokens", 0),
                          "cost_micro", cds_json_get_i64(chat->cds, "cost_micro", 0));
        chat_free(chat);
        call_succeed(call, result);
    }
}

static cds_rc post(struct call *call, const char *method, const char *path, const cds_json *body, struct cds_http_call_spec *spec,
                   struct cds_http_call **ret, struct cds_err *err)
{
    char url[300], auth[CDS_JWT_MAX + 32], id[80];
    struct cds_buf text CDS_CLEANUP(cds_buf_free) = cds_buf_init((size_t)API_WS_MESSAGE_MAX * 2);
    if (body && cds_json_dump(body, &text))
        return cds_fail(err, CDS_EXHAUSTED, __func__, "Out of memory.");
    snprintf(url, sizeof(url), "%s%s", call->api->llm_url, path);
    snprintf(auth, sizeof(auth), "Authorization: %s", call_authorization(call));
    snprintf(id, sizeof(id), "x-request-id: %s", call->request_id);
    const char *headers[] = {"Content-Type: application/json", auth, id, NULL};
    spec->method = method;
    spec->url = url;
    spec->headers = headers;
    spec->body = text.data;
    spec->body_len = text.len;
    return cds_http_call_start(call->api->client, spec, ret, err);
}

/* The answer to our wish. A stream that has begun and is not known any more has just ended by itself: its last events are on their way.
 * Otherwise the wish came before the request or did not come through at all: leaving ends it as well, only without its numbers. */
static void on_cancel_done(void *user, int status, const char *body, size_t len, const struct cds_err *http_err)
{
    struct chat *chat = user;
    struct cds_err err;
    chat->cancel = NULL;
    if (!http_err && (status / 100 == 2 || (status == 404 && chat->status != 0)))
        return;
    cds_http_call_cancel(&chat->http);
    cds_fail(&err, CDS_CANCELLED, __func__, "The call was cancelled.");
    fail_chat(chat, &err);
}

/* Asks llmserver to end the stream; its last events bring the usage, so the call still gets its answer. */
static bool chat_cancel(struct call *call)
{
    char path[128];
    struct chat *chat = call->leaf;
    struct cds_err err;
    struct cds_http_call_spec spec = {.deadline_ms = cds_now_ms() + CANCEL_MS, .body_max_bytes = ERROR_MAX, .on_done = on_cancel_done, .user = chat};
    if (chat->cancel)
        return true;
    snprintf(path, sizeof(path), "/v1/requests/%s/cancel", call->request_id);
    CDS_JSON_AUTO empty = cds_json_object();
    return !post(call, "POST", path, empty, &spec, &chat->cancel, &err);
}

static void chat_drop(struct call *call)
{
    struct chat *chat = call->leaf;
    cds_http_call_cancel(&chat->http); /* llmserver sees the socket close and stops within one step */
    chat_free(chat);
}

static cds_json *chat_body(const cds_json *params)
{
    cds_json *body = cds_json_copy(params);
    cds_json_set(body, "stream", cds_json_bool(true));
    cds_json_set(body, "stream_options", cds_json_pack("{s:b}", "include_usage", 1));
    return body;
}

static void chat_start(struct call *call)
{
    struct cds_err err;
    struct chat *chat = calloc(1, sizeof(*chat));
    if (!chat)
        abort();
    chat->call = call;
    chat->sse = cds_sse_init(EVENT_MAX);
    chat->content = cds_buf_init(ANSWER_MAX);
    chat->error_body = cds_buf_init(ERROR_MAX);
    call->leaf = chat;
    struct cds_http_call_spec spec = {
        .deadline_ms = call->deadline_ms, .on_head = on_head, .on_data = on_data, .on_done = on_chat_done, .user = chat};
    CDS_JSON_AUTO body = chat_body(call->params);
    if (post(call, "POST", "/v1/chat/completions", body, &spec, &chat->http, &err)) {
        fail_chat(chat, &err);
        return;
    }
    call->leaf_cancel = chat_cancel;
    call->leaf_drop = chat_drop;
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

static void on_plain_done(void *user, int status, const char *body, size_t len, const struct cds_err *http_err)
{
    struct plain *plain = user;
    struct call *call = plain->call;
    cds_json *(*translate)(const cds_json *) = plain->translate;
    struct cds_err err;
    CDS_JSON_AUTO answer = NULL;
    free(plain);
    call->leaf = NULL;
    if (http_err) {
        unreachable(&err, http_err);
        call_fail(call, &err);
        return;
    }
    cds_rc rc = cds_json_parse(body, len, &answer, &err);
    if (status / 100 != 2 || rc) {
        error_of(answer, status, &err);
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
    struct cds_http_call_spec spec = {.deadline_ms = call->deadline_ms, .body_max_bytes = EVENT_MAX, .on_done = on_plain_done, .user = plain};
    if (post(call, method, path, body, &spec, &plain->http, &err)) {
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

void llm_start(struct call *call)
{
    const char *name = call->method->name;
    if (cds_streq(name, "llm.chat"))
        chat_start(call);
    else if (cds_streq(name, "llm.start"))
        plain_start(call, "POST", "/admin/load", call->params, state_of);
    else if (cds_streq(name, "llm.stop"))
        plain_start(call, "POST", "/admin/unload", call->params, state_of);
    else if (cds_streq(name, "llm.download"))
        download_start(call);
    else
        plain_start(call, "GET", "/v1/models", NULL, models_of);
}
