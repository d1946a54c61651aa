/* apps/api/socket.c: GET /ws: JSON-RPC over WebSocket.
 *
 * The access token comes as a subprotocol, so that it stands in no URL. The socket lives as long as the token, with an API key as long as that
 * (renew.h): when it expires, no new call is taken, what has no end of its own (a terminal's reader) is cancelled, and the socket closes with 4001
 * once the others have ended; the page then connects again with a fresh token. When the user or session no longer holds, each open call is told why
 * and the socket closes at once with 4003. Another role holds from then on: session.changed tells it, and calls that need more are ended. */
#include <stdlib.h>

#include "apps/api/message.h"
#include "apps/api/renew.h"
#include "lib/base/clock.h"
#include "lib/base/str.h"
#include "lib/http/ws.h"
#include "lib/log/log.h"
#include "lib/metrics/metrics.h"

enum { CLOSE_EXPIRED = 4001, EXPIRED_GRACE_MS = 500 };

struct socket {
    struct socket *next, **back; /* of the open ones, in api->sockets */
    struct api *api;
    struct cds_http_req *req; /* until it was upgraded */
    struct cds_credential_wait *wait;
    struct cds_ws *ws;
    struct cds_credential who;
    struct message *open;
    struct renewal renewal;
    bool ended; /* its credential no longer holds; it is being closed */
    char authorization[CDS_JWT_MAX + 8];
    char ip[46];
};

static void send_json(struct socket *s, const cds_json *value)
{
    size_t len;
    char *text = cds_json_dumps(value, &len);
    if (text && s->ws) {
        cds_rc rc = cds_ws_send(s->ws, text, len);
        (void)rc; /* a full queue closes the socket with 1013; on_close then drops the calls */
    }
    free(text);
}

static void on_done(void *user, cds_json *answer, int status)
{
    struct socket *s = user;
    if (answer)
        send_json(s, answer);
}

static bool on_notify(void *user, const cds_json *notification)
{
    send_json(user, notification);
    return true;
}

static size_t pending(void *user)
{
    const struct socket *s = user;
    return s->ws ? cds_ws_pending(s->ws) : 0;
}

static void on_text(void *user, struct cds_ws *ws, const char *data, size_t len)
{
    struct socket *s = user;
    if (s->ended)
        return;
    struct message_spec spec = {.api = s->api,
                                .who = &s->who,
                                .authorization = s->authorization,
                                .client_ip = s->ip,
                                .siblings = &s->open,
                                .calls_max = API_OPEN_PER_SOCKET,
                                .on_done = on_done,
                                .on_notify = on_notify,
                                .pending = pending,
                                .user = s};
    message_start(&spec, data, len);
}

static void on_close(void *user, struct cds_ws *ws)
{
    struct socket *s = user;
    s->ws = NULL;
    while (s->open)
        message_drop(s->open);
    renewal_end(&s->renewal);
    if ((*s->back = s->next))
        s->next->back = s->back;
    free(s);
}

static void end_socket(struct socket *s, const struct cds_err *err)
{
    cds_log(CDS_LOG_INFO, "socket ended", CDS_LS("user_id", s->who.claims.user_id), CDS_LS("rule", err->rule));
    cds_metric_add(CDS_M_ACCESS_ENDED, "socket", 1);
    for (struct message *m = s->open, *next; m; m = next) {
        next = m->next;
        message_abort(m, err);
    }
    if (s->ws)
        cds_ws_close(s->ws, API_CLOSE_ENDED, err->message);
}

static void change_role(struct socket *s, enum cds_role role)
{
    s->who.role = role;
    for (struct message *m = s->open, *next; m; m = next) {
        next = m->next;
        message_set_role(m, role);
    }
    CDS_JSON_AUTO note = cds_rpc_notification("session.changed", cds_json_pack("{s:s}", "role", cds_role_name(role)));
    if (note)
        send_json(s, note);
}

void api_sockets_recheck(struct api *api, bool unknown)
{
    struct cds_err err;
    for (struct socket *s = api->sockets, *next; s; s = next) {
        next = s->next; /* a closed socket is freed later, by on_close */
        struct cds_credential who = s->who;
        cds_rc rc = s->ended ? CDS_OK : api_access_check(api, &who, unknown, &err);
        if (rc && renewal_in_doubt(&s->renewal, &err)) {
            renewal_now(&s->renewal);
        } else if (rc) {
            s->ended = true;
            end_socket(s, &err);
        } else if (!s->ended && who.role != s->who.role) {
            change_role(s, who.role);
        }
    }
}

static void on_expiry(void *user)
{
    struct socket *s = user;
    for (struct message *m = s->open, *next; m; m = next) {
        next = m->next;
        message_expire(m);
    }
    if (s->open)
        cds_timer_set(s->renewal.timer, cds_now_ms() + EXPIRED_GRACE_MS);
    else
        cds_ws_close(s->ws, CLOSE_EXPIRED, "The access token has expired; connect again with a fresh one.");
}

static void on_refused(void *user, const struct cds_err *err)
{
    struct socket *s = user;
    if (!s->ended) {
        s->ended = true;
        end_socket(s, err);
    }
}

static void on_gone(void *user)
{
    struct socket *s = user;
    cds_credential_forget(&s->wait);
    free(s);
}

static void on_credential(void *user, const struct cds_credential *who, const struct cds_err *err)
{
    static const struct cds_ws_ops ops = {on_text, on_close};
    struct socket *s = user;
    struct cds_http_req *req = s->req;
    s->wait = NULL;
    cds_http_set_user(req, NULL, NULL, NULL);
    if (err) {
        free(s);
        cds_http_reply_err(req, err);
        return;
    }
    s->who = *who;
    struct cds_err full;
    s->renewal = (struct renewal){.loop = s->api->loop,
                                  .creds = s->api->creds,
                                  .who = &s->who,
                                  .authorization = s->authorization,
                                  .on_expired = on_expiry,
                                  .on_refused = on_refused,
                                  .user = s};
    if (renewal_begin(&s->renewal, &full)) {
        free(s);
        cds_http_reply_err(req, &full);
        return;
    }
    cds_log(CDS_LOG_INFO, "socket", CDS_LS("request_id", cds_http_request_id(req)), CDS_LS("user_id", who->claims.user_id), CDS_LS("path", "/ws"));
    if (cds_ws_accept(req, api_allowed_origin(s->api, req), "cds.rpc.v1", API_WS_MESSAGE_MAX, API_WS_OUT_MAX, &ops, s, &s->ws)) {
        renewal_end(&s->renewal);
        free(s);
        return;
    }
    if ((s->next = s->api->sockets))
        s->next->back = &s->next;
    s->back = &s->api->sockets;
    s->api->sockets = s;
}

void api_ws(struct api *api, struct cds_http_req *req)
{
    bool offered;
    struct cds_err err;
    struct socket *s = calloc(1, sizeof(*s));
    if (!s) {
        cds_fail(&err, CDS_EXHAUSTED, __func__, "Out of memory.");
        cds_http_reply_err(req, &err);
        return;
    }
    char token[CDS_JWT_MAX];
    api_ws_bearer(req, "cds.rpc.v1", token, sizeof(token), &offered);
    if (!offered) {
        free(s);
        cds_fail(&err, CDS_BAD_REQUEST, __func__, "This socket speaks the subprotocol cds.rpc.v1; offer it, with cds.bearer.<token> beside it.");
        cds_http_reply_err(req, &err);
        return;
    }
    s->api = api;
    s->req = req;
    cds_http_client_ip(req, s->ip);
    snprintf(s->authorization, sizeof(s->authorization), "Bearer %s", token);
    cds_http_set_user(req, s, on_gone, NULL);
    cds_credential_check(api->creds, token, on_credential, s, &s->wait);
}
