/* apps/api/leaf_preview.c: preview.open, preview.close and preview.list over the socket of cds-preview. To open one, the sandbox is asked first:
 * it knows whether a program listens, and gives the key under which it lends cds-preview the sockets in that program's network. */
#include <stdlib.h>
#include <string.h>

#include "apps/api/message.h"
#include "lib/base/cleanup.h"
#include "lib/base/fd.h"
#include "lib/base/str.h"
#include "lib/log/log.h"
#include "lib/rpc/frame.h"

enum { FRAME_MAX = 256 * 1024, OUT_MAX = 1024 * 1024 };

struct preview_link {
    struct api *api;
    struct cds_peer *peer; /* NULL: not connected; the next call tries */
    char path[512];
};

/* Where a call waits. */
struct step {
    struct cds_peer *peer;
    int64_t peer_call;
};

/* ---- connection ---- */
static void on_request(void *user, struct cds_peer *peer, const struct cds_rpc_request *request, cds_json *message)
{
    (void)user, (void)peer, (void)request, (void)message; /* cds-preview asks nothing of us */
}

static void on_close(void *user, struct cds_peer *peer, const char *reason)
{
    struct preview_link *link = user;
    (void)peer;
    link->peer = NULL;
    cds_log(CDS_LOG_WARN, "the connection to the previews ended", CDS_LS("reason", reason));
}

cds_rc preview_link_new(struct api *api, struct preview_link **ret, struct cds_err *reterr)
{
    struct preview_link *link = calloc(1, sizeof(*link));
    if (!link)
        return cds_fail(reterr, CDS_EXHAUSTED, __func__, "Out of memory.");
    link->api = api;
    cds_config_path(api->config, "run/preview.sock", link->path, sizeof(link->path));
    *ret = link;
    return CDS_OK;
}

void preview_link_free(struct preview_link **link)
{
    if (!*link)
        return;
    cds_peer_close(&(*link)->peer);
    free(*link);
    *link = NULL;
}

static struct cds_peer *peer_of(struct preview_link *link, struct cds_err *err)
{
    static const struct cds_peer_ops ops = {on_request, on_close};
    int fd = -1;
    if (!link->peer && !cds_unix_connect(link->path, &fd, err) &&
        cds_peer_new(link->api->loop, fd, FRAME_MAX, OUT_MAX, &ops, link, &link->peer, err)) {
        cds_close_fd(&fd);
        link->peer = NULL;
    }
    if (!link->peer) {
        cds_fail(err, CDS_UNAVAILABLE, __func__, "Previews are not reachable at the moment; they are being started again.");
        cds_err_hint(err, "Try again in a few seconds.");
        err->retry_after_ms = 1000;
    }
    return link->peer;
}

void preview_end_all(struct api *api, const char *user_id, const char *session_id)
{
    struct cds_err err;
    struct cds_peer *peer = api->previews ? peer_of(api->previews, &err) : NULL; /* away: it has none open */
    cds_json *params = cds_json_object();
    if (user_id)
        cds_json_set(params, "user", cds_json_string(user_id));
    if (session_id)
        cds_json_set(params, "session", cds_json_string(session_id));
    CDS_JSON_AUTO note = cds_rpc_notification("preview.end_all", params);
    if (peer && note && cds_peer_send(peer, note))
        cds_log(CDS_LOG_ERROR, "cds-preview could not be told whose previews end", CDS_LS("user_id", user_id ? user_id : "of every key"));
}

/* ---- one call ---- */
static void drop(struct call *call)
{
    struct step *step = call->leaf;
    if (step)
        cds_peer_forget(step->peer, step->peer_call);
    free(step);
    call->leaf = NULL;
}

static void leave_step(struct call *call)
{
    free(call->leaf);
    call->leaf = NULL;
    call->leaf_drop = NULL;
}

/* Asks one side; steals params. The call is failed when it cannot be. */
static void ask(struct call *call, struct cds_peer *peer, const char *method, cds_json *params, cds_peer_done_fn *done)
{
    struct cds_err err;
    struct step *step = calloc(1, sizeof(*step));
    if (!step)
        abort();
    step->peer = peer;
    step->peer_call = cds_peer_call(peer, method, params, call->deadline_ms + 1000, done, NULL, call);
    call->leaf_cancel = NULL;
    if (step->peer_call == 0) {
        free(step);
        cds_fail(&err, CDS_BUSY, __func__, "More calls wait than can be taken.");
        err.retry_after_ms = 1000;
        call_fail(call, &err);
        return;
    }
    call->leaf = step;
    call->leaf_drop = drop;
}

static void on_answer(void *user, cds_json *result, const struct cds_err *err)
{
    struct call *call = user;
    leave_step(call);
    if (err)
        call_fail(call, err);
    else
        call_succeed(call, cds_json_copy(result));
}

/* What the client asked for, and who it is: its schema knows no such members. */
static void ask_previews(struct call *call, const char *grant)
{
    struct cds_err err;
    const struct cds_claims *claims = &call_who(call)->claims;
    struct cds_peer *peer = peer_of(call->api->previews, &err);
    if (!peer) {
        call_fail(call, &err);
        return;
    }
    cds_json *params = cds_json_copy(call->params);
    cds_json_set(params, "user", cds_json_string(claims->user_id));
    cds_json_set(params, "session", cds_json_string(claims->session_id));
    cds_json_set(params, "expires_s", cds_json_int(call->holds_until_s));
    cds_json_set(params, "keyed", cds_json_bool(*claims->key_id));
    if (grant)
        cds_json_set(params, "grant", cds_json_string(grant));
    ask(call, peer, call->method->name, params, on_answer);
}

static void on_grant(void *user, cds_json *result, const struct cds_err *err)
{
    struct call *call = user;
    leave_step(call);
    if (err)
        call_fail(call, err);
    else
        ask_previews(call, cds_json_get_str(result, "grant"));
}

static void ask_sandbox(struct call *call)
{
    struct cds_err err;
    struct cds_peer *peer = sandbox_link_peer(call->api->sandbox, &err);
    if (!peer) {
        call_fail(call, &err);
        return;
    }
    cds_json *params = cds_json_copy(call->params);
    cds_json_set(params, "user", cds_json_string(call_who(call)->claims.user_id));
    ask(call, peer, "preview.grant", params, on_grant);
}

/* Names below localhost mean the browser's own machine: they are of no use to who comes from another one. */
static cds_rc check_origin(const struct api *api, struct cds_err *err)
{
    const char *url = cds_config_str(api->config, CDS_OPT_PUBLIC_URL), *host = strstr(url, "://");
    if (!host || *cds_config_str(api->config, CDS_OPT_PREVIEW_ORIGIN) || cds_starts_with(host, "://localhost") || cds_starts_with(host, "://127.") ||
        cds_starts_with(host, "://[::1]"))
        return CDS_OK;
    cds_fail(err, CDS_CONFLICT, __func__, "This studio is reached by a name of its own, but no address for previews is set.");
    cds_err_rule(err, "preview.origin");
    return cds_err_hint(err, "An admin sets preview.origin, e.g. https://*.preview.example.org, best below another domain than the studio's.");
}

static void go_on(struct call *call)
{
    struct cds_err err;
    if (!cds_streq(call->method->name, "preview.open"))
        ask_previews(call, NULL);
    else if (check_origin(call->api, &err))
        call_fail(call, &err);
    else
        ask_sandbox(call);
}

/* Of a live key; one without an end has the highest number that JSON carries exactly. */
static const char key_end_sql[] = "SELECT coalesce(extract(epoch FROM expires_at)::bigint, 9007199254740991) FROM api_keys"
                                  " WHERE user_id = $1::uuid AND id = $2::uuid AND revoked_at IS NULL";

static void on_key_end(void *user, const struct cds_rows *rows, const struct cds_err *err)
{
    struct call *call = call_queried(user, err);
    if (!call)
        return;
    call->holds_until_s = cds_rows_i64(rows, 0, 0, call->holds_until_s); /* no row: it ends just now, and with it its token */
    go_on(call);
}

/* A session shows its next token with the next call. A key is the same tomorrow: what it opens holds as long as the key, and its end is told
 * (access.c). */
static void after_check(struct call *call)
{
    const struct cds_claims *claims = &call_who(call)->claims;
    const char *params[] = {claims->user_id, claims->key_id};
    call->holds_until_s = claims->expires_s;
    if (*claims->key_id)
        call_query(call, key_end_sql, 2, params, on_key_end);
    else
        go_on(call);
}

void preview_start(struct call *call)
{
    project_check(call, after_check);
}
