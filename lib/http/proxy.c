/* lib/http/proxy.c: one request to a part behind us and its answer back, without buffering more than PIECES_MAX. See proxy.h. */
#include "lib/http/proxy.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>

#include "lib/base/str.h"
#include "lib/http/server_priv.h"

enum { PIECES_MAX = 64 * 1024, LINES_MAX = 24, URL_MAX = HTTP_TARGET_MAX + 256, RETRY_MS = 1000 };

struct proxy {
    struct cds_http_req *req;
    struct cds_http_call *call;
    char part[64];
    uint64_t length; /* of the answer, UINT64_MAX when the other side did not say */
    bool no_body;    /* HEAD, 204, 304: nothing may follow the head */
    int status;
    char type[128];
};

/* ---- there ---- */
static bool passes_in(const char *name)
{
    static const char *const names[] = {"Authorization", "Content-Type", "Accept",        "Accept-Language", "Cookie",
                                        "Origin",        "User-Agent",   "Last-Event-ID", "If-None-Match",   "Idempotency-Key"};
    for (size_t i = 0; i < CDS_ARRAY_LEN(names); i++)
        if (!strcasecmp(name, names[i]))
            return true;
    return false;
}

struct lines {
    char *line[LINES_MAX + 1]; /* NULL behind the last one */
    unsigned count;
    bool failed;
};

static void add_line(struct lines *lines, const char *name, const char *value)
{
    char *line = NULL;
    /* "Name;" is libcurl's way to send an empty value. */
    if (lines->count == LINES_MAX || asprintf(&line, *value ? "%s: %s" : "%s;", name, value) < 0)
        lines->failed = true;
    else
        lines->line[lines->count++] = line;
}

static void take_header(void *user, const char *name, const char *value)
{
    if (passes_in(name))
        add_line(user, name, value);
}

static void free_lines(struct lines *lines)
{
    for (unsigned i = 0; i < lines->count; i++)
        free(lines->line[i]);
}

static void collect_lines(const struct cds_http_req *req, struct lines *lines)
{
    char ip[46];
    const char *host = cds_http_header(req, "Host");
    http_each_header(req, take_header, lines);
    add_line(lines, "x-request-id", cds_http_request_id(req));
    add_line(lines, "X-Forwarded-For", cds_http_client_ip(req, ip));
    add_line(lines, "X-Forwarded-Host", host ? host : "");
}

/* ---- and back ---- */
static bool passes_back(const char *name)
{
    static const char *const names[] = {
        "Set-Cookie", "Cache-Control", "Retry-After", "WWW-Authenticate",       "Location",           "x-should-retry",
        "Allow",      "ETag",          "Vary",        "X-Content-Type-Options", "Content-Disposition"};
    for (size_t i = 0; i < CDS_ARRAY_LEN(names); i++)
        if (!strcasecmp(name, names[i]))
            return true;
    return false;
}

static void on_header(void *user, const char *name, const char *value)
{
    struct proxy *proxy = user;
    if (passes_back(name))
        cds_http_add_header(proxy->req, name, value);
    else if (!strcasecmp(name, "Content-Length") && cds_parse_u64(value, 0, INT64_MAX, &proxy->length))
        proxy->length = UINT64_MAX;
}

static void on_head(void *user, int status, const char *content_type)
{
    struct proxy *proxy = user;
    proxy->status = status;
    if (content_type)
        cds_strcpy(proxy->type, sizeof(proxy->type), content_type);
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
    if (proxy->no_body)
        return true;
    /* BUSY: the browser reads slower than the part writes, so the part waits. CANCELLED ends by the hook. */
    return cds_http_stream_write(proxy->req, data, len) != CDS_BUSY;
}

static void on_done(void *user, int status, const char *body, size_t len, const struct cds_err *err)
{
    struct proxy *proxy = user;
    struct cds_http_req *req = proxy->req;
    struct cds_err told;
    proxy->call = NULL;
    if (proxy->status && !proxy->no_body) {
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
        cds_http_reply_err(req, &told);
    }
}

/* The request ended, answered or not: the part must not go on working for nobody. */
static void on_end(void *user)
{
    struct proxy *proxy = user;
    cds_http_call_cancel(&proxy->call);
    free(proxy);
}

static void name_part(struct proxy *proxy, const char *part)
{
    cds_strcpy(proxy->part, sizeof(proxy->part), part);
    if (proxy->part[0] >= 'a' && proxy->part[0] <= 'z')
        proxy->part[0] = (char)(proxy->part[0] - 'a' + 'A'); /* it begins the sentence */
}

void cds_http_proxy(struct cds_http_req *req, struct cds_http_client *client, const char *upstream_base, const char *part, uint64_t deadline_ms)
{
    struct lines lines = {{NULL}, 0, false};
    struct cds_err err;
    char url[URL_MAX];
    struct proxy *proxy = calloc(1, sizeof(*proxy));
    if (!proxy) {
        cds_fail(&err, CDS_EXHAUSTED, __func__, "Out of memory.");
        cds_http_reply_err(req, &err);
        return;
    }
    proxy->req = req;
    proxy->length = UINT64_MAX;
    name_part(proxy, part);
    collect_lines(req, &lines);
    snprintf(url, sizeof(url), "%s%s", upstream_base, cds_http_target(req));
    struct cds_http_call_spec spec = {.method = cds_http_method(req),
                                      .url = url,
                                      .headers = (const char *const *)lines.line,
                                      .deadline_ms = deadline_ms,
                                      .on_header = on_header,
                                      .on_head = on_head,
                                      .on_data = on_data,
                                      .on_done = on_done,
                                      .user = proxy};
    spec.body = cds_http_body(req, &spec.body_len);
    cds_rc rc = lines.failed ? cds_fail(&err, CDS_BAD_REQUEST, __func__, "The request has too many headers to be passed on.")
                             : cds_http_call_start(client, &spec, &proxy->call, &err);
    free_lines(&lines);
    if (rc) {
        free(proxy);
        cds_http_reply_err(req, &err);
        return;
    }
    req->hook_user = proxy;
    req->hook_end = on_end;
    cds_http_stream_on_drain(req, on_room, proxy);
}
