/* tests/unit/lib/http/test_server.c: the server over real sockets: what it lets in, what it refuses, deadlines, leaving clients, drain. */
#include "lib/base/str.h"
#include "tests/support/timely.h"
#include "tests/unit/lib/http/rig.h"

static void a_request_gets_its_answer_and_a_request_id(void **state)
{
    struct rig rig;
    rig_open(&rig, rig_hello);
    rig_ask(&rig, RIG_GET("/"));
    assert_true(rig_has(&rig, "HTTP/1.1 200 OK\r\n"));
    assert_true(rig_has(&rig, "\r\nx-request-id: "));
    assert_true(rig_has(&rig, "\r\n\r\nhello"));
    rig_close(&rig);
}

static void keep_alive_serves_several_requests_on_one_connection(void **state)
{
    struct rig rig;
    rig_open(&rig, rig_hello);
    int fd = rig_connect(&rig);
    for (unsigned i = 1; i <= 3; i++) {
        rig_say(&rig, fd, "GET /a HTTP/1.1\r\nHost: t\r\n\r\n");
        assert_true(rig_read(&rig, fd, "hello"));
        assert_int_equal(rig.calls, i);
    }
    close(fd);
    rig_close(&rig);
}

static void note_request(void *user, struct cds_http_req *req)
{
    struct rig *rig = user;
    size_t len;
    char ip[46];
    const char *body = cds_http_body(req, &len), *q = cds_http_query(req, "q");
    rig->calls++;
    snprintf(rig->seen, sizeof(rig->seen), "%s|%s|%s|%s|%s|%.*s|%s|%s", cds_http_method(req), cds_http_path(req), cds_http_target(req), q ? q : "-",
             cds_http_header(req, "X-Thing") ? cds_http_header(req, "X-Thing") : "-", (int)len, body, cds_http_peer_ip(req),
             cds_http_client_ip(req, ip));
    cds_http_reply(req, 204, NULL, "", 0);
}

static void the_handler_sees_method_path_query_header_body_and_peer(void **state)
{
    struct rig rig;
    rig_open(&rig, note_request);
    rig_ask(&rig, "POST /a%20b?q=x%26y HTTP/1.1\r\nHost: t\r\nX-Thing: v\r\nX-Forwarded-For: 9.9.9.9, 203.0.113.7\r\nContent-Length: 4\r\n"
                  "Connection: close\r\n\r\nbody");
    assert_string_equal(rig.seen, "POST|/a b|/a%20b?q=x%26y|x&y|v|body|127.0.0.1|203.0.113.7");
    assert_true(rig_has(&rig, "HTTP/1.1 204 "));
    rig_close(&rig);
}

static void a_nonsense_forwarded_address_is_ignored(void **state)
{
    struct rig rig;
    rig_open(&rig, note_request);
    rig_ask(&rig, "GET / HTTP/1.1\r\nHost: t\r\nX-Forwarded-For: <script>\r\nConnection: close\r\n\r\n");
    assert_non_null(strstr(rig.seen, "|127.0.0.1|127.0.0.1"));
    rig_close(&rig);
}

/* ---- refusals ---- */
static void refused(const char *request, const char *status_line)
{
    struct rig rig;
    rig_open(&rig, rig_hello);
    rig_ask(&rig, request);
    assert_true(rig_has(&rig, status_line));
    assert_int_equal(rig.calls, 0);
    rig_close(&rig);
}

static void two_hosts_are_refused(void **state)
{
    refused("GET / HTTP/1.1\r\nHost: a\r\nHost: b\r\nConnection: close\r\n\r\n", "HTTP/1.1 400 ");
}

static void no_host_is_refused(void **state)
{
    refused("GET / HTTP/1.1\r\nConnection: close\r\n\r\n", "HTTP/1.1 400 ");
}

static void transfer_encoding_is_refused_with_411(void **state)
{
    refused("POST / HTTP/1.1\r\nHost: t\r\nTransfer-Encoding: chunked\r\nConnection: close\r\n\r\n5\r\nhello\r\n0\r\n\r\n", "HTTP/1.1 411 ");
}

static void transfer_encoding_beside_content_length_is_refused(void **state)
{
    refused("POST / HTTP/1.1\r\nHost: t\r\nContent-Length: 3\r\nTransfer-Encoding: chunked\r\nConnection: close\r\n\r\n0\r\n\r\n", "HTTP/1.1 400 ");
}

static void two_lengths_are_refused(void **state)
{
    refused("POST / HTTP/1.1\r\nHost: t\r\nContent-Length: 3\r\nContent-Length: 4\r\nConnection: close\r\n\r\nabcd", "HTTP/1.1 400 ");
}

static void a_length_with_a_sign_is_refused(void **state)
{
    refused("POST / HTTP/1.1\r\nHost: t\r\nContent-Length: +3\r\nConnection: close\r\n\r\nabc", "HTTP/1.1 400 ");
}

static void a_target_that_is_no_path_is_refused(void **state)
{
    refused("GET http://elsewhere/ HTTP/1.1\r\nHost: t\r\nConnection: close\r\n\r\n", "HTTP/1.1 400 ");
}

static void an_encoded_nul_in_the_path_is_refused(void **state)
{
    refused("GET /a%00b HTTP/1.1\r\nHost: t\r\nConnection: close\r\n\r\n", "HTTP/1.1 400 ");
}

static void a_header_beyond_the_ceiling_is_refused_with_431(void **state)
{
    static char text[64 * 1024];
    int n = snprintf(text, sizeof(text), "GET / HTTP/1.1\r\nHost: t\r\nX-Long: ");
    memset(text + n, 'a', 48 * 1024);
    snprintf(text + n + 48 * 1024, 32, "\r\n\r\n");
    refused(text, "HTTP/1.1 431 ");
}

static void the_refusal_is_a_problem_document(void **state)
{
    struct rig rig;
    rig_open(&rig, rig_hello);
    rig_ask(&rig, "GET / HTTP/1.1\r\nHost: a\r\nHost: b\r\nConnection: close\r\n\r\n");
    assert_true(rig_has(&rig, "Content-Type: application/problem+json"));
    assert_true(rig_has(&rig, "exactly one Host"));
    assert_true(rig_has(&rig, "x-request-id: "));
    rig_close(&rig);
}

static void a_body_over_the_limit_is_refused_before_it_is_read(void **state)
{
    struct rig rig;
    rig_open(&rig, rig_hello);
    int fd = rig_connect(&rig);
    rig_say(&rig, fd, "POST / HTTP/1.1\r\nHost: t\r\nContent-Length: 1001\r\n\r\n");
    rig_read(&rig, fd, NULL); /* not one byte of the body was sent */
    assert_true(rig_has(&rig, "HTTP/1.1 413 "));
    assert_int_equal(rig.calls, 0);
    close(fd);
    rig_close(&rig);
}

static void a_body_of_exactly_the_limit_is_taken(void **state)
{
    struct rig rig;
    static char text[1200];
    rig_open(&rig, rig_hello);
    int n = snprintf(text, sizeof(text), "POST / HTTP/1.1\r\nHost: t\r\nContent-Length: 1000\r\nConnection: close\r\n\r\n");
    memset(text + n, 'x', 1000);
    rig_ask(&rig, text);
    assert_true(rig_has(&rig, "HTTP/1.1 200 "));
    rig_close(&rig);
}

static cds_rc deny(void *user, struct cds_http_req *req, struct cds_err *err)
{
    if (cds_streq(cds_http_path(req), "/open"))
        return CDS_OK;
    return cds_fail(err, CDS_DENIED, __func__, "Not here.");
}

static void the_header_check_refuses_before_the_body_is_read(void **state)
{
    struct rig rig;
    rig_open_with(&rig, &rig_limits, deny, rig_hello);
    int fd = rig_connect(&rig);
    rig_say(&rig, fd, "POST /shut HTTP/1.1\r\nHost: t\r\nContent-Length: 500\r\n\r\n");
    rig_read(&rig, fd, NULL);
    assert_true(rig_has(&rig, "HTTP/1.1 403 "));
    close(fd);
    rig_ask(&rig, RIG_GET("/open"));
    assert_true(rig_has(&rig, "HTTP/1.1 200 "));
    assert_int_equal(rig.calls, 1);
    rig_close(&rig);
}

/* ---- deadlines ---- */
static const struct cds_http_limits hasty = {.body_max_bytes = 1000, .read_ms = 300, .idle_ms = 300, .connections = 8, .connections_per_ip = 8};

static void drip(const char *start, const char *drop)
{
    struct rig rig;
    rig_open_with(&rig, &hasty, NULL, rig_hello);
    int fd = rig_connect(&rig);
    rig_say(&rig, fd, start);
    char waste[256];
    uint64_t until = cds_now_ms() + RIG_WAIT_MS;
    /* One byte at a time: a timeout of silence would never fire. */
    while (recv(fd, waste, sizeof(waste), 0) < 0 && errno == EAGAIN) {
        assert_true(cds_now_ms() < until);
        send(fd, drop, 1, MSG_NOSIGNAL);
        poll(NULL, 0, 5);
        cds_loop_once(rig.loop, 0);
    }
    assert_int_equal(rig.calls, 0);
    close(fd);
    rig_close(&rig);
}

static void a_header_sent_byte_by_byte_is_cut_at_the_deadline(void **state)
{
    drip("GET / HTTP/1.1\r\nHost: t\r\nX-Slow: ", "a");
}

static void a_request_line_that_never_ends_is_cut_at_the_deadline(void **state)
{
    drip("GET /", "a");
}

static void a_body_sent_byte_by_byte_is_cut_at_the_deadline(void **state)
{
    drip("POST / HTTP/1.1\r\nHost: t\r\nContent-Length: 999\r\n\r\n", "b");
}

static void a_silent_connection_is_cut_at_the_deadline(void **state)
{
    struct rig rig;
    rig_open_with(&rig, &hasty, NULL, rig_hello);
    int fd = rig_connect(&rig);
    assert_false(rig_read(&rig, fd, NULL));
    close(fd);
    rig_close(&rig);
}

static void an_idle_kept_alive_connection_is_cut(void **state)
{
    struct rig rig;
    rig_open_with(&rig, &hasty, NULL, rig_hello);
    int fd = rig_connect(&rig);
    rig_say(&rig, fd, "GET / HTTP/1.1\r\nHost: t\r\n\r\n");
    assert_true(rig_read(&rig, fd, "hello"));
    assert_false(rig_read(&rig, fd, NULL));
    close(fd);
    rig_close(&rig);
}

static void a_handler_that_thinks_longer_than_the_deadline_still_answers(void **state)
{
    struct rig rig;
    rig_open_with(&rig, &hasty, NULL, rig_keep);
    int fd = rig_connect(&rig);
    rig_say(&rig, fd, RIG_GET("/"));
    RIG_UNTIL(&rig, rig.req);
    uint64_t later = cds_now_ms() + 1200;
    RIG_UNTIL(&rig, cds_now_ms() > later);
    assert_int_equal(rig.gone, 0);
    cds_http_reply(rig.req, 200, "text/plain", "late", 4);
    rig_read(&rig, fd, NULL);
    assert_true(rig_has(&rig, "late"));
    close(fd);
    rig_close(&rig);
}

/* ---- answers that come later, clients that leave ---- */
static void an_answer_may_come_from_a_later_callback(void **state)
{
    struct rig rig;
    rig_open(&rig, rig_keep);
    int fd = rig_connect(&rig);
    rig_say(&rig, fd, "GET / HTTP/1.1\r\nHost: t\r\n\r\n");
    RIG_UNTIL(&rig, rig.req);
    for (int i = 0; i < 5; i++)
        cds_loop_once(rig.loop, 1);
    cds_http_reply(rig.req, 200, "text/plain", "later", 5);
    assert_true(rig_read(&rig, fd, "later"));
    RIG_UNTIL(&rig, rig.done == 1);
    assert_int_equal(rig.calls, 1);
    assert_int_equal(rig.gone, 0);
    close(fd);
    rig_close(&rig);
}

/* The first request waits; the second one answers it, then itself. */
static void answer_both(void *user, struct cds_http_req *req)
{
    struct rig *rig = user;
    if (!rig->req) {
        rig_keep(user, req);
        return;
    }
    cds_http_reply(rig->req, 200, "text/plain", "the first", 9);
    cds_http_reply(req, 200, "text/plain", "the second", 10);
}

static void an_answer_may_come_from_the_handler_of_another_request(void **state)
{
    struct rig rig;
    rig_open(&rig, answer_both);
    int first = rig_connect(&rig), second = rig_connect(&rig);
    rig_say(&rig, first, "GET / HTTP/1.1\r\nHost: t\r\n\r\n");
    RIG_UNTIL(&rig, rig.req);
    uint64_t began = cds_now_ms();
    rig_say(&rig, second, "GET / HTTP/1.1\r\nHost: t\r\n\r\n");
    assert_true(rig_read(&rig, first, "the first"));
    test_timely(cds_now_ms() - began, 5000); /* and nothing else had to happen for it */
    assert_true(rig_read(&rig, second, "the second"));
    close(first);
    close(second);
    rig_close(&rig);
}

static void a_client_that_leaves_before_the_answer_is_told_to_the_handler(void **state)
{
    struct rig rig;
    rig_open(&rig, rig_keep);
    int fd = rig_connect(&rig);
    rig_say(&rig, fd, RIG_GET("/"));
    RIG_UNTIL(&rig, rig.req);
    close(fd);
    RIG_UNTIL(&rig, rig.gone == 1);
    for (int i = 0; i < 5; i++)
        cds_loop_once(rig.loop, 1);
    assert_int_equal(rig.gone, 1);
    assert_int_equal(rig.done, 0);
    rig_close(&rig);
}

static void freeing_the_server_tells_every_waiting_handler(void **state)
{
    struct rig rig;
    rig_open(&rig, rig_keep);
    int fd = rig_connect(&rig), other = rig_connect(&rig);
    rig_say(&rig, fd, RIG_GET("/"));
    rig_say(&rig, other, RIG_GET("/"));
    RIG_UNTIL(&rig, rig.calls == 2);
    cds_http_server_free(&rig.server);
    assert_int_equal(rig.gone, 2);
    close(fd);
    close(other);
    rig_close(&rig);
}

static void a_second_answer_is_ignored(void **state)
{
    struct rig rig;
    rig_open(&rig, rig_keep);
    int fd = rig_connect(&rig);
    rig_say(&rig, fd, RIG_GET("/"));
    RIG_UNTIL(&rig, rig.req);
    cds_http_reply(rig.req, 200, "text/plain", "first", 5);
    cds_http_reply(rig.req, 500, "text/plain", "second", 6);
    rig_read(&rig, fd, NULL);
    assert_true(rig_has(&rig, "first"));
    assert_false(rig_has(&rig, "second"));
    close(fd);
    rig_close(&rig);
}

/* ---- request ids ---- */
#define AN_ID "0197a000-0000-7000-8000-0123456789ab"

static void a_foreign_request_id_is_adopted_from_a_trusted_hop_only(void **state)
{
    struct rig rig;
    static const char ask[] = "GET / HTTP/1.1\r\nHost: t\r\nx-request-id: " AN_ID "\r\nConnection: close\r\n\r\n";
    rig_open(&rig, rig_hello);
    rig_ask(&rig, ask);
    assert_false(rig_has(&rig, AN_ID));
    cds_http_trust_request_id(rig.server, true);
    rig_ask(&rig, ask);
    assert_true(rig_has(&rig, AN_ID));
    rig_ask(&rig, "GET / HTTP/1.1\r\nHost: t\r\nx-request-id: forged value\r\nConnection: close\r\n\r\n");
    assert_false(rig_has(&rig, "forged"));
    rig_close(&rig);
}

/* ---- drain ---- */
static void note_drained(void *user)
{
    ((struct rig *)user)->seen[0] = 'd';
}

static void drain_lets_a_running_request_finish_and_refuses_new_ones(void **state)
{
    struct rig rig;
    rig_open(&rig, rig_keep);
    int fd = rig_connect(&rig), idle = rig_connect(&rig);
    rig_say(&rig, fd, "GET / HTTP/1.1\r\nHost: t\r\n\r\n");
    RIG_UNTIL(&rig, rig.req);
    cds_http_server_drain(rig.server, 60000, note_drained, &rig);
    assert_false(rig_read(&rig, idle, NULL)); /* nothing runs there: cut */
    struct sockaddr_in address = {.sin_family = AF_INET, .sin_port = htons(rig.port), .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
    int late = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
    assert_int_equal(connect(late, (struct sockaddr *)&address, sizeof(address)), -1);
    assert_int_equal(rig.seen[0], 0);
    cds_http_reply(rig.req, 200, "text/plain", "kept", 4);
    rig_read(&rig, fd, NULL);
    assert_true(rig_has(&rig, "Connection: close"));
    assert_true(rig_has(&rig, "kept"));
    RIG_UNTIL(&rig, rig.seen[0] == 'd');
    close(fd);
    close(idle);
    close(late);
    rig_close(&rig);
}

static void drain_ends_at_its_deadline_whatever_runs(void **state)
{
    struct rig rig;
    rig_open(&rig, rig_keep);
    int fd = rig_connect(&rig);
    rig_say(&rig, fd, RIG_GET("/"));
    RIG_UNTIL(&rig, rig.req);
    cds_http_server_drain(rig.server, 50, note_drained, &rig);
    RIG_UNTIL(&rig, rig.seen[0] == 'd');
    close(fd);
    rig_close(&rig);
    assert_int_equal(rig.gone, 1);
}

static void requests_and_connections_are_counted(void **state)
{
    struct rig rig;
    int64_t ok = cds_metric_get(CDS_M_HTTP_REQUESTS, "2xx"), bad = cds_metric_get(CDS_M_HTTP_REQUESTS, "4xx");
    int64_t open = cds_metric_get(CDS_M_HTTP_CONNECTIONS, NULL);
    rig_open(&rig, rig_hello);
    int fd = rig_connect(&rig);
    rig_say(&rig, fd, "GET / HTTP/1.1\r\nHost: t\r\n\r\n");
    assert_true(rig_read(&rig, fd, "hello"));
    assert_int_equal(cds_metric_get(CDS_M_HTTP_CONNECTIONS, NULL), open + 1);
    rig_ask(&rig, "GET / HTTP/1.1\r\nHost: a\r\nHost: b\r\nConnection: close\r\n\r\n");
    RIG_UNTIL(&rig, cds_metric_get(CDS_M_HTTP_REQUESTS, "2xx") == ok + 1 && cds_metric_get(CDS_M_HTTP_REQUESTS, "4xx") == bad + 1);
    close(fd);
    RIG_UNTIL(&rig, cds_metric_get(CDS_M_HTTP_CONNECTIONS, NULL) == open);
    rig_close(&rig);
}

static void connections_over_the_limit_are_not_served(void **state)
{
    struct rig rig;
    struct cds_http_limits two = rig_limits;
    two.connections = two.connections_per_ip = 2;
    rig_open_with(&rig, &two, NULL, rig_hello);
    int a = rig_connect(&rig), b = rig_connect(&rig), c = rig_connect(&rig);
    rig_say(&rig, a, "GET / HTTP/1.1\r\nHost: t\r\n\r\n");
    assert_true(rig_read(&rig, a, "hello"));
    rig_say(&rig, b, "GET / HTTP/1.1\r\nHost: t\r\n\r\n");
    assert_true(rig_read(&rig, b, "hello"));
    rig_say(&rig, c, RIG_GET("/"));
    for (int i = 0; i < 10; i++)
        cds_loop_once(rig.loop, 2);
    assert_int_equal(rig.calls, 2);
    close(a);
    close(b);
    close(c);
    rig_close(&rig);
}

/* ---- errors below /v1 ---- */
static void errors_made_before_the_handler_have_openais_shape_below_v1_and_nowhere_else(void **state)
{
    static struct rig rig;
    static const struct {
        const char *head, *status, *code;
    } cases[] = {
        {"POST %s HTTP/1.1\r\nHost: t\r\nContent-Length: 99999999\r\nConnection: close\r\n\r\n", "HTTP/1.1 413 ", "request_too_large"},
        {"POST %s HTTP/1.1\r\nHost: t\r\nTransfer-Encoding: chunked\r\nConnection: close\r\n\r\n0\r\n\r\n", "HTTP/1.1 411 ", "invalid_request"},
        {"GET %s HTTP/1.1\r\nHost: t\r\nHost: u\r\nConnection: close\r\n\r\n", "HTTP/1.1 400 ", "invalid_request"},
    };
    rig_open(&rig, rig_hello);
    cds_http_openai_below(rig.server, "/v1/");
    for (size_t i = 0; i < CDS_ARRAY_LEN(cases); i++) {
        char ask[256], code[64];
        snprintf(code, sizeof(code), "\"code\":\"%s\"", cases[i].code);
        static const char *const paths[] = {"/v1/chat/completions", "/rpc", "/v1", "/v10/x"};
        for (size_t p = 0; p < CDS_ARRAY_LEN(paths); p++) {
#pragma GCC diagnostic push
#pragma GCC diagnostic ignored "-Wformat-nonliteral"
            snprintf(ask, sizeof(ask), cases[i].head, paths[p]);
#pragma GCC diagnostic pop
            rig_ask(&rig, ask);
            assert_true(rig_has(&rig, cases[i].status));
            assert_int_equal(rig_has(&rig, "{\"error\":{\"message\":") && rig_has(&rig, code), p == 0);
            assert_int_equal(rig_has(&rig, "application/problem+json"), p != 0);
            assert_true(rig_has(&rig, "x-request-id: "));
        }
    }
    rig_close(&rig);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_request_gets_its_answer_and_a_request_id),
        cmocka_unit_test(keep_alive_serves_several_requests_on_one_connection),
        cmocka_unit_test(the_handler_sees_method_path_query_header_body_and_peer),
        cmocka_unit_test(a_nonsense_forwarded_address_is_ignored),
        cmocka_unit_test(two_hosts_are_refused),
        cmocka_unit_test(no_host_is_refused),
        cmocka_unit_test(errors_made_before_the_handler_have_openais_shape_below_v1_and_nowhere_else),
        cmocka_unit_test(transfer_encoding_is_refused_with_411),
        cmocka_unit_test(transfer_encoding_beside_content_length_is_refused),
        cmocka_unit_test(two_lengths_are_refused),
        cmocka_unit_test(a_length_with_a_sign_is_refused),
        cmocka_unit_test(a_target_that_is_no_path_is_refused),
        cmocka_unit_test(an_encoded_nul_in_the_path_is_refused),
        cmocka_unit_test(a_header_beyond_the_ceiling_is_refused_with_431),
        cmocka_unit_test(the_refusal_is_a_problem_document),
        cmocka_unit_test(a_body_over_the_limit_is_refused_before_it_is_read),
        cmocka_unit_test(a_body_of_exactly_the_limit_is_taken),
        cmocka_unit_test(the_header_check_refuses_before_the_body_is_read),
        cmocka_unit_test(a_header_sent_byte_by_byte_is_cut_at_the_deadline),
        cmocka_unit_test(a_request_line_that_never_ends_is_cut_at_the_deadline),
        cmocka_unit_test(a_body_sent_byte_by_byte_is_cut_at_the_deadline),
        cmocka_unit_test(a_silent_connection_is_cut_at_the_deadline),
        cmocka_unit_test(an_idle_kept_alive_connection_is_cut),
        cmocka_unit_test(a_handler_that_thinks_longer_than_the_deadline_still_answers),
        cmocka_unit_test(an_answer_may_come_from_a_later_callback),
        cmocka_unit_test(an_answer_may_come_from_the_handler_of_another_request),
        cmocka_unit_test(a_client_that_leaves_before_the_answer_is_told_to_the_handler),
        cmocka_unit_test(freeing_the_server_tells_every_waiting_handler),
        cmocka_unit_test(a_second_answer_is_ignored),
        cmocka_unit_test(a_foreign_request_id_is_adopted_from_a_trusted_hop_only),
        cmocka_unit_test(drain_lets_a_running_request_finish_and_refuses_new_ones),
        cmocka_unit_test(drain_ends_at_its_deadline_whatever_runs),
        cmocka_unit_test(requests_and_connections_are_counted),
        cmocka_unit_test(connections_over_the_limit_are_not_served),
    };
    return RUN_ALL(tests);
}
