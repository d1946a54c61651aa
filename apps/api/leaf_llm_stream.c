/* apps/api/leaf_llm_stream.c: llm.chat, llm.complete and llm.resume: streams of llmserver as notifications, and their ends as results.
 *
 * A slow socket makes the stream wait, and llmserver with it; who leaves ends it there, unless it asked to come back. */
#include <stdlib.h>
#include <string.h>

#include "apps/api/llm.h"
#include "apps/api/message.h"
#include "apps/api/sse.h"
#include "lib/base/clock.h"
#include "lib/base/str.h"

enum { CANCEL_MS = 2000, HOLD_POLL_MS = 20, TOOL_CALLS_MAX = 64 };

struct stream {
    struct call *call;
    struct cds_http_call *http, *cancel; /* the stream; the request to end it */
    struct cds_timer *hold;              /* set while it waits for a slow socket */
    struct cds_sse sse;
    struct cds_buf content, reasoning, error_body;
    struct cds_buf *arguments; /* of tool calls; TOOL_CALLS_MAX of them once there is one */
    size_t kept;               /* bytes of all of them together */
    cds_json *tool_calls;      /* owned list of {id, name}; NULL: none */
    int status;
    char request_id[37];                    /* of the generation; for llm.resume it is that of an earlier call */
    cds_json *model, *finish, *usage, *cds; /* owned parts of the stream */
    struct cds_err failed;                  /* an error event came */
    bool broken, resumable, text;
    bool early; /* the request to end it was sent before the stream began, and may have come before the stream's own */
};

static void stream_free(struct stream *stream)
{
    cds_http_call_cancel(&stream->cancel);
    cds_timer_remove(&stream->hold);
    cds_sse_free(&stream->sse);
    cds_buf_free(&stream->content);
    cds_buf_free(&stream->reasoning);
    cds_buf_free(&stream->error_body);
    for (size_t i = 0; stream->arguments && i < TOOL_CALLS_MAX; i++)
        cds_buf_free(&stream->arguments[i]);
    free(stream->arguments);
    cds_json_unref(stream->tool_calls);
    cds_json_unref(stream->model);
    cds_json_unref(stream->finish);
    cds_json_unref(stream->usage);
    cds_json_unref(stream->cds);
    stream->call->leaf = NULL;
    free(stream);
}

static void take_part(cds_json **place, cds_json *value)
{
    if (!value || cds_json_is(value, CDS_JSON_NULL))
        return;
    cds_json_unref(*place);
    *place = cds_json_ref(value);
}

static bool break_off(struct stream *stream, cds_rc code, const char *message)
{
    cds_fail(&stream->failed, code, __func__, "%s", message);
    stream->broken = true;
    return false;
}

static cds_rc keep(struct stream *stream, struct cds_buf *buf, const cds_json *text)
{
    stream->kept += cds_json_str_len(text);
    if (stream->kept > LLM_ANSWER_MAX)
        return CDS_TOO_LARGE;
    return cds_json_str(text) ? cds_buf_add(buf, cds_json_str(text), cds_json_str_len(text)) : CDS_OK;
}

/* Puts the pieces of one call together, and tells them in our words: {index, id, name, arguments}. */
static cds_json *take_tool_call(struct stream *stream, const cds_json *piece)
{
    int64_t index = cds_json_get_i64(piece, "index", -1);
    const cds_json *function = cds_json_get(piece, "function"), *id = cds_json_get(piece, "id"), *name = cds_json_get(function, "name");
    const char *arguments = cds_json_get_str(function, "arguments");
    if (!stream->tool_calls) {
        stream->tool_calls = cds_json_array();
        stream->arguments = calloc(TOOL_CALLS_MAX, sizeof(*stream->arguments));
        for (size_t i = 0; stream->arguments && i < TOOL_CALLS_MAX; i++)
            stream->arguments[i] = cds_buf_init(LLM_ANSWER_MAX);
    }
    int64_t known = (int64_t)cds_json_size(stream->tool_calls);
    if (!stream->arguments || index < 0 || index >= TOOL_CALLS_MAX || index > known || (index == known && (!cds_json_str(id) || !cds_json_str(name))))
        return NULL;
    if (index == known)
        cds_json_append(stream->tool_calls, cds_json_pack("{s:O,s:O}", "id", id, "name", name));
    if (keep(stream, &stream->arguments[index], cds_json_get(function, "arguments")))
        return NULL;
    return cds_json_pack("{s:I,s:O?,s:O?,s:s}", "index", (long long)index, "id", index == known ? id : NULL, "name", index == known ? name : NULL,
                         "arguments", arguments ? arguments : "");
}

/* What one event says, as a notification. */
static bool tell(struct stream *stream, const cds_json *choice)
{
    const cds_json *delta = cds_json_get(choice, "delta"), *thought = cds_json_get(delta, "reasoning_content");
    cds_json *piece = stream->text ? cds_json_get(choice, "text") : cds_json_get(delta, "content");
    const cds_json *calls = cds_json_get(delta, "tool_calls");
    bool opens = stream->resumable && cds_json_get_str(delta, "role");
    if (keep(stream, &stream->content, piece) || keep(stream, &stream->reasoning, thought))
        return break_off(stream, CDS_TOO_LARGE, "The answer is longer than 2097152 bytes.");
    if (!opens && !cds_json_str_len(piece) && !cds_json_str_len(thought) && !cds_json_size(calls))
        return true;
    cds_json *note = cds_json_pack("{s:o}", "content", cds_json_str(piece) ? cds_json_ref(piece) : cds_json_string(""));
    if (cds_json_str_len(thought))
        cds_json_set(note, "reasoning", cds_json_copy(thought));
    if (cds_json_size(calls)) {
        cds_json *list = cds_json_array();
        cds_json_set(note, "tool_calls", list);
        for (size_t i = 0; i < cds_json_size(calls); i++)
            if (cds_json_append(list, take_tool_call(stream, cds_json_at(calls, i)))) {
                cds_json_unref(note);
                return break_off(stream, CDS_INTERNAL, "The model server told of a function call that cannot be put together.");
            }
    }
    if (stream->resumable) {
        cds_json_set(note, "request_id", cds_json_string(stream->request_id));
        cds_json_set(note, "event", cds_json_int(stream->sse.id));
    }
    call_notify(stream->call, "llm.delta", note);
    return true;
}

static bool on_event(void *user, const char *data, size_t len)
{
    struct stream *stream = user;
    if (len == 6 && !memcmp(data, "[DONE]", 6))
        return true;
    CDS_JSON_AUTO event = NULL;
    if (cds_json_parse(data, len, &event, &stream->failed))
        return break_off(stream, CDS_INTERNAL, "The model server sent a stream event that is not JSON.");
    if (cds_json_get(event, "error")) {
        llm_error_of(event, 500, &stream->failed);
        stream->broken = true;
        return false;
    }
    if (!cds_json_get(event, "choices"))
        return break_off(stream, CDS_BAD_REQUEST, "This stream was asked for in another dialect; read it at GET /v1/requests/{id}/events.");
    const cds_json *choice = cds_json_at(cds_json_get(event, "choices"), 0);
    stream->text = stream->text || cds_json_get(choice, "text");
    take_part(&stream->model, cds_json_get(event, "model"));
    take_part(&stream->finish, cds_json_get(choice, "finish_reason"));
    take_part(&stream->usage, cds_json_get(event, "usage"));
    take_part(&stream->cds, cds_json_get(event, "cds"));
    return tell(stream, choice);
}

static void on_head(void *user, int status, const char *content_type)
{
    struct stream *stream = user;
    stream->status = status;
}

/* ---- a slow socket ---- */
static size_t waiting_for_client(const struct call *call)
{
    const struct message_spec *spec = &call->message->spec;
    return spec->pending ? spec->pending(spec->user) : 0;
}

static void on_hold_poll(void *user)
{
    struct stream *stream = user;
    if (waiting_for_client(stream->call) > API_WS_HOLD / 2) {
        cds_timer_set(stream->hold, cds_now_ms() + HOLD_POLL_MS);
        return;
    }
    cds_timer_remove(&stream->hold);
    if (stream->http)
        cds_http_call_resume(stream->http);
}

static bool holds(struct stream *stream)
{
    return stream->hold || (waiting_for_client(stream->call) > API_WS_HOLD &&
                            !cds_timer_add(stream->call->api->loop, cds_now_ms() + HOLD_POLL_MS, on_hold_poll, stream, &stream->hold));
}

static bool on_data(void *user, const char *data, size_t len)
{
    struct stream *stream = user;
    if (stream->broken)
        return true;
    if (stream->status != 200) {
        cds_rc rc = cds_buf_add(&stream->error_body, data, len);
        (void)rc; /* an error text over the ceiling is cut and then told as unreadable */
        return true;
    }
    if (holds(stream))
        return false; /* this piece comes again */
    if (cds_sse_feed(&stream->sse, data, len, on_event, stream))
        break_off(stream, CDS_INTERNAL, "The model server sent an event over 1048576 bytes.");
    return true;
}

/* ---- ends ---- */
static void fail_stream(struct stream *stream, const struct cds_err *err)
{
    struct call *call = stream->call;
    struct cds_err copy = *err;
    stream_free(stream);
    call_fail(call, &copy);
}

static cds_json *text_of(const struct cds_buf *buf)
{
    return cds_json_stringn(buf->data ? buf->data : "", buf->len);
}

static cds_json *result_of(const struct stream *stream)
{
    const char *id = cds_json_get_str(stream->cds, "request_id");
    const cds_json *details = cds_json_get(stream->usage, "prompt_tokens_details");
    cds_json *result =
        cds_json_pack("{s:s,s:O,s:o,s:O,s:{s:I,s:I,s:I,s:I},s:I}", "request_id", id ? id : stream->request_id, "model", stream->model, "content",
                      text_of(&stream->content), "finish_reason", stream->finish, "usage", "prompt_tokens",
                      cds_json_get_i64(stream->usage, "prompt_tokens", 0), "completion_tokens",
                      cds_json_get_i64(stream->usage, "completion_tokens", 0), "total_tokens", cds_json_get_i64(stream->usage, "total_tokens", 0),
                      "cached_tokens", cds_json_get_i64(details, "cached_tokens", 0), "cost_micro", cds_json_get_i64(stream->cds, "cost_micro", 0));
    if (stream->reasoning.len)
        cds_json_set(result, "reasoning", text_of(&stream->reasoning));
    for (size_t i = 0; i < cds_json_size(stream->tool_calls); i++)
        cds_json_set(cds_json_at(stream->tool_calls, i), "arguments", text_of(&stream->arguments[i]));
    if (stream->tool_calls)
        cds_json_set(result, "tool_calls", cds_json_ref(stream->tool_calls));
    return result;
}

static void on_done(void *user, int status, const char *body, size_t len, const struct cds_err *http_err)
{
    struct stream *stream = user;
    struct call *call = stream->call;
    struct cds_err err;
    stream->http = NULL;
    if (stream->broken) {
        fail_stream(stream, &stream->failed);
    } else if (status != 200 && stream->error_body.len) {
        CDS_JSON_AUTO problem = NULL;
        cds_rc rc = cds_json_parse(stream->error_body.data, stream->error_body.len, &problem, &err);
        (void)rc; /* unreadable: llm_error_of speaks of the status then */
        llm_error_of(problem, status, &err);
        fail_stream(stream, &err);
    } else if (http_err || status != 200) {
        llm_unreachable(&err, http_err);
        fail_stream(stream, &err);
    } else if (!stream->usage || !stream->finish || !stream->model) {
        cds_fail(&err, CDS_MODEL_CRASHED, __func__, "The model's answer broke off before its end.");
        cds_err_hint(&err, "Ask again; nothing was charged for a request that the model process lost.");
        fail_stream(stream, &err);
    } else {
        cds_json *result = result_of(stream);
        stream_free(stream);
        call_succeed(call, result);
    }
}

static bool stream_cancel(struct call *call);

/* The answer to our wish. A stream that has begun and is not known any more has just ended by itself: its last events are on their way; one that
 * was not known yet is asked to end once more. Otherwise the wish came before the request or did not come through at all: leaving ends it as well,
 * only without its numbers. */
static void on_cancel_done(void *user, int status, const char *body, size_t len, const struct cds_err *http_err)
{
    struct stream *stream = user;
    struct cds_err err;
    stream->cancel = NULL;
    bool unknown = !http_err && status == 404 && stream->status != 0;
    if (unknown && stream->early && stream_cancel(stream->call))
        return; /* it was not known yet: the wish had overtaken it */
    if (!http_err && (status / 100 == 2 || unknown))
        return;
    cds_http_call_cancel(&stream->http);
    cds_fail(&err, CDS_CANCELLED, __func__, "The call was cancelled.");
    fail_stream(stream, &err);
}

/* Asks llmserver to end the stream; its last events bring the usage, so the call still gets its answer. */
static bool stream_cancel(struct call *call)
{
    char path[128];
    struct stream *stream = call->leaf;
    struct cds_err err;
    struct cds_http_call_spec spec = {
        .deadline_ms = cds_now_ms() + CANCEL_MS, .body_max_bytes = LLM_ERROR_MAX, .on_done = on_cancel_done, .user = stream};
    if (stream->cancel)
        return true;
    snprintf(path, sizeof(path), "/v1/requests/%s/cancel", stream->request_id);
    stream->early = stream->status == 0;
    CDS_JSON_AUTO empty = cds_json_object();
    return !llm_post(call, "POST", path, NULL, empty, &spec, &stream->cancel, &err);
}

static void stream_drop(struct call *call)
{
    struct stream *stream = call->leaf;
    cds_http_call_cancel(&stream->http); /* llmserver sees the socket close and stops within one step, or waits for who may come back */
    stream_free(stream);
}

/* ---- beginnings ---- */

/* JSON that travels as text, since a schema has no ceilings of its own. */
static cds_rc parse_text(const cds_json *text, cds_json **ret, struct cds_err *err, const char *pointer)
{
    if (!cds_json_parse(cds_json_str(text), cds_json_str_len(text), ret, err))
        return CDS_OK;
    cds_fail(err, CDS_BAD_PARAM, __func__, "%s is no JSON text.", pointer + 1);
    cds_err_pointer(err, "%s", pointer);
    return CDS_BAD_PARAM;
}

/* Functions: {name, description, parameters: text} becomes OpenAI's form; so do the calls of earlier answers. */
static cds_rc take_tools(cds_json *body, struct cds_err *err)
{
    const cds_json *tools = cds_json_get(body, "tools");
    const char *choice = cds_json_get_str(body, "tool_choice");
    char pointer[64];
    if (choice && !cds_streq(choice, "auto") && !cds_streq(choice, "none") && !cds_streq(choice, "required"))
        cds_json_set(body, "tool_choice", cds_json_pack("{s:s,s:{s:s}}", "type", "function", "function", "name", choice));
    if (!tools)
        return CDS_OK;
    cds_json *list = cds_json_array();
    for (size_t i = 0; i < cds_json_size(tools); i++) {
        cds_json *function = cds_json_copy(cds_json_at(tools, i)), *parameters = NULL;
        const cds_json *text = cds_json_get(function, "parameters");
        snprintf(pointer, sizeof(pointer), "/params/tools/%zu/parameters", i);
        cds_rc rc = text ? parse_text(text, &parameters, err, pointer) : CDS_OK;
        if (parameters)
            cds_json_set(function, "parameters", parameters);
        cds_json_append(list, cds_json_pack("{s:s,s:o}", "type", "function", "function", function));
        if (rc) {
            cds_json_unref(list);
            return rc;
        }
    }
    cds_json_set(body, "tools", list);
    return CDS_OK;
}

static void take_history(const cds_json *body)
{
    const cds_json *messages = cds_json_get(body, "messages");
    for (size_t i = 0; i < cds_json_size(messages); i++) {
        cds_json *message = cds_json_at(messages, i), *list = cds_json_array();
        const cds_json *calls = cds_json_get(message, "tool_calls");
        for (size_t k = 0; k < cds_json_size(calls); k++) {
            const cds_json *one = cds_json_at(calls, k);
            cds_json_append(list, cds_json_pack("{s:O,s:s,s:{s:O,s:O}}", "id", cds_json_get(one, "id"), "type", "function", "function", "name",
                                                cds_json_get(one, "name"), "arguments", cds_json_get(one, "arguments")));
        }
        if (calls)
            cds_json_set(message, "tool_calls", list);
        else
            cds_json_unref(list);
    }
}

static cds_rc body_of(const struct call *call, cds_json **ret, struct cds_err *err)
{
    CDS_JSON_AUTO body = cds_json_copy(call->params);
    const cds_json *schema = cds_json_get(body, "schema");
    cds_json *parsed = NULL;
    cds_json_del(body, "replaces");
    cds_rc rc = take_tools(body, err);
    if (!rc && schema && !(rc = parse_text(schema, &parsed, err, "/params/schema")))
        cds_json_set(body, "json_schema", parsed);
    cds_json_del(body, "schema");
    take_history(body);
    cds_json_set(body, "stream", cds_json_bool(true));
    cds_json_set(body, "stream_options", cds_json_pack("{s:b}", "include_usage", 1));
    if (!rc)
        *ret = cds_json_ref(body);
    return rc;
}

/* The text a reader types is completed again and again: each call may end the one before it. */
static void end_replaced(struct call *call)
{
    cds_json *id = cds_json_get(call->params, "replaces");
    struct call *found = NULL;
    if (!id || !call->message->spec.siblings)
        return;
    for (const struct message *m = *call->message->spec.siblings; m && !found; m = m->next)
        for (struct call *one = m->calls; one && !found; one = one->next)
            if (one != call && one->method && cds_streq(one->method->name, "llm.complete") && one->id && cds_json_equal(one->id, id))
                found = one;
    if (found)
        call_cancel(found);
}

static cds_rc begin(struct stream *stream, struct cds_err *err)
{
    struct call *call = stream->call;
    const char *name = call->method->name, *id = cds_json_get_str(call->params, "request_id");
    char path[128], header[64] = "";
    struct cds_http_call_spec spec = {.deadline_ms = call->deadline_ms, .on_head = on_head, .on_data = on_data, .on_done = on_done, .user = stream};
    if (cds_streq(name, "llm.resume")) {
        int64_t after = cds_json_get_i64(call->params, "after", -1);
        cds_strcpy(stream->request_id, sizeof(stream->request_id), id ? id : "");
        stream->resumable = true;
        snprintf(path, sizeof(path), "/v1/requests/%s/events", stream->request_id);
        if (after >= 0)
            snprintf(header, sizeof(header), "Last-Event-ID: %lld", (long long)after);
        return llm_post(call, "GET", path, *header ? header : NULL, NULL, &spec, &stream->http, err);
    }
    CDS_JSON_AUTO body = NULL;
    cds_rc rc = body_of(call, &body, err);
    if (rc)
        return rc;
    stream->resumable = cds_json_true(cds_json_get(body, "resumable"), false);
    stream->text = cds_streq(name, "llm.complete");
    cds_strcpy(stream->request_id, sizeof(stream->request_id), call->request_id);
    return llm_post(call, "POST", stream->text ? "/v1/completions" : "/v1/chat/completions", NULL, body, &spec, &stream->http, err);
}

void llm_stream_start(struct call *call)
{
    struct cds_err err;
    struct stream *stream = calloc(1, sizeof(*stream));
    if (!stream)
        abort();
    end_replaced(call);
    stream->call = call;
    stream->sse = cds_sse_init(LLM_EVENT_MAX);
    stream->content = cds_buf_init(LLM_ANSWER_MAX);
    stream->reasoning = cds_buf_init(LLM_ANSWER_MAX);
    stream->error_body = cds_buf_init(LLM_ERROR_MAX);
    call->leaf = stream;
    if (begin(stream, &err)) {
        fail_stream(stream, &err);
        return;
    }
    call->leaf_cancel = stream_cancel;
    call->leaf_drop = stream_drop;
}
