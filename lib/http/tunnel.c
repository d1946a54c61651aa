/* lib/http/tunnel.c: a WebSocket through to a part behind us.
 *
 * The handshake goes to the part first, while the client's request waits: Origin and credential are judged there, and its refusal reaches the
 * client as it is. After the 101 bytes go both ways unread; one buffer per direction, and a full one stops the reading at its source.
 */
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>
#include <sys/epoll.h>
#include <sys/socket.h>
#include <unistd.h>

#include "lib/base/clock.h"
#include "lib/base/fd.h"
#include "lib/base/str.h"
#include "lib/http/handshake.h"
#include "lib/http/proxy.h"
#include "lib/http/server_priv.h"
#include "lib/http/ws.h"
#include "lib/metrics/metrics.h"

enum {
    HANDSHAKE_MS = 10000,
    IDLE_MS = 70000, /* both ends of our own parts ping every 20 s: silence means that one of them is gone */
    PIECE = 16 * 1024,
    RETRY_MS = 1000,
};

/** One direction's end: a socket and what waits to be written to it. */
struct side {
    struct tunnel *tunnel;
    int fd;
    struct cds_watch *watch;
    uint32_t events;
    struct cds_buf out;
    bool ended; /* sends no more */
};

struct tunnel {
    struct http_upgraded up; /* first */
    struct cds_http_server *server;
    struct cds_http_req *req; /* until the 101 went out */
    struct cds_loop *loop;
    struct MHD_UpgradeResponseHandle *handle;
    struct cds_timer *timer;
    struct side client, part;
    struct cds_buf answer; /* of the part, until its head is complete */
    const struct cds_http_behind_rules *rules;
    void *user, *socket_user;
    uint32_t idle_ms;
    uint64_t idle_from_ms;
    char name[64];
};

static void on_side_ready(void *user, int fd, uint32_t events);

static void end(struct tunnel *tunnel)
{
    if (tunnel->req)
        tunnel->req->hook_end = NULL;
    cds_watch_remove(&tunnel->client.watch);
    cds_watch_remove(&tunnel->part.watch);
    cds_timer_remove(&tunnel->timer);
    http_upgraded_remove(&tunnel->up);
    if (tunnel->part.fd >= 0 && tunnel->rules->socket_close)
        tunnel->rules->socket_close(tunnel->socket_user, tunnel->part.fd);
    else if (tunnel->part.fd >= 0)
        close(tunnel->part.fd);
    if (tunnel->handle) {
        MHD_upgrade_action(tunnel->handle, MHD_UPGRADE_ACTION_CLOSE);
        http_kick(tunnel->server);
        cds_metric_add(CDS_M_WS_OPEN, NULL, -1);
    }
    cds_buf_free(&tunnel->client.out);
    cds_buf_free(&tunnel->part.out);
    cds_buf_free(&tunnel->answer);
    free(tunnel);
}

static void refuse(struct tunnel *tunnel, cds_rc code, const char *what)
{
    struct cds_http_req *req = tunnel->req;
    struct cds_err err;
    cds_fail(&err, code, __func__, "%s %s.", tunnel->name, what);
    err.retry_after_ms = RETRY_MS;
    cds_err_hint(&err, "Try again in a moment; if it stays so, look at the log of this part.");
    const struct cds_http_behind_rules *rules = tunnel->rules;
    void *user = tunnel->user;
    end(tunnel);
    if (rules->fail)
        rules->fail(user, req, &err);
    else
        cds_http_reply_err(req, &err);
}

/* ---- after the 101: bytes ---- */
static struct side *other(struct side *side)
{
    return side == &side->tunnel->client ? &side->tunnel->part : &side->tunnel->client;
}

/* Reads what the other side has room for. @return false: broken */
static bool pull(struct side *side)
{
    struct cds_buf *to = &other(side)->out;
    while (!side->ended && to->len < to->ceiling) {
        size_t room = to->ceiling - to->len;
        char *place = cds_buf_reserve(to, room < PIECE ? room : PIECE);
        if (!place)
            return false;
        ssize_t n = recv(side->fd, place, room < PIECE ? room : PIECE, MSG_DONTWAIT);
        cds_buf_commit(to, n > 0 ? (size_t)n : 0);
        if (n == 0)
            side->ended = true;
        if (n < 0)
            return errno == EAGAIN || errno == EINTR;
        if (n < PIECE)
            return true;
    }
    return true;
}

static bool push(struct side *side)
{
    while (side->out.len) {
        ssize_t n = send(side->fd, side->out.data, side->out.len, MSG_DONTWAIT | MSG_NOSIGNAL);
        if (n < 0)
            return errno == EAGAIN || errno == EINTR;
        cds_buf_consume(&side->out, (size_t)n);
    }
    return true;
}

static bool rewatch(struct side *side)
{
    const struct cds_buf *to = &other(side)->out;
    uint32_t events = (side->out.len ? EPOLLOUT : 0u) | (!side->ended && to->len < to->ceiling ? EPOLLIN : 0u);
    if (events == side->events || !side->watch)
        return true;
    side->events = events;
    return cds_watch_set(side->watch, events) == CDS_OK;
}

static void splice_sides(struct tunnel *tunnel)
{
    struct side *a = &tunnel->client, *b = &tunnel->part;
    tunnel->idle_from_ms = cds_now_ms();
    bool ok = pull(a) && pull(b) && push(a) && push(b) && rewatch(a) && rewatch(b);
    /* A side that ended has said its close frame before: the other one gets the rest, then both end. */
    if (!ok || (a->ended && !b->out.len) || (b->ended && !a->out.len))
        end(tunnel);
}

static void on_upgraded(void *user, int fd, struct MHD_UpgradeResponseHandle *handle, const void *extra, size_t extra_len)
{
    struct tunnel *tunnel = user;
    tunnel->req = NULL;
    tunnel->handle = handle;
    tunnel->client.fd = fd;
    cds_metric_add(CDS_M_WS_OPEN, NULL, 1);
    http_upgraded_add(tunnel->server, &tunnel->up);
    cds_timer_set(tunnel->timer, cds_now_ms() + tunnel->idle_ms);
    tunnel->client.events = tunnel->part.events = EPOLLIN;
    if (cds_buf_add(&tunnel->part.out, extra, extra_len) ||
        cds_watch_add(tunnel->loop, fd, EPOLLIN, on_side_ready, &tunnel->client, &tunnel->client.watch, NULL) ||
        cds_watch_add(tunnel->loop, tunnel->part.fd, EPOLLIN, on_side_ready, &tunnel->part, &tunnel->part.watch, NULL)) {
        end(tunnel);
        return;
    }
    splice_sides(tunnel);
}

/* ---- the handshake with the part ---- */
static void accept_client(struct tunnel *tunnel, const struct http_handshake *head)
{
    struct cds_http_req *req = tunnel->req;
    /* What the part sent behind its 101 is the first of its frames. */
    if (cds_buf_add(&tunnel->client.out, tunnel->answer.data + head->head_len, tunnel->answer.len - head->head_len)) {
        refuse(tunnel, CDS_UNAVAILABLE, "sent more than fits");
        return;
    }
    cds_buf_free(&tunnel->answer);
    cds_http_add_header(req, "Upgrade", "websocket");
    cds_http_add_header(req, "Sec-WebSocket-Accept", head->accept);
    if (*head->protocol)
        cds_http_add_header(req, "Sec-WebSocket-Protocol", head->protocol);
    cds_watch_remove(&tunnel->part.watch); /* until the client is there */
    cds_timer_set(tunnel->timer, UINT64_MAX);
    http_give_upgrade(req, on_upgraded);
}

/* The part said no: its words reach the client. */
static void pass_refusal(struct tunnel *tunnel, const struct http_handshake *head)
{
    struct cds_http_req *req = tunnel->req;
    struct cds_buf answer = tunnel->answer;
    int status = head->status;
    tunnel->answer = cds_buf_init(1);
    if (*head->challenge)
        cds_http_add_header(req, "WWW-Authenticate", head->challenge);
    if (*head->retry_after)
        cds_http_add_header(req, "Retry-After", head->retry_after);
    if (*head->version)
        cds_http_add_header(req, "Sec-WebSocket-Version", head->version);
    end(tunnel);
    cds_http_reply(req, status, *head->type ? head->type : NULL, answer.data + head->head_len, head->body_len);
    cds_buf_free(&answer);
}

static void read_answer(struct tunnel *tunnel)
{
    struct http_handshake head;
    struct side *part = &tunnel->part;
    char *place = cds_buf_reserve(&tunnel->answer, tunnel->answer.ceiling - tunnel->answer.len);
    ssize_t n =
        place && tunnel->answer.len < tunnel->answer.ceiling ? recv(part->fd, place, tunnel->answer.ceiling - tunnel->answer.len, MSG_DONTWAIT) : 0;
    if (n < 0 && (errno == EAGAIN || errno == EINTR))
        return;
    if (n > 0)
        cds_buf_commit(&tunnel->answer, (size_t)n);
    int state = http_handshake_parse(tunnel->answer.data ? tunnel->answer.data : "", tunnel->answer.len, &head);
    if (state == 0 && n > 0)
        return; /* more to come */
    if (state <= 0)
        refuse(tunnel, CDS_UNAVAILABLE, "did not finish its answer");
    else if (head.status == 101)
        accept_client(tunnel, &head);
    else
        pass_refusal(tunnel, &head);
}

static void write_request(struct tunnel *tunnel)
{
    int error = 0;
    socklen_t len = sizeof(error);
    if (getsockopt(tunnel->part.fd, SOL_SOCKET, SO_ERROR, &error, &len) || error || !push(&tunnel->part)) {
        refuse(tunnel, CDS_UNAVAILABLE, "cannot be reached");
        return;
    }
    if (!tunnel->part.out.len)
        (void)!cds_watch_set(tunnel->part.watch, EPOLLIN); /* the deadline ends it otherwise */
}

static void on_side_ready(void *user, int fd, uint32_t events)
{
    struct side *side = user;
    struct tunnel *tunnel = side->tunnel;
    if (tunnel->handle) {
        if ((events & EPOLLHUP) && side->ended)
            cds_watch_remove(&side->watch); /* a hang-up is reported again and again */
        if (events & EPOLLERR)
            end(tunnel);
        else
            splice_sides(tunnel);
    } else if (side->out.len) {
        write_request(tunnel);
    } else {
        read_answer(tunnel);
    }
}

static void on_timer(void *user)
{
    struct tunnel *tunnel = user;
    if (!tunnel->handle) {
        refuse(tunnel, CDS_TIMED_OUT, "did not answer in time");
        return;
    }
    uint64_t until = tunnel->idle_from_ms + tunnel->idle_ms;
    if (cds_now_ms() >= until)
        end(tunnel);
    else
        cds_timer_set(tunnel->timer, until);
}

/* ---- beginning ---- */
static void on_req_end(void *user)
{
    struct tunnel *tunnel = user;
    tunnel->req = NULL;
    end(tunnel);
}

static void cut(struct http_upgraded *up)
{
    end((struct tunnel *)up);
}

static void close_politely(struct http_upgraded *up, uint16_t code)
{
    end((struct tunnel *)up); /* we hold bytes, not frames: there is no place for a close frame of ours */
}

static struct tunnel *new_tunnel(struct cds_http_req *req, struct cds_loop *loop, size_t buffer_max)
{
    struct tunnel *tunnel = calloc(1, sizeof(*tunnel));
    if (!tunnel)
        return NULL;
    size_t least = buffer_max < HTTP_HEADER_BLOCK ? HTTP_HEADER_BLOCK : buffer_max;
    tunnel->up.close = close_politely;
    tunnel->up.cut = cut;
    tunnel->server = req->server;
    tunnel->req = req;
    tunnel->loop = loop;
    tunnel->client = (struct side){.tunnel = tunnel, .fd = -1, .out = cds_buf_init(least)};
    tunnel->part = (struct side){.tunnel = tunnel, .fd = -1, .out = cds_buf_init(least)};
    tunnel->answer = cds_buf_init(HTTP_HANDSHAKE_MAX);
    if (cds_timer_add(loop, cds_now_ms() + HANDSHAKE_MS, on_timer, tunnel, &tunnel->timer)) {
        free(tunnel);
        return NULL;
    }
    req->hook_user = tunnel;
    req->hook_end = on_req_end;
    return tunnel;
}

/* @return true: it is on its way, or there */
static bool reach(struct tunnel *tunnel, const struct cds_http_behind *behind)
{
    if (!behind->rules->socket_open)
        return cds_tcp_connect(behind->address, behind->port, &tunnel->part.fd, NULL) == CDS_OK;
    tunnel->part.fd = behind->rules->socket_open(behind->socket_user);
    return tunnel->part.fd >= 0;
}

void cds_http_tunnel_behind(struct cds_http_req *req, struct cds_loop *loop, const struct cds_http_behind *behind)
{
    struct cds_err err;
    if (!cds_http_wants_ws(req) || !cds_streq(cds_http_method(req), "GET")) {
        cds_http_add_header(req, "Upgrade", "websocket");
        cds_fail(&err, CDS_BAD_REQUEST, __func__, "This address is a WebSocket; the request does not ask for an upgrade.");
        http_reply_err_as(req, 426, &err);
        return;
    }
    struct tunnel *tunnel = new_tunnel(req, loop, behind->buffer_max);
    if (!tunnel) {
        cds_fail(&err, CDS_EXHAUSTED, __func__, "Out of memory.");
        cds_http_reply_err(req, &err);
        return;
    }
    tunnel->rules = behind->rules;
    tunnel->user = behind->user;
    tunnel->socket_user = behind->socket_user;
    tunnel->idle_ms = behind->idle_ms;
    cds_strcpy(tunnel->name, sizeof(tunnel->name), behind->part);
    if (tunnel->name[0] >= 'a' && tunnel->name[0] <= 'z')
        tunnel->name[0] = (char)(tunnel->name[0] - 'a' + 'A'); /* it begins the sentence */
    if (http_handshake_request(req, behind, &tunnel->part.out))
        refuse(tunnel, CDS_BAD_REQUEST, "cannot be asked: the request has too long headers");
    else if (!reach(tunnel, behind) || cds_watch_add(loop, tunnel->part.fd, EPOLLOUT, on_side_ready, &tunnel->part, &tunnel->part.watch, NULL))
        refuse(tunnel, CDS_UNAVAILABLE, "cannot be reached");
}

/* ---- our own parts ---- */
static bool own_pass_in(void *user, const char *name, const char *value, struct cds_buf *changed)
{
    return !strcasecmp(name, "Origin") || !strcasecmp(name, "Authorization") || !strcasecmp(name, "Cookie") || !strcasecmp(name, "User-Agent");
}

static void own_more(void *user, void (*add)(void *list, const char *name, const char *value), void *list)
{
    char ip[46];
    const struct cds_http_req *req = user;
    const char *host = cds_http_header(req, "Host");
    add(list, "x-request-id", cds_http_request_id(req));
    add(list, "X-Forwarded-For", cds_http_client_ip(req, ip));
    if (host)
        add(list, "X-Forwarded-Host", host);
}

void cds_http_tunnel(struct cds_http_req *req, struct cds_loop *loop, const char *address, uint16_t port, const char *part, size_t buffer_max)
{
    static const struct cds_http_behind_rules rules = {.pass_in = own_pass_in, .more = own_more};
    cds_http_tunnel_behind(
        req, loop,
        &(struct cds_http_behind){
            .part = part, .address = address, .port = port, .idle_ms = IDLE_MS, .buffer_max = buffer_max, .rules = &rules, .user = req});
}
