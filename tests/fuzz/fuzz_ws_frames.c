// link: cds_http
/* tests/fuzz/fuzz_ws_frames.c: bytes behind a good WebSocket handshake, to a real server over a socket. */
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
#include "lib/http/ws.h"

enum { MESSAGE_MAX = 2000 };

static struct cds_loop *loop;
static struct cds_http_server *server;
static struct sockaddr_in address;
static unsigned open_sockets;

static void on_text(void *user, struct cds_ws *ws, const char *data, size_t len)
{
    if (len > MESSAGE_MAX || !cds_utf8_valid(data, len))
        abort(); /* what the socket promises its owner */
    if (len && data[0] == 'q')
        cds_ws_close(ws, 1000, "asked");
    (void)!cds_ws_send(ws, data, len);
}

static void on_close(void *user, struct cds_ws *ws)
{
    open_sockets--;
}

static void handler(void *user, struct cds_http_req *req)
{
    static const struct cds_ws_ops ops = {on_text, on_close};
    struct cds_ws *ws;
    if (cds_ws_accept(req, "http://t", NULL, MESSAGE_MAX, 8192, &ops, NULL, &ws) == CDS_OK)
        open_sockets++;
}

static void set_up(void)
{
    const struct cds_http_limits limits = {.body_max_bytes = 4096, .read_ms = 60000, .idle_ms = 60000, .connections = 64, .connections_per_ip = 64};
    socklen_t len = sizeof(address);
    int fd = -1;
    if (cds_loop_new(&loop, NULL) || cds_tcp_listen("127.0.0.1", 0, &fd, NULL) || getsockname(fd, (struct sockaddr *)&address, &len) ||
        cds_http_server_new(loop, fd, &limits, NULL, handler, NULL, &server, NULL))
        abort();
}

static void turn(int times)
{
    for (int i = 0; i < times; i++)
        cds_loop_once(loop, 0);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    static const char hello[] = "GET /ws HTTP/1.1\r\nHost: t\r\nUpgrade: websocket\r\nConnection: Upgrade\r\nSec-WebSocket-Version: 13\r\n"
                                "Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n\r\n";
    char waste[4096];
    if (!server)
        set_up();
    int fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
    struct linger reset = {1, 0};
    setsockopt(fd, SOL_SOCKET, SO_LINGER, &reset, sizeof(reset));
    if (fd < 0 || connect(fd, (struct sockaddr *)&address, sizeof(address))) {
        perror("connect");
        if (errno != EINTR) /* the alarm of libFuzzer */
            abort();
        close(fd);
        return 0;
    }
    if (send(fd, hello, sizeof(hello) - 1, MSG_NOSIGNAL) < 0)
        abort();
    turn(3);
    size_t step = size && data[0] % 16 ? data[0] % 16u * 4 : size + 1;
    for (size_t at = 1; at < size; at += step) {
        size_t n = size - at < step ? size - at : step;
        if (send(fd, data + at, n, MSG_NOSIGNAL | MSG_DONTWAIT) < 0)
            break;
        turn(2);
        while (recv(fd, waste, sizeof(waste), MSG_DONTWAIT) > 0)
            turn(1);
    }
    turn(2);
    while (recv(fd, waste, sizeof(waste), MSG_DONTWAIT) > 0)
        turn(1);
    close(fd);
    for (int i = 0; i < 2000 && open_sockets; i++)
        cds_loop_once(loop, 1);
    if (open_sockets)
        abort(); /* a socket outlived its connection */
    turn(2);
    return 0;
}
