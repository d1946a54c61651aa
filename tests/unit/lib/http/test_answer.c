/* tests/unit/lib/http/test_answer.c: bodies, files, errors, streams with a bounded queue, the three operational addresses. */
#include "lib/base/str.h"
#include "tests/unit/lib/http/rig.h"

/* ---- errors ---- */
static void answer_err(void *user, struct cds_http_req *req)
{
    struct cds_err err;
    const char *path = cds_http_path(req);
    if (cds_streq(path, "/401")) {
        cds_fail(&err, CDS_UNAUTHENTICATED, __func__, "Sign in.");
    } else if (cds_streq(path, "/busy")) {
        cds_fail(&err, CDS_BUSY, __func__, "Full.");
        err.retry_after_ms = 1500;
    } else if (cds_streq(path, "/bytes")) {
        cds_fail(&err, CDS_NOT_FOUND, __func__, "There is no \xff here.");
    } else {
        cds_fail(&err, CDS_BAD_PARAM, __func__, "Too hot.");
        cds_err_pointer(&err, "/temperature");
    }
    cds_http_reply_err(req, &err);
}

static void an_error_is_a_problem_with_its_status_and_headers(void **state)
{
    struct rig rig;
    rig_open(&rig, answer_err);
    rig_ask(&rig, RIG_GET("/401"));
    assert_true(rig_has(&rig, "HTTP/1.1 401 ") && rig_has(&rig, "WWW-Authenticate: Bearer"));
    assert_true(rig_has(&rig, "urn:cyberdevstudio:problem:unauthenticated") && rig_has(&rig, "Cache-Control: no-store"));
    rig_ask(&rig, RIG_GET("/busy"));
    assert_true(rig_has(&rig, "HTTP/1.1 503 ") && rig_has(&rig, "Retry-After: 2\r\n") && rig_has(&rig, "\"retry_after_ms\":1500"));
    rig_ask(&rig, RIG_GET("/x"));
    assert_true(rig_has(&rig, "HTTP/1.1 400 ") && rig_has(&rig, "\"pointer\":\"/temperature\""));
    rig_close(&rig);
}

static void an_error_text_that_is_not_utf8_still_gets_an_answer(void **state)
{
    struct rig rig;
    rig_open(&rig, answer_err);
    rig_ask(&rig, RIG_GET("/bytes"));
    assert_true(rig_has(&rig, "HTTP/1.1 404 ") && rig_has(&rig, "There is no ? here."));
    rig_close(&rig);
}

static void answer_openai(void *user, struct cds_http_req *req)
{
    struct cds_err err;
    if (cds_streq(cds_http_path(req), "/budget")) {
        cds_fail(&err, CDS_BUDGET_EXCEEDED, __func__, "Used up.");
        cds_err_hint(&err, "Ask an admin.");
    } else {
        cds_fail(&err, CDS_BAD_PARAM, __func__, "Too hot.");
        cds_err_pointer(&err, "/temperature");
    }
    cds_http_reply_openai_err(req, &err);
}

static void an_openai_error_names_type_param_and_code(void **state)
{
    struct rig rig;
    rig_open(&rig, answer_openai);
    rig_ask(&rig, RIG_GET("/x"));
    assert_true(rig_has(&rig, "HTTP/1.1 400 "));
    assert_true(rig_has(
        &rig, "{\"error\":{\"message\":\"Too hot.\",\"type\":\"invalid_request_error\",\"param\":\"temperature\",\"code\":\"invalid_request\"}}"));
    assert_false(rig_has(&rig, "x-should-retry"));
    rig_ask(&rig, RIG_GET("/budget"));
    assert_true(rig_has(&rig, "HTTP/1.1 429 ") && rig_has(&rig, "x-should-retry: false") && rig_has(&rig, "\"insufficient_quota\""));
    assert_true(rig_has(&rig, "Used up. Ask an admin."));
    rig_close(&rig);
}

/* ---- headers, files ---- */
static void answer_headers(void *user, struct cds_http_req *req)
{
    cds_http_add_header(req, "Set-Cookie", "a=1");
    cds_http_add_header(req, "Set-Cookie", "b=2");
    cds_http_add_header(req, "X-Evil", "x\r\nInjected: yes");
    cds_http_reply(req, 200, "text/plain", "ok", 2);
}

static void a_header_may_stand_twice_but_never_smuggle_a_line(void **state)
{
    struct rig rig;
    rig_open(&rig, answer_headers);
    rig_ask(&rig, RIG_GET("/"));
    assert_true(rig_has(&rig, "Set-Cookie: a=1\r\n") && rig_has(&rig, "Set-Cookie: b=2\r\n"));
    assert_false(rig_has(&rig, "\nInjected: yes"));
    rig_close(&rig);
}

static void answer_file(void *user, struct cds_http_req *req)
{
    char name[] = "/tmp/cds-http-XXXXXX";
    int fd = mkstemp(name);
    unlink(name);
    bool empty = cds_streq(cds_http_path(req), "/empty");
    size_t size = empty ? 0 : 100000;
    for (size_t i = 0; i < size; i++)
        if (write(fd, i == size - 1 ? "Z" : "a", 1) != 1)
            abort();
    lseek(fd, 0, SEEK_SET);
    cds_http_file(req, 200, "text/plain", fd, size);
}

static void a_file_arrives_whole_with_its_length(void **state)
{
    struct rig rig;
    rig_open(&rig, answer_file);
    rig_ask(&rig, RIG_GET("/"));
    assert_true(rig_has(&rig, "Content-Length: 100000\r\n"));
    const char *body = strstr(rig.text, "\r\n\r\n") + 4;
    assert_int_equal(strlen(body), 100000);
    assert_int_equal(body[99999], 'Z');
    rig_ask(&rig, RIG_GET("/empty"));
    assert_true(rig_has(&rig, "HTTP/1.1 200 ") && rig_has(&rig, "Content-Length: 0\r\n"));
    rig_close(&rig);
}

static void a_head_request_gets_the_head_alone(void **state)
{
    struct rig rig;
    rig_open(&rig, rig_hello);
    rig_ask(&rig, "HEAD / HTTP/1.1\r\nHost: t\r\nConnection: close\r\n\r\n");
    assert_true(rig_has(&rig, "Content-Length: 5\r\n"));
    assert_false(rig_has(&rig, "hello"));
    rig_close(&rig);
}

/* ---- streams ---- */
static void begin_stream(struct rig *rig, int fd)
{
    rig_say(rig, fd, "GET / HTTP/1.1\r\nHost: t\r\n\r\n");
    RIG_UNTIL(rig, rig->req);
    cds_http_stream_begin(rig->req, 200, "text/event-stream", 64 * 1024);
}

static void events_of_a_stream_arrive_one_by_one(void **state)
{
    struct rig rig;
    rig_open(&rig, rig_keep);
    int fd = rig_connect(&rig);
    begin_stream(&rig, fd);
    CDS_JSON_AUTO value = cds_json_pack("{s:i}", "n", 1);
    assert_int_equal(cds_http_sse(rig.req, NULL, value), CDS_OK);
    assert_true(rig_read(&rig, fd, "data: {\"n\":1}\n\n"));
    assert_true(rig_has(&rig, "Content-Type: text/event-stream\r\n") && rig_has(&rig, "Cache-Control: no-store\r\n"));
    for (int i = 0; i < 5; i++)
        cds_loop_once(rig.loop, 1); /* asleep now: the next write must wake it */
    assert_int_equal(cds_http_sse(rig.req, "delta", value), CDS_OK);
    assert_true(rig_read(&rig, fd, "event: delta\ndata: {\"n\":1}\n\n"));
    cds_http_stream_finish(rig.req, false);
    assert_true(rig_read(&rig, fd, "0\r\n\r\n"));
    RIG_UNTIL(&rig, rig.done == 1);
    assert_int_equal(rig.gone, 0);
    close(fd);
    rig_close(&rig);
}

static void an_aborted_stream_ends_without_its_last_chunk(void **state)
{
    struct rig rig;
    rig_open(&rig, rig_keep);
    int fd = rig_connect(&rig);
    begin_stream(&rig, fd);
    assert_int_equal(cds_http_stream_write(rig.req, "part", 4), CDS_OK);
    assert_true(rig_read(&rig, fd, "part"));
    cds_http_stream_finish(rig.req, true);
    assert_false(rig_read(&rig, fd, NULL));
    assert_false(rig_has(&rig, "0\r\n\r\n"));
    close(fd);
    rig_close(&rig);
}

static void a_reader_that_leaves_a_silent_stream_is_noticed(void **state)
{
    struct rig rig;
    rig_open(&rig, rig_keep);
    int fd = rig_connect(&rig);
    begin_stream(&rig, fd);
    assert_int_equal(cds_http_stream_write(rig.req, "part", 4), CDS_OK);
    assert_true(rig_read(&rig, fd, "part"));
    close(fd);
    RIG_UNTIL(&rig, rig.gone == 1); /* nothing was written after it left */
    rig_close(&rig);
    assert_int_equal(rig.done, 0);
}

static void note_room(void *user)
{
    ((struct rig *)user)->seen[0]++;
}

static void a_stream_to_a_slow_reader_stays_bounded_and_arrives_whole(void **state)
{
    enum { TOTAL = 32 * 1024 * 1024, PIECE = 1000, MAX = 16 * 1024 };
    struct rig rig;
    static char piece[PIECE], in[65536];
    size_t written = 0, got = 0, busy = 0;
    memset(piece, 'x', sizeof(piece));
    rig_open(&rig, rig_keep);
    int fd = rig_connect(&rig);
    rig_say(&rig, fd, "GET / HTTP/1.0\r\nHost: t\r\n\r\n"); /* 1.0: no chunk framing to take off */
    RIG_UNTIL(&rig, rig.req);
    cds_http_stream_begin(rig.req, 200, "text/plain", MAX);
    cds_http_stream_on_drain(rig.req, note_room, &rig);
    for (int idle = 0; idle < 20;) { /* nobody reads: it must stop taking */
        cds_rc rc = cds_http_stream_write(rig.req, piece, PIECE);
        assert_true(rc == CDS_OK || rc == CDS_BUSY);
        written += rc == CDS_OK ? PIECE : 0;
        idle = rc == CDS_BUSY ? idle + 1 : 0;
        busy += rc == CDS_BUSY;
        cds_loop_once(rig.loop, 0);
        assert_true(written < TOTAL);
    }
    assert_true(busy > 0);
    rig.seen[0] = 0;
    uint64_t until = cds_now_ms() + RIG_WAIT_MS;
    for (ssize_t n; (n = recv(fd, in, sizeof(in), 0)) != 0; cds_loop_once(rig.loop, 0)) {
        assert_true(cds_now_ms() < until);
        got += n > 0 ? (size_t)n : 0;
        if (rig.seen[0] && rig.req) { /* told once that there is room again */
            cds_http_stream_finish(rig.req, false);
            rig.req = NULL;
        }
    }
    assert_int_equal(rig.seen[0], 1);
    assert_true(got > written && got < written + 1000); /* the head and every byte */
    close(fd);
    rig_close(&rig);
}

static void a_piece_longer_than_the_buffer_is_refused(void **state)
{
    struct rig rig;
    static char big[100 * 1024];
    rig_open(&rig, rig_keep);
    int fd = rig_connect(&rig);
    begin_stream(&rig, fd);
    assert_int_equal(cds_http_stream_write(rig.req, big, sizeof(big)), CDS_TOO_LARGE);
    cds_http_stream_finish(rig.req, false);
    assert_int_equal(cds_http_stream_write(rig.req, "x", 1), CDS_CANCELLED);
    close(fd);
    rig_close(&rig);
}

static void abort_at_once(void *user, struct cds_http_req *req)
{
    cds_http_stream_begin(req, 200, "text/plain", 100);
    if (cds_streq(cds_http_path(req), "/some"))
        assert_int_equal(cds_http_stream_write(req, "some", 4), CDS_OK);
    cds_http_stream_finish(req, true);
}

static void a_stream_aborted_inside_the_handler_ends_the_connection(void **state)
{
    static struct rig rig;
    rig_open(&rig, abort_at_once);
    rig_ask(&rig, RIG_GET("/"));
    assert_false(rig_has(&rig, "\r\n0\r\n"));
    rig_ask(&rig, RIG_GET("/some"));
    assert_false(rig_has(&rig, "\r\n0\r\n"));
    rig_close(&rig);
}

static void stream_at_once(void *user, struct cds_http_req *req)
{
    cds_http_stream_begin(req, 200, "text/plain", 1024);
    if (cds_http_stream_write(req, "all", 3))
        abort();
    cds_http_stream_finish(req, false);
}

static void a_stream_may_be_complete_inside_the_handler(void **state)
{
    struct rig rig;
    rig_open(&rig, stream_at_once);
    rig_ask(&rig, RIG_GET("/"));
    assert_true(rig_has(&rig, "3\r\nall\r\n0\r\n\r\n"));
    rig_close(&rig);
}

/* ---- operational addresses ---- */
static cds_rc not_ready(void *user, struct cds_err *err)
{
    return ((struct rig *)user)->seen[0] ? CDS_OK : cds_fail(err, CDS_NOT_FOUND, __func__, "The database is away.");
}

static const enum cds_metric shown[] = {CDS_M_LLM_REQUEST_COUNT, CDS_M_COUNT};

static void answer_ops(void *user, struct cds_http_req *req)
{
    if (!cds_http_ops(req, shown, not_ready, user))
        cds_http_reply(req, 404, "text/plain", "no", 2);
}

static void health_readiness_and_metrics_answer(void **state)
{
    struct rig rig;
    rig_open(&rig, answer_ops);
    rig_ask(&rig, RIG_GET("/healthz"));
    assert_true(rig_has(&rig, "HTTP/1.1 200 ") && rig_has(&rig, "{\"status\":\"ok\"}"));
    rig_ask(&rig, RIG_GET("/readyz"));
    assert_true(rig_has(&rig, "HTTP/1.1 503 ") && rig_has(&rig, "The database is away."));
    rig.seen[0] = 1;
    rig_ask(&rig, RIG_GET("/readyz"));
    assert_true(rig_has(&rig, "HTTP/1.1 200 ") && rig_has(&rig, "{\"status\":\"ready\"}"));
    rig_ask(&rig, RIG_GET("/metrics"));
    assert_true(rig_has(&rig, "text/plain; version=0.0.4") && rig_has(&rig, "cds_http_requests_total"));
    assert_true(rig_has(&rig, "llm_request_count{model=\"\"} 0\n") && !rig_has(&rig, "token_spend"));
    rig_close(&rig);
}

static void other_addresses_and_methods_are_left_to_the_handler(void **state)
{
    struct rig rig;
    rig_open(&rig, answer_ops);
    rig_ask(&rig, RIG_GET("/healthz/x"));
    assert_true(rig_has(&rig, "HTTP/1.1 404 "));
    rig_ask(&rig, "POST /healthz HTTP/1.1\r\nHost: t\r\nContent-Length: 0\r\nConnection: close\r\n\r\n");
    assert_true(rig_has(&rig, "HTTP/1.1 404 "));
    rig_close(&rig);
}

/* ---- the end ---- */
static void note_end(void *user, int status)
{
    *(int *)user = status;
}

static void the_end_of_a_request_is_told_with_the_status_or_zero_when_its_client_left(void **state)
{
    struct rig rig;
    int ended = -1;
    rig_open(&rig, rig_keep);
    int fd = rig_connect(&rig);
    rig_say(&rig, fd, RIG_GET("/"));
    RIG_UNTIL(&rig, rig.req);
    cds_http_on_end(rig.req, note_end, &ended);
    cds_http_reply(rig.req, 202, "text/plain", "x", 1);
    assert_int_equal(ended, -1);
    RIG_UNTIL(&rig, ended == 202);
    rig.req = NULL;
    int other = rig_connect(&rig);
    rig_say(&rig, other, RIG_GET("/"));
    RIG_UNTIL(&rig, rig.req);
    cds_http_on_end(rig.req, note_end, &ended);
    close(other);
    RIG_UNTIL(&rig, ended == 0);
    close(fd);
    rig_close(&rig);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(an_error_is_a_problem_with_its_status_and_headers),
        cmocka_unit_test(an_error_text_that_is_not_utf8_still_gets_an_answer),
        cmocka_unit_test(an_openai_error_names_type_param_and_code),
        cmocka_unit_test(a_header_may_stand_twice_but_never_smuggle_a_line),
        cmocka_unit_test(a_file_arrives_whole_with_its_length),
        cmocka_unit_test(a_head_request_gets_the_head_alone),
        cmocka_unit_test(events_of_a_stream_arrive_one_by_one),
        cmocka_unit_test(an_aborted_stream_ends_without_its_last_chunk),
        cmocka_unit_test(a_stream_aborted_inside_the_handler_ends_the_connection),
        cmocka_unit_test(a_reader_that_leaves_a_silent_stream_is_noticed),
        cmocka_unit_test(a_stream_to_a_slow_reader_stays_bounded_and_arrives_whole),
        cmocka_unit_test(a_piece_longer_than_the_buffer_is_refused),
        cmocka_unit_test(a_stream_may_be_complete_inside_the_handler),
        cmocka_unit_test(health_readiness_and_metrics_answer),
        cmocka_unit_test(other_addresses_and_methods_are_left_to_the_handler),
        cmocka_unit_test(the_end_of_a_request_is_told_with_the_status_or_zero_when_its_client_left),
    };
    return RUN_ALL(tests);
}
