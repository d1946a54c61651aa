// link: cds_http
/* tests/fuzz/fuzz_http_request.c: bytes of a hostile client to a real server over a socket. The first byte chooses how they are cut. */
#include <arpa/inet.h>
#include <errno.h>
#include <netinet/in.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#include "lib/base/fd.h"
#include "lib/base/str.h"
#include "lib/http/reply.h"

static struct cds_loop *loop;
static struct cds_http_server *server;
static struct sockaddr_in address;
static struct cds_http_req *kept;

static void forget(void *user)
{
    kept = NULL;
}

static void handler(void *user, struct cds_http_req *req)
{
    size_t len;
    char ip[46];
    const char *body = cds_http_body(req, &len);
    if (strlen(cds_http_target(req)) == 0 || cds_http_target(req)[0] != '/' || body[len] != '\0')
        abort(); /* what the server promises its handlers */
    cds_http_client_ip(req, ip);
    cds_http_query(req, "q");
    if (cds_streq(cds_http_path(req), "/late") && !kept) {
        kept = req;
        cds_http_set_user(req, NULL, forget, forget);
    } else if (cds_streq(cds_http_path(req), "/stream")) {
        cds_http_stream_begin(req, 200, "text/event-stream", 256);
        (void)!cds_http_stream_write(req, body, len < 256 ? len : 256);
        cds_http_stream_finish(req, len % 2);
    } else {
        cds_http_reply(req, 200, "text/plain", body, len);
    }
}

static void set_up(void)
{
    const struct cds_http_limits limits = {.body_max_bytes = 4096, .read_ms = 60000, .idle_ms = 60000, .connections = 16, .connections_per_ip = 16};
    socklen_t len = sizeof(address);
    int fd = -1;
    if (cds_loop_new(&loop, NULL) || cds_tcp_listen("127.0.0.1", 0, &fd, NULL) || getsockname(fd, (struct sockaddr *)&address, &len) ||
        cds_http_server_new(loop, fd, &limits, NULL, handler, NULL, &server, NULL))
        abort();
    cds_http_trust_request_id(server, true);
}

static void turn(int times)
{
    for (int i = 0; i < times; i++)
        cds_loop_once(loop, 0);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    char waste[4096];
    if (!server)
        set_up();
    if (!size)
        return 0;
    int fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
    struct linger reset = {1, 0}; /* no pile of sockets in TIME_WAIT */
    setsockopt(fd, SOL_SOCKET, SO_LINGER, &reset, sizeof(reset));
    if (fd < 0 || connect(fd, (struct sockaddr *)&address, sizeof(address))) {
        perror("connect");
        if (errno != EINTR) /* the alarm of libFuzzer */
            abort();
        close(fd);
        return 0;
    }
    size_t step = data[0] % 64 ? data[0] % 64u * 8 : size;
    for (size_t at = 1; at < size; at += step) {
        size_t n = size - at < step ? size - at : step;
        if (send(fd, data + at, n, MSG_NOSIGNAL | MSG_DONTWAIT) < 0)
            break;
        turn(2);
        while (recv(fd, waste, sizeof(waste), MSG_DONTWAIT) > 0)
            turn(1);
    }
    turn(3);
    if (kept) {
        cds_http_reply(kept, 200, "text/plain", "late", 4);
        turn(2);
    }
    while (recv(fd, waste, sizeof(waste), MSG_DONTWAIT) > 0)
        turn(1);
    close(fd);
    turn(4);
    return 0;
}
