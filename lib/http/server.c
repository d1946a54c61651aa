/* lib/http/server.c: the daemon of libmicrohttpd inside our loop; connections, their deadlines, drain and end.
 *
 * libmicrohttpd runs in external epoll mode only: its own epoll thread stalls when exactly 128 sockets are ready (docs/adr/0002). Its epoll
 * descriptor is one watch of our loop, and a timer stands for the time it wants to be called next.
 */
#include <arpa/inet.h>
#include <errno.h>
#include <poll.h>
#include <pthread.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/socket.h>
#include <unistd.h>

#include "lib/base/clock.h"
#include "lib/base/str.h"
#include "lib/http/server_priv.h"
#include "lib/json/problem.h"
#include "lib/log/log.h"
#include "lib/metrics/metrics.h"

/* ---- running libmicrohttpd ---- */
void http_kick(struct cds_http_server *server)
{
    /* Timers run after the watches of the same batch: all wake-ups of a batch become one MHD_run. Within MHD_run it is noted: a handler that answers
     * another request resumes its connection, which MHD_get_timeout knows nothing of. */
    if (server->running)
        server->again = true;
    else
        cds_timer_set(server->run_timer, cds_now_ms());
}

static void on_mhd_ready(void *user, int fd, uint32_t events)
{
    http_kick(user);
}

static void run_mhd(struct cds_http_server *server)
{
    MHD_UNSIGNED_LONG_LONG ms = 0;
    server->running = true;
    server->again = false;
    MHD_run(server->mhd);
    server->running = false;
    if (server->again)
        cds_timer_set(server->run_timer, cds_now_ms());
    else if (MHD_get_timeout(server->mhd, &ms) != MHD_YES)
        cds_timer_set(server->run_timer, UINT64_MAX);
    else
        cds_timer_set(server->run_timer, cds_now_ms() + (ms > 3600000 ? 3600000 : (uint64_t)ms));
}

static void on_run(void *user)
{
    run_mhd(user);
}

/* ---- connections ---- */
static void set_ip(struct http_conn *conn, const struct sockaddr *address)
{
    cds_strcpy(conn->ip, sizeof(conn->ip), "unix");
    if (address && address->sa_family == AF_INET)
        inet_ntop(AF_INET, &((const struct sockaddr_in *)(const void *)address)->sin_addr, conn->ip, sizeof(conn->ip));
    if (address && address->sa_family == AF_INET6)
        inet_ntop(AF_INET6, &((const struct sockaddr_in6 *)(const void *)address)->sin6_addr, conn->ip, sizeof(conn->ip));
}

static void on_connection(void *cls, struct MHD_Connection *con, void **context, enum MHD_ConnectionNotificationCode why)
{
    struct cds_http_server *server = cls;
    struct http_conn *conn = *context;
    if (why == MHD_CONNECTION_NOTIFY_STARTED) {
        *context = conn = calloc(1, sizeof(*conn));
        if (!conn)
            return; /* on_uri refuses a connection without a record */
        conn->server = server;
        conn->fd = MHD_get_connection_info(con, MHD_CONNECTION_INFO_CONNECTION_FD)->connect_fd;
        set_ip(conn, MHD_get_connection_info(con, MHD_CONNECTION_INFO_CLIENT_ADDRESS)->client_addr);
        conn->deadline_ms = cds_now_ms() + server->limits.read_ms;
        if (!server->conns)
            cds_timer_set(server->tick, cds_now_ms() + HTTP_TICK_MS);
        if ((conn->next = server->conns))
            conn->next->prev = &conn->next;
        conn->prev = &server->conns;
        server->conns = conn;
        cds_metric_add(CDS_M_HTTP_CONNECTIONS, NULL, 1);
    } else if (conn) {
        if ((*conn->prev = conn->next))
            conn->next->prev = conn->prev;
        free(conn);
        *context = NULL;
        cds_metric_add(CDS_M_HTTP_CONNECTIONS, NULL, -1);
        if (server->draining && !server->conns)
            cds_timer_set(server->tick, cds_now_ms());
    }
}

/* The request line is there: the request begins, and with it the time the client has for head and body. */
static void *on_uri(void *cls, const char *uri, struct MHD_Connection *con)
{
    struct http_conn *conn = MHD_get_connection_info(con, MHD_CONNECTION_INFO_SOCKET_CONTEXT)->socket_context;
    struct cds_http_req *req = conn ? calloc(1, sizeof(*req)) : NULL;
    if (!req)
        return NULL;
    req->target = strndup(uri, HTTP_TARGET_MAX + 1);
    if (!req->target) {
        free(req);
        return NULL;
    }
    req->server = cls;
    req->conn = conn;
    req->con = con;
    req->body = cds_buf_init(req->server->limits.body_max_bytes);
    req->started_ms = cds_now_ms();
    req->started_ns = cds_now_ns();
    conn->busy = true;
    conn->deadline_ms = req->started_ms + req->server->limits.read_ms;
    if ((req->next = req->server->reqs))
        req->next->prev = &req->next;
    req->prev = &req->server->reqs;
    req->server->reqs = req;
    return req;
}

static void count(const struct cds_http_req *req, enum MHD_RequestTerminationCode why)
{
    static const char *const classes[] = {"1xx", "2xx", "3xx", "4xx", "5xx"};
    const char *label = "gone";
    if (req->status >= 100 && req->status < 600 && (req->queued || req->upgraded))
        label = classes[req->status / 100 - 1];
    else if (!req->head_seen && why == MHD_REQUEST_TERMINATED_COMPLETED_OK)
        label = "4xx"; /* refused by libmicrohttpd before we saw it */
    cds_metric_add(CDS_M_HTTP_REQUESTS, label, 1);
    if (!req->upgraded)
        cds_metric_us(CDS_M_HTTP_SECONDS, NULL, (cds_now_ns() - req->started_ns) / 1000);
}

static void free_req(struct cds_http_req *req)
{
    if ((*req->prev = req->next))
        req->next->prev = req->prev;
    if (req->response)
        MHD_destroy_response(req->response);
    for (unsigned i = 0; i < req->extra_count; i++) {
        free(req->extra[i].name);
        free(req->extra[i].value);
    }
    cds_buf_free(&req->body);
    cds_buf_free(&req->stream.out);
    free(req->target);
    free(req);
}

static void on_completed(void *cls, struct MHD_Connection *con, void **req_cls, enum MHD_RequestTerminationCode why)
{
    struct cds_http_req *req = *req_cls;
    if (!req)
        return;
    *req_cls = NULL;
    cds_watch_remove(&req->gone_watch); /* before libmicrohttpd closes the socket */
    req->suspended = false;
    req->conn->busy = false;
    req->conn->deadline_ms = cds_now_ms() + req->server->limits.idle_ms;
    count(req, why);
    if (!http_is_complete(req))
        http_tell_gone(req);
    http_end_hook(req);
    if (!req->gone && req->on_done)
        req->on_done(req->user);
    if (req->on_end)
        req->on_end(req->on_end_user, req->gone ? 0 : req->status);
    free_req(req);
}

/* ---- deadlines and drain ---- */
static void on_tick(void *user)
{
    struct cds_http_server *server = user;
    uint64_t now = cds_now_ms();
    for (struct http_conn *conn = server->conns; conn; conn = conn->next)
        if (conn->deadline_ms <= now || (server->draining && !conn->busy)) {
            conn->deadline_ms = UINT64_MAX;
            shutdown(conn->fd, SHUT_RDWR); /* libmicrohttpd sees the end and frees it */
        }
    if (server->draining && (!server->conns || now >= server->drain_deadline_ms)) {
        void (*done)(void *) = server->drained;
        server->drained = NULL;
        if (done)
            done(server->drained_user); /* may free the server: nothing after it */
        return;
    }
    if (server->conns || server->draining)
        cds_timer_set(server->tick, now + (server->draining ? HTTP_DRAIN_TICK_MS : HTTP_TICK_MS));
}

void http_upgraded_add(struct cds_http_server *server, struct http_upgraded *up)
{
    if ((up->next = server->upgraded))
        up->next->prev = &up->next;
    up->prev = &server->upgraded;
    server->upgraded = up;
}

void http_upgraded_remove(struct http_upgraded *up)
{
    if (!up->prev)
        return;
    if ((*up->prev = up->next))
        up->next->prev = up->prev;
    up->prev = NULL;
}

static void quiesce(struct cds_http_server *server)
{
    if (server->quiesced)
        return;
    server->quiesced = true;
    int fd = MHD_quiesce_daemon(server->mhd);
    if (fd >= 0)
        close(fd);
}

void cds_http_server_drain(struct cds_http_server *server, uint32_t drain_ms, void (*done)(void *user), void *user)
{
    quiesce(server);
    server->draining = true;
    server->drain_deadline_ms = cds_now_ms() + drain_ms;
    server->drained = done;
    server->drained_user = user;
    cds_timer_set(server->tick, cds_now_ms());
    http_kick(server);
}

/* ---- life ---- */
static void on_log(void *cls, const char *fmt, va_list ap)
{
    char text[512];
    /* The format comes from libmicrohttpd, which has no other way to hand us its words. */
#pragma GCC diagnostic push
#pragma GCC diagnostic ignored "-Wformat-nonliteral"
    vsnprintf(text, sizeof(text), fmt, ap);
#pragma GCC diagnostic pop
    text[strcspn(text, "\n")] = '\0';
    cds_log(CDS_LOG_DEBUG, "libmicrohttpd", CDS_LS("detail", text));
}

static void on_panic(void *cls, const char *file, unsigned line, const char *reason)
{
    cds_log(CDS_LOG_ERROR, "libmicrohttpd found itself in an impossible state", CDS_LS("file", file), CDS_LI("line", line), CDS_LS("detail", reason));
    abort();
}

static void set_up_library(void)
{
    MHD_set_panic_func(on_panic, NULL);
    signal(SIGPIPE, SIG_IGN); /* promised by MHD_OPTION_SIGPIPE_HANDLED_BY_APP, which gives us sendfile */
}

static cds_rc start_mhd(struct cds_http_server *server, int listen_fd, struct cds_err *reterr)
{
    const struct cds_http_limits *limits = &server->limits;
    uint32_t silence_ms = limits->idle_ms > limits->read_ms ? limits->idle_ms : limits->read_ms;
    unsigned flags = MHD_USE_EPOLL | MHD_ALLOW_UPGRADE | MHD_ALLOW_SUSPEND_RESUME | MHD_USE_ERROR_LOG | MHD_USE_TURBO;
    server->mhd = MHD_start_daemon(flags, 0, NULL, NULL, http_on_access, server, MHD_OPTION_EXTERNAL_LOGGER, on_log, server, MHD_OPTION_LISTEN_SOCKET,
                                   listen_fd, MHD_OPTION_NOTIFY_COMPLETED, on_completed, server, MHD_OPTION_NOTIFY_CONNECTION, on_connection, server,
                                   MHD_OPTION_URI_LOG_CALLBACK, on_uri, server, MHD_OPTION_CONNECTION_MEMORY_LIMIT, (size_t)HTTP_HEADER_BLOCK,
                                   MHD_OPTION_CONNECTION_LIMIT, limits->connections, MHD_OPTION_PER_IP_CONNECTION_LIMIT, limits->connections_per_ip,
                                   MHD_OPTION_CONNECTION_TIMEOUT, silence_ms / 1000 + 1, MHD_OPTION_STRICT_FOR_CLIENT, 1,
                                   MHD_OPTION_SIGPIPE_HANDLED_BY_APP, 1, MHD_OPTION_END);
    if (!server->mhd)
        return cds_fail(reterr, CDS_SYSTEM, __func__, "The HTTP server could not start.");
    int epoll_fd = MHD_get_daemon_info(server->mhd, MHD_DAEMON_INFO_EPOLL_FD)->epoll_fd;
    return cds_watch_add(server->loop, epoll_fd, EPOLLIN, on_mhd_ready, server, &server->mhd_watch, reterr);
}

cds_rc cds_http_server_new(struct cds_loop *loop, int listen_fd, const struct cds_http_limits *limits, cds_http_header_fn *on_header,
                           cds_http_handler_fn *on_request, void *user, struct cds_http_server **ret, struct cds_err *reterr)
{
    static pthread_once_t once = PTHREAD_ONCE_INIT;
    pthread_once(&once, set_up_library);
    struct cds_http_server *server = calloc(1, sizeof(*server));
    if (!server) {
        close(listen_fd);
        return cds_fail(reterr, CDS_EXHAUSTED, __func__, "Out of memory.");
    }
    *server = (struct cds_http_server){.loop = loop, .limits = *limits, .on_header = on_header, .on_request = on_request, .user = user};
    cds_rc rc = CDS_OK;
    if (cds_timer_add(loop, UINT64_MAX, on_run, server, &server->run_timer) || cds_timer_add(loop, UINT64_MAX, on_tick, server, &server->tick))
        rc = cds_fail(reterr, CDS_EXHAUSTED, __func__, "Out of memory.");
    if (!rc)
        rc = start_mhd(server, listen_fd, reterr);
    if (rc) {
        if (!server->mhd)
            close(listen_fd);
        cds_http_server_free(&server);
        return rc;
    }
    http_kick(server);
    *ret = server;
    return CDS_OK;
}

/* libmicrohttpd aborts the process when it is stopped with a suspended connection: everything is woken, cut and waited for first. */
static void end_connections(struct cds_http_server *server)
{
    for (struct cds_http_req *req = server->reqs; req; req = req->next) {
        if (!req->upgraded && !http_is_complete(req))
            http_tell_gone(req);
        http_wake(req);
    }
    for (int round = 0; round < 200 && server->conns; round++) {
        while (server->upgraded) /* also those whose 101 goes out only now */
            server->upgraded->cut(server->upgraded);
        for (struct http_conn *conn = server->conns; conn; conn = conn->next)
            shutdown(conn->fd, SHUT_RDWR);
        run_mhd(server);
        if (server->conns)
            poll(NULL, 0, round < 10 ? 0 : 5);
    }
}

void cds_http_server_free(struct cds_http_server **server_place)
{
    struct cds_http_server *server = *server_place;
    if (!server)
        return;
    *server_place = NULL;
    if (server->mhd) {
        quiesce(server);
        server->draining = true;
        end_connections(server);
        cds_watch_remove(&server->mhd_watch);
        MHD_stop_daemon(server->mhd);
    }
    cds_timer_remove(&server->run_timer);
    cds_timer_remove(&server->tick);
    free(server);
}

static void shape_below(struct cds_http_server *server, const char *prefix, cds_json *(*shape)(const struct cds_err *err, const char *request_id))
{
    for (size_t i = 0; i < HTTP_SHAPES; i++)
        if (!server->shapes[i].below) {
            server->shapes[i].below = prefix;
            server->shapes[i].shape = shape;
            return;
        }
}

static cds_json *openai_shape(const struct cds_err *err, const char *request_id)
{
    return cds_openai_error(err);
}

void cds_http_openai_below(struct cds_http_server *server, const char *prefix)
{
    shape_below(server, prefix, openai_shape);
}

void cds_http_anthropic_below(struct cds_http_server *server, const char *prefix)
{
    shape_below(server, prefix, cds_anthropic_error);
}

void cds_http_trust_request_id(struct cds_http_server *server, bool on)
{
    server->trust_request_id = on;
}
