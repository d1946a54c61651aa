/* lib/http/proxy.c: one request to a part behind us and its answer back, without buffering more than PIECES_MAX. See proxy.h. */
#include "lib/http/proxy.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>

#include "lib/base/cleanup.h"
#include "lib/base/str.h"
#include "lib/http/server_priv.h"

enum { PIECES_MAX = 64 * 1024, LINES_MAX = 96, CHANGED_MAX = HTTP_HEADER_BLOCK, URL_MAX = HTTP_TARGET_MAX + 256, RETRY_MS = 1000 };

struct proxy {
    struct cds_http_req *req;
    struct cds_http_call *call;
    const struct cds_http_behind_rules *rules;
    void *user;
    char part[64];
    uint64_t length; /* of the answer, UINT64_MAX when the other side did not say */
    bool no_body;    /* HEAD, 204, 304: nothing may follow the head */
    bool too_many;   /* headers of the answer that would not fit */
    int status;
    char type[128];
};

/* ---- there ---- */
static bool passes_in(const char *name)
{
    static const char *const names[] = {"Authorization", "Content-Type",  "Accept",        "Accept-Language", "Cookie",   "Origin",
                                        "User-Agent",    "Last-Event-ID", "If-None-Match", "Idempotency-Key", "x-api-key"};
    for (size_t i = 0; i < CDS_ARRAY_LEN(names); i++)
        if (!strcasecmp(name, names[i]))
            return true;
    return false;
}

/* RFC 9110 section 7.6.1, and what is said anew on each hop. */
static bool is_of_the_hop(const char *name)
{
    static const char *const names[] = {"Connection", "Keep-Alive", "Proxy-Connection",  "Proxy-Authenticate", "Proxy-Authorization", "TE",
                                        "Trailer",    "Upgrade",    "Transfer-Encoding", "Content-Length",     "HTTP2-Settings",      "Expect"};
    for (size_t i = 0; i < CDS_ARRAY_LEN(names); i++)
        if (!strcasecmp(name, names[i]))
            return true;
    return false;
}

struct lines {
    const struct cds_http_behind_rules *rules;
    void *user;
    const char *connection;    /* what the Connection header names is of the hop, too */
    char *line[LINES_MAX + 1]; /* NULL behind the last one */
    unsigned count;
    bool failed;
};

static void add_line(void *user, const char *name, const char *value)
{
    struct lines *lines = user;
    char *line = NULL;
    /* "Name;" is libcurl's way to send an empty value. */
    if (lines->count == LINES_MAX || asprintf(&line, *value ? "%s: %s" : "%s;", name, value) < 0)
        lines->failed = true;
    else
        lines->line[lines->count++] = line;
}

static void take_header(void *user, const char *name, const char *value)
{
    struct lines *lines = user;
    CDS_CLEANUP(cds_buf_free) struct cds_buf changed = cds_buf_init(CHANGED_MAX);
    if (is_of_the_hop(name) || !strcasecmp(name, "Host") || http_has_token(lines->connection, name) || strpbrk(value, "\r\n"))
        return;
    if (lines->rules->pass_in(lines->user, name, value, &changed))
        add_line(lines, name, changed.len ? changed.data : value);
    lines->failed |= changed.failed;
}

static void free_lines(struct lines *lines)
{
    for (unsigned i = 0; i < lines->count; i++)
        free(lines->line[i]);
}

static void collect_lines(const struct cds_http_req *req, struct lines *lines)
{
    lines->connection = cds_http_header(req, "Connection");
    http_each_header(req, take_header, lines);
    lines->rules->more(lines->user, add_line, lines);
    if (lines->rules->socket_open)
        add_line(lines, "Connection", "close"); /* the socket serves one request: the part need not wait for another */
}

/* ---- our own parts ---- */
static bool own_pass_in(void *user, const char *name, const char *value, struct cds_buf *changed)
{
    return passes_in(name);
}

static void own_more(void *user, void (*add)(void *list, const char *name, const char *value), void *list)
{
    char ip[46];
    const struct cds_http_req *req = user;
    const char *host = cds_http_header(req, "Host");
    add(list, "x-request-id", cds_http_request_id(req));
    add(list, "X-Forwarded-For", cds_http_client_ip(req, ip));
    add(list, "X-Forwarded-Host", host ? host : "");
}

/* ---- and back ---- */
static bool passes_back(const char *name)
{
    static const char *const names[] = {"Set-Cookie",
                                        "Cache-Control",
                                        "Retry-After",
                                        "WWW-Authenticate",
                                        "Location",
                                        "x-should-retry",
                                        "Allow",
                                        "ETag",
                                        "Idempotency-Replayed",
                                        "Vary",
                                        "X-Content-Type-Options",
                                        "Content-Disposition",
                                        "Retry-After-Ms",
                                        "x-cds-queue-place",
                                        "request-id",
                                        "RateLimit",
                                        "RateLimit-Policy"};
    for (size_t i = 0; i < CDS_ARRAY_LEN(names); i++)
        if (!strcasecmp(name, names[i]))
            return true;
    return !strncasecmp(name, "x-ratelimit-", 12);
}

static bool own_pass_back(void *user, const char *name, const char *value, struct cds_buf *changed)
{
    return passes_back(name);
}

static const struct cds_http_behind_rules own_rules = {.pass_in = own_pass_in, .more = own_more, .pass_back = own_pass_back};

static void on_header(void *user, const char *name, const char *value)
{
    struct proxy *proxy = user;
    CDS_CLEANUP(cds_buf_free) struct cds_buf changed = cds_buf_init(CHANGED_MAX);
    if (!strcasecmp(name, "Content-Length") && cds_parse_u64(value, 0, INT64_MAX, &proxy->length))
        proxy->length = UINT64_MAX;
    if (is_of_the_hop(name) || !strcasecmp(name, "Content-Type") || !proxy->rules->pass_back(proxy->user, name, value, &changed))
        return;
    proxy->too_many |= proxy->req->extra_count == HTTP_EXTRA_HEADERS || changed.failed;
    cds_http_add_header(proxy->req, name, changed.len ? changed.data : value);
}

static void fail(struct proxy *proxy, const struct cds_err *err)
{
    if (proxy->rules->fail)
        proxy->rules->fail(proxy->user, proxy->req, err);
    else
        cds_http_reply_err(proxy->req, err);
}

static void on_head(void *user, int status, const char *content_type)
{
    struct proxy *proxy = user;
    proxy->status = status;
    if (content_type)
        cds_strcpy(proxy->type, sizeof(proxy->type), content_type);
    if (proxy->too_many)
        return; /* on_done tells */
    proxy->no_body = cds_streq(cds_http_method(proxy->req), "HEAD") || status == 204 || status == 304 || proxy->length == 0;
    if (!proxy->no_body)
        http_stream_start(proxy->req, status, content_type, PIECES_MAX, proxy->length);
}

static void on_room(void *user)
{
    struct proxy *proxy = user;
    if (proxy->call)
        cds_http_call_resume(proxy->call);
}

static bool on_data(void *user, const char *data, size_t len)
{
    struct proxy *proxy = user;
    if (proxy->no_body || proxy->too_many)
        return true;
    /* BUSY: the browser reads slower than the part writes, so the part waits. CANCELLED ends by the hook. */
    return cds_http_stream_write(proxy->req, data, len) != CDS_BUSY;
}

static size_t on_body(void *user, char *to, size_t max)
{
    struct proxy *proxy = user;
    return cds_http_body_take(proxy->req, to, max);
}

static void on_done(void *user, int status, const char *body, size_t len, const struct cds_err *err)
{
    struct proxy *proxy = user;
    struct cds_http_req *req = proxy->req;
    struct cds_err told;
    proxy->call = NULL;
    if (proxy->too_many) {
        cds_fail(&told, CDS_UNAVAILABLE, __func__, "%s answered with more headers than can be passed on.", proxy->part);
        fail(proxy, &told);
    } else if (proxy->status && !proxy->no_body) {
        cds_http_stream_finish(req, err != NULL);
    } else if (!err && proxy->status) {
        cds_http_reply(req, proxy->status, *proxy->type ? proxy->type : NULL, "", 0);
    } else {
        bool late = err && err->code == CDS_TIMED_OUT;
        if (late)
            cds_fail(&told, CDS_TIMED_OUT, __func__, "%s did not answer in time.", proxy->part);
        else
            cds_fail(&told, CDS_UNAVAILABLE, __func__, "%s cannot be reached.", proxy->part);
        told.retry_after_ms = RETRY_MS;
        cds_err_hint(&told, "Try again in a moment; if it stays so, look at the log of this part.");
        cds_err_detail(&told, "%s", err ? err->detail : "no status");
        fail(proxy, &told);
    }
}

/* The request ended, answered or not: the part must not go on working for nobody. */
static void on_end(void *user)
{
    struct proxy *proxy = user;
    cds_http_on_body(proxy->req, NULL, NULL);
    cds_http_call_cancel(&proxy->call);
    free(proxy);
}

static void name_part(struct proxy *proxy, const char *part)
{
    cds_strcpy(proxy->part, sizeof(proxy->part), part);
    if (proxy->part[0] >= 'a' && proxy->part[0] <= 'z')
        proxy->part[0] = (char)(proxy->part[0] - 'a' + 'A'); /* it begins the sentence */
}

static cds_rc start_call(struct proxy *proxy, struct cds_http_client *client, const char *base, const struct cds_http_behind *behind,
                         struct cds_err *err)
{
    struct cds_http_req *req = proxy->req;
    struct lines lines = {.rules = proxy->rules, .user = proxy->user};
    char url[URL_MAX];
    collect_lines(req, &lines);
    snprintf(url, sizeof(url), "%s%s", base, cds_http_target(req));
    struct cds_http_call_spec spec = {.method = cds_http_method(req),
                                      .url = url,
                                      .headers = (const char *const *)lines.line,
                                      .deadline_ms = behind->deadline_ms,
                                      .on_header = on_header,
                                      .on_head = on_head,
                                      .on_data = on_data,
                                      .on_done = on_done,
                                      .user = proxy,
                                      .socket_open = proxy->rules->socket_open,
                                      .socket_close = proxy->rules->socket_close,
                                      .socket_user = behind->socket_user};
    if (req->body_streams && req->length) {
        spec.on_body = on_body;
        spec.body_len = (size_t)req->length;
        cds_http_on_body(req, on_room, proxy);
    } else {
        spec.body = cds_http_body(req, &spec.body_len);
    }
    cds_rc rc = lines.failed ? cds_fail(err, CDS_BAD_REQUEST, __func__, "The request has too many headers to be passed on.")
                             : cds_http_call_start(client, &spec, &proxy->call, err);
    free_lines(&lines);
    return rc;
}

static void start(struct cds_http_req *req, struct cds_http_client *client, const char *base, const struct cds_http_behind *behind)
{
    struct cds_err err;
    struct proxy *proxy = calloc(1, sizeof(*proxy));
    if (!proxy) {
        cds_fail(&err, CDS_EXHAUSTED, __func__, "Out of memory.");
        cds_http_reply_err(req, &err);
        return;
    }
    proxy->req = req;
    proxy->rules = behind->rules;
    proxy->user = behind->user;
    proxy->length = UINT64_MAX;
    name_part(proxy, behind->part);
    if (start_call(proxy, client, base, behind, &err)) {
        cds_http_on_body(req, NULL, NULL);
        fail(proxy, &err);
        free(proxy);
        return;
    }
    req->hook_user = proxy;
    req->hook_end = on_end;
    cds_http_stream_on_drain(req, on_room, proxy);
}

void cds_http_proxy(struct cds_http_req *req, struct cds_http_client *client, const char *upstream_base, const char *part, uint64_t deadline_ms)
{
    start(req, client, upstream_base, &(struct cds_http_behind){.part = part, .deadline_ms = deadline_ms, .rules = &own_rules, .user = req});
}

void cds_http_proxy_behind(struct cds_http_req *req, struct cds_http_client *client, const struct cds_http_behind *behind)
{
    char base[96];
    bool v6 = strchr(behind->address, ':') != NULL;
    snprintf(base, sizeof(base), "http://%s%s%s:%u", v6 ? "[" : "", behind->address, v6 ? "]" : "", behind->port);
    start(req, client, base, behind);
}
