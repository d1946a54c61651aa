/* apps/api/http.c: the routes of the gateway. */
#include <stdlib.h>
#include <string.h>
#include <strings.h>

#include "apps/api/message.h"
#include "apps/api/responses.h"
#include "lib/base/clock.h"
#include "lib/base/str.h"
#include "lib/http/proxy.h"
#include "lib/http/reply.h"
#include "lib/http/ws.h"
#include "lib/log/log.h"
#include "lib/metrics/metrics.h"
#include "lib/rpc/frame.h"

/* One POST /rpc. */
struct exchange {
    struct exchange *next, **back; /* of those in api->exchanges */
    struct api *api;
    struct cds_http_req *req;
    struct cds_credential_wait *wait;
    struct message *message; /* head of a list of one */
    char ip[46], authorization[CDS_JWT_MAX + 8];
};

/* One way in, whatever the header: clients of some APIs send a key without a scheme. */
static const char *credential_of(const struct cds_http_req *req)
{
    const char *authorization = cds_http_header(req, "Authorization");
    return authorization ? authorization : cds_http_header(req, "x-api-key");
}

static void exchange_free(struct exchange *x)
{
    if ((*x->back = x->next))
        x->next->back = x->back;
    free(x);
}

static void on_gone(void *user)
{
    struct exchange *x = user;
    cds_credential_forget(&x->wait);
    if (x->message)
        message_drop(x->message);
    exchange_free(x);
}

static void on_message_done(void *user, cds_json *answer, int status)
{
    struct exchange *x = user;
    struct cds_http_req *req = x->req;
    cds_http_set_user(req, NULL, NULL, NULL);
    exchange_free(x);
    const cds_json *error = cds_json_get(answer, "error"), *problem = cds_json_get(error, "data");
    int64_t retry_ms = cds_json_get_i64(problem, "retry_after_ms", 0);
    char seconds[32];
    snprintf(seconds, sizeof(seconds), "%lld", (long long)(retry_ms + 999) / 1000);
    if (retry_ms > 0)
        cds_http_add_header(req, "Retry-After", seconds);
    if (status == 401)
        cds_http_add_header(req, "WWW-Authenticate", "Bearer realm=\"cyberdevstudio\"");
    if (cds_json_get_i64(error, "code", 0) == cds_rc_jsonrpc(CDS_BUDGET_EXCEEDED))
        cds_http_add_header(req, "x-should-retry", "false"); /* as under /v1: no waiting helps before the budget's next month */
    if (answer)
        cds_http_reply_json(req, status, answer);
    else
        cds_http_reply(req, status, NULL, "", 0);
}

static void on_credential(void *user, const struct cds_credential *who, const struct cds_err *err)
{
    struct exchange *x = user;
    const char *path = cds_http_path(x->req);
    size_t len;
    const char *body = cds_http_body(x->req, &len);
    x->wait = NULL;
    struct message_spec spec = {.api = x->api,
                                .who = who,
                                .auth_err = err,
                                .authorization = x->authorization,
                                .client_ip = x->ip,
                                .request_id = cds_http_request_id(x->req),
                                .method = cds_starts_with(path, "/rpc/") ? path + 5 : NULL,
                                .siblings = &x->message,
                                .on_done = on_message_done,
                                .user = x};
    message_start(&spec, body, len);
}

static bool is_json(const struct cds_http_req *req)
{
    const char *type = cds_http_header(req, "Content-Type");
    return type && !strncasecmp(type, "application/json", 16) && (type[16] == '\0' || type[16] == ';' || type[16] == ' ');
}

static void reply_fail(struct cds_http_req *req, cds_rc code, const char *message, const char *hint)
{
    struct cds_err err;
    cds_fail(&err, code, __func__, "%s", message);
    if (hint)
        cds_err_hint(&err, "%s", hint);
    cds_http_reply_err(req, &err);
}

static void rpc(struct api *api, struct cds_http_req *req)
{
    if (strcmp(cds_http_method(req), "POST") != 0) {
        cds_http_add_header(req, "Allow", "POST");
        reply_fail(req, CDS_BAD_REQUEST, "JSON-RPC calls are sent with POST.", NULL);
        return;
    }
    size_t len;
    cds_http_body(req, &len);
    if (len && !is_json(req)) {
        reply_fail(req, CDS_BAD_REQUEST, "The body of a call is JSON.", "Send Content-Type: application/json.");
        return;
    }
    struct exchange *x = calloc(1, sizeof(*x));
    if (!x) {
        reply_fail(req, CDS_EXHAUSTED, "Out of memory.", NULL);
        return;
    }
    x->api = api;
    x->req = req;
    cds_http_client_ip(req, x->ip);
    const char *credential = credential_of(req);
    if (credential)
        snprintf(x->authorization, sizeof(x->authorization), "%s%s", cds_http_header(req, "Authorization") ? "" : "Bearer ", credential);
    if ((x->next = api->exchanges))
        x->next->back = &x->next;
    x->back = &api->exchanges;
    api->exchanges = x;
    cds_http_set_user(req, x, on_gone, NULL);
    cds_credential_check(api->creds, credential_of(req), on_credential, x, &x->wait);
}

void api_exchanges_recheck(struct api *api, bool unknown)
{
    struct cds_err err;
    for (struct exchange *x = api->exchanges, *next; x; x = next) {
        next = x->next; /* ending x takes no other along: each has one message */
        if (!x->message || !x->message->known)
            continue;
        struct cds_credential who = x->message->who;
        if (api_access_check(api, &who, unknown, &err)) {
            cds_metric_add(CDS_M_ACCESS_ENDED, "http", 1);
            message_abort(x->message, &err);
        } else if (who.role != x->message->who.role) {
            message_set_role(x->message, who.role);
        }
    }
}

/* ---- metrics of the sandbox, which speaks no HTTP ---- */
struct metrics_wait {
    struct cds_http_req *req; /* NULL when the client left */
};

static void metrics_gone(void *user)
{
    ((struct metrics_wait *)user)->req = NULL;
}

static void on_metrics(void *user, cds_json *result, const struct cds_err *err)
{
    struct metrics_wait *wait = user;
    const cds_json *text = cds_json_get(result, "text");
    if (wait->req) {
        cds_http_set_user(wait->req, NULL, NULL, NULL);
        if (err)
            cds_http_reply_err(wait->req, err);
        else
            cds_http_reply(wait->req, 200, "text/plain; version=0.0.4; charset=utf-8", cds_json_str(text) ? cds_json_str(text) : "",
                           cds_json_str_len(text));
    }
    free(wait);
}

static void sandbox_metrics(struct api *api, struct cds_http_req *req)
{
    struct cds_err err;
    struct cds_peer *peer = sandbox_link_peer(api->sandbox, &err);
    struct metrics_wait *wait = peer ? calloc(1, sizeof(*wait)) : NULL;
    if (wait) {
        wait->req = req;
        cds_http_set_user(req, wait, metrics_gone, NULL);
        if (cds_peer_call(peer, "sandboxd.metrics", cds_json_object(), cds_now_ms() + 2000, on_metrics, NULL, wait))
            return;
        cds_http_set_user(req, NULL, NULL, NULL);
        free(wait);
    }
    if (peer)
        cds_fail(&err, CDS_BUSY, __func__, "The sandbox cannot answer now.");
    cds_http_reply_err(req, &err);
}

/* ---- sockets ---- */
void api_ws_bearer(const struct cds_http_req *req, const char *wanted, char *buf, size_t size, bool *ret_has)
{
    static const char prefix[] = "cds.bearer.";
    const char *list = cds_http_header(req, "Sec-WebSocket-Protocol");
    buf[0] = '\0';
    *ret_has = false;
    while (list && *list) {
        size_t n = strcspn(list, ", \t");
        if (n == strlen(wanted) && !strncmp(list, wanted, n))
            *ret_has = true;
        if (n > sizeof(prefix) - 1 && !strncmp(list, prefix, sizeof(prefix) - 1) && n - sizeof(prefix) + 1 < size)
            snprintf(buf, size, "%.*s", (int)(n - sizeof(prefix) + 1), list + sizeof(prefix) - 1);
        list += n;
        list += strspn(list, ", \t");
    }
}

const char *api_allowed_origin(const struct api *api, const struct cds_http_req *req)
{
    const char *origin = cds_http_header(req, "Origin");
    return *api->origin_local && cds_streq(origin, api->origin_local) ? api->origin_local : api->origin;
}

/* ---- routing ---- */
static cds_rc ready(void *user, struct cds_err *err)
{
    struct api *api = user;
    cds_rc rc = cds_credentials_ready(api->creds, err);
    if (!rc)
        rc = cds_standing_ready(api->standing, err);
    if (!rc && !cds_dbq_ready(api->db))
        rc = cds_fail(err, CDS_UNAVAILABLE, __func__, "The database is not connected.");
    return rc ? rc : sandbox_link_ready(api->sandbox, err);
}

static bool to_llmserver(const char *path)
{
    static const char *const names[] = {"/admin/load",    "/admin/unload", "/admin/status", "/admin/models", "/admin/download",
                                        "/admin/inspect", "/admin/events", "/chat",         "/completion",   "/embed",
                                        "/models",        "/download",     "/load",         "/unload"};
    for (size_t i = 0; i < CDS_ARRAY_LEN(names); i++)
        if (cds_streq(path, names[i]))
            return true;
    return cds_starts_with(path, "/v1/");
}

static const enum cds_metric shown_metrics[] = {CDS_M_RPC_CALLS,      CDS_M_RPC_ERRORS,   CDS_M_WS_OPEN,
                                                CDS_M_ACCESS_CHANGES, CDS_M_ACCESS_ENDED, CDS_M_COUNT};

void api_on_request(void *user, struct cds_http_req *req)
{
    struct api *api = user;
    const char *path = cds_http_path(req);
    if (cds_http_ops(req, shown_metrics, ready, api))
        return;
    if (cds_streq(path, "/rpc") || cds_starts_with(path, "/rpc/"))
        rpc(api, req);
    else if (cds_streq(path, "/ws"))
        api_ws(api, req);
    else if (cds_streq(path, "/stream/logs"))
        api_logs_ws(api, req);
    else if (cds_streq(path, "/v1/responses") && cds_http_wants_ws(req))
        api_responses_ws(api, req);
    else if (to_llmserver(path))
        cds_http_proxy(req, api->client, api->llm_url, "the model server", cds_now_ms() + API_V1_MS);
    else if (cds_streq(path, "/metrics/sandboxd"))
        sandbox_metrics(api, req);
    else
        reply_fail(req, CDS_NOT_FOUND, "There is nothing at this address.", "docs/API.md lists the addresses of the gateway.");
}
