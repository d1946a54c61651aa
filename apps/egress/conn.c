/* apps/egress/conn.c: one connection of a job: head, rules, addresses, and then bytes. Every one has a line in the log at its end. */
#include "apps/egress/conn.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/socket.h>
#include <unistd.h>

#include "lib/base/cleanup.h"
#include "lib/base/clock.h"
#include "lib/base/str.h"
#include "lib/log/log.h"

static void log_end(const struct egress_conn *conn)
{
    const struct egress_door *door = conn->door;
    uint64_t up = conn->up.moved_bytes, down = conn->down.moved_bytes;
    cds_log(CDS_LOG_INFO, "egress", CDS_LS("request_id", door->request_id), CDS_LS("project", door->project), CDS_LS("host", conn->head.asked),
            CDS_LI("port", conn->head.port), CDS_LS("address", conn->address), CDS_LS("verdict", conn->verdict), CDS_LS("rule", conn->rule),
            CDS_LI("up_bytes", up), CDS_LI("down_bytes", down), CDS_LI("ms", cds_now_ms() - conn->began_ms));
    egress_broker_tell(door->broker, conn->verdict, up, down);
}

void egress_conn_end(struct egress_conn *conn)
{
    if (conn->verdict) /* one that never said what it wants is not told */
        log_end(conn);
    cds_dial_cancel(&conn->dial);
    cds_watch_remove(&conn->client_watch);
    cds_watch_remove(&conn->server_watch);
    cds_timer_remove(&conn->timer);
    close(conn->client);
    if (conn->server >= 0)
        close(conn->server);
    *conn->prev = conn->next;
    if (conn->next)
        conn->next->prev = conn->prev;
    conn->door->count--;
    conn->door->broker->egress->connections--;
    free(conn);
}

/* ---- refusals ---- */
/* The reason stands in the status line, too: it is all that most programs show of a tunnel that was refused. */
static void refuse(struct egress_conn *conn, int status, const char *verdict, const char *rule, const char *short_text, const char *long_text)
{
    char *out = conn->down.data;
    const size_t size = sizeof(conn->down.data);
    conn->verdict = verdict;
    conn->rule = rule;
    int body = snprintf(NULL, 0, "%s\n", long_text);
    int n =
        snprintf(out, size, "HTTP/1.1 %d %s%s%s\r\nContent-Type: text/plain; charset=utf-8\r\nContent-Length: %d\r\nConnection: close\r\n\r\n%s\n",
                 status, rule, *rule ? ": " : "", short_text, body, long_text);
    conn->down.at = 0;
    conn->down.len = n > 0 && (size_t)n < size ? (size_t)n : 0;
    cds_dial_cancel(&conn->dial);
    cds_watch_remove(&conn->server_watch);
    conn->state = EGRESS_LINGERS;
    cds_timer_set(conn->timer, cds_now_ms() + EGRESS_LINGER_MS);
    if (!conn->client_watch || cds_watch_set(conn->client_watch, EPOLLIN | EPOLLOUT))
        cds_timer_set(conn->timer, cds_now_ms());
}

/* False: it was refused. */
static bool check_rules(struct egress_conn *conn)
{
    const struct egress_door *door = conn->door;
    const struct egress *egress = door->broker->egress;
    const struct egress_head *head = &conn->head;
    char text[1024];
    bool ours = head->good_host && cds_host_rules_match(door->rules, door->rule_count, head->host, head->port);
    bool everybodys = head->good_host && cds_host_rules_match(egress->hosts, egress->host_count, head->host, head->port);
    if (ours && everybodys)
        return true;
    if (head->good_host && !ours && cds_host_rules_know(door->rules, door->rule_count, head->host)) {
        snprintf(
            text, sizeof(text),
            "%s may be reached, but not on port %u.\nThe network list of this project has no rule for it. Its owner can add %s:%u (Network, in the "
            "view Run).",
            head->asked, head->port, head->asked, head->port);
        refuse(conn, 403, "refused", "egress.port", "not a port of this host's rule", text);
    } else if (ours) {
        snprintf(text, sizeof(text),
                 "%s:%u is on the list of this project, but not among the hosts of the studio any more.\nAn admin can change the option "
                 "egress.hosts.",
                 head->asked, head->port);
        refuse(conn, 403, "refused", "egress.host", "not among the hosts of the studio", text);
    } else {
        snprintf(text, sizeof(text),
                 "%s:%u is not on the network list of this project.\nIts owner can add it (Network, in the view Run); which hosts may be "
                 "named at all is the option egress.hosts.",
                 head->asked, head->port);
        refuse(conn, 403, "refused", "egress.host", "not on the network list of this project", text);
    }
    return false;
}

static bool may_connect(void *user, const struct sockaddr *address)
{
    struct egress_conn *conn = user;
    const struct egress *egress = conn->door->broker->egress;
    bool may = egress_address_named(egress->ranges, egress->range_count, address) || (egress_address_public(address) && !egress_address_own(address));
    if (may || !conn->address_tried)
        egress_address_text(address, conn->address);
    conn->address_tried = conn->address_tried || may;
    conn->address_refused = conn->address_refused || !may;
    return may;
}

/* ---- the other side ---- */
static void on_server(void *user, int fd, uint32_t events)
{
    struct egress_conn *conn = user;
    if (!egress_pump(conn))
        egress_conn_end(conn);
}

static void note_peer(struct egress_conn *conn)
{
    struct sockaddr_storage peer;
    socklen_t len = sizeof(peer);
    if (!getpeername(conn->server, (struct sockaddr *)&peer, &len))
        egress_address_text((const struct sockaddr *)&peer, conn->address);
}

static void failed(struct egress_conn *conn, const struct cds_err *err)
{
    char text[1024];
    if (conn->address_refused && !conn->address_tried) {
        snprintf(text, sizeof(text),
                 "%s leads to %s, which is not an address of the public internet.\nPrivate, local and metadata addresses are never reached; "
                 "for a mirror in one's own network an admin can name its address with the option egress.allow_addresses.",
                 conn->head.asked, conn->address);
        refuse(conn, 403, "refused", "egress.address", "not an address of the public internet", text);
        return;
    }
    snprintf(text, sizeof(text), "%s:%u: %s", conn->head.asked, conn->head.port, err->message);
    refuse(conn, err->code == CDS_TIMED_OUT ? 504 : 502, "failed", "", err->message, text);
}

static void on_dialled(void *user, int fd, const struct cds_err *err)
{
    static const char yes[] = "HTTP/1.1 200 Connection established\r\n\r\n";
    struct egress_conn *conn = user;
    conn->dial = NULL;
    if (err) {
        failed(conn, err);
        return;
    }
    conn->server = fd;
    conn->state = EGRESS_MOVES;
    conn->verdict = "allowed";
    note_peer(conn);
    if (conn->head.connect) {
        memcpy(conn->down.data, yes, sizeof(yes) - 1);
        conn->down.len = sizeof(yes) - 1;
    }
    conn->active_ms = cds_now_ms();
    cds_timer_set(conn->timer, conn->active_ms + EGRESS_IDLE_MS);
    if (cds_watch_add(conn->door->broker->egress->loop, fd, EPOLLIN, on_server, conn, &conn->server_watch, NULL) || !egress_pump(conn))
        egress_conn_end(conn);
}

static void dial(struct egress_conn *conn)
{
    static const struct cds_dial_ops ops = {may_connect, on_dialled};
    struct cds_err err;
    uint64_t deadline = cds_now_ms() + EGRESS_CONNECT_MS;
    conn->state = EGRESS_DIALS;
    conn->verdict = "failed";
    if (cds_dial_start(conn->door->broker->egress->dialer, conn->head.host, conn->head.port, deadline, &ops, conn, &conn->dial, &err)) {
        failed(conn, &err);
        return;
    }
    cds_timer_set(conn->timer, deadline + EGRESS_LINGER_MS);
    if (cds_watch_set(conn->client_watch, 0)) /* a client that leaves is told as HUP all the same */
        egress_conn_end(conn);
}

/* ---- head ---- */
/* What waits for the server: a tunnel's first bytes, or the head it gets and the begin of the body. */
static void fill_up(struct egress_conn *conn, const struct cds_buf *rewritten)
{
    struct egress_pipe *up = &conn->up;
    size_t behind = up->len - conn->head.len;
    if (conn->head.connect) {
        up->at = conn->head.len;
        up->left_bytes = UINT64_MAX;
        return;
    }
    if (behind > conn->head.body_bytes)
        behind = (size_t)conn->head.body_bytes; /* one request per connection: a second one is not read */
    memmove(up->data + rewritten->len, up->data + conn->head.len, behind);
    memcpy(up->data, rewritten->data, rewritten->len);
    up->len = rewritten->len + behind;
    up->left_bytes = conn->head.body_bytes - behind;
}

static void take_head(struct egress_conn *conn)
{
    CDS_CLEANUP(cds_buf_free) struct cds_buf rewritten = cds_buf_init(EGRESS_HEAD_MAX + 1024);
    struct egress_pipe *up = &conn->up;
    struct cds_err err;
    ssize_t n = recv(conn->client, up->data + up->len, EGRESS_HEAD_MAX - up->len, 0);
    if (n < 0 && (errno == EAGAIN || errno == EINTR))
        return;
    if (n <= 0) {
        egress_conn_end(conn);
        return;
    }
    up->len += (size_t)n;
    cds_rc rc = egress_head_parse(up->data, up->len, &conn->head, &rewritten, &err);
    if (rc == CDS_BUSY)
        return;
    if (rc) {
        refuse(conn, rc == CDS_TOO_LARGE ? 431 : 400, "refused", "egress.request", "malformed request", err.message);
        return;
    }
    if (!check_rules(conn))
        return;
    fill_up(conn, &rewritten);
    dial(conn);
}

/* Gives the refusal, and reads what the client still sends, since closing before that would throw the refusal away. */
static void linger(struct egress_conn *conn)
{
    char waste[4096];
    struct egress_pipe *down = &conn->down;
    while (down->at < down->len) {
        ssize_t n = send(conn->client, down->data + down->at, down->len - down->at, MSG_NOSIGNAL);
        if (n < 0 && errno != EAGAIN && errno != EINTR) {
            egress_conn_end(conn);
            return;
        }
        if (n < 0)
            return;
        down->at += (size_t)n;
    }
    if (!down->closed) {
        down->closed = true;
        shutdown(conn->client, SHUT_WR);
    }
    ssize_t n = recv(conn->client, waste, sizeof(waste), 0);
    if (n == 0 || (n < 0 && errno != EAGAIN && errno != EINTR) || cds_watch_set(conn->client_watch, EPOLLIN))
        egress_conn_end(conn);
}

static void on_client(void *user, int fd, uint32_t events)
{
    struct egress_conn *conn = user;
    switch (conn->state) {
    case EGRESS_READS_HEAD:
        take_head(conn);
        break;
    case EGRESS_DIALS: /* it left */
        egress_conn_end(conn);
        break;
    case EGRESS_MOVES:
        if (!egress_pump(conn))
            egress_conn_end(conn);
        break;
    case EGRESS_LINGERS:
        linger(conn);
        break;
    }
}

static void on_timer(void *user)
{
    struct egress_conn *conn = user;
    uint64_t idle_until = conn->active_ms + EGRESS_IDLE_MS;
    if (conn->state == EGRESS_MOVES && idle_until > cds_now_ms())
        cds_timer_set(conn->timer, idle_until);
    else if (conn->state == EGRESS_READS_HEAD)
        refuse(conn, 408, "refused", "egress.request", "no request in time", "The head of the request did not come in time.");
    else
        egress_conn_end(conn);
}

void egress_conn_start(struct egress_door *door, int fd)
{
    struct egress *egress = door->broker->egress;
    struct egress_conn *conn = calloc(1, sizeof(*conn));
    if (!conn) {
        close(fd);
        return;
    }
    conn->up.left_bytes = conn->down.left_bytes = UINT64_MAX;
    conn->door = door;
    conn->client = fd;
    conn->server = -1;
    conn->rule = "";
    conn->began_ms = cds_now_ms();
    if ((conn->next = door->conns))
        conn->next->prev = &conn->next;
    conn->prev = &door->conns;
    door->conns = conn;
    door->count++;
    egress->connections++;
    if (cds_timer_add(egress->loop, conn->began_ms + EGRESS_HEAD_MS, on_timer, conn, &conn->timer) ||
        cds_watch_add(egress->loop, fd, EPOLLIN, on_client, conn, &conn->client_watch, NULL)) {
        egress_conn_end(conn);
        return;
    }
    if (door->count > egress->per_job_max)
        refuse(conn, 503, "refused", "egress.connections", "too many connections of this job",
               "This job has as many connections open as one may have (option egress.per_job). Close some first.");
    else if (egress->connections > egress->connections_max)
        refuse(conn, 503, "refused", "egress.connections", "too many connections",
               "All connections of the studio to the network are in use. Try again.");
}
