/* tests/unit/lib/http/rig.h: a real server on a loopback port and raw client sockets, all on one loop in one thread. */
#pragma once

#include <arpa/inet.h>
#include <errno.h>
#include <fcntl.h>
#include <netinet/in.h>
#include <poll.h>
#include <sys/socket.h>
#include <unistd.h>

#include "lib/base/clock.h"
#include "lib/base/fd.h"
#include "lib/http/reply.h"
#include "lib/http/server.h"
#include "lib/metrics/metrics.h"
#include "tests/support/test.h"

/* A wait ends a test that hangs; no deadline of the server below comes before it, but those that a test is about. */
enum { RIG_WAIT_MS = 60000, RIG_TEXT = 256 * 1024 };

struct rig {
    struct cds_loop *loop;
    struct cds_http_server *server;
    uint16_t port;
    struct cds_http_req *req; /* the one a handler kept */
    unsigned calls, gone, done;
    char seen[512]; /* what the handler noted */
    char text[RIG_TEXT];
    size_t len;
};

static inline void rig_gone(void *user)
{
    struct rig *rig = user;
    rig->gone++;
    rig->req = NULL;
}

static inline void rig_done(void *user)
{
    ((struct rig *)user)->done++;
}

/** Keeps the request; the test answers it. */
static inline void rig_keep(void *user, struct cds_http_req *req)
{
    struct rig *rig = user;
    rig->calls++;
    rig->req = req;
    cds_http_set_user(req, rig, rig_gone, rig_done);
}

static inline void rig_hello(void *user, struct cds_http_req *req)
{
    ((struct rig *)user)->calls++;
    cds_http_reply(req, 200, "text/plain", "hello", 5);
}

static inline int rig_listen(uint16_t *ret_port)
{
    struct sockaddr_in address;
    socklen_t len = sizeof(address);
    int fd = -1;
    assert_int_equal(cds_tcp_listen("127.0.0.1", 0, &fd, NULL), CDS_OK);
    assert_int_equal(getsockname(fd, (struct sockaddr *)&address, &len), 0);
    *ret_port = ntohs(address.sin_port);
    return fd;
}

/** A port on which nobody listens, and which nobody else gets before the descriptor is closed. */
static inline int rig_keep_port(uint16_t *ret_port)
{
    struct sockaddr_in address = {.sin_family = AF_INET, .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
    socklen_t len = sizeof(address);
    int fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
    assert_int_equal(bind(fd, (struct sockaddr *)&address, sizeof(address)), 0);
    assert_int_equal(getsockname(fd, (struct sockaddr *)&address, &len), 0);
    *ret_port = ntohs(address.sin_port);
    return fd;
}

static const struct cds_http_limits rig_limits = {
    .body_max_bytes = 1000, .read_ms = 10 * RIG_WAIT_MS, .idle_ms = 10 * RIG_WAIT_MS, .connections = 64, .connections_per_ip = 64};

static inline void rig_open_with(struct rig *rig, const struct cds_http_limits *limits, cds_http_header_fn *on_header, cds_http_handler_fn *handler)
{
    memset(rig, 0, sizeof(*rig));
    assert_int_equal(cds_loop_new(&rig->loop, NULL), CDS_OK);
    int fd = rig_listen(&rig->port);
    assert_int_equal(cds_http_server_new(rig->loop, fd, limits, on_header, handler, rig, &rig->server, NULL), CDS_OK);
}

static inline void rig_open(struct rig *rig, cds_http_handler_fn *handler)
{
    rig_open_with(rig, &rig_limits, NULL, handler);
}

static inline void rig_close(struct rig *rig)
{
    cds_http_server_free(&rig->server);
    cds_loop_free(&rig->loop);
}

static inline int rig_connect_to(uint16_t port)
{
    struct sockaddr_in address = {.sin_family = AF_INET, .sin_port = htons(port), .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
    int fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
    assert_true(fd >= 0);
    assert_int_equal(connect(fd, (struct sockaddr *)&address, sizeof(address)), 0);
    assert_int_equal(fcntl(fd, F_SETFL, O_NONBLOCK), 0);
    return fd;
}

static inline int rig_connect(struct rig *rig)
{
    return rig_connect_to(rig->port);
}

static inline void rig_send(struct rig *rig, int fd, const void *data, size_t len)
{
    uint64_t until = cds_now_ms() + RIG_WAIT_MS;
    for (size_t at = 0; at < len;) {
        ssize_t n = send(fd, (const char *)data + at, len - at, MSG_NOSIGNAL);
        if (n < 0 && errno != EAGAIN)
            return; /* the server hung up: what it said before is what counts */
        at += n > 0 ? (size_t)n : 0;
        cds_loop_once(rig->loop, n > 0 ? 0 : 1);
        assert_true(cds_now_ms() < until);
    }
}

static inline void rig_say(struct rig *rig, int fd, const char *text)
{
    rig_send(rig, fd, text, strlen(text));
}

/** Lets the loop run until the condition holds. */
#define RIG_UNTIL(rig, condition)                                                                                                                    \
    do {                                                                                                                                             \
        uint64_t rig_until_ms = cds_now_ms() + RIG_WAIT_MS;                                                                                          \
        while (!(condition)) {                                                                                                                       \
            assert_true(cds_now_ms() < rig_until_ms);                                                                                                \
            cds_loop_once((rig)->loop, 5);                                                                                                           \
        }                                                                                                                                            \
    } while (0)

/** Reads until needle came (NULL: until the end); the text stays in rig->text. @return false at the end of the connection */
static inline bool rig_read(struct rig *rig, int fd, const char *needle)
{
    uint64_t until = cds_now_ms() + RIG_WAIT_MS;
    rig->len = 0;
    rig->text[0] = '\0';
    for (;;) {
        ssize_t n = recv(fd, rig->text + rig->len, sizeof(rig->text) - 1 - rig->len, 0);
        if (n == 0 || (n < 0 && errno != EAGAIN))
            return false;
        rig->len += n > 0 ? (size_t)n : 0;
        rig->text[rig->len] = '\0';
        if (needle && memmem(rig->text, rig->len, needle, strlen(needle)))
            return true;
        assert_true(rig->len < sizeof(rig->text) - 1);
        assert_true(cds_now_ms() < until);
        cds_loop_once(rig->loop, 1);
    }
}

static inline bool rig_has(const struct rig *rig, const char *needle)
{
    return memmem(rig->text, rig->len, needle, strlen(needle)) != NULL;
}

/** Sends a request on a connection of its own, reads the whole answer to the end. */
static inline void rig_ask(struct rig *rig, const char *request)
{
    int fd = rig_connect(rig);
    rig_say(rig, fd, request);
    rig_read(rig, fd, NULL);
    close(fd);
}

#define RIG_GET(path) "GET " path " HTTP/1.1\r\nHost: t\r\nConnection: close\r\n\r\n"
