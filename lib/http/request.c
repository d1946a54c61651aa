/* lib/http/request.c: the way of a request from its head to the handler, and what the handler may ask about it. */
#include <arpa/inet.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>
#include <sys/epoll.h>
#include <sys/socket.h>

#include "lib/base/clock.h"
#include "lib/base/random.h"
#include "lib/base/str.h"
#include "lib/http/server_priv.h"

/* ---- what the head may look like ---- */
struct head {
    unsigned hosts, lengths, encodings;
    bool nul;
    const char *length;
};

static enum MHD_Result look_at(void *cls, enum MHD_ValueKind kind, const char *key, size_t key_len, const char *value, size_t value_len)
{
    struct head *head = cls;
    if (memchr(key, '\0', key_len) || (value && memchr(value, '\0', value_len)))
        head->nul = true;
    if (!strcasecmp(key, "Host"))
        head->hosts++;
    if (!strcasecmp(key, "Transfer-Encoding"))
        head->encodings++;
    if (!strcasecmp(key, "Content-Length")) {
        head->lengths++;
        head->length = value ? value : "";
    }
    return MHD_YES;
}

static bool target_is_sane(const char *target)
{
    if (target[0] != '/' || strlen(target) > HTTP_TARGET_MAX)
        return false;
    for (const unsigned char *p = (const unsigned char *)target; *p; p++)
        if (*p <= ' ' || *p >= 0x7f || (p[0] == '%' && p[1] == '0' && p[2] == '0'))
            return false;
    return true;
}

/* RFC 9112 section 3.2 (Host) and 6.3 (length). Refusing Transfer-Encoding closes the door to request smuggling; browsers, curl and the
 * clients of the OpenAI API send Content-Length. */
static cds_rc check_head(const struct cds_http_req *req, const char *version, int *ret_status, uint64_t *ret_length, struct cds_err *err)
{
    struct head head = {0};
    uint64_t length = 0;
    MHD_get_connection_values_n(req->con, MHD_HEADER_KIND, look_at, &head);
    *ret_status = 400;
    if (!cds_starts_with(version, "HTTP/1."))
        return cds_fail(err, CDS_BAD_REQUEST, __func__, "This server speaks HTTP/1.1.");
    if (!target_is_sane(req->target))
        return cds_fail(err, CDS_BAD_REQUEST, __func__,
                        "The request target is not a path, is too long, or holds bytes that must be percent-encoded.");
    if (head.nul)
        return cds_fail(err, CDS_BAD_REQUEST, __func__, "A header holds a NUL byte.");
    if (head.hosts != 1)
        return cds_fail(err, CDS_BAD_REQUEST, __func__, "The request needs exactly one Host header.");
    if (head.encodings && head.lengths)
        return cds_fail(err, CDS_BAD_REQUEST, __func__, "Transfer-Encoding and Content-Length exclude each other.");
    if (head.encodings) {
        *ret_status = 411;
        return cds_fail(err, CDS_BAD_REQUEST, __func__, "Send the body with Content-Length; chunked bodies are not accepted.");
    }
    if (head.lengths > 1 || (head.lengths && cds_parse_u64(head.length, 0, INT64_MAX, &length)))
        return cds_fail(err, CDS_BAD_REQUEST, __func__, "Content-Length must be one decimal number.");
    if (length > req->server->limits.body_max_bytes) {
        *ret_status = 413;
        cds_fail(err, CDS_TOO_LARGE, __func__, "The body has %llu bytes; at most %zu are accepted.", (unsigned long long)length,
                 req->server->limits.body_max_bytes);
        return cds_err_hint(err, "Send less at once.");
    }
    *ret_length = length;
    return CDS_OK;
}

static enum MHD_Result queue(struct cds_http_req *req)
{
    if (req->queued)
        return MHD_YES;
    if (!req->response)
        return MHD_NO;
    req->queued = true;
    enum MHD_Result ok = MHD_queue_response(req->con, (unsigned)req->status, req->response);
    MHD_destroy_response(req->response);
    req->response = NULL;
    return ok;
}

static enum MHD_Result on_head(struct cds_http_req *req, const char *url, const char *method, const char *version)
{
    struct cds_err err = {0};
    int status = 0;
    req->head_seen = true;
    req->path = url;
    req->method = method;
    req->http11 = cds_streq(version, "HTTP/1.1");
    const char *id = req->server->trust_request_id ? cds_http_header(req, "x-request-id") : NULL;
    if (id && cds_uuid_valid(id))
        cds_strcpy(req->id, sizeof(req->id), id);
    else
        cds_uuid7(req->id);
    if (check_head(req, version, &status, &req->length, &err)) {
        http_reply_err_as(req, status, &err);
        return queue(req);
    }
    if (req->server->on_header && req->server->on_header(req->server->user, req, &err) && !req->answered)
        cds_http_reply_err(req, &err);
    return req->answered ? queue(req) : MHD_YES;
}

static void dispatch(struct cds_http_req *req)
{
    req->dispatched = true;
    req->conn->deadline_ms = UINT64_MAX; /* read completely: from here the handler's deadlines count */
    req->server->on_request(req->server->user, req);
}

/* A piece of a body that is not collected: as much as there is room for; libmicrohttpd keeps the rest. */
static enum MHD_Result take_piece(struct cds_http_req *req, const char *data, size_t *size)
{
    if (!req->dispatched && !req->answered)
        dispatch(req);
    req->conn->deadline_ms = cds_now_ms() + req->server->limits.read_ms;
    if (req->answered) { /* libmicrohttpd takes an answer behind the whole body only */
        *size = 0;
        return MHD_YES;
    }
    /* Whoever is told takes it at once, or later: only then it is waited for. */
    for (size_t n = 1; n && *size && !req->answered; data += n) {
        size_t room = req->body.ceiling - req->body.len;
        n = *size < room ? *size : room;
        if (n && cds_buf_add(&req->body, data, n))
            return MHD_NO;
        *size -= n;
        if (n && req->on_body)
            req->on_body(req->on_body_user);
    }
    if (*size && !req->answered) {
        req->conn->deadline_ms = UINT64_MAX; /* it is not the client that we wait for */
        http_watch_gone(req);
        req->suspended = true;
        MHD_suspend_connection(req->con);
    }
    return MHD_YES;
}

enum MHD_Result http_on_access(void *cls, struct MHD_Connection *con, const char *url, const char *method, const char *version, const char *data,
                               size_t *size, void **req_cls)
{
    struct cds_http_req *req = *req_cls;
    if (!req || req->gone)
        return MHD_NO;
    if (!req->head_seen)
        return on_head(req, url, method, version);
    if (*size && req->body_streams)
        return take_piece(req, data, size);
    if (*size) {
        if (req->answered || cds_buf_add(&req->body, data, *size))
            return MHD_NO;
        *size = 0;
        return MHD_YES;
    }
    req->conn->deadline_ms = UINT64_MAX;
    /* Called again after each resume, hence the flags. */
    if (!req->dispatched && !req->answered)
        dispatch(req);
    if (req->answered)
        return queue(req);
    http_watch_gone(req);
    req->suspended = true;
    MHD_suspend_connection(con);
    return MHD_YES;
}

/* ---- waiting and leaving ---- */
void http_wake(struct cds_http_req *req)
{
    if (!req->suspended)
        return; /* resuming a running connection is undefined */
    req->suspended = false;
    MHD_resume_connection(req->con);
    http_kick(req->server);
}

bool http_is_complete(const struct cds_http_req *req)
{
    return req->answered && (!req->stream.open || req->stream.finished);
}

void http_end_hook(struct cds_http_req *req)
{
    void (*end)(void *) = req->hook_end;
    req->hook_end = NULL;
    if (end)
        end(req->hook_user);
}

void http_tell_gone(struct cds_http_req *req)
{
    if (req->gone)
        return;
    req->gone = true;
    http_end_hook(req);
    if (req->on_gone)
        req->on_gone(req->user);
}

static void on_client_end(void *user, int fd, uint32_t events)
{
    struct cds_http_req *req = user;
    cds_watch_remove(&req->gone_watch);
    if (http_is_complete(req))
        return; /* a client that only closed its sending half still gets what is ready */
    http_tell_gone(req);
    shutdown(fd, SHUT_RDWR); /* wakes a connection that waits for room to write */
    http_wake(req);
}

void http_watch_gone(struct cds_http_req *req)
{
    /* A suspended connection does not see its client leave; without the watch (out of descriptors) the next write finds out. */
    if (!req->gone_watch && !req->upgraded)
        (void)!cds_watch_add(req->server->loop, req->conn->fd, EPOLLRDHUP, on_client_end, req, &req->gone_watch, NULL);
}

/* ---- what handlers ask ---- */
const char *cds_http_method(const struct cds_http_req *req)
{
    return req->method;
}

const char *cds_http_path(const struct cds_http_req *req)
{
    return req->path;
}

const char *cds_http_target(const struct cds_http_req *req)
{
    return req->target;
}

static const char *lookup(const struct cds_http_req *req, enum MHD_ValueKind kind, const char *name)
{
    const char *value = NULL;
    size_t len = 0;
    if (MHD_lookup_connection_value_n(req->con, kind, name, strlen(name), &value, &len) != MHD_YES || !value || strlen(value) != len)
        return NULL;
    return value;
}

const char *cds_http_query(const struct cds_http_req *req, const char *name)
{
    return lookup(req, MHD_GET_ARGUMENT_KIND, name);
}

const char *cds_http_header(const struct cds_http_req *req, const char *name)
{
    return lookup(req, MHD_HEADER_KIND, name);
}

const char *cds_http_body(const struct cds_http_req *req, size_t *ret_len)
{
    if (ret_len)
        *ret_len = req->body.len;
    return req->body.data ? req->body.data : "";
}

void cds_http_stream_body(struct cds_http_req *req, size_t buffer_max)
{
    req->body_streams = true;
    req->body.ceiling = buffer_max;
}

uint64_t cds_http_body_length(const struct cds_http_req *req)
{
    return req->length;
}

size_t cds_http_body_take(struct cds_http_req *req, void *to, size_t max)
{
    size_t n = req->body.len < max ? req->body.len : max;
    if (!n)
        return 0;
    memcpy(to, req->body.data, n);
    cds_buf_consume(&req->body, n);
    if (!req->answered)
        http_wake(req); /* it slept because there was no room */
    return n;
}

void cds_http_on_body(struct cds_http_req *req, void (*fn)(void *user), void *user)
{
    req->on_body = fn;
    req->on_body_user = user;
}

const char *cds_http_request_id(const struct cds_http_req *req)
{
    return req->id;
}

const char *cds_http_peer_ip(const struct cds_http_req *req)
{
    return req->conn->ip;
}

const char *cds_http_client_ip(const struct cds_http_req *req, char buf[static 46])
{
    unsigned char bytes[16];
    const char *peer = req->conn->ip;
    bool near = cds_starts_with(peer, "127.") || cds_streq(peer, "::1") || cds_streq(peer, "unix");
    const char *list = near ? cds_http_header(req, "X-Forwarded-For") : NULL;
    const char *last = list ? strrchr(list, ',') : NULL;
    last = last ? last + 1 : list;
    if (last)
        cds_strcpy(buf, 46, last + strspn(last, " \t"));
    if (!last || (inet_pton(AF_INET, buf, bytes) != 1 && inet_pton(AF_INET6, buf, bytes) != 1))
        cds_strcpy(buf, 46, peer);
    return buf;
}

uint64_t cds_http_started_ms(const struct cds_http_req *req)
{
    return req->started_ms;
}

int cds_http_status(const struct cds_http_req *req)
{
    return req->status;
}

void cds_http_set_user(struct cds_http_req *req, void *user, void (*on_gone)(void *user), void (*on_done)(void *user))
{
    req->user = user;
    req->on_gone = on_gone;
    req->on_done = on_done;
}

void cds_http_on_end(struct cds_http_req *req, void (*fn)(void *user, int status), void *user)
{
    req->on_end = fn;
    req->on_end_user = user;
}

void *cds_http_end_user(const struct cds_http_req *req, void (*fn)(void *user, int status))
{
    return req->on_end == fn ? req->on_end_user : NULL;
}

void *cds_http_get_user(const struct cds_http_req *req)
{
    return req->user;
}

struct each {
    void (*fn)(void *user, const char *name, const char *value);
    void *user;
};

static enum MHD_Result each_one(void *cls, enum MHD_ValueKind kind, const char *key, const char *value)
{
    struct each *each = cls;
    each->fn(each->user, key, value ? value : "");
    return MHD_YES;
}

void http_each_header(const struct cds_http_req *req, void (*fn)(void *user, const char *name, const char *value), void *user)
{
    struct each each = {fn, user};
    MHD_get_connection_values(req->con, MHD_HEADER_KIND, each_one, &each);
}

bool http_has_token(const char *list, const char *token)
{
    size_t len = strlen(token);
    for (const char *p = list; p && *p;) {
        p += strspn(p, ", \t");
        size_t n = strcspn(p, ", \t");
        if (n == len && !strncasecmp(p, token, len))
            return true;
        p += n;
    }
    return false;
}
