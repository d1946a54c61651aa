/* tests/unit/lib/http/test_ws_slow.c: WebSockets whose peer does not read: every queue has a length. */
#include "tests/unit/lib/http/wsrig.h"

static struct wsrig w;

static void a_slow_reader_is_closed_with_1013_and_memory_stays_bounded(void **state)
{
    static char text[8000];
    memset(text, 'x', sizeof(text));
    wsrig_open(&w);
    int fd = wsrig_connect(&w), rounds = 0;
    cds_rc rc = CDS_OK;
    while (rc == CDS_OK) {
        rc = cds_ws_send(w.ws, text, sizeof(text));
        assert_true(cds_ws_pending(w.ws) <= w.out_max);
        assert_true(++rounds < 10000);
        cds_loop_once(w.rig.loop, 0);
    }
    assert_int_equal(rc, CDS_BUSY);
    assert_true(cds_ws_pending(w.ws) <= 2 * sizeof(text)); /* the message being written and the close frame; the rest was dropped */
    assert_int_equal(cds_ws_send(w.ws, "x", 1), CDS_CANCELLED);
    assert_int_equal(ws_hear_close(&w.rig, fd), 1013); /* it reads at last: whole messages, then the code */
    close(fd);
    RIG_UNTIL(&w.rig, w.closed == 1);
    rig_close(&w.rig);
}

static void a_slow_reader_that_never_reads_is_cut(void **state)
{
    static char text[8000];
    wsrig_open(&w);
    int fd = wsrig_connect(&w);
    memset(text, 'x', sizeof(text));
    while (cds_ws_send(w.ws, text, sizeof(text)) == CDS_OK)
        cds_loop_once(w.rig.loop, 0);
    RIG_UNTIL(&w.rig, w.closed == 1);
    close(fd);
    rig_close(&w.rig);
}

static void drain_is_told_once_when_there_is_room_again(void **state)
{
    static char text[8000];
    memset(text, 'x', sizeof(text));
    wsrig_open(&w);
    w.out_max = 1024 * 1024;
    int fd = wsrig_connect(&w);
    unsigned sent = 0;
    while (cds_ws_pending(w.ws) < w.out_max * 3 / 4) {
        assert_int_equal(cds_ws_send(w.ws, text, sizeof(text)), CDS_OK);
        sent++;
    }
    for (unsigned i = 0; i < sent; i++)
        assert_int_equal(ws_hear(&w.rig, fd), WS_TEXT);
    RIG_UNTIL(&w.rig, w.drained);
    assert_int_equal(w.drained, 1);
    assert_int_equal(cds_ws_pending(w.ws), 0);
    close(fd);
    rig_close(&w.rig);
}

static void an_echo_flood_that_is_never_read_stops_being_read(void **state)
{
    static char frame[1100], data[1000];
    memset(data, 'x', sizeof(data));
    size_t n = ws_frame(frame, WS_TEXT, true, true, data, sizeof(data));
    wsrig_open(&w);
    w.echo = true;
    w.out_max = 128 * 1024; /* less than one event may read: only pausing inside the event keeps it */
    int fd = wsrig_connect(&w), full = 0;
    size_t at = 0;
    for (int i = 0; i < 2000 && full < 50; i++) {
        bool any = false;
        for (ssize_t k; (k = send(fd, frame + at, n - at, MSG_NOSIGNAL)) > 0; any = true)
            at = (at + (size_t)k) % n; /* as much as fits, before the server may read */
        full = any ? 0 : full + 1;
        cds_loop_once(w.rig.loop, 0);
        assert_true(w.ws && cds_ws_pending(w.ws) < w.out_max);
    }
    assert_int_equal(full, 50);
    assert_int_equal(w.closed, 0); /* not thrown out: simply not read */
    close(fd);
    rig_close(&w.rig);
}

/* Sends the frames over and over without reading until TCP holds the sender back. @return bytes sent */
static size_t flood(int fd, const char *frames, size_t n)
{
    size_t at = 0, sent = 0;
    int blocked = 0;
    for (int i = 0; i < 20000 && blocked < 50; i++) {
        ssize_t k = send(fd, frames + at, n - at, MSG_NOSIGNAL);
        blocked = k < 0 ? blocked + 1 : 0;
        at = k < 0 ? at : (at + (size_t)k) % n;
        sent += k < 0 ? 0 : (size_t)k;
        cds_loop_once(w.rig.loop, 0);
        assert_true(w.ws && cds_ws_pending(w.ws) < 40 * 1024);
    }
    assert_int_equal(blocked, 50);
    assert_int_equal(w.closed, 0);
    return sent;
}

static void a_flood_of_pings_does_not_grow_a_queue_of_pongs(void **state)
{
    static char frames[64 * 1024], data[125];
    size_t n = 0;
    while (n < sizeof(frames) - 140)
        n += ws_frame(frames + n, WS_PING, true, true, data, sizeof(data));
    wsrig_open(&w);
    int fd = wsrig_connect(&w);
    flood(fd, frames, n);
    close(fd);
    rig_close(&w.rig);
}

static void a_flood_of_empty_pings_does_not_either(void **state)
{
    static char frames[64 * 1024];
    size_t n = 0;
    int small = 4096;
    while (n < sizeof(frames) - 16)
        n += ws_frame(frames + n, WS_PING, true, true, "", 0);
    wsrig_open(&w);
    cds_http_server_free(&w.rig.server);
    int listener = rig_listen(&w.rig.port); /* with small buffers, or millions of pongs would fit into them */
    setsockopt(listener, SOL_SOCKET, SO_SNDBUF, &small, sizeof(small));
    assert_int_equal(cds_http_server_new(w.rig.loop, listener, &rig_limits, NULL, wsrig_accept, &w, &w.rig.server, NULL), CDS_OK);
    int fd = wsrig_connect(&w);
    setsockopt(fd, SOL_SOCKET, SO_RCVBUF, &small, sizeof(small));
    setsockopt(fd, SOL_SOCKET, SO_SNDBUF, &small, sizeof(small));
    assert_true(flood(fd, frames, n) < 4 * 1024 * 1024); /* the receive buffer of the kernel, not a queue of ours */
    close(fd);
    rig_close(&w.rig);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_slow_reader_is_closed_with_1013_and_memory_stays_bounded),
        cmocka_unit_test(a_slow_reader_that_never_reads_is_cut),
        cmocka_unit_test(drain_is_told_once_when_there_is_room_again),
        cmocka_unit_test(an_echo_flood_that_is_never_read_stops_being_read),
        cmocka_unit_test(a_flood_of_pings_does_not_grow_a_queue_of_pongs),
        cmocka_unit_test(a_flood_of_empty_pings_does_not_either),
    };
    return RUN_ALL(tests);
}
