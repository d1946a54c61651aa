/* apps/api/responses_socket.c: GET /v1/responses as a WebSocket: who may open one, what its messages are, its end (see responses.h).
 *
 * The credential is that of every other call: an Authorization header, or the subprotocol "cds.bearer.<token>" where a page cannot set one. The
 * socket lives as long as the token, with an API key as long as that (renew.h): what runs then is finished, and it closes with 4001. When its user or
 * session no longer holds it ends at once, with an error and 4003. */
#include "apps/api/responses.h"

#include <stdlib.h>

#include "lib/base/clock.h"
#include "lib/base/str.h"
#include "lib/json/problem.h"
#include "lib/log/log.h"
#include "lib/metrics/metrics.h"

enum { CLOSE_EXPIRED = 4001, EXPIRED_GRACE_MS = 500 };
static const char protocol[] = "cds.responses.v1";

void responses_send(struct responses_socket *s, cds_json *event, const char *lane)
{
    size_t len;
    if (lane)
        cds_json_set(event, "stream_id", cds_json_string(lane));
    char *text = event ? cds_json_dumps(event, &len) : NULL;
    if (text && s->ws) {
        cds_rc rc = cds_ws_send(s->ws, text, len);
        (void)rc; /* a full queue closes the socket with 1013; on_close then drops the turns */
    } else if (s->ws) {
        cds_ws_close(s->ws, 1011, "Out of memory."); /* rather than a stream that lacks an event */
    }
    free(text);
}

void responses_fail(struct responses_socket *s, const struct cds_err *err, const char *code, const char *lane)
{
    CDS_JSON_AUTO whole = cds_openai_error(err);
    cds_json *error = cds_json_get(whole, "error");
    if (code)
        cds_json_set(error, "code", cds_json_string(code));
    CDS_JSON_AUTO event = cds_json_pack("{s:s,s:i,s:O}", "type", "error", "status", cds_rc_http(err->code), "error", error);
    responses_send(s, event, lane);
}

/* ---- messages ---- */
static cds_rc take(struct responses_socket *s, cds_json *event, size_t len, struct cds_err *err)
{
    const char *type = cds_json_get_str(event, "type");
    if (!cds_json_is(event, CDS_JSON_OBJECT))
        return cds_fail(err, CDS_BAD_PARAM, __func__, "A message must be a JSON object with a \"type\".");
    if (cds_streq(type, "response.cancel"))
        return responses_turn_cancel(s, event, err);
    if (!cds_streq(type, "response.create")) {
        cds_fail(err, CDS_BAD_PARAM, __func__, "\"type\" must be \"response.create\" or \"response.cancel\".");
        cds_err_pointer(err, "/type");
        return CDS_BAD_PARAM;
    }
    if (s->expired)
        return cds_fail(err, CDS_UNAUTHENTICATED, __func__, "The access token has expired; connect again with a fresh one.");
    return responses_turn_add(s, cds_json_ref(event), len, err);
}

static void on_text(void *user, struct cds_ws *ws, const char *data, size_t len)
{
    struct responses_socket *s = user;
    struct cds_err err = {0};
    CDS_JSON_AUTO event = NULL;
    cds_rc rc = cds_json_parse(data, len, &event, &err);
    if (rc == CDS_OK)
        rc = take(s, event, len, &err);
    if (rc != CDS_OK) {
        const char *lane = NULL;
        struct cds_err ignored;
        if (responses_lane(event, &lane, &ignored) != CDS_OK)
            lane = NULL;
        responses_fail(s, &err, NULL, lane);
    }
}

static void on_room(void *user)
{
    responses_turns_resume(user);
}

static void on_close(void *user, struct cds_ws *ws)
{
    struct responses_socket *s = user;
    s->ws = NULL;
    responses_turns_drop(s);
    responses_kept_free(s);
    renewal_end(&s->renewal);
    if ((*s->back = s->next))
        s->next->back = s->back;
    free(s);
}

static void end_socket(void *user, const struct cds_err *err)
{
    struct responses_socket *s = user;
    if (s->ended)
        return;
    s->ended = s->expired = true;
    cds_log(CDS_LOG_INFO, "socket ended", CDS_LS("user_id", s->who.claims.user_id), CDS_LS("rule", err->rule));
    cds_metric_add(CDS_M_ACCESS_ENDED, "socket", 1);
    responses_turns_drop(s);
    responses_fail(s, err, NULL, NULL);
    if (s->ws)
        cds_ws_close(s->ws, API_CLOSE_ENDED, err->message);
}

void api_responses_recheck(struct api *api, bool unknown)
{
    struct cds_err err;
    for (struct responses_socket *s = api->responses, *next; s; s = next) {
        next = s->next; /* a closed socket is freed later, by on_close */
        cds_rc rc = s->ended ? CDS_OK : api_access_check(api, &s->who, unknown, &err);
        if (rc && renewal_in_doubt(&s->renewal, &err))
            renewal_now(&s->renewal);
        else if (rc || cds_credential_need(&s->who, CDS_ROLE_DEVELOPER, "text generation", &err))
            end_socket(s, &err);
    }
}

static void on_expiry(void *user)
{
    struct responses_socket *s = user;
    s->expired = true;
    if (s->turns)
        cds_timer_set(s->renewal.timer, cds_now_ms() + EXPIRED_GRACE_MS);
    else
        cds_ws_close(s->ws, CLOSE_EXPIRED, "The access token has expired; connect again with a fresh one.");
}

/* ---- opening ---- */
static void on_gone(void *user)
{
    struct responses_socket *s = user;
    cds_credential_forget(&s->wait);
    free(s);
}

static cds_rc admit(struct responses_socket *s, const struct cds_credential *who, struct cds_err *err)
{
    cds_rc rc = cds_credential_need(who, CDS_ROLE_DEVELOPER, "text generation", err);
    if (rc != CDS_OK)
        return rc;
    s->who = *who;
    s->renewal = (struct renewal){.loop = s->api->loop,
                                  .creds = s->api->creds,
                                  .who = &s->who,
                                  .authorization = s->authorization,
                                  .on_expired = on_expiry,
                                  .on_refused = end_socket,
                                  .user = s};
    return renewal_begin(&s->renewal, err);
}

static void on_credential(void *user, const struct cds_credential *who, const struct cds_err *err)
{
    static const struct cds_ws_ops ops = {on_text, on_close};
    struct responses_socket *s = user;
    struct cds_http_req *req = s->req;
    struct cds_err refused = {0};
    s->wait = NULL;
    cds_http_set_user(req, NULL, NULL, NULL);
    if (!err && admit(s, who, &refused) != CDS_OK)
        err = &refused;
    if (err) {
        free(s);
        cds_http_reply_err(req, err);
        return;
    }
    cds_log(CDS_LOG_INFO, "socket", CDS_LS("request_id", cds_http_request_id(req)), CDS_LS("user_id", who->claims.user_id),
            CDS_LS("path", "/v1/responses"));
    if (cds_ws_accept(req, api_allowed_origin(s->api, req), protocol, API_WS_MESSAGE_MAX, API_WS_OUT_MAX, &ops, s, &s->ws)) {
        renewal_end(&s->renewal);
        free(s);
        return;
    }
    if ((s->next = s->api->responses))
        s->next->back = &s->next;
    s->back = &s->api->responses;
    s->api->responses = s;
    cds_ws_on_drain(s->ws, on_room, s);
}

void api_responses_ws(struct api *api, struct cds_http_req *req)
{
    bool offered;
    char token[CDS_JWT_MAX];
    const char *header = cds_http_header(req, "Authorization");
    struct responses_socket *s = calloc(1, sizeof(*s));
    if (!s) {
        struct cds_err err;
        cds_fail(&err, CDS_EXHAUSTED, __func__, "Out of memory.");
        cds_http_reply_err(req, &err);
        return;
    }
    api_ws_bearer(req, protocol, token, sizeof(token), &offered);
    s->api = api;
    s->req = req;
    if (header)
        cds_strcpy(s->authorization, sizeof(s->authorization), header);
    else if (offered)
        snprintf(s->authorization, sizeof(s->authorization), "Bearer %s", token);
    cds_http_set_user(req, s, on_gone, NULL);
    /* The header itself: one that is too long for us is refused, not cut. */
    cds_credential_check(api->creds, header ? header : offered ? token : NULL, on_credential, s, &s->wait);
}
