/* tests/unit/lib/rpc/test_frame.c: frames over a socket pair; the test holds the other end as plain bytes. */
#include <sys/socket.h>
#include <unistd.h>

#include "lib/base/cleanup.h"
#include "lib/base/clock.h"
#include "lib/rpc/frame.h"
#include "tests/support/test.h"

enum { MAX_BYTES = 300000, OUT_MAX = 400000 };

/** Everything one test needs and sees. */
struct bench {
    struct cds_loop *loop;
    struct cds_peer *peer;
    int far; /* the other end */
    int requests, notes, dones, closes;
    bool close_on_request, close_on_done, close_on_note, close_on_close, call_on_done, retry_on_done;
    char last[400], reason[128];
    cds_rc rc;
};

static void on_request(void *user, struct cds_peer *peer, const struct cds_rpc_request *request, cds_json *message)
{
    struct bench *b = user;
    b->requests++;
    snprintf(b->last, sizeof(b->last), "%s%s", request->method, request->id ? "" : " note");
    if (b->close_on_request)
        cds_peer_close(&b->peer);
}

static void on_close(void *user, struct cds_peer *peer, const char *reason)
{
    struct bench *b = user;
    b->closes++;
    snprintf(b->reason, sizeof(b->reason), "%s", reason);
    if (b->close_on_close)
        cds_peer_close(&b->peer);
    b->peer = NULL;
}

static void on_note(void *user, const char *method, cds_json *params)
{
    struct bench *b = user;
    b->notes++;
    snprintf(b->last, sizeof(b->last), "%s", method);
    if (b->close_on_note)
        cds_peer_close(&b->peer);
}

static void on_done(void *user, cds_json *result, const struct cds_err *err)
{
    struct bench *b = user;
    assert_true((result != NULL) != (err != NULL));
    b->dones++;
    b->rc = err ? err->code : CDS_OK;
    snprintf(b->last, sizeof(b->last), "%s", err ? err->message : cds_json_str(result) ? cds_json_str(result) : "");
    if (b->call_on_done && b->peer)
        assert_int_equal(cds_peer_call(b->peer, "again", cds_json_object(), cds_now_ms() + 60000, on_done, NULL, b), 0);
    if (b->retry_on_done && b->peer)
        assert_true(cds_peer_call(b->peer, "again", cds_json_object(), cds_now_ms() - 1, on_done, NULL, b) > 0);
    if (b->close_on_done)
        cds_peer_close(&b->peer);
}

static const struct cds_peer_ops ops = {.on_request = on_request, .on_close = on_close};

static int set_up(void **state)
{
    struct bench *b = calloc(1, sizeof(*b));
    int pair[2];
    if (!b || cds_loop_new(&b->loop, NULL) || socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, pair))
        return -1;
    if (cds_peer_new(b->loop, pair[0], MAX_BYTES, OUT_MAX, &ops, b, &b->peer, NULL))
        return -1;
    b->far = pair[1];
    *state = b;
    return 0;
}

static int tear_down(void **state)
{
    struct bench *b = *state;
    cds_peer_close(&b->peer);
    cds_loop_free(&b->loop);
    if (b->far >= 0)
        close(b->far);
    free(b);
    return 0;
}

/** Lets the loop handle what is there. */
static void turn(struct bench *b)
{
    for (int i = 0; i < 8; i++)
        cds_loop_once(b->loop, 0);
}

static void put(struct bench *b, const void *data, size_t len)
{
    assert_int_equal(write(b->far, data, len), (ssize_t)len);
}

static void put_frame(struct bench *b, const char *text)
{
    size_t len = strlen(text);
    unsigned char head[4] = {(unsigned char)(len >> 24), (unsigned char)(len >> 16), (unsigned char)(len >> 8), (unsigned char)len};
    put(b, head, 4);
    put(b, text, len);
}

/** Reads one frame from the peer; malloc'ed. */
static char *get_frame(struct bench *b)
{
    unsigned char head[4];
    assert_int_equal(recv(b->far, head, 4, MSG_WAITALL), 4);
    size_t len = (size_t)head[0] << 24 | (size_t)head[1] << 16 | (size_t)head[2] << 8 | head[3];
    char *text = calloc(1, len + 1);
    assert_int_equal(recv(b->far, text, len, MSG_WAITALL), (ssize_t)len);
    return text;
}

static int64_t call(struct bench *b, uint64_t in_ms)
{
    return cds_peer_call(b->peer, "fs.read", cds_json_object(), cds_now_ms() + in_ms, on_done, on_note, b);
}

static void request_in_single_bytes_arrives_once(void **state)
{
    struct bench *b = *state;
    static const char frame[] = "\0\0\0\x27{\"jsonrpc\":\"2.0\",\"id\":1,\"method\":\"a.b\"}";
    assert_int_equal(sizeof(frame) - 1, 4 + 0x27);
    for (size_t i = 0; i < sizeof(frame) - 1; i++) {
        assert_int_equal(b->requests, 0);
        put(b, &frame[i], 1);
        turn(b);
    }
    assert_int_equal(b->requests, 1);
    assert_string_equal(b->last, "a.b");
}

static void many_frames_in_one_read_arrive_in_order(void **state)
{
    struct bench *b = *state;
    char text[100];
    for (int i = 0; i < 50; i++) {
        snprintf(text, sizeof(text), "{\"jsonrpc\":\"2.0\",\"method\":\"m%d\"}", i);
        put_frame(b, text);
    }
    turn(b);
    assert_int_equal(b->requests, 50);
    assert_string_equal(b->last, "m49 note");
}

static void frame_of_the_greatest_length_arrives_and_one_byte_more_closes(void **state)
{
    struct bench *b = *state;
    char *text = malloc(MAX_BYTES + 1);
    int n = sprintf(text, "{\"jsonrpc\":\"2.0\",\"method\":\"big\",\"params\":{\"a\":\"");
    memset(text + n, 'a', MAX_BYTES - (size_t)n);
    memcpy(text + MAX_BYTES - 3, "\"}}", 4);
    unsigned char head[4] = {0, (unsigned char)(MAX_BYTES >> 16), (unsigned char)(MAX_BYTES >> 8 & 255), (unsigned char)(MAX_BYTES & 255)};
    put(b, head, 4);
    for (size_t at = 0; at < MAX_BYTES;) { /* the socket holds less than the frame */
        ssize_t sent = send(b->far, text + at, MAX_BYTES - at, MSG_DONTWAIT);
        at += sent > 0 ? (size_t)sent : 0;
        turn(b);
    }
    turn(b);
    free(text);
    assert_int_equal(b->requests, 1);
    assert_int_equal(b->closes, 0);
    head[3]++;
    put(b, head, 4);
    turn(b);
    assert_int_equal(b->closes, 1);
    assert_non_null(strstr(b->reason, "too long"));
}

static void nonsense_closes_the_peer(void **state)
{
    struct bench *b = *state;
    static const char *const texts[] = {"",
                                        "x",
                                        "{}",
                                        "[]",
                                        "1",
                                        "{\"jsonrpc\":\"2.0\",\"id\":1}",
                                        "{\"jsonrpc\":\"2.0\",\"id\":1,\"result\":1,\"error\":{}}",
                                        "{\"jsonrpc\":\"1.0\",\"method\":\"a\"}",
                                        "{\"jsonrpc\":\"2.0\",\"method\":5,\"id\":1}",
                                        "[{\"jsonrpc\":\"2.0\",\"method\":\"a\"}]"};
    for (size_t i = 0; i < CDS_ARRAY_LEN(texts); i++) {
        put_frame(b, texts[i]);
        turn(b);
        if (b->closes != 1 || b->requests || b->peer)
            fail_msg("not closed: %s", texts[i]);
        assert_true(b->reason[0] != '\0');
        void *next = NULL;
        tear_down(state);
        assert_int_equal(set_up(&next), 0);
        *state = b = next;
    }
}

static void answer_reaches_its_call_once(void **state)
{
    struct bench *b = *state;
    int64_t first = call(b, 60000), second = call(b, 60000);
    assert_true(first > 0 && second > first);
    CDS_CLEANUP(cds_free_ptr) char *sent = get_frame(b);
    assert_string_equal(sent, "{\"jsonrpc\":\"2.0\",\"id\":1,\"method\":\"fs.read\",\"params\":{}}");
    put_frame(b, "{\"jsonrpc\":\"2.0\",\"id\":2,\"result\":\"two\"}");
    put_frame(b, "{\"jsonrpc\":\"2.0\",\"id\":2,\"result\":\"again\"}");
    turn(b);
    assert_int_equal(b->dones, 1);
    assert_string_equal(b->last, "two");
    put_frame(b, "{\"jsonrpc\":\"2.0\",\"id\":1,\"error\":{\"code\":-32004,\"message\":\"gone\"}}");
    put_frame(b, "{\"jsonrpc\":\"2.0\",\"id\":77,\"result\":1}");
    put_frame(b, "{\"jsonrpc\":\"2.0\",\"id\":\"x\",\"result\":1}");
    turn(b);
    assert_int_equal(b->dones, 2);
    assert_int_equal(b->rc, CDS_NOT_FOUND);
    assert_int_equal(b->closes, 0);
}

static void notes_of_an_open_call_go_to_it_and_others_to_on_request(void **state)
{
    struct bench *b = *state;
    int64_t id = call(b, 60000);
    put_frame(b, "{\"jsonrpc\":\"2.0\",\"method\":\"run.output\",\"params\":{\"call\":1}}");
    turn(b);
    assert_int_equal(b->notes, 1);
    put_frame(b, "{\"jsonrpc\":\"2.0\",\"method\":\"run.output\",\"params\":{\"call\":2}}");
    put_frame(b, "{\"jsonrpc\":\"2.0\",\"method\":\"other\"}");
    put_frame(b, "{\"jsonrpc\":\"2.0\",\"id\":5,\"method\":\"run.cancel\",\"params\":{\"call\":1}}");
    turn(b);
    assert_int_equal(b->notes, 1);
    assert_int_equal(b->requests, 3);
    cds_peer_forget(b->peer, id);
    put_frame(b, "{\"jsonrpc\":\"2.0\",\"method\":\"late\",\"params\":{\"call\":1}}");
    turn(b);
    assert_int_equal(b->notes, 1);
    assert_string_equal(b->last, "late note");
}

static void a_forgotten_call_is_never_answered(void **state)
{
    struct bench *b = *state;
    int64_t id = call(b, 60000);
    cds_peer_forget(b->peer, id);
    cds_peer_forget(b->peer, id);
    cds_peer_forget(b->peer, 12345);
    put_frame(b, "{\"jsonrpc\":\"2.0\",\"id\":1,\"result\":\"late\"}");
    turn(b);
    cds_peer_close(&b->peer);
    assert_int_equal(b->dones, 0);
}

static void a_call_whose_deadline_has_passed_is_answered_timed_out(void **state)
{
    struct bench *b = *state;
    assert_true(call(b, 60000) > 0);
    assert_true(cds_peer_call(b->peer, "slow", cds_json_object(), cds_now_ms() - 1, on_done, NULL, b) > 0);
    turn(b);
    assert_int_equal(b->dones, 1);
    assert_int_equal(b->rc, CDS_TIMED_OUT);
    put_frame(b, "{\"jsonrpc\":\"2.0\",\"id\":2,\"result\":\"late\"}");
    turn(b);
    assert_int_equal(b->dones, 1);
    put_frame(b, "{\"jsonrpc\":\"2.0\",\"id\":1,\"result\":\"in time\"}");
    turn(b);
    assert_string_equal(b->last, "in time");
}

static void each_call_has_its_own_deadline(void **state)
{
    struct bench *b = *state;
    call(b, 0);
    call(b, 30);
    uint64_t end = cds_now_ms() + 60000;
    while (b->dones < 2 && cds_now_ms() < end)
        cds_loop_once(b->loop, 100);
    assert_int_equal(b->dones, 2);
    assert_int_equal(b->rc, CDS_TIMED_OUT);
}

static void calls_forgotten_or_made_while_others_expire_do_no_harm(void **state)
{
    struct bench *b = *state;
    b->retry_on_done = true; /* each answer makes a call that is late already: the loop must get its turn in between */
    assert_true(call(b, 60000) > 0);
    assert_true(cds_peer_call(b->peer, "slow", cds_json_object(), cds_now_ms() - 1, on_done, NULL, b) > 0);
    turn(b);
    assert_in_range(b->dones, 1, 8);
    b->retry_on_done = false;
    turn(b);
    int before = b->dones;
    turn(b);
    assert_int_equal(b->dones, before);
    put_frame(b, "{\"jsonrpc\":\"2.0\",\"id\":1,\"result\":\"in time\"}");
    turn(b);
    assert_string_equal(b->last, "in time");
}

static void open_calls_are_answered_unavailable_when_the_other_side_closes(void **state)
{
    struct bench *b = *state;
    call(b, 60000);
    call(b, 60000);
    b->call_on_done = true; /* on a closed peer a new call is refused */
    close(b->far);
    b->far = -1;
    turn(b);
    assert_int_equal(b->dones, 2);
    assert_int_equal(b->rc, CDS_UNAVAILABLE);
    assert_int_equal(b->closes, 1);
}

static void closing_answers_open_calls_and_does_not_call_on_close(void **state)
{
    struct bench *b = *state;
    call(b, 60000);
    cds_peer_close(&b->peer);
    assert_null(b->peer);
    assert_int_equal(b->dones, 1);
    assert_int_equal(b->closes, 0);
    cds_peer_close(&b->peer);
    char c;
    assert_true(recv(b->far, &c, 1, MSG_PEEK) == 1); /* the call itself was still sent */
}

static void peer_may_be_closed_inside_on_request(void **state)
{
    struct bench *b = *state;
    b->close_on_request = true;
    put_frame(b, "{\"jsonrpc\":\"2.0\",\"method\":\"one\"}");
    put_frame(b, "{\"jsonrpc\":\"2.0\",\"method\":\"two\"}");
    turn(b);
    assert_int_equal(b->requests, 1);
    assert_int_equal(b->closes, 0);
}

static void peer_may_be_closed_inside_done_and_on_note_and_on_close(void **state)
{
    struct bench *b = *state;
    b->close_on_note = b->close_on_done = true;
    call(b, 60000);
    call(b, 60000);
    put_frame(b, "{\"jsonrpc\":\"2.0\",\"method\":\"n\",\"params\":{\"call\":1}}");
    put_frame(b, "{\"jsonrpc\":\"2.0\",\"id\":1,\"result\":1}");
    turn(b);
    assert_int_equal(b->notes, 1);
    assert_int_equal(b->dones, 2);
    assert_int_equal(b->rc, CDS_UNAVAILABLE);
    assert_int_equal(b->closes, 0);
}

static void peer_may_be_closed_inside_done_while_it_breaks(void **state)
{
    struct bench *b = *state;
    b->close_on_done = true;
    call(b, 60000);
    call(b, 60000);
    close(b->far);
    b->far = -1;
    turn(b);
    assert_int_equal(b->dones, 2);
    assert_int_equal(b->closes, 0); /* the user has closed it meanwhile */
}

static void peer_may_be_closed_inside_a_deadline_and_inside_on_close(void **state)
{
    struct bench *b = *state;
    b->close_on_done = true;
    call(b, 0);
    turn(b);
    usleep(2000);
    turn(b);
    assert_int_equal(b->dones, 1);
    assert_null(b->peer);
    void *next = NULL;
    tear_down(state);
    assert_int_equal(set_up(&next), 0);
    *state = b = next;
    b->close_on_close = true;
    close(b->far);
    b->far = -1;
    turn(b);
    assert_int_equal(b->closes, 1);
}

static void sending_stops_at_out_max_and_goes_on_when_the_reader_reads(void **state)
{
    struct bench *b = *state;
    char chunk[50001];
    memset(chunk, 'x', 50000);
    chunk[50000] = '\0';
    CDS_JSON_AUTO message = cds_rpc_notification("n", cds_json_pack("{s:s}", "d", chunk));
    int sent = 0;
    cds_rc rc;
    while ((rc = cds_peer_send(b->peer, message)) == CDS_OK)
        assert_true(++sent < 1000);
    assert_int_equal(rc, CDS_BUSY);
    assert_true(cds_peer_pending(b->peer) <= OUT_MAX);
    assert_true(cds_peer_pending(b->peer) > OUT_MAX - 60000);
    for (int i = 0; i < sent; i++) { /* nothing is lost, nothing is torn */
        unsigned char head[4];
        while (recv(b->far, head, 4, MSG_DONTWAIT | MSG_PEEK) < 4)
            turn(b);
        assert_int_equal(recv(b->far, head, 4, 0), 4);
        size_t len = (size_t)head[1] << 16 | (size_t)head[2] << 8 | head[3], at = 0;
        CDS_CLEANUP(cds_free_ptr) char *text = malloc(len);
        while (at < len) {
            ssize_t n = recv(b->far, text + at, len - at, MSG_DONTWAIT);
            at += n > 0 ? (size_t)n : 0;
            turn(b);
        }
        CDS_JSON_AUTO back = NULL;
        assert_int_equal(cds_json_parse(text, len, &back, NULL), CDS_OK);
    }
    assert_int_equal(cds_peer_pending(b->peer), 0);
    assert_int_equal(cds_peer_send(b->peer, message), CDS_OK);
}

static void a_message_that_is_too_long_is_refused_and_nothing_is_sent(void **state)
{
    struct bench *b = *state;
    char *text = malloc(MAX_BYTES + 1);
    memset(text, 'x', MAX_BYTES);
    text[MAX_BYTES] = '\0';
    CDS_JSON_AUTO message = cds_json_string(text);
    free(text);
    assert_int_equal(cds_peer_send(b->peer, message), CDS_TOO_LARGE);
    assert_int_equal(cds_peer_call(b->peer, "m", cds_json_ref(message), cds_now_ms() + 60000, on_done, NULL, b), 0);
    char c;
    assert_int_equal(recv(b->far, &c, 1, MSG_DONTWAIT), -1);
    CDS_JSON_AUTO small = cds_json_int(1);
    assert_int_equal(cds_peer_send(b->peer, small), CDS_OK);
    CDS_CLEANUP(cds_free_ptr) char *got = get_frame(b);
    assert_string_equal(got, "1");
    cds_peer_close(&b->peer);
    assert_int_equal(b->dones, 0); /* the call that could not be sent is not open */
}

static void sending_to_a_side_that_went_away_is_unavailable_and_then_closes(void **state)
{
    struct bench *b = *state;
    close(b->far);
    b->far = -1;
    CDS_JSON_AUTO message = cds_json_int(1);
    assert_int_equal(cds_peer_send(b->peer, message), CDS_UNAVAILABLE);
    assert_int_equal(cds_peer_send(b->peer, NULL), CDS_EXHAUSTED);
    assert_int_equal(b->closes, 0); /* not from inside of send */
    turn(b);
    assert_int_equal(b->closes, 1);
}

static void calls_have_a_ceiling(void **state)
{
    struct bench *b = *state;
    char drop[65536];
    for (int i = 0; i < CDS_PEER_CALLS_MAX; i++) {
        assert_true(call(b, 60000) > 0);
        while (recv(b->far, drop, sizeof(drop), MSG_DONTWAIT) > 0)
            ;
    }
    assert_int_equal(call(b, 60000), 0);
    cds_peer_forget(b->peer, 1);
    assert_true(call(b, 60000) > CDS_PEER_CALLS_MAX);
}

#define TEST(name) cmocka_unit_test_setup_teardown(name, set_up, tear_down)
int main(void)
{
    const struct CMUnitTest tests[] = {
        TEST(request_in_single_bytes_arrives_once),
        TEST(many_frames_in_one_read_arrive_in_order),
        TEST(frame_of_the_greatest_length_arrives_and_one_byte_more_closes),
        TEST(nonsense_closes_the_peer),
        TEST(answer_reaches_its_call_once),
        TEST(notes_of_an_open_call_go_to_it_and_others_to_on_request),
        TEST(a_forgotten_call_is_never_answered),
        TEST(a_call_whose_deadline_has_passed_is_answered_timed_out),
        TEST(each_call_has_its_own_deadline),
        TEST(calls_forgotten_or_made_while_others_expire_do_no_harm),
        TEST(open_calls_are_answered_unavailable_when_the_other_side_closes),
        TEST(closing_answers_open_calls_and_does_not_call_on_close),
        TEST(peer_may_be_closed_inside_on_request),
        TEST(peer_may_be_closed_inside_done_and_on_note_and_on_close),
        TEST(peer_may_be_closed_inside_done_while_it_breaks),
        TEST(peer_may_be_closed_inside_a_deadline_and_inside_on_close),
        TEST(sending_stops_at_out_max_and_goes_on_when_the_reader_reads),
        TEST(a_message_that_is_too_long_is_refused_and_nothing_is_sent),
        TEST(sending_to_a_side_that_went_away_is_unavailable_and_then_closes),
        TEST(calls_have_a_ceiling),
    };
    return RUN_ALL(tests);
}
