/* apps/api/logs.c: GET /stream/logs: the studio's log over WebSocket.
 *
 * The supervisor is the only writer of logs/studio.jsonl; each reader follows it with a descriptor of its own (logfile.h). Admins see all
 * lines, others those that carry their own user_id. An API key with scopes needs the scope logs. As on /ws the socket ends with the token, or with
 * the key (renew.h). */
#include <stdlib.h>

#include "apps/api/logfile.h"
#include "apps/api/message.h"
#include "apps/api/renew.h"
#include "lib/base/clock.h"
#include "lib/base/str.h"
#include "lib/http/ws.h"
#include "lib/log/log.h"
#include "lib/metrics/metrics.h"

enum {
    POLL_MS = 200,
    LOG_LINE_MAX = 16 * 1024, /* longer lines are skipped */
    READERS_MAX = 64,
    OUT_MAX = 1024 * 1024,
    CLOSE_EXPIRED = 4001
};

struct reader {
    struct reader *next;
    struct logs *logs;
    struct cds_http_req *req;
    struct cds_credential_wait *wait;
    struct cds_ws *ws;
    struct renewal renewal;
    struct cds_credential who;
    bool ended; /* its credential no longer holds; it is being closed */
    struct logfile file;
    char token[CDS_JWT_MAX];
};

struct logs {
    struct api *api;
    struct cds_timer *tick;
    struct reader *readers;
    unsigned count;
    char path[512];
};

static void unlink_reader(struct reader *reader)
{
    struct reader **place = &reader->logs->readers;
    while (*place && *place != reader)
        place = &(*place)->next;
    if (*place) {
        *place = reader->next;
        reader->logs->count--;
    }
    if (!reader->logs->readers)
        cds_timer_set(reader->logs->tick, UINT64_MAX);
}

static bool may_see(const struct reader *reader, const cds_json *line)
{
    return reader->who.role == CDS_ROLE_ADMIN || cds_streq(cds_json_get_str(line, "user_id"), reader->who.claims.user_id);
}

/* Sends one line; false when the reader cannot take more: the socket is being closed then, and on_close frees the reader later. */
static bool send_line(void *user, const char *text, size_t len, int64_t seq)
{
    struct reader *reader = user;
    CDS_JSON_AUTO line = NULL;
    if (len == 0 || len > LOG_LINE_MAX || cds_json_parse(text, len, &line, NULL) || !may_see(reader, line))
        return true;
    CDS_JSON_AUTO frame = cds_json_pack("{s:I,s:O}", "seq", seq, "line", line);
    size_t n;
    char *out = frame ? cds_json_dumps(frame, &n) : NULL;
    bool ok = !out || !cds_ws_send(reader->ws, out, n);
    free(out);
    return ok;
}

static void on_tick(void *user)
{
    struct logs *logs = user;
    for (struct reader *r = logs->readers; r; r = r->next)
        if (r->ws && !r->ended && cds_ws_pending(r->ws) < OUT_MAX / 2)
            logfile_read(&r->file, send_line, r);
    if (logs->readers)
        cds_timer_set(logs->tick, cds_now_ms() + POLL_MS);
}

cds_rc api_logs_new(struct api *api, struct logs **ret, struct cds_err *reterr)
{
    struct logs *logs = calloc(1, sizeof(*logs));
    if (!logs || cds_timer_add(api->loop, UINT64_MAX, on_tick, logs, &logs->tick)) {
        free(logs);
        return cds_fail(reterr, CDS_EXHAUSTED, __func__, "Out of memory.");
    }
    logs->api = api;
    cds_config_path(api->config, "logs/studio.jsonl", logs->path, sizeof(logs->path));
    *ret = logs;
    return CDS_OK;
}

void api_logs_free(struct logs **logs)
{
    if (!*logs)
        return;
    cds_timer_remove(&(*logs)->tick);
    free(*logs);
    *logs = NULL;
}

static void end_reader(void *user, const struct cds_err *err)
{
    struct reader *reader = user;
    if (reader->ended)
        return;
    reader->ended = true;
    cds_metric_add(CDS_M_ACCESS_ENDED, "logs", 1);
    cds_ws_close(reader->ws, API_CLOSE_ENDED, err->message);
}

void api_logs_recheck(struct logs *logs, bool unknown)
{
    struct cds_err err;
    for (struct reader *reader = logs->readers, *next; reader; reader = next) {
        next = reader->next;
        cds_rc rc = reader->ended ? CDS_OK : api_access_check(logs->api, &reader->who, unknown, &err);
        if (rc && renewal_in_doubt(&reader->renewal, &err))
            renewal_now(&reader->renewal);
        else if (rc)
            end_reader(reader, &err);
    }
}

/* ---- one reader ---- */
static void on_text(void *user, struct cds_ws *ws, const char *data, size_t len)
{
    (void)user, (void)ws, (void)data, (void)len; /* readers have nothing to say; filters live in the page */
}

static void on_close(void *user, struct cds_ws *ws)
{
    struct reader *reader = user;
    unlink_reader(reader);
    renewal_end(&reader->renewal);
    logfile_close(&reader->file);
    free(reader);
}

static void on_expiry(void *user)
{
    const struct reader *reader = user;
    cds_ws_close(reader->ws, CLOSE_EXPIRED, "The access token has expired; connect again with a fresh one.");
}

static void on_gone(void *user)
{
    struct reader *reader = user;
    cds_credential_forget(&reader->wait);
    free(reader);
}

static void on_credential(void *user, const struct cds_credential *who, const struct cds_err *err)
{
    static const struct cds_ws_ops ops = {on_text, on_close};
    struct reader *reader = user;
    struct logs *logs = reader->logs;
    struct cds_http_req *req = reader->req;
    struct cds_err refused;
    reader->wait = NULL;
    cds_http_set_user(req, NULL, NULL, NULL);
    if (!err && !who) {
        cds_fail(&refused, CDS_INTERNAL, __func__, "A check of the credential ended without an answer.");
        err = &refused;
    }
    if (!err && cds_credential_may(who, "logs", "The log", &refused))
        err = &refused;
    if (!err && logs->count >= READERS_MAX) {
        cds_fail(&refused, CDS_BUSY, __func__, "%d log readers are connected already; close one.", READERS_MAX);
        err = &refused;
    }
    if (!err) {
        reader->who = *who;
        reader->renewal = (struct renewal){.loop = logs->api->loop,
                                           .creds = logs->api->creds,
                                           .who = &reader->who,
                                           .authorization = reader->token,
                                           .on_expired = on_expiry,
                                           .on_refused = end_reader,
                                           .user = reader};
        if (renewal_begin(&reader->renewal, &refused))
            err = &refused;
    }
    if (err) {
        free(reader);
        cds_http_reply_err(req, err);
        return;
    }
    logfile_open(&reader->file, logs->path, cds_http_query(req, "after"));
    if (cds_ws_accept(req, api_allowed_origin(logs->api, req), "cds.logs.v1", 4096, OUT_MAX, &ops, reader, &reader->ws)) {
        renewal_end(&reader->renewal);
        logfile_close(&reader->file);
        free(reader);
        return;
    }
    reader->next = logs->readers;
    logs->readers = reader;
    logs->count++;
    cds_timer_set(logs->tick, cds_now_ms());
}

void api_logs_ws(struct api *api, struct cds_http_req *req)
{
    bool offered;
    char token[CDS_JWT_MAX];
    struct cds_err err;
    struct reader *reader = calloc(1, sizeof(*reader));
    api_ws_bearer(req, "cds.logs.v1", token, sizeof(token), &offered);
    if (!offered || !reader) {
        free(reader);
        cds_fail(&err, offered ? CDS_EXHAUSTED : CDS_BAD_REQUEST, __func__, "%s",
                 offered ? "Out of memory." : "This socket speaks the subprotocol cds.logs.v1; offer it, with cds.bearer.<token> beside it.");
        cds_http_reply_err(req, &err);
        return;
    }
    reader->logs = api->logs;
    reader->req = req;
    cds_http_set_user(req, reader, on_gone, NULL);
    cds_strcpy(reader->token, sizeof(reader->token), token);
    cds_credential_check(api->creds, token, on_credential, reader, &reader->wait);
}
