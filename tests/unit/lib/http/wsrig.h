/* tests/unit/lib/http/wsrig.h: the client's side of a WebSocket, by hand, so that it can break every rule. */
#pragma once

#include "lib/http/ws.h"
#include "tests/unit/lib/http/rig.h"

enum { WS_TEXT = 1, WS_BINARY = 2, WS_CLOSE = 8, WS_PING = 9, WS_PONG = 10 };

#define WS_HELLO_FROM(path, more)                                                                                                                    \
    "GET " path " HTTP/1.1\r\nHost: t\r\nUpgrade: websocket\r\nConnection: keep-alive, Upgrade\r\nSec-WebSocket-Version: 13\r\n"                     \
    "Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n" more "\r\n"
#define WS_HELLO(more) WS_HELLO_FROM("/ws", more)

struct wsrig {
    struct rig rig; /* first: handlers get it as struct rig */
    struct cds_ws *ws;
    unsigned opened, texts, closed, drained;
    size_t message_max, out_max;
    bool echo;
    char last[256];
    size_t last_len;
};

static inline void wsrig_text(void *user, struct cds_ws *ws, const char *data, size_t len)
{
    struct wsrig *w = user;
    w->texts++;
    w->last_len = len;
    snprintf(w->last, sizeof(w->last), "%.*s", (int)(len < 200 ? len : 200), data);
    if (w->echo)
        (void)!cds_ws_send(ws, data, len);
}

static inline void wsrig_closed(void *user, struct cds_ws *ws)
{
    struct wsrig *w = user;
    w->closed++;
    w->ws = NULL;
    assert_int_equal(cds_ws_send(ws, "late", 4), CDS_CANCELLED);
}

static inline void wsrig_drained(void *user)
{
    ((struct wsrig *)user)->drained++;
}

static inline void wsrig_accept(void *user, struct cds_http_req *req)
{
    static const struct cds_ws_ops ops = {wsrig_text, wsrig_closed};
    struct wsrig *w = user;
    if (cds_ws_accept(req, "http://t", "proto.v1", w->message_max, w->out_max, &ops, w, &w->ws) == CDS_OK) {
        w->opened++;
        cds_ws_on_drain(w->ws, wsrig_drained, w);
    }
}

static inline void wsrig_open(struct wsrig *w)
{
    memset(w, 0, sizeof(*w));
    rig_open(&w->rig, wsrig_accept);
    w->message_max = 1000;
    w->out_max = 64 * 1024;
}

/** Connected and upgraded; what came behind the head of the answer was nothing. */
static inline int wsrig_connect(struct wsrig *w)
{
    int fd = rig_connect(&w->rig);
    rig_say(&w->rig, fd, WS_HELLO("Origin: http://t\r\n"));
    assert_true(rig_read(&w->rig, fd, "\r\n\r\n"));
    assert_true(rig_has(&w->rig, "HTTP/1.1 101 "));
    RIG_UNTIL(&w->rig, w->ws);
    return fd;
}

/** A frame as bytes; returns its length. */
static inline size_t ws_frame(char *out, int opcode, bool fin, bool mask, const char *data, size_t len)
{
    static const unsigned char key[4] = {1, 2, 3, 4};
    size_t n = 0;
    out[n++] = (char)((fin ? 0x80 : 0) | opcode);
    if (len < 126) {
        out[n++] = (char)((mask ? 0x80 : 0) | (int)len);
    } else if (len < 65536) {
        out[n++] = (char)((mask ? 0x80 : 0) | 126);
        out[n++] = (char)(len >> 8);
        out[n++] = (char)len;
    } else {
        out[n++] = (char)((mask ? 0x80 : 0) | 127);
        for (int i = 7; i >= 0; i--)
            out[n++] = (char)((uint64_t)len >> (8 * i));
    }
    for (int i = 0; mask && i < 4; i++)
        out[n++] = (char)key[i];
    for (size_t i = 0; i < len; i++)
        out[n++] = (char)(data[i] ^ (mask ? key[i % 4] : 0));
    return n;
}

static inline void ws_say(struct rig *rig, int fd, int opcode, const char *data, size_t len)
{
    char *frame = malloc(len + 14);
    size_t n = ws_frame(frame, opcode, true, true, data, len);
    rig_send(rig, fd, frame, n);
    free(frame);
}

/** Reads one frame into rig->text (payload only). @return opcode, -1 at the end of the connection */
static inline int ws_hear(struct rig *rig, int fd)
{
    unsigned char head[10];
    uint64_t until = cds_now_ms() + RIG_WAIT_MS;
    size_t have = 0, need = 2, len = 0;
    rig->len = 0;
    rig->text[0] = '\0';
    while (have < need) {
        ssize_t n = recv(fd, have < need ? head + have : NULL, need - have, 0);
        if (n == 0 || (n < 0 && errno != EAGAIN))
            return -1;
        have += n > 0 ? (size_t)n : 0;
        if (have >= 2)
            need = (head[1] & 127) == 126 ? 4 : (head[1] & 127) == 127 ? 10 : 2;
        assert_true(cds_now_ms() < until);
        if (n < 0)
            cds_loop_once(rig->loop, 1);
    }
    len = head[1] & 127;
    if (need == 4)
        len = (size_t)head[2] << 8 | head[3];
    for (size_t i = 2; need == 10 && i < 10; i++)
        len = i == 2 ? head[i] : len << 8 | head[i];
    assert_true(len < sizeof(rig->text));
    while (rig->len < len) {
        ssize_t n = recv(fd, rig->text + rig->len, len - rig->len, 0);
        if (n == 0 || (n < 0 && errno != EAGAIN))
            return -1;
        rig->len += n > 0 ? (size_t)n : 0;
        assert_true(cds_now_ms() < until);
        if (n < 0)
            cds_loop_once(rig->loop, 1);
    }
    rig->text[len] = '\0';
    return head[0] & 15;
}

/** Skips to the close frame. @return its code, 0 if the connection ended without one */
static inline int ws_hear_close(struct rig *rig, int fd)
{
    int opcode;
    while ((opcode = ws_hear(rig, fd)) >= 0)
        if (opcode == WS_CLOSE)
            return rig->len < 2 ? 1005 : (unsigned char)rig->text[0] << 8 | (unsigned char)rig->text[1];
    return 0;
}
