/* lib/http/ws.c: an open WebSocket: frames by wslay, one message at a time in its queue, the rest in ours.
 *
 * Our own queue is why a slow reader can be told 1013: the messages behind the one being written are dropped, the close frame goes next.
 * Life: WAITING (handshake not sent) → OPEN → CLOSING (close frame queued) → LINGER (ours is sent: read to the end, so that the kernel does
 * not answer unread bytes with a reset that overtakes the close frame) → freed.
 */
#include "lib/http/ws.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/socket.h>
#include <wslay/wslay.h>

#include "lib/base/clock.h"
#include "lib/http/ws_priv.h"
#include "lib/metrics/metrics.h"

enum {
    CLOSE_MS = 2000, /* for the close handshake */
    LINGER_MS = 1000,
    READ_BUDGET = 256 * 1024, /* bytes read per event, so that one flood does not starve the loop */
    READ_PAUSE = 256 * 1024,  /* more than this waits to be sent: stop reading (echo floods) */
    CONTROL_FRAMES_MAX = 32,  /* pongs that may wait */
    REASON_MAX = 123,         /* RFC 6455 section 5.5 */
};

uint32_t http_ws_ping_ms = 20000;

struct message {
    struct message *next;
    size_t len;
    char text[];
};

struct cds_ws {
    struct http_upgraded up; /* first */
    struct cds_http_server *server;
    struct cds_http_req *req; /* while WAITING */
    const struct cds_ws_ops *ops;
    void *user;
    enum { WAITING, OPEN, CLOSING, LINGER } state;
    int fd;
    struct MHD_UpgradeResponseHandle *handle;
    struct cds_watch *watch;
    uint32_t events; /* what the watch waits for */
    struct cds_timer *timer;
    wslay_event_context_ptr frames;
    struct cds_buf extra; /* what came behind the handshake */
    size_t budget, out_max;
    struct message *first, *last;
    size_t queued_bytes;
    bool busy;   /* inside wslay: nothing may be freed or flushed */
    bool broken; /* socket error or end of file */
    bool pinged, heard, was_full;
    void (*on_drain)(void *user);
    void *drain_user;
};

/* ---- end ---- */
static void drop_queue(struct cds_ws *ws)
{
    for (struct message *m = ws->first, *next; m; m = next) {
        next = m->next;
        free(m);
    }
    ws->first = ws->last = NULL;
    ws->queued_bytes = 0;
}

static void end(struct cds_ws *ws)
{
    cds_watch_remove(&ws->watch); /* before libmicrohttpd closes the socket */
    cds_timer_remove(&ws->timer);
    http_upgraded_remove(&ws->up);
    ws->broken = true; /* a send from inside on_close gets CANCELLED */
    if (ws->ops->on_close)
        ws->ops->on_close(ws->user, ws);
    if (ws->handle) {
        MHD_upgrade_action(ws->handle, MHD_UPGRADE_ACTION_CLOSE);
        http_kick(ws->server);
        cds_metric_add(CDS_M_WS_OPEN, NULL, -1);
    }
    drop_queue(ws);
    wslay_event_context_free(ws->frames);
    cds_buf_free(&ws->extra);
    free(ws);
}

static void end_soon(struct cds_ws *ws)
{
    ws->broken = true;
    cds_timer_set(ws->timer, cds_now_ms());
}

/* ---- wslay's callbacks ---- */
static ssize_t take_extra(struct cds_ws *ws, uint8_t *buf, size_t len)
{
    size_t n = ws->extra.len < len ? ws->extra.len : len;
    memcpy(buf, ws->extra.data, n);
    cds_buf_consume(&ws->extra, n);
    return (ssize_t)n;
}

static bool must_pause(const struct cds_ws *ws)
{
    size_t limit = ws->out_max / 2 < READ_PAUSE ? ws->out_max / 2 : READ_PAUSE;
    return cds_ws_pending(ws) > limit || wslay_event_get_queued_msg_count(ws->frames) > CONTROL_FRAMES_MAX;
}

static ssize_t on_read(wslay_event_context_ptr frames, uint8_t *buf, size_t len, int flags, void *user)
{
    struct cds_ws *ws = user;
    if (!ws->budget || must_pause(ws)) { /* the whole backpressure: what is not read waits in the kernel, then at the sender */
        wslay_event_set_error(frames, WSLAY_ERR_WOULDBLOCK);
        return -1;
    }
    ssize_t n = ws->extra.len ? take_extra(ws, buf, len) : recv(ws->fd, buf, len, MSG_DONTWAIT);
    if (n > 0) {
        ws->heard = true;
        ws->budget -= (size_t)n < ws->budget ? (size_t)n : ws->budget;
        return n;
    }
    bool wait = n < 0 && (errno == EAGAIN || errno == EINTR);
    if (!wait)
        ws->broken = true;
    wslay_event_set_error(frames, wait ? WSLAY_ERR_WOULDBLOCK : WSLAY_ERR_CALLBACK_FAILURE);
    return -1;
}

static ssize_t on_write(wslay_event_context_ptr frames, const uint8_t *data, size_t len, int flags, void *user)
{
    struct cds_ws *ws = user;
    ssize_t n = send(ws->fd, data, len, MSG_DONTWAIT | MSG_NOSIGNAL | (flags & WSLAY_MSG_MORE ? MSG_MORE : 0));
    if (n >= 0)
        return n;
    bool wait = errno == EAGAIN || errno == EINTR;
    if (!wait)
        ws->broken = true;
    wslay_event_set_error(frames, wait ? WSLAY_ERR_WOULDBLOCK : WSLAY_ERR_CALLBACK_FAILURE);
    return -1;
}

static void on_message(wslay_event_context_ptr frames, const struct wslay_event_on_msg_recv_arg *arg, void *user)
{
    struct cds_ws *ws = user;
    if (arg->opcode == WSLAY_BINARY_FRAME)
        cds_ws_close(ws, WSLAY_CODE_UNSUPPORTED_DATA, "Only text messages are understood here.");
    else if (arg->opcode == WSLAY_TEXT_FRAME && ws->state == OPEN && ws->ops->on_text)
        ws->ops->on_text(ws->user, ws, arg->msg ? (const char *)arg->msg : "", arg->msg_length);
}

/* ---- writing ---- */
/* After a close frame of either side, or an error wslay found, only control frames may follow. */
static bool takes_messages(const struct cds_ws *ws)
{
    return !ws->broken && ws->state <= OPEN && !wslay_event_get_close_received(ws->frames) && wslay_event_get_read_enabled(ws->frames);
}

static int hand_over(struct cds_ws *ws, const char *text, size_t len)
{
    struct wslay_event_msg msg = {.opcode = WSLAY_TEXT_FRAME, .msg = (const uint8_t *)text, .msg_length = len};
    return wslay_event_queue_msg(ws->frames, &msg);
}

/* Writes what the socket takes. */
static void flush(struct cds_ws *ws)
{
    if (ws->fd < 0 || ws->busy)
        return;
    ws->busy = true;
    while (!ws->broken) {
        if (wslay_event_send(ws->frames))
            ws->broken = true;
        struct message *m = ws->first;
        if (ws->broken || wslay_event_want_write(ws->frames) || !m || !takes_messages(ws))
            break;
        ws->first = m->next;
        if (!ws->first)
            ws->last = NULL;
        ws->queued_bytes -= m->len;
        if (hand_over(ws, m->text, m->len))
            ws->broken = true;
        free(m);
    }
    ws->busy = false;
}

size_t cds_ws_pending(const struct cds_ws *ws)
{
    return ws->queued_bytes + wslay_event_get_queued_msg_length(ws->frames);
}

static cds_rc enqueue(struct cds_ws *ws, const char *text, size_t len)
{
    if (ws->fd >= 0 && !ws->first && wslay_event_get_queued_msg_count(ws->frames) == 0)
        return hand_over(ws, text, len) ? CDS_EXHAUSTED : CDS_OK;
    struct message *m = malloc(sizeof(*m) + len);
    if (!m)
        return CDS_EXHAUSTED;
    m->next = NULL;
    m->len = len;
    memcpy(m->text, text, len);
    if (ws->last)
        ws->last->next = m;
    else
        ws->first = m;
    ws->last = m;
    ws->queued_bytes += len;
    return CDS_OK;
}

/* Settles after anything happened on the socket: what to wait for, or the end. */
static void update(struct cds_ws *ws)
{
    if (ws->broken) {
        end_soon(ws);
        return;
    }
    if (ws->fd < 0)
        return;
    bool read = wslay_event_want_read(ws->frames), write = wslay_event_want_write(ws->frames);
    if (!read && !write && ws->state != LINGER) {
        ws->state = LINGER;
        drop_queue(ws);
        shutdown(ws->fd, SHUT_WR);
        cds_timer_set(ws->timer, cds_now_ms() + LINGER_MS);
    }
    uint32_t events = ws->state == LINGER || (read && !must_pause(ws)) ? EPOLLIN : 0u;
    events |= write ? EPOLLOUT : 0u;
    if (events != ws->events && cds_watch_set(ws->watch, events))
        end_soon(ws);
    ws->events = events;
}

cds_rc cds_ws_send(struct cds_ws *ws, const char *text, size_t len)
{
    if (!takes_messages(ws))
        return CDS_CANCELLED;
    size_t pending = cds_ws_pending(ws);
    if (len > ws->out_max || pending > ws->out_max - len) {
        cds_ws_close(ws, 1013, "The reader is too slow; connect again.");
        return CDS_BUSY;
    }
    if (enqueue(ws, text, len)) {
        cds_ws_close(ws, WSLAY_CODE_INTERNAL_SERVER_ERROR, "Out of memory.");
        return CDS_BUSY;
    }
    if (!ws->busy) {
        flush(ws);
        update(ws);
    }
    if (cds_ws_pending(ws) > ws->out_max / 2)
        ws->was_full = true;
    return CDS_OK;
}

void cds_ws_on_drain(struct cds_ws *ws, void (*fn)(void *user), void *user)
{
    ws->on_drain = fn;
    ws->drain_user = user;
}

static void tell_drained(struct cds_ws *ws)
{
    if (!ws->was_full || !takes_messages(ws) || cds_ws_pending(ws) >= ws->out_max / 2)
        return;
    ws->was_full = false;
    if (ws->on_drain)
        ws->on_drain(ws->drain_user);
}

/* ---- events ---- */
static void discard(struct cds_ws *ws)
{
    char waste[4096];
    for (size_t left = READ_BUDGET; left;) {
        ssize_t n = recv(ws->fd, waste, sizeof(waste), MSG_DONTWAIT);
        if (n == 0 || (n < 0 && errno != EAGAIN && errno != EINTR))
            end_soon(ws);
        if (n <= 0)
            return;
        left -= (size_t)n < left ? (size_t)n : left;
    }
}

static void pump(struct cds_ws *ws)
{
    ws->budget = READ_BUDGET;
    ws->busy = true;
    if (wslay_event_want_read(ws->frames) && wslay_event_recv(ws->frames))
        ws->broken = true;
    ws->busy = false;
    flush(ws);
    tell_drained(ws);
    update(ws);
}

static void on_ready(void *user, int fd, uint32_t events)
{
    struct cds_ws *ws = user;
    if (ws->broken)
        return; /* ends with the timer of this batch */
    if (events & EPOLLERR)
        end_soon(ws);
    else if (ws->state == LINGER)
        discard(ws);
    else
        pump(ws);
    if ((events & EPOLLHUP) && !ws->broken && !(events & EPOLLIN))
        end_soon(ws);
}

static void on_timer(void *user)
{
    struct cds_ws *ws = user;
    if (ws->fd < 0) { /* closed before it was open: the upgrade, or its failure, comes and ends it */
        cds_timer_set(ws->timer, cds_now_ms() + CLOSE_MS);
        return;
    }
    if (ws->broken || ws->state != OPEN || (ws->pinged && !ws->heard)) {
        end(ws);
        return;
    }
    struct wslay_event_msg ping = {.opcode = WSLAY_PING, .msg = NULL, .msg_length = 0};
    ws->pinged = true;
    ws->heard = false;
    cds_timer_set(ws->timer, cds_now_ms() + http_ws_ping_ms);
    if (wslay_event_queue_msg(ws->frames, &ping))
        ws->broken = true;
    flush(ws);
    update(ws);
}

/* ---- closing ---- */
void cds_ws_close(struct cds_ws *ws, uint16_t code, const char *reason)
{
    size_t len = reason ? strnlen(reason, REASON_MAX) : 0;
    if (ws->broken || ws->state > OPEN)
        return;
    ws->state = CLOSING;
    drop_queue(ws); /* what waited would hold the close frame back */
    cds_timer_set(ws->timer, cds_now_ms() + CLOSE_MS);
    if (wslay_event_queue_close(ws->frames, code, (const uint8_t *)(reason ? reason : ""), len))
        ws->broken = true;
    if (!ws->busy) {
        flush(ws);
        update(ws);
    }
}

static void close_politely(struct http_upgraded *up, uint16_t code)
{
    cds_ws_close((struct cds_ws *)up, code, "The server is going away.");
}

static void cut(struct http_upgraded *up)
{
    end((struct cds_ws *)up);
}

void cds_ws_close_all(struct cds_http_server *server, uint16_t code)
{
    for (struct http_upgraded *up = server->upgraded, *next; up; up = next) {
        next = up->next;
        up->close(up, code);
    }
}

/* ---- opening ---- */
static void never_opened(void *user)
{
    struct cds_ws *ws = user;
    end(ws);
}

cds_rc http_ws_new(struct cds_http_req *req, size_t message_max, size_t out_max, const struct cds_ws_ops *ops, void *user, struct cds_ws **ret)
{
    static const struct wslay_event_callbacks callbacks = {.recv_callback = on_read, .send_callback = on_write, .on_msg_recv_callback = on_message};
    struct cds_ws *ws = calloc(1, sizeof(*ws));
    if (!ws)
        return CDS_EXHAUSTED;
    ws->up.close = close_politely;
    ws->up.cut = cut;
    ws->server = req->server;
    ws->req = req;
    ws->ops = ops;
    ws->user = user;
    ws->fd = -1;
    ws->out_max = out_max;
    ws->extra = cds_buf_init(HTTP_HEADER_BLOCK);
    if (cds_timer_add(req->server->loop, UINT64_MAX, on_timer, ws, &ws->timer)) {
        free(ws);
        return CDS_EXHAUSTED;
    }
    if (wslay_event_context_server_init(&ws->frames, &callbacks, ws)) {
        cds_timer_remove(&ws->timer);
        free(ws);
        return CDS_EXHAUSTED;
    }
    wslay_event_config_set_max_recv_msg_length(ws->frames, message_max);
    req->hook_user = ws;
    req->hook_end = never_opened;
    *ret = ws;
    return CDS_OK;
}

void http_ws_opened(void *user, int fd, struct MHD_UpgradeResponseHandle *handle, const void *extra, size_t extra_len)
{
    struct cds_ws *ws = user;
    cds_metric_add(CDS_M_WS_OPEN, NULL, 1);
    ws->req = NULL;
    ws->fd = fd;
    ws->handle = handle;
    http_upgraded_add(ws->server, &ws->up);
    if (ws->state == WAITING) {
        ws->state = OPEN;
        cds_timer_set(ws->timer, cds_now_ms() + http_ws_ping_ms);
    }
    if (cds_buf_add(&ws->extra, extra, extra_len) || cds_watch_add(ws->server->loop, fd, EPOLLIN, on_ready, ws, &ws->watch, NULL)) {
        end_soon(ws);
        return;
    }
    ws->events = EPOLLIN;
    if (ws->server->draining)
        cds_ws_close(ws, WSLAY_CODE_GOING_AWAY, "The server is going away.");
    pump(ws);
}
