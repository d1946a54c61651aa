/* lib/rpc/frame.c: the bytes of a peer: frames in, frames out, closing. */
#include "lib/rpc/frame.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/socket.h>
#include <unistd.h>

#include "lib/base/fd.h"
#include "lib/rpc/frame_peer.h"

enum { HEAD = 4, READ_CHUNK = 65536, READS_PER_EVENT = 16 };

/* --- life ---------------------------------------------------------------------------------------------------------------- */

static void release(struct cds_peer *peer)
{
    cds_timer_remove(&peer->timer);
    cds_buf_free(&peer->in);
    cds_buf_free(&peer->out);
    cds_buf_free(&peer->scratch);
    free(peer->calls);
    free(peer);
}

void cds_peer_enter(struct cds_peer *peer)
{
    peer->busy++;
}

void cds_peer_leave(struct cds_peer *peer)
{
    if (--peer->busy == 0 && peer->closed)
        release(peer);
}

void cds_peer_break(struct cds_peer *peer, const char *reason)
{
    if (peer->closed)
        return;
    peer->closed = true;
    cds_watch_remove(&peer->watch);
    close(peer->fd);
    peer->fd = -1;
    cds_peer_fail_calls(peer);
    if (!peer->silent && peer->ops->on_close)
        peer->ops->on_close(peer->user, peer, reason);
}

void cds_peer_close(struct cds_peer **peer)
{
    struct cds_peer *p = *peer;
    if (!p)
        return;
    *peer = NULL;
    p->silent = true;
    cds_peer_enter(p);
    cds_peer_break(p, "closed here");
    cds_peer_leave(p);
}

/* --- receiving ----------------------------------------------------------------------------------------------------------- */

/** A buffer that one large message has grown does not stay large. */
static void drop_if_large(struct cds_buf *buf)
{
    if (buf->len == 0 && buf->cap > (size_t)2 * READ_CHUNK)
        cds_buf_free(buf);
}

static uint32_t read_head(const char *data)
{
    const unsigned char *p = (const unsigned char *)data;
    return (uint32_t)p[0] << 24 | (uint32_t)p[1] << 16 | (uint32_t)p[2] << 8 | p[3];
}

/** Handles every whole frame in the buffer. */
static void take_frames(struct cds_peer *peer)
{
    size_t at = 0;
    while (!peer->closed && peer->in.len - at >= HEAD) {
        size_t len = read_head(peer->in.data + at);
        if (len > peer->max_bytes) {
            cds_peer_break(peer, "The other side sent a message that is too long.");
            return;
        }
        if (peer->in.len - at - HEAD < len)
            break;
        cds_peer_message(peer, peer->in.data + at + HEAD, len);
        at += HEAD + len;
    }
    if (peer->closed)
        return;
    cds_buf_consume(&peer->in, at);
    drop_if_large(&peer->in);
}

static void receive(struct cds_peer *peer)
{
    /* A loud peer must not starve the others on the loop: epoll reports the rest again. */
    for (int i = 0; i < READS_PER_EVENT && !peer->closed; i++) {
        char *place = cds_buf_reserve(&peer->in, READ_CHUNK);
        if (!place) {
            cds_peer_break(peer, "There is not enough memory to receive.");
            return;
        }
        ssize_t n = recv(peer->fd, place, READ_CHUNK, 0);
        if (n < 0 && errno == EINTR)
            continue;
        if (n < 0 && (errno == EAGAIN || errno == EWOULDBLOCK))
            return;
        if (n <= 0) {
            cds_peer_break(peer, n == 0 ? "The other side closed the connection." : "The connection broke.");
            return;
        }
        cds_buf_commit(&peer->in, (size_t)n);
        take_frames(peer);
    }
}

/* --- sending ------------------------------------------------------------------------------------------------------------- */

size_t cds_peer_pending(const struct cds_peer *peer)
{
    return peer->out.len - peer->out_sent;
}

/** Sends as much as the socket takes. @return false when the connection broke */
static bool flush(struct cds_peer *peer)
{
    while (cds_peer_pending(peer)) {
        ssize_t n = send(peer->fd, peer->out.data + peer->out_sent, cds_peer_pending(peer), MSG_NOSIGNAL);
        if (n < 0 && errno == EINTR)
            continue;
        if (n < 0 && (errno == EAGAIN || errno == EWOULDBLOCK))
            break;
        if (n < 0)
            return false;
        peer->out_sent += (size_t)n;
    }
    if (!cds_peer_pending(peer)) {
        cds_buf_clear(&peer->out);
        peer->out_sent = 0;
        drop_if_large(&peer->out);
    } else if (peer->out_sent > peer->out.len / 2) {
        cds_buf_consume(&peer->out, peer->out_sent);
        peer->out_sent = 0;
    }
    bool want = cds_peer_pending(peer) > 0;
    if (want != peer->want_write) {
        peer->want_write = want;
        return cds_watch_set(peer->watch, EPOLLIN | (want ? EPOLLOUT : 0u)) == CDS_OK;
    }
    return true;
}

static cds_rc add_frame(struct cds_peer *peer)
{
    size_t len = peer->scratch.len;
    unsigned char head[HEAD] = {(unsigned char)(len >> 24), (unsigned char)(len >> 16), (unsigned char)(len >> 8), (unsigned char)len};
    size_t before = peer->out.len;
    cds_rc rc = cds_buf_add(&peer->out, head, HEAD);
    if (!rc)
        rc = cds_buf_add(&peer->out, peer->scratch.data, len);
    if (rc) { /* half a frame would shift all that follows */
        peer->out.len = before;
        peer->out.failed = false;
    }
    return rc;
}

cds_rc cds_peer_send(struct cds_peer *peer, const cds_json *message)
{
    if (peer->closed)
        return CDS_UNAVAILABLE;
    if (!message)
        return CDS_EXHAUSTED; /* the caller could not build it */
    cds_buf_clear(&peer->scratch);
    cds_rc rc = cds_json_dump(message, &peer->scratch);
    if (!rc && cds_peer_pending(peer) && cds_peer_pending(peer) + HEAD + peer->scratch.len > peer->out_max)
        rc = CDS_BUSY;
    if (!rc)
        rc = add_frame(peer);
    cds_buf_clear(&peer->scratch);
    drop_if_large(&peer->scratch);
    if (rc)
        return rc;
    if (!flush(peer)) {
        /* No callback from here: the loop finds the closed socket and breaks the peer in its turn. */
        shutdown(peer->fd, SHUT_RDWR);
        return CDS_UNAVAILABLE;
    }
    return CDS_OK;
}

static void on_event(void *user, int fd, uint32_t events)
{
    struct cds_peer *peer = user;
    cds_peer_enter(peer);
    if (events & EPOLLOUT && !flush(peer))
        cds_peer_break(peer, "The connection broke.");
    if (!peer->closed && events & (EPOLLIN | EPOLLHUP | EPOLLERR | EPOLLRDHUP))
        receive(peer);
    cds_peer_leave(peer);
}

cds_rc cds_peer_new(struct cds_loop *loop, int fd, size_t max_bytes, size_t out_max, const struct cds_peer_ops *ops, void *user,
                    struct cds_peer **ret, struct cds_err *reterr)
{
    struct cds_peer *peer = calloc(1, sizeof(*peer));
    if (!peer)
        return cds_fail(reterr, CDS_EXHAUSTED, __func__, "There is not enough memory for a connection.");
    *peer = (struct cds_peer){.loop = loop, .ops = ops, .user = user, .fd = fd, .max_bytes = max_bytes, .out_max = out_max};
    peer->in = cds_buf_init(max_bytes + HEAD + READ_CHUNK);
    peer->out = cds_buf_init(2 * (out_max + max_bytes + HEAD));
    peer->scratch = cds_buf_init(max_bytes);
    cds_rc rc = cds_set_nonblock(fd, true);
    if (rc)
        cds_fail(reterr, rc, __func__, "The connection cannot be made non-blocking.");
    if (!rc) {
        rc = cds_timer_add(loop, UINT64_MAX, cds_peer_expire, peer, &peer->timer);
        if (rc)
            cds_fail(reterr, rc, __func__, "There is not enough memory for a timer.");
    }
    if (!rc)
        rc = cds_watch_add(loop, fd, EPOLLIN, on_event, peer, &peer->watch, reterr);
    if (rc) {
        release(peer);
        return rc;
    }
    *ret = peer;
    return CDS_OK;
}
