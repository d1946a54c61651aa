/* tests/unit/lib/http/test_ws.c: WebSockets over real sockets: handshake, frames, ceilings, slow readers, ends. */
#include "lib/http/sha1.h"
#include "lib/http/ws_priv.h"
#include "tests/unit/lib/http/wsrig.h"

static struct wsrig w;

static void the_digest_and_the_accept_key_are_those_of_the_standards(void **state)
{
    static const unsigned char abc[SHA1_LEN] = {0xa9, 0x99, 0x3e, 0x36, 0x47, 0x06, 0x81, 0x6a, 0xba, 0x3e,
                                                0x25, 0x71, 0x78, 0x50, 0xc2, 0x6c, 0x9c, 0xd0, 0xd8, 0x9d};
    static const unsigned char two_blocks[SHA1_LEN] = {0x84, 0x98, 0x3e, 0x44, 0x1c, 0x3b, 0xd2, 0x6e, 0xba, 0xae,
                                                       0x4a, 0xa1, 0xf9, 0x51, 0x29, 0xe5, 0xe5, 0x46, 0x70, 0xf1};
    static const char long_text[] = "abcdbcdecdefdefgefghfghighijhijkijkljklmklmnlmnomnopnopq";
    unsigned char digest[SHA1_LEN];
    char accept[WS_ACCEPT_LEN + 1];
    http_sha1("abc", 3, digest);
    assert_memory_equal(digest, abc, SHA1_LEN);
    http_sha1(long_text, strlen(long_text), digest);
    assert_memory_equal(digest, two_blocks, SHA1_LEN);
    http_ws_accept_key("dGhlIHNhbXBsZSBub25jZQ==", accept);
    assert_string_equal(accept, "s3pPLMBiTxaQ9kYGzzhZRbK+xOo="); /* RFC 6455 section 1.3 */
}

/* ---- handshake ---- */
static void a_handshake_is_answered_and_messages_go_both_ways(void **state)
{
    wsrig_open(&w);
    w.echo = true;
    int64_t open = cds_metric_get(CDS_M_WS_OPEN, NULL);
    int fd = rig_connect(&w.rig);
    rig_say(&w.rig, fd, WS_HELLO("Origin: http://t\r\nSec-WebSocket-Protocol: other, proto.v1\r\n"));
    assert_true(rig_read(&w.rig, fd, "\r\n\r\n"));
    assert_true(rig_has(&w.rig, "HTTP/1.1 101 ") && rig_has(&w.rig, "Sec-WebSocket-Accept: s3pPLMBiTxaQ9kYGzzhZRbK+xOo=\r\n"));
    assert_true(rig_has(&w.rig, "Sec-WebSocket-Protocol: proto.v1\r\n") && rig_has(&w.rig, "x-request-id: "));
    assert_int_equal(cds_metric_get(CDS_M_WS_OPEN, NULL), open + 1);
    ws_say(&w.rig, fd, WS_TEXT, "h\xc3\xa9", 3);
    assert_int_equal(ws_hear(&w.rig, fd), WS_TEXT);
    assert_string_equal(w.rig.text, "h\xc3\xa9");
    ws_say(&w.rig, fd, WS_PING, "p", 1);
    assert_int_equal(ws_hear(&w.rig, fd), WS_PONG);
    ws_say(&w.rig, fd, WS_CLOSE, "\x03\xe8", 2);
    assert_int_equal(ws_hear_close(&w.rig, fd), 1000);
    close(fd);
    RIG_UNTIL(&w.rig, w.closed == 1);
    assert_int_equal(cds_metric_get(CDS_M_WS_OPEN, NULL), open);
    rig_close(&w.rig);
}

static void a_protocol_that_was_not_offered_is_not_confirmed(void **state)
{
    wsrig_open(&w);
    int fd = wsrig_connect(&w);
    assert_false(rig_has(&w.rig, "Sec-WebSocket-Protocol"));
    close(fd);
    rig_close(&w.rig);
    assert_int_equal(w.closed, 1);
}

static void frames_sent_right_behind_the_handshake_are_not_lost(void **state)
{
    char text[512];
    wsrig_open(&w);
    int fd = rig_connect(&w.rig);
    size_t n = (size_t)snprintf(text, sizeof(text), "%s", WS_HELLO(""));
    n += ws_frame(text + n, WS_TEXT, true, true, "early", 5);
    rig_send(&w.rig, fd, text, n);
    RIG_UNTIL(&w.rig, w.texts == 1);
    assert_string_equal(w.last, "early");
    close(fd);
    rig_close(&w.rig);
}

static void refused(const char *hello, const char *status_line)
{
    wsrig_open(&w);
    int fd = rig_connect(&w.rig);
    rig_say(&w.rig, fd, hello);
    assert_true(rig_read(&w.rig, fd, "}"));
    assert_true(rig_has(&w.rig, status_line));
    assert_int_equal(w.opened, 0);
    close(fd);
    rig_close(&w.rig);
}

static void a_foreign_origin_is_refused_with_403(void **state)
{
    refused(WS_HELLO("Origin: http://evil.example\r\n"), "HTTP/1.1 403 ");
    refused(WS_HELLO("Origin: null\r\n"), "HTTP/1.1 403 ");
    refused(WS_HELLO("Origin: http://t.evil.example\r\n"), "HTTP/1.1 403 ");
}

static void a_request_without_upgrade_is_refused_with_426(void **state)
{
    refused("GET /ws HTTP/1.1\r\nHost: t\r\n\r\n", "HTTP/1.1 426 ");
    refused("GET /ws HTTP/1.0\r\nHost: t\r\nUpgrade: websocket\r\nConnection: Upgrade\r\nSec-WebSocket-Version: 13\r\n"
            "Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n\r\n",
            " 426 ");
}

static void another_version_is_refused_with_426(void **state)
{
    refused("GET /ws HTTP/1.1\r\nHost: t\r\nUpgrade: websocket\r\nConnection: Upgrade\r\nSec-WebSocket-Version: 8\r\n"
            "Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n\r\n",
            "HTTP/1.1 426 ");
}

static void a_broken_key_and_another_method_are_refused_with_400(void **state)
{
    refused("GET /ws HTTP/1.1\r\nHost: t\r\nUpgrade: websocket\r\nConnection: Upgrade\r\nSec-WebSocket-Version: 13\r\n"
            "Sec-WebSocket-Key: short\r\n\r\n",
            "HTTP/1.1 400 ");
    refused("POST /ws HTTP/1.1\r\nHost: t\r\nUpgrade: websocket\r\nConnection: Upgrade\r\nSec-WebSocket-Version: 13\r\n"
            "Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\nContent-Length: 0\r\n\r\n",
            "HTTP/1.1 400 ");
}

/* ---- frames that must not pass ---- */
static int code_for(const char *frames, size_t len)
{
    wsrig_open(&w);
    int fd = wsrig_connect(&w);
    rig_send(&w.rig, fd, frames, len);
    int code = ws_hear_close(&w.rig, fd);
    close(fd);
    RIG_UNTIL(&w.rig, w.closed == 1);
    rig_close(&w.rig);
    return code;
}

static void an_unmasked_frame_is_refused(void **state)
{
    char frame[32];
    assert_int_equal(code_for(frame, ws_frame(frame, WS_TEXT, true, false, "bare", 4)), 1002);
    assert_int_equal(w.texts, 0);
}

static void a_binary_message_is_refused_with_1003(void **state)
{
    char frame[32];
    assert_int_equal(code_for(frame, ws_frame(frame, WS_BINARY, true, true, "\0\1", 2)), 1003);
}

static void text_that_is_not_utf8_is_refused_with_1007(void **state)
{
    char frame[32];
    assert_int_equal(code_for(frame, ws_frame(frame, WS_TEXT, true, true, "\xff\xfe", 2)), 1007);
    assert_int_equal(w.texts, 0);
}

static void a_message_over_the_ceiling_is_refused_with_1009(void **state)
{
    static char data[1001], frame[1100];
    memset(data, 'x', sizeof(data));
    assert_int_equal(code_for(frame, ws_frame(frame, WS_TEXT, true, true, data, 1001)), 1009);
    assert_int_equal(w.texts, 0);
}

static void pieces_that_add_up_over_the_ceiling_are_refused_with_1009(void **state)
{
    static char data[600], frame[1400];
    memset(data, 'x', sizeof(data));
    size_t n = ws_frame(frame, WS_TEXT, false, true, data, 600);
    n += ws_frame(frame + n, 0, true, true, data, 600);
    assert_int_equal(code_for(frame, n), 1009);
}

static void a_message_of_exactly_the_ceiling_is_taken(void **state)
{
    static char data[1000];
    memset(data, 'x', sizeof(data));
    wsrig_open(&w);
    int fd = wsrig_connect(&w);
    ws_say(&w.rig, fd, WS_TEXT, data, sizeof(data));
    RIG_UNTIL(&w.rig, w.texts == 1);
    assert_int_equal(w.last_len, 1000);
    close(fd);
    rig_close(&w.rig);
}

static void an_oversized_frame_gets_its_code_even_when_the_rest_is_still_coming(void **state)
{
    static char data[200 * 1024];
    memset(data, 'x', sizeof(data));
    wsrig_open(&w);
    int fd = wsrig_connect(&w);
    ws_say(&w.rig, fd, WS_TEXT, data, sizeof(data)); /* far more than is read before the refusal */
    assert_int_equal(ws_hear_close(&w.rig, fd), 1009);
    ssize_t n = -1;
    char one;
    RIG_UNTIL(&w.rig, (n = recv(fd, &one, 1, 0)) >= 0 || errno != EAGAIN);
    assert_int_equal(n, 0); /* an end, not a reset: a reset may throw the close frame away at the peer */
    close(fd);
    RIG_UNTIL(&w.rig, w.closed == 1);
    rig_close(&w.rig);
}

/* ---- ends ---- */
static void a_close_of_ours_is_answered_and_ends(void **state)
{
    wsrig_open(&w);
    int fd = wsrig_connect(&w);
    cds_ws_close(w.ws, 4001, "over");
    cds_ws_close(w.ws, 4002, "twice");
    assert_int_equal(ws_hear_close(&w.rig, fd), 4001);
    assert_string_equal(w.rig.text + 2, "over");
    ws_say(&w.rig, fd, WS_CLOSE, "\x0f\xa1", 2);
    assert_false(rig_read(&w.rig, fd, NULL));
    close(fd);
    RIG_UNTIL(&w.rig, w.closed == 1);
    rig_close(&w.rig);
}

static void a_peer_that_never_answers_the_close_is_cut(void **state)
{
    wsrig_open(&w);
    int fd = wsrig_connect(&w);
    cds_ws_close(w.ws, 4001, "over");
    RIG_UNTIL(&w.rig, w.closed == 1);
    close(fd);
    rig_close(&w.rig);
}

static void a_peer_that_vanishes_ends_the_socket(void **state)
{
    wsrig_open(&w);
    int fd = wsrig_connect(&w);
    close(fd);
    RIG_UNTIL(&w.rig, w.closed == 1);
    rig_close(&w.rig);
}

static void a_peer_that_stops_answering_pings_is_cut_and_one_that_answers_stays(void **state)
{
    uint32_t usual = http_ws_ping_ms;
    http_ws_ping_ms = 150;
    wsrig_open(&w);
    int fd = wsrig_connect(&w);
    for (int i = 0; i < 4; i++) {
        assert_int_equal(ws_hear(&w.rig, fd), WS_PING);
        ws_say(&w.rig, fd, WS_PONG, "", 0);
    }
    assert_int_equal(w.closed, 0);
    RIG_UNTIL(&w.rig, w.closed == 1); /* silent from here */
    http_ws_ping_ms = usual;
    close(fd);
    rig_close(&w.rig);
}

static void note_drained(void *user)
{
    ((struct wsrig *)user)->rig.seen[0] = 'd';
}

static void close_all_says_1001_and_the_drain_ends(void **state)
{
    wsrig_open(&w);
    int fd = wsrig_connect(&w);
    cds_ws_close_all(w.rig.server, 1001);
    cds_http_server_drain(w.rig.server, 60000, note_drained, &w);
    assert_int_equal(ws_hear_close(&w.rig, fd), 1001);
    ws_say(&w.rig, fd, WS_CLOSE, "\x03\xe9", 2);
    close(fd);
    RIG_UNTIL(&w.rig, w.rig.seen[0] == 'd');
    assert_int_equal(w.closed, 1);
    rig_close(&w.rig);
}

static void freeing_the_server_ends_open_sockets(void **state)
{
    wsrig_open(&w);
    int fd = wsrig_connect(&w);
    rig_close(&w.rig);
    assert_int_equal(w.closed, 1);
    close(fd);
}

static void keep_for_later(void *user, struct cds_http_req *req)
{
    rig_keep(user, req);
}

static void a_socket_may_be_accepted_later_and_written_before_it_is_open(void **state)
{
    wsrig_open(&w);
    cds_http_server_free(&w.rig.server);
    int listener = rig_listen(&w.rig.port);
    assert_int_equal(cds_http_server_new(w.rig.loop, listener, &rig_limits, NULL, keep_for_later, &w, &w.rig.server, NULL), CDS_OK);
    int fd = rig_connect(&w.rig);
    rig_say(&w.rig, fd, WS_HELLO(""));
    RIG_UNTIL(&w.rig, w.rig.req);
    wsrig_accept(&w, w.rig.req);
    assert_int_equal(cds_ws_send(w.ws, "one", 3), CDS_OK);
    assert_int_equal(cds_ws_send(w.ws, "two", 3), CDS_OK);
    assert_true(rig_read(&w.rig, fd, "\x81\x03two"));
    assert_true(rig_has(&w.rig, "\x81\x03one"));
    close(fd);
    RIG_UNTIL(&w.rig, w.closed == 1);
    assert_int_equal(w.rig.gone + w.rig.done, 0);
    rig_close(&w.rig);
}

static void freeing_the_server_ends_sockets_that_are_about_to_open(void **state)
{
    wsrig_open(&w);
    cds_http_server_free(&w.rig.server);
    int listener = rig_listen(&w.rig.port);
    assert_int_equal(cds_http_server_new(w.rig.loop, listener, &rig_limits, NULL, keep_for_later, &w, &w.rig.server, NULL), CDS_OK);
    int fd = rig_connect(&w.rig);
    rig_say(&w.rig, fd, WS_HELLO(""));
    RIG_UNTIL(&w.rig, w.rig.req);
    wsrig_accept(&w, w.rig.req);
    rig_close(&w.rig);
    assert_int_equal(w.closed, 1);
    close(fd);
}

static void a_client_that_leaves_before_its_late_upgrade_ends_the_socket(void **state)
{
    wsrig_open(&w);
    cds_http_server_free(&w.rig.server);
    int listener = rig_listen(&w.rig.port);
    assert_int_equal(cds_http_server_new(w.rig.loop, listener, &rig_limits, NULL, keep_for_later, &w, &w.rig.server, NULL), CDS_OK);
    int fd = rig_connect(&w.rig);
    rig_say(&w.rig, fd, WS_HELLO(""));
    RIG_UNTIL(&w.rig, w.rig.req);
    struct linger reset = {1, 0};
    setsockopt(fd, SOL_SOCKET, SO_LINGER, &reset, sizeof(reset));
    wsrig_accept(&w, w.rig.req);
    close(fd);
    RIG_UNTIL(&w.rig, w.closed == 1);
    rig_close(&w.rig);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(the_digest_and_the_accept_key_are_those_of_the_standards),
        cmocka_unit_test(a_handshake_is_answered_and_messages_go_both_ways),
        cmocka_unit_test(a_protocol_that_was_not_offered_is_not_confirmed),
        cmocka_unit_test(frames_sent_right_behind_the_handshake_are_not_lost),
        cmocka_unit_test(a_foreign_origin_is_refused_with_403),
        cmocka_unit_test(a_request_without_upgrade_is_refused_with_426),
        cmocka_unit_test(another_version_is_refused_with_426),
        cmocka_unit_test(a_broken_key_and_another_method_are_refused_with_400),
        cmocka_unit_test(an_unmasked_frame_is_refused),
        cmocka_unit_test(a_binary_message_is_refused_with_1003),
        cmocka_unit_test(text_that_is_not_utf8_is_refused_with_1007),
        cmocka_unit_test(a_message_over_the_ceiling_is_refused_with_1009),
        cmocka_unit_test(pieces_that_add_up_over_the_ceiling_are_refused_with_1009),
        cmocka_unit_test(a_message_of_exactly_the_ceiling_is_taken),
        cmocka_unit_test(an_oversized_frame_gets_its_code_even_when_the_rest_is_still_coming),
        cmocka_unit_test(a_close_of_ours_is_answered_and_ends),
        cmocka_unit_test(a_peer_that_never_answers_the_close_is_cut),
        cmocka_unit_test(a_peer_that_vanishes_ends_the_socket),
        cmocka_unit_test(a_peer_that_stops_answering_pings_is_cut_and_one_that_answers_stays),
        cmocka_unit_test(close_all_says_1001_and_the_drain_ends),
        cmocka_unit_test(freeing_the_server_ends_open_sockets),
        cmocka_unit_test(a_socket_may_be_accepted_later_and_written_before_it_is_open),
        cmocka_unit_test(freeing_the_server_ends_sockets_that_are_about_to_open),
        cmocka_unit_test(a_client_that_leaves_before_its_late_upgrade_ends_the_socket),
    };
    return RUN_ALL(tests);
}
