/* apps/api/responses_turn.c: one "response.create": a stream of llmserver whose events become messages of the socket (see responses.h). */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "apps/api/llm.h"
#include "apps/api/responses.h"
#include "lib/base/clock.h"
#include "lib/base/random.h"
#include "lib/base/str.h"

enum { CANCEL_MS = 2000 };

struct responses_turn {
    struct responses_turn *next;
    struct responses_socket *socket;
    cds_json *body;                      /* owned: what is asked; its input is kept until the end */
    size_t bytes;                        /* of the message, while it waits */
    size_t whole_bytes;                  /* of what is asked, with what it goes on with, while it runs */
    struct cds_http_call *http, *cancel; /* the stream, NULL: it waits; the request to end it */
    struct cds_sse sse;
    struct cds_buf error_body;
    int status;
    bool held;   /* the stream waits for the reader */
    bool ended;  /* its last event was told */
    bool broken; /* what comes is thrown away */
    bool early;  /* the request to end it was sent before the stream began, and may have come before the stream's own */
    char lane[RESPONSES_LANE_MAX + 1];
    char request_id[CDS_UUID_LEN + 1];
};

static const char *lane_of(const struct responses_turn *turn)
{
    return *turn->lane ? turn->lane : NULL;
}

static void turn_free(struct responses_turn *turn)
{
    cds_http_call_cancel(&turn->http);
    cds_http_call_cancel(&turn->cancel);
    cds_sse_free(&turn->sse);
    cds_buf_free(&turn->error_body);
    cds_json_unref(turn->body);
    free(turn);
}

static void turn_end(struct responses_turn *turn)
{
    struct responses_turn **place = &turn->socket->turns;
    while (*place != turn)
        place = &(*place)->next;
    *place = turn->next;
    turn_free(turn);
}

static void begin_next(struct responses_socket *s);

/* Its error, if it has one, and the turn behind it. */
static void finish(struct responses_turn *turn, const struct cds_err *err, const char *code)
{
    struct responses_socket *s = turn->socket;
    if (err)
        responses_fail(s, err, code, lane_of(turn));
    turn_end(turn);
    begin_next(s);
}

/* ---- events ---- */
static bool ends(const char *type)
{
    return cds_streq(type, "response.completed") || cds_streq(type, "response.incomplete") || cds_streq(type, "response.failed") ||
           cds_streq(type, "error");
}

static bool on_event(void *user, const char *data, size_t len)
{
    struct responses_turn *turn = user;
    CDS_JSON_AUTO event = NULL;
    if (cds_json_parse(data, len, &event, NULL) != CDS_OK || !cds_json_get_str(event, "type")) {
        turn->broken = true;
        return false;
    }
    const char *type = cds_json_get_str(event, "type");
    turn->ended = turn->ended || ends(type);
    if (cds_streq(type, "response.completed") || cds_streq(type, "response.incomplete"))
        responses_kept_add(turn->socket, cds_json_get(turn->body, "input"), cds_json_get(event, "response"));
    responses_send(turn->socket, event, lane_of(turn));
    return true;
}

static void on_head(void *user, int status, const char *content_type)
{
    ((struct responses_turn *)user)->status = status;
}

static bool on_data(void *user, const char *data, size_t len)
{
    struct responses_turn *turn = user;
    if (turn->broken)
        return true;
    if (turn->status != 200) {
        cds_rc rc = cds_buf_add(&turn->error_body, data, len);
        (void)rc; /* an error text over the ceiling is cut and then told as unreadable */
        return true;
    }
    /* Above this the socket tells when it has room again. */
    if (turn->socket->ws && cds_ws_pending(turn->socket->ws) > API_WS_OUT_MAX / 2) {
        turn->held = true;
        return false; /* this piece comes again */
    }
    if (cds_sse_feed(&turn->sse, data, len, on_event, turn) != CDS_OK)
        turn->broken = true;
    return true;
}

void responses_turns_resume(struct responses_socket *s)
{
    for (struct responses_turn *turn = s->turns; turn; turn = turn->next)
        if (turn->held && turn->http) {
            turn->held = false;
            cds_http_call_resume(turn->http);
        }
}

static void on_done(void *user, int status, const char *body, size_t len, const struct cds_err *http_err)
{
    struct responses_turn *turn = user;
    struct cds_err err = {0};
    turn->http = NULL;
    if (turn->ended) {
        finish(turn, NULL, NULL);
        return;
    }
    if (status != 200 && turn->error_body.len) {
        CDS_JSON_AUTO problem = NULL;
        if (cds_json_parse(turn->error_body.data, turn->error_body.len, &problem, NULL) == CDS_OK && cds_json_get(problem, "error")) {
            /* Its words reach the client as they are. */
            CDS_JSON_AUTO event = cds_json_pack("{s:s,s:i,s:O}", "type", "error", "status", status, "error", cds_json_get(problem, "error"));
            responses_send(turn->socket, event, lane_of(turn));
            finish(turn, NULL, NULL);
            return;
        }
    }
    if (turn->broken) {
        cds_fail(&err, CDS_INTERNAL, __func__, "The model server sent an event that cannot be passed on.");
    } else if (http_err || status != 200) {
        llm_unreachable(&err, http_err);
    } else {
        cds_fail(&err, CDS_MODEL_CRASHED, __func__, "The response broke off before its end.");
        cds_err_hint(&err, "Ask again; nothing was charged for a request that the model process lost.");
    }
    finish(turn, &err, NULL);
}

/* ---- beginning ---- */

/* previous_response_id: what was said before stands in front of what is new. */
static cds_rc go_on(struct responses_turn *turn, struct cds_err *err)
{
    cds_json *body = turn->body;
    const cds_json *previous = cds_json_get(body, "previous_response_id");
    if (cds_json_is(previous, CDS_JSON_NULL))
        return CDS_OK;
    size_t bytes;
    const cds_json *before = responses_kept_find(turn->socket, cds_json_str(previous), &bytes);
    if (!before) {
        cds_fail(err, CDS_BAD_PARAM, __func__, "This socket keeps no response of that id.");
        cds_err_hint(err, "Send the whole conversation as \"input\"; a socket keeps its last %d responses, and no other has them.",
                     RESPONSES_KEPT_MAX);
        cds_err_pointer(err, "/previous_response_id");
        return CDS_BAD_PARAM;
    }
    CDS_JSON_AUTO fresh = responses_items(cds_json_get(body, "input"));
    if (!cds_json_is(fresh, CDS_JSON_ARRAY)) {
        cds_fail(err, CDS_BAD_PARAM, __func__, "\"input\" must be a string or a list of items.");
        cds_err_pointer(err, "/input");
        return CDS_BAD_PARAM;
    }
    cds_json *whole = cds_json_array();
    for (size_t i = 0; i < cds_json_size(before); i++)
        cds_json_append(whole, cds_json_ref(cds_json_at(before, i)));
    for (size_t i = 0; i < cds_json_size(fresh); i++)
        cds_json_append(whole, cds_json_ref(cds_json_at(fresh, i)));
    cds_json_set(body, "input", whole);
    cds_json_del(body, "previous_response_id");
    turn->whole_bytes += bytes;
    return CDS_OK;
}

size_t responses_turns_bytes(const struct responses_socket *s)
{
    size_t bytes = 0;
    for (const struct responses_turn *turn = s->turns; turn; turn = turn->next)
        bytes += turn->http ? turn->whole_bytes : 0;
    return bytes;
}

/* A short message may go on with much: what runs is counted whole, on this socket and on all of its user. */
static cds_rc check_whole(const struct responses_turn *turn, struct cds_err *err)
{
    const struct responses_socket *s = turn->socket;
    size_t mine = responses_turns_bytes(s), all = 0;
    for (const struct responses_socket *other = s->api->responses; other; other = other->next)
        all += cds_streq(other->who.claims.user_id, s->who.claims.user_id) ? responses_turns_bytes(other) : 0;
    bool socket_full = mine + turn->whole_bytes > RESPONSES_RUNNING_BYTES;
    if (!socket_full && all + turn->whole_bytes <= RESPONSES_USER_BYTES)
        return CDS_OK;
    cds_fail(err, CDS_RATE_LIMITED, __func__,
             "This response asks %zu bytes together with what it goes on with, and those that run on %s ask %zu already; at most %d bytes may run at "
             "once.",
             turn->whole_bytes, socket_full ? "this socket" : "all your sockets", socket_full ? mine : all,
             socket_full ? RESPONSES_RUNNING_BYTES : RESPONSES_USER_BYTES);
    cds_err_rule(err, "responses.bytes");
    err->retry_after_ms = 1000;
    return cds_err_hint(err, "Wait for the end of one of them, or go on with a shorter conversation.");
}

static bool lane_is_busy(const struct responses_turn *turn)
{
    for (const struct responses_turn *other = turn->socket->turns; other && other != turn; other = other->next)
        if (cds_streq(other->lane, turn->lane))
            return true;
    return false;
}

/* @return false: it cannot begin, which the client was told */
static bool begin(struct responses_turn *turn)
{
    struct responses_socket *s = turn->socket;
    struct cds_err err = {0};
    struct cds_http_call_spec spec = {
        .deadline_ms = cds_now_ms() + API_V1_MS, .on_head = on_head, .on_data = on_data, .on_done = on_done, .user = turn};
    const struct llm_caller caller = {s->api, s->authorization, turn->request_id};
    const char *code = NULL;
    turn->whole_bytes = turn->bytes;
    turn->bytes = 0;
    cds_rc rc = go_on(turn, &err);
    if (rc != CDS_OK)
        code = cds_streq(err.pointer, "/previous_response_id") ? "previous_response_not_found" : NULL;
    else
        rc = check_whole(turn, &err);
    if (rc == CDS_OK)
        rc = llm_send(&caller, "POST", "/v1/responses", NULL, turn->body, &spec, &turn->http, &err);
    if (rc == CDS_OK)
        return true;
    responses_fail(s, &err, code, lane_of(turn));
    return false;
}

/* Every turn whose lane is free. One that ends at once leaves its lane to the one behind it, so the list is looked through anew. */
static void begin_next(struct responses_socket *s)
{
    for (struct responses_turn **place = &s->turns; *place;) {
        struct responses_turn *turn = *place;
        if (turn->http || turn->ended || lane_is_busy(turn) || begin(turn)) {
            place = &turn->next;
        } else {
            *place = turn->next;
            turn_free(turn);
            place = &s->turns;
        }
    }
}

cds_rc responses_lane(const cds_json *event, const char **ret, struct cds_err *err)
{
    const cds_json *lane = cds_json_get(event, "stream_id");
    size_t len = cds_json_str_len(lane);
    *ret = cds_json_str(lane);
    if (cds_json_is(lane, CDS_JSON_NULL) || (*ret && len > 0 && len <= RESPONSES_LANE_MAX))
        return CDS_OK;
    *ret = NULL;
    cds_fail(err, CDS_BAD_PARAM, __func__, "\"stream_id\" must be a string of 1 to %d bytes.", RESPONSES_LANE_MAX);
    cds_err_pointer(err, "/stream_id");
    return CDS_BAD_PARAM;
}

/* What belongs to the socket goes; what a stream needs comes. */
static cds_rc take_body(cds_json *body, struct cds_err *err)
{
    const cds_json *generate = cds_json_get(body, "generate");
    bool none = cds_json_is(generate, CDS_JSON_FALSE);
    if (!none && !cds_json_is(generate, CDS_JSON_TRUE) && !cds_json_is(generate, CDS_JSON_NULL)) {
        cds_fail(err, CDS_BAD_PARAM, __func__, "\"generate\" must be true or false.");
        cds_err_pointer(err, "/generate");
        return CDS_BAD_PARAM;
    }
    static const char *const own[] = {"type", "stream_id", "generate", "stream", "resumable"};
    for (size_t i = 0; i < CDS_ARRAY_LEN(own); i++)
        cds_json_del(body, own[i]);
    if (none)
        cds_json_set(body, "preload", cds_json_bool(true));
    return cds_json_set(body, "stream", cds_json_bool(true)) ? cds_fail(err, CDS_EXHAUSTED, __func__, "Out of memory.") : CDS_OK;
}

static cds_rc check_room(const struct responses_socket *s, size_t bytes, struct cds_err *err)
{
    unsigned count = 0;
    for (const struct responses_turn *turn = s->turns; turn; turn = turn->next) {
        count++;
        bytes += turn->bytes;
    }
    if (count < RESPONSES_TURNS_MAX && bytes <= RESPONSES_WAITING_BYTES)
        return CDS_OK;
    cds_fail(err, CDS_RATE_LIMITED, __func__, "%u responses run or wait on this socket already; it takes %d, and %d bytes that wait.", count,
             RESPONSES_TURNS_MAX, RESPONSES_WAITING_BYTES);
    err->retry_after_ms = 1000;
    return cds_err_hint(err, "Wait for the end of one of them.");
}

cds_rc responses_turn_add(struct responses_socket *s, cds_json *event, size_t bytes, struct cds_err *err)
{
    CDS_JSON_AUTO body = event;
    const char *lane;
    cds_rc rc = check_room(s, bytes, err);
    if (rc == CDS_OK)
        rc = responses_lane(body, &lane, err);
    if (rc != CDS_OK)
        return rc;
    struct responses_turn *turn = calloc(1, sizeof(*turn));
    if (!turn)
        return cds_fail(err, CDS_EXHAUSTED, __func__, "Out of memory.");
    turn->socket = s;
    turn->bytes = bytes;
    turn->sse = cds_sse_init(LLM_EVENT_MAX);
    turn->error_body = cds_buf_init(LLM_ERROR_MAX);
    cds_strcpy(turn->lane, sizeof(turn->lane), lane ? lane : "");
    cds_uuid7(turn->request_id);
    rc = take_body(body, err);
    if (rc != CDS_OK) {
        turn_free(turn);
        return rc;
    }
    turn->body = cds_json_ref(body);
    struct responses_turn **last = &s->turns;
    while (*last)
        last = &(*last)->next;
    *last = turn;
    begin_next(s);
    return CDS_OK;
}

/* ---- ends ---- */

static cds_rc ask_to_end(struct responses_turn *turn, struct cds_err *err);

/* The answer to our wish, as in leaf_llm_stream.c: a stream that has begun and is not known any more has just ended by itself; one that was not
 * known yet is asked to end once more. */
static void on_cancel_done(void *user, int status, const char *body, size_t len, const struct cds_err *http_err)
{
    struct responses_turn *turn = user;
    struct cds_err err = {0};
    turn->cancel = NULL;
    bool unknown = !http_err && status == 404 && turn->status != 0;
    if (unknown && turn->early && !turn->ended && ask_to_end(turn, &err) == CDS_OK)
        return;
    if (!http_err && (status / 100 == 2 || unknown))
        return;
    cds_fail(&err, CDS_CANCELLED, __func__, "The response was cancelled.");
    finish(turn, &err, NULL);
}

static cds_rc ask_to_end(struct responses_turn *turn, struct cds_err *err)
{
    char path[128];
    const struct llm_caller caller = {turn->socket->api, turn->socket->authorization, turn->request_id};
    struct cds_http_call_spec spec = {
        .deadline_ms = cds_now_ms() + CANCEL_MS, .body_max_bytes = LLM_ERROR_MAX, .on_done = on_cancel_done, .user = turn};
    CDS_JSON_AUTO empty = cds_json_object();
    snprintf(path, sizeof(path), "/v1/requests/%s/cancel", turn->request_id);
    turn->early = turn->status == 0;
    return llm_send(&caller, "POST", path, NULL, empty, &spec, &turn->cancel, err);
}

/* "resp_" and the digits of its request id. */
static bool has_id(const struct responses_turn *turn, const char *id)
{
    static const char prefix[] = "resp_";
    if (!cds_starts_with(id, prefix))
        return false;
    id += sizeof(prefix) - 1;
    for (const char *c = turn->request_id; *c; c++)
        if (*c != '-' && *c != *id++)
            return false;
    return *id == '\0';
}

cds_rc responses_turn_cancel(struct responses_socket *s, const cds_json *event, struct cds_err *err)
{
    const char *id = cds_json_get_str(event, "response_id"), *lane;
    cds_rc rc = responses_lane(event, &lane, err);
    struct responses_turn *turn = rc == CDS_OK ? s->turns : NULL;
    while (turn && (turn->ended || (id ? !has_id(turn, id) : !cds_streq(turn->lane, lane ? lane : ""))))
        turn = turn->next;
    if (rc == CDS_OK && !turn)
        rc = cds_fail(err, CDS_NOT_FOUND, __func__, "No such response runs or waits on this socket.");
    if (rc != CDS_OK || !turn || turn->cancel)
        return rc;
    if (!turn->http) { /* it waits: nothing is known of it but here */
        struct cds_err cancelled = {0};
        cds_fail(&cancelled, CDS_CANCELLED, __func__, "The response was cancelled before it began.");
        finish(turn, &cancelled, NULL);
        return CDS_OK;
    }
    return ask_to_end(turn, err);
}

void responses_turns_drop(struct responses_socket *s)
{
    for (struct responses_turn *turn = s->turns, *next; turn; turn = next) {
        next = turn->next;
        turn_free(turn);
    }
    s->turns = NULL;
}
