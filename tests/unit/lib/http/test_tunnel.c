/* tests/unit/lib/http/test_tunnel.c: a browser, a page server and a part with a WebSocket, all on one loop. */
#include "lib/base/str.h"
#include "lib/http/handshake.h"
#include "lib/http/proxy.h"
#include "tests/unit/lib/http/wsrig.h"

static struct {
    struct rig front; /* first: handlers of the front get the rig */
    struct wsrig back;
    uint16_t back_port;
    size_t buffer_max;
} t;

static void forward(void *user, struct cds_http_req *req)
{
    t.front.calls++;
    cds_http_set_user(req, &t.front, rig_gone, rig_done);
    cds_http_tunnel(req, t.front.loop, "127.0.0.1", t.back_port, "the part", t.buffer_max);
}

static void back_handler(void *user, struct cds_http_req *req)
{
    struct wsrig *w = user;
    const char *auth = cds_http_header(req, "Authorization"), *origin = cds_http_header(req, "Origin");
    snprintf(w->rig.seen, sizeof(w->rig.seen), "%s %s %s %s", cds_http_target(req), auth ? auth : "-", origin ? origin : "-",
             cds_http_header(req, "X-Forwarded-For"));
    if (cds_streq(cds_http_path(req), "/never"))
        rig_keep(user, req);
    else
        wsrig_accept(user, req);
}

static void open_tunnel(void)
{
    memset(&t, 0, sizeof(t));
    t.buffer_max = 64 * 1024;
    rig_open(&t.front, forward);
    t.back.rig.loop = t.front.loop;
    t.back.message_max = 1024 * 1024;
    t.back.out_max = 8 * 1024 * 1024;
    t.back.echo = true;
    int fd = rig_listen(&t.back_port);
    assert_int_equal(cds_http_server_new(t.front.loop, fd, &rig_limits, NULL, back_handler, &t.back, &t.back.rig.server, NULL), CDS_OK);
}

static void close_tunnel(void)
{
    cds_http_server_free(&t.front.server);
    cds_http_server_free(&t.back.rig.server);
    cds_loop_free(&t.front.loop);
}

static int connect_through(const char *hello)
{
    int fd = rig_connect(&t.front);
    rig_say(&t.front, fd, hello);
    assert_true(rig_read(&t.front, fd, "\r\n\r\n"));
    return fd;
}

static void a_socket_opens_through_the_tunnel_and_messages_go_both_ways(void **state)
{
    open_tunnel();
    int64_t open = cds_metric_get(CDS_M_WS_OPEN, NULL);
    int fd = connect_through(WS_HELLO_FROM("/ws?x=1", "Origin: http://t\r\nAuthorization: Bearer k\r\nSec-WebSocket-Protocol: proto.v1\r\n"));
    assert_true(rig_has(&t.front, "HTTP/1.1 101 ") && rig_has(&t.front, "Sec-WebSocket-Accept: s3pPLMBiTxaQ9kYGzzhZRbK+xOo=\r\n"));
    assert_true(rig_has(&t.front, "Sec-WebSocket-Protocol: proto.v1\r\n") && rig_has(&t.front, "x-request-id: "));
    assert_string_equal(t.back.rig.seen, "/ws?x=1 Bearer k http://t 127.0.0.1");
    assert_int_equal(cds_metric_get(CDS_M_WS_OPEN, NULL), open + 2);
    ws_say(&t.front, fd, WS_TEXT, "through", 7);
    assert_int_equal(ws_hear(&t.front, fd), WS_TEXT);
    assert_string_equal(t.front.text, "through");
    ws_say(&t.front, fd, WS_CLOSE, "\x03\xe8", 2);
    assert_int_equal(ws_hear_close(&t.front, fd), 1000);
    assert_false(rig_read(&t.front, fd, NULL));
    close(fd);
    RIG_UNTIL(&t.front, t.back.closed == 1 && t.front.done == 1);
    assert_int_equal(cds_metric_get(CDS_M_WS_OPEN, NULL), open);
    close_tunnel();
}

static void a_refusal_of_the_part_reaches_the_browser_as_it_is(void **state)
{
    open_tunnel();
    int fd = rig_connect(&t.front);
    rig_say(&t.front, fd, WS_HELLO("Origin: http://evil.example\r\n"));
    assert_true(rig_read(&t.front, fd, "}"));
    assert_true(rig_has(&t.front, "HTTP/1.1 403 ") && rig_has(&t.front, "application/problem+json") && rig_has(&t.front, "ws.origin"));
    RIG_UNTIL(&t.front, t.front.done == 1);
    close(fd);
    close_tunnel();
}

static void a_request_without_upgrade_is_refused_here(void **state)
{
    open_tunnel();
    rig_ask(&t.front, RIG_GET("/ws"));
    assert_true(rig_has(&t.front, "HTTP/1.1 426 "));
    close_tunnel();
}

static void a_part_that_is_away_is_named(void **state)
{
    open_tunnel();
    cds_http_server_free(&t.back.rig.server);
    int fd = rig_connect(&t.front);
    rig_say(&t.front, fd, WS_HELLO(""));
    assert_true(rig_read(&t.front, fd, "}"));
    assert_true(rig_has(&t.front, "HTTP/1.1 503 ") && rig_has(&t.front, "The part cannot be reached."));
    close(fd);
    close_tunnel();
}

static void a_browser_that_vanishes_ends_the_socket_of_the_part(void **state)
{
    open_tunnel();
    int fd = connect_through(WS_HELLO(""));
    close(fd);
    RIG_UNTIL(&t.front, t.back.closed == 1 && t.front.done == 1);
    close_tunnel();
}

static void a_browser_that_vanishes_before_the_handshake_leaves_nothing_behind(void **state)
{
    open_tunnel();
    int fd = rig_connect(&t.front);
    rig_say(&t.front, fd, WS_HELLO_FROM("/never", ""));
    RIG_UNTIL(&t.front, t.back.rig.req);
    close(fd);
    RIG_UNTIL(&t.front, t.front.gone == 1 && t.back.rig.gone == 1);
    close_tunnel();
}

static void a_close_of_the_part_reaches_the_browser_and_ends_both(void **state)
{
    open_tunnel();
    int fd = connect_through(WS_HELLO(""));
    RIG_UNTIL(&t.front, t.back.ws);
    cds_ws_close(t.back.ws, 4001, "over");
    assert_int_equal(ws_hear_close(&t.front, fd), 4001);
    ws_say(&t.front, fd, WS_CLOSE, "\x0f\xa1", 2);
    assert_false(rig_read(&t.front, fd, NULL));
    close(fd);
    RIG_UNTIL(&t.front, t.back.closed == 1);
    close_tunnel();
}

static void close_all_cuts_tunnels(void **state)
{
    open_tunnel();
    int fd = connect_through(WS_HELLO(""));
    cds_ws_close_all(t.front.server, 1001);
    assert_false(rig_read(&t.front, fd, NULL));
    close(fd);
    RIG_UNTIL(&t.front, t.back.closed == 1);
    close_tunnel();
}

static void freeing_the_server_ends_open_tunnels(void **state)
{
    open_tunnel();
    int fd = connect_through(WS_HELLO(""));
    close_tunnel();
    assert_int_equal(t.back.closed, 1);
    assert_int_equal(t.front.done, 1);
    close(fd);
}

static void a_browser_that_does_not_read_holds_the_part_back(void **state)
{
    static char text[64 * 1024];
    memset(text, 'x', sizeof(text));
    open_tunnel();
    t.back.out_max = 64 * 1024 * 1024;
    int fd = connect_through(WS_HELLO(""));
    RIG_UNTIL(&t.front, t.back.ws);
    enum { PIECES = 400 }; /* 26 MB: more than every kernel buffer on the way */
    for (int i = 0; i < PIECES; i++)
        assert_int_equal(cds_ws_send(t.back.ws, text, sizeof(text)), CDS_OK);
    size_t before = 0;
    for (int still = 0; still < 50; before = cds_ws_pending(t.back.ws)) {
        cds_loop_once(t.front.loop, 1);
        still = cds_ws_pending(t.back.ws) == before ? still + 1 : 0;
    }
    assert_true(before > 0); /* it waits at its source, not in the tunnel */
    for (int i = 0; i < PIECES; i++) {
        assert_int_equal(ws_hear(&t.front, fd), WS_TEXT);
        assert_int_equal(t.front.len, sizeof(text));
    }
    close(fd);
    close_tunnel();
}

/* ---- the text of the handshake ---- */
static int parse(const char *text, struct http_handshake *ret)
{
    return http_handshake_parse(text, strlen(text), ret);
}

static void an_answer_is_complete_only_with_its_head_and_body(void **state)
{
    struct http_handshake head;
    assert_int_equal(parse("HTTP/1.1 101 Switching\r\nSec-WebSocket-Accept: a\r\n\r\nrest", &head), 1);
    assert_int_equal(head.status, 101);
    assert_string_equal(head.accept, "a");
    assert_int_equal(parse("HTTP/1.1 101 Switching\r\nSec-WebSocket-Accept: a\r\n", &head), 0);
    assert_int_equal(parse("HTTP/1.1 403 No\r\nContent-Length: 3\r\n\r\nno", &head), 0);
    assert_int_equal(parse("HTTP/1.1 403 No\r\nContent-Length: 3\r\n\r\nno!", &head), 1);
    assert_int_equal(head.body_len, 3);
}

static void a_malformed_answer_is_refused(void **state)
{
    struct http_handshake head;
    assert_int_equal(parse("HTTP/2 101 x\r\n\r\n", &head), -1);
    assert_int_equal(parse("HTTP/1.1 1x1 x\r\n\r\n", &head), -1);
    assert_int_equal(parse("HTTP/1.1 101 x\r\n\r\n", &head), -1); /* no accept key */
    assert_int_equal(parse("HTTP/1.1 403 x\r\nContent-Length: 99999999\r\n\r\n", &head), -1);
    assert_int_equal(parse("HTTP/1.1 403 x\r\nContent-Length: -1\r\n\r\n", &head), -1);
    assert_int_equal(parse("\r\n\r\n", &head), -1);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_socket_opens_through_the_tunnel_and_messages_go_both_ways),
        cmocka_unit_test(a_refusal_of_the_part_reaches_the_browser_as_it_is),
        cmocka_unit_test(a_request_without_upgrade_is_refused_here),
        cmocka_unit_test(a_part_that_is_away_is_named),
        cmocka_unit_test(a_browser_that_vanishes_ends_the_socket_of_the_part),
        cmocka_unit_test(a_browser_that_vanishes_before_the_handshake_leaves_nothing_behind),
        cmocka_unit_test(a_close_of_the_part_reaches_the_browser_and_ends_both),
        cmocka_unit_test(close_all_cuts_tunnels),
        cmocka_unit_test(freeing_the_server_ends_open_tunnels),
        cmocka_unit_test(a_browser_that_does_not_read_holds_the_part_back),
        cmocka_unit_test(an_answer_is_complete_only_with_its_head_and_body),
        cmocka_unit_test(a_malformed_answer_is_refused),
    };
    return RUN_ALL(tests);
}
