// link: cds_http
/* bench/gateway.c: what the gateway is measured against: servers that answer one fixed JSON-RPC result and do nothing else.
 *
 *   gateway loop <port>   epoll and the least HTTP that keeps a connection alive: the lower bound
 *   gateway http <port>   lib/http with the same fixed answer: what the library itself costs
 *
 * Listens on 127.0.0.1, prints "listening", runs until SIGTERM, then prints the CPU time it used. Loopback measurements only: the parser of
 * "loop" trusts its client.
 */
#include <errno.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <unistd.h>

#include "lib/base/fd.h"
#include "lib/base/loop.h"
#include "lib/base/str.h"
#include "lib/http/server.h"

enum { REQUEST_MAX = 16384 };

static const char answer[] =
    "{\"jsonrpc\":\"2.0\",\"id\":1,\"result\":{\"user_id\":\"0197a000-0000-7000-8000-000000000001\",\"email\":\"ada@example.org\","
    "\"role\":\"developer\",\"expires_at\":1893456000}}";

struct connection {
    struct cds_watch *watch;
    int fd;
    size_t len;
    char in[REQUEST_MAX + 1];
};

static struct cds_loop *loop;
static char reply[512];
static size_t reply_len;

static void drop(struct connection *c)
{
    cds_watch_remove(&c->watch);
    close(c->fd);
    free(c);
}

/** Bytes of the first whole request in the buffer, 0 if it is not whole yet. */
static size_t whole_request(const char *in, size_t len)
{
    const char *end = memmem(in, len, "\r\n\r\n", 4);
    if (!end)
        return 0;
    const char *length = strcasestr(in, "\r\nContent-Length: ");
    size_t need = (size_t)(end - in) + 4 + (length && length < end ? strtoul(length + 18, NULL, 10) : 0);
    return need <= len ? need : 0;
}

static void on_ready(void *user, int fd, uint32_t events)
{
    struct connection *c = user;
    ssize_t n = recv(fd, c->in + c->len, REQUEST_MAX - c->len, 0);
    if (n <= 0) {
        if (n == 0 || errno != EAGAIN)
            drop(c);
        return;
    }
    c->len += (size_t)n;
    c->in[c->len] = '\0';
    for (size_t used; (used = whole_request(c->in, c->len));) {
        memmove(c->in, c->in + used, c->len - used + 1);
        c->len -= used;
        if (send(fd, reply, reply_len, MSG_NOSIGNAL) != (ssize_t)reply_len) {
            drop(c);
            return;
        }
    }
    if (c->len == REQUEST_MAX)
        drop(c);
}

static void on_accept(void *user, int fd, uint32_t events)
{
    for (int one; (one = accept4(fd, NULL, NULL, SOCK_NONBLOCK | SOCK_CLOEXEC)) >= 0;) {
        struct connection *c = malloc(sizeof(*c));
        if (!c) {
            close(one);
            continue;
        }
        c->fd = one;
        c->len = 0;
        c->watch = NULL;
        if (cds_watch_add(loop, one, EPOLLIN, on_ready, c, &c->watch, NULL))
            drop(c);
    }
}

static void on_request(void *user, struct cds_http_req *req)
{
    cds_http_reply(req, 200, "application/json", answer, sizeof(answer) - 1);
}

static void on_signal(void *user, int signo)
{
    cds_loop_stop(loop);
}

static cds_rc serve(const char *mode, int fd, struct cds_watch **watch, struct cds_http_server **server, struct cds_err *err)
{
    static const struct cds_http_limits limits = {1 << 20, 10000, 60000, 4096, 4096};
    if (cds_streq(mode, "http"))
        return cds_http_server_new(loop, fd, &limits, NULL, on_request, NULL, server, err);
    reply_len = (size_t)snprintf(reply, sizeof(reply), "HTTP/1.1 200 OK\r\nContent-Type: application/json\r\nContent-Length: %zu\r\n\r\n%s",
                                 sizeof(answer) - 1, answer);
    return cds_watch_add(loop, fd, EPOLLIN, on_accept, NULL, watch, err);
}

int main(int argc, char **argv)
{
    struct cds_err err;
    uint64_t port = 0;
    int fd = -1;
    struct cds_watch *watch = NULL;
    struct cds_http_server *server = NULL;
    if (argc != 3 || (!cds_streq(argv[1], "loop") && !cds_streq(argv[1], "http")) || cds_parse_u64(argv[2], 1, 65535, &port)) {
        fputs("Usage: gateway loop|http <port>\n", stderr);
        return 2;
    }
    signal(SIGPIPE, SIG_IGN);
    if (cds_loop_new(&loop, &err) || cds_loop_signal(loop, SIGTERM, on_signal, NULL, &err) || cds_loop_signal(loop, SIGINT, on_signal, NULL, &err) ||
        cds_tcp_listen("127.0.0.1", (uint16_t)port, &fd, &err) || serve(argv[1], fd, &watch, &server, &err)) {
        fprintf(stderr, "%s\n", err.message);
        return 1;
    }
    puts("listening");
    fflush(stdout);
    cds_loop_run(loop);
    struct rusage used;
    getrusage(RUSAGE_SELF, &used);
    printf("cpu_seconds %.3f\n",
           (double)(used.ru_utime.tv_sec + used.ru_stime.tv_sec) + (double)(used.ru_utime.tv_usec + used.ru_stime.tv_usec) / 1e6);
    cds_http_server_free(&server);
    cds_watch_remove(&watch);
    cds_loop_free(&loop);
    return 0;
}
