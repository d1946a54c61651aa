/* apps/egress/pump.c: bytes between a job and a host, both ways. A side that does not read stops the other one: at most EGRESS_PIECE waits. */
#include <errno.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/socket.h>
#include <unistd.h>

#include "apps/egress/conn.h"
#include "lib/base/clock.h"

/* False: the connection broke. */
static bool fill(struct egress_pipe *pipe, int from)
{
    if (pipe->at == pipe->len)
        pipe->at = pipe->len = 0;
    size_t room = sizeof(pipe->data) - pipe->len;
    if (pipe->ended || room == 0 || pipe->left_bytes == 0)
        return true;
    if (room > pipe->left_bytes)
        room = (size_t)pipe->left_bytes;
    ssize_t n = recv(from, pipe->data + pipe->len, room, 0);
    if (n < 0)
        return errno == EAGAIN || errno == EINTR;
    pipe->ended = n == 0;
    pipe->len += (size_t)n;
    if (pipe->left_bytes != UINT64_MAX)
        pipe->left_bytes -= (uint64_t)n;
    return true;
}

static bool drain(struct egress_pipe *pipe, int to)
{
    while (pipe->at < pipe->len) {
        ssize_t n = send(to, pipe->data + pipe->at, pipe->len - pipe->at, MSG_NOSIGNAL);
        if (n < 0)
            return errno == EAGAIN || errno == EINTR;
        pipe->at += (size_t)n;
        pipe->moved_bytes += (uint64_t)n;
    }
    if (pipe->ended && !pipe->closed) {
        pipe->closed = true;
        shutdown(to, SHUT_WR);
    }
    return true;
}

static bool wants_to_read(const struct egress_pipe *pipe)
{
    return !pipe->ended && pipe->left_bytes > 0 && (pipe->at == pipe->len || pipe->len < sizeof(pipe->data));
}

bool egress_pump(struct egress_conn *conn)
{
    uint64_t before = conn->up.moved_bytes + conn->down.moved_bytes;
    if (!fill(&conn->up, conn->client) || !drain(&conn->up, conn->server) || !fill(&conn->down, conn->server) || !drain(&conn->down, conn->client))
        return false;
    if (conn->up.moved_bytes + conn->down.moved_bytes != before)
        conn->active_ms = cds_now_ms();
    /* A forwarded request is over with its answer; a tunnel when both sides have said so. */
    if (conn->down.closed && (conn->up.closed || !conn->head.connect))
        return false;
    uint32_t client = (wants_to_read(&conn->up) ? EPOLLIN : 0u) | (conn->down.at < conn->down.len ? EPOLLOUT : 0u);
    uint32_t server = (wants_to_read(&conn->down) ? EPOLLIN : 0u) | (conn->up.at < conn->up.len ? EPOLLOUT : 0u);
    return !cds_watch_set(conn->client_watch, client) && !cds_watch_set(conn->server_watch, server);
}
