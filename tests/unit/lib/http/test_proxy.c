/* tests/unit/lib/http/test_proxy.c: a page server in front of a part, both on one loop. */
#include "lib/base/str.h"
#include "lib/http/proxy.h"
#include "tests/unit/lib/http/rig.h"

struct pair {
    struct rig front; /* first: handlers of the front get the rig */
    struct rig *back;
    struct cds_http_client *client;
    char base[64];
};

static void forward(void *user, struct cds_http_req *req)
{
    struct pair *pair = user;
    pair->front.calls++;
    cds_http_set_user(req, &pair->front, rig_gone, rig_done);
    cds_http_proxy(req, pair->client, pair->base, "the part", cds_now_ms() + RIG_WAIT_MS);
}

/* The back shares the loop of the front. */
static void open_pair(struct pair *pair, cds_http_handler_fn *handler)
{
    rig_open(&pair->front, forward);
    pair->back = calloc(1, sizeof(*pair->back));
    assert_non_null(pair->back);
    pair->back->loop = pair->front.loop;
    int fd = rig_listen(&pair->back->port);
    assert_int_equal(cds_http_server_new(pair->back->loop, fd, &rig_limits, NULL, handler, pair->back, &pair->back->server, NULL), CDS_OK);
    assert_int_equal(cds_http_client_new(pair->front.loop, &pair->client, NULL), CDS_OK);
    snprintf(pair->base, sizeof(pair->base), "http://127.0.0.1:%u", pair->back->port);
}

static void close_pair(struct pair *pair)
{
    cds_http_server_free(&pair->front.server);
    cds_http_client_free(&pair->client);
    if (pair->back)
        cds_http_server_free(&pair->back->server);
    free(pair->back);
    cds_loop_free(&pair->front.loop);
}

static const char *header_or_dash(struct cds_http_req *req, const char *name)
{
    const char *value = cds_http_header(req, name);
    return value ? value : "-";
}

static void part(void *user, struct cds_http_req *req)
{
    struct rig *rig = user;
    size_t len;
    const char *body = cds_http_body(req, &len);
    rig->calls++;
    snprintf(rig->seen, sizeof(rig->seen), "%s %s auth=%s cookie=%s origin=%s id=%s for=%s evil=%s body=%.*s", cds_http_method(req),
             cds_http_target(req), header_or_dash(req, "Authorization"), header_or_dash(req, "Cookie"), header_or_dash(req, "Origin"),
             header_or_dash(req, "x-request-id"), header_or_dash(req, "X-Forwarded-For"), header_or_dash(req, "X-Evil"), (int)len, body);
    cds_http_add_header(req, "Set-Cookie", "a=1; HttpOnly");
    cds_http_add_header(req, "Set-Cookie", "b=2; HttpOnly");
    cds_http_add_header(req, "Cache-Control", "no-store");
    cds_http_add_header(req, "X-Internal", "secret");
    cds_http_reply(req, 201, "application/json", "{\"made\":1}", 10);
}

static void a_request_passes_there_and_back_with_the_headers_it_may_carry(void **state)
{
    static struct pair pair;
    open_pair(&pair, part);
    rig_ask(&pair.front, "POST /auth/login?x=%20 HTTP/1.1\r\nHost: t\r\nAuthorization: Bearer k\r\nCookie: s=1\r\nOrigin: http://t\r\nX-Evil: yes\r\n"
                         "x-request-id: forged\r\nContent-Length: 2\r\nConnection: close\r\n\r\n{}");
    assert_true(rig_has(&pair.front, "HTTP/1.1 201 "));
    assert_true(rig_has(&pair.front, "Set-Cookie: a=1; HttpOnly\r\n") && rig_has(&pair.front, "Set-Cookie: b=2; HttpOnly\r\n"));
    assert_true(rig_has(&pair.front, "Content-Length: 10\r\n") && rig_has(&pair.front, "{\"made\":1}"));
    assert_false(rig_has(&pair.front, "X-Internal"));
    assert_true(cds_starts_with(pair.back->seen, "POST /auth/login?x=%20 auth=Bearer k cookie=s=1 origin=http://t id="));
    assert_non_null(strstr(pair.back->seen, " for=127.0.0.1 evil=- body={}"));
    assert_null(strstr(pair.back->seen, "forged"));
    RIG_UNTIL(&pair.front, pair.front.done == 1);
    close_pair(&pair);
}

static void no_content(void *user, struct cds_http_req *req)
{
    cds_http_add_header(req, "WWW-Authenticate", "Bearer");
    if (cds_streq(cds_http_path(req), "/204"))
        cds_http_reply(req, 204, NULL, "", 0);
    else
        cds_http_reply(req, 401, "text/plain", "", 0);
}

static void an_answer_without_body_passes(void **state)
{
    static struct pair pair;
    open_pair(&pair, no_content);
    rig_ask(&pair.front, RIG_GET("/204"));
    assert_true(rig_has(&pair.front, "HTTP/1.1 204 "));
    rig_ask(&pair.front, RIG_GET("/401"));
    assert_true(rig_has(&pair.front, "HTTP/1.1 401 ") && rig_has(&pair.front, "WWW-Authenticate: Bearer"));
    rig_ask(&pair.front, "HEAD /401 HTTP/1.1\r\nHost: t\r\nConnection: close\r\n\r\n");
    assert_true(rig_has(&pair.front, "HTTP/1.1 401 "));
    close_pair(&pair);
}

static void events_pass_one_by_one_as_they_come(void **state)
{
    static struct pair pair;
    open_pair(&pair, rig_keep);
    int fd = rig_connect(&pair.front);
    rig_say(&pair.front, fd, "GET /v1/chat HTTP/1.1\r\nHost: t\r\n\r\n");
    RIG_UNTIL(&pair.front, pair.back->req);
    cds_http_stream_begin(pair.back->req, 200, "text/event-stream", 4096);
    for (int i = 1; i <= 3; i++) {
        char event[32];
        int n = snprintf(event, sizeof(event), "data: %d\n\n", i);
        assert_int_equal(cds_http_stream_write(pair.back->req, event, (size_t)n), CDS_OK);
        assert_true(rig_read(&pair.front, fd, event)); /* before the next one is made */
    }
    cds_http_stream_finish(pair.back->req, false);
    assert_true(rig_read(&pair.front, fd, "0\r\n\r\n"));
    close(fd);
    close_pair(&pair);
}

static void a_browser_that_leaves_cancels_the_part(void **state)
{
    static struct pair pair;
    open_pair(&pair, rig_keep);
    int fd = rig_connect(&pair.front);
    rig_say(&pair.front, fd, RIG_GET("/v1/chat"));
    RIG_UNTIL(&pair.front, pair.back->req);
    cds_http_stream_begin(pair.back->req, 200, "text/event-stream", 4096);
    assert_int_equal(cds_http_stream_write(pair.back->req, "data: 1\n\n", 9), CDS_OK);
    assert_true(rig_read(&pair.front, fd, "data: 1"));
    close(fd);
    RIG_UNTIL(&pair.front, pair.back->gone == 1);
    assert_int_equal(pair.front.gone, 1);
    close_pair(&pair);
}

static void a_browser_that_leaves_before_the_head_cancels_the_part(void **state)
{
    static struct pair pair;
    open_pair(&pair, rig_keep);
    int fd = rig_connect(&pair.front);
    rig_say(&pair.front, fd, RIG_GET("/slow"));
    RIG_UNTIL(&pair.front, pair.back->req);
    close(fd);
    RIG_UNTIL(&pair.front, pair.back->gone == 1);
    close_pair(&pair);
}

static void a_part_that_breaks_off_breaks_the_answer_off(void **state)
{
    static struct pair pair;
    open_pair(&pair, rig_keep);
    int fd = rig_connect(&pair.front);
    rig_say(&pair.front, fd, RIG_GET("/v1/chat"));
    RIG_UNTIL(&pair.front, pair.back->req);
    cds_http_stream_begin(pair.back->req, 200, "text/event-stream", 4096);
    assert_int_equal(cds_http_stream_write(pair.back->req, "data: 1\n\n", 9), CDS_OK);
    assert_true(rig_read(&pair.front, fd, "data: 1"));
    cds_http_stream_finish(pair.back->req, true);
    assert_false(rig_read(&pair.front, fd, NULL));
    assert_false(rig_has(&pair.front, "0\r\n\r\n"));
    close(fd);
    close_pair(&pair);
}

static void a_part_that_is_away_is_named(void **state)
{
    static struct pair pair;
    open_pair(&pair, part);
    cds_http_server_free(&pair.back->server);
    rig_ask(&pair.front, RIG_GET("/rpc"));
    assert_true(rig_has(&pair.front, "HTTP/1.1 503 ") && rig_has(&pair.front, "The part cannot be reached.") &&
                rig_has(&pair.front, "Retry-After: 1"));
    assert_true(rig_has(&pair.front, "application/problem+json"));
    cds_http_openai_below(pair.front.server, "/v1/");
    rig_ask(&pair.front, RIG_GET("/v1/models"));
    assert_true(rig_has(&pair.front, "HTTP/1.1 503 ") && rig_has(&pair.front, "\"code\":\"unavailable\"") &&
                rig_has(&pair.front, "\"type\":\"server_error\"") && rig_has(&pair.front, "Retry-After: 1"));
    assert_false(rig_has(&pair.front, "problem+json"));
    close_pair(&pair);
}

static void big_body(void *user, struct cds_http_req *req)
{
    enum { BIG = 24 * 1024 * 1024 };
    char *text = malloc(BIG);
    memset(text, 'x', BIG);
    cds_http_reply(req, 200, "text/plain", text, BIG);
    free(text);
}

static void a_slow_browser_gets_a_big_answer_whole(void **state)
{
    static struct pair pair;
    static char in[65536];
    open_pair(&pair, big_body);
    int fd = rig_connect(&pair.front);
    rig_say(&pair.front, fd, RIG_GET("/big"));
    for (int i = 0; i < 50; i++)
        cds_loop_once(pair.front.loop, 1); /* nobody reads: the buffers fill, the part waits */
    uint64_t until = cds_now_ms() + RIG_WAIT_MS;
    size_t got = 0;
    for (ssize_t n; (n = recv(fd, in, sizeof(in), 0)) != 0; cds_loop_once(pair.front.loop, 0)) {
        assert_true(cds_now_ms() < until);
        got += n > 0 ? (size_t)n : 0;
    }
    assert_true(got > 24 * 1024 * 1024 && got < 24 * 1024 * 1024 + 1000);
    close(fd);
    close_pair(&pair);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_request_passes_there_and_back_with_the_headers_it_may_carry),
        cmocka_unit_test(an_answer_without_body_passes),
        cmocka_unit_test(events_pass_one_by_one_as_they_come),
        cmocka_unit_test(a_browser_that_leaves_cancels_the_part),
        cmocka_unit_test(a_browser_that_leaves_before_the_head_cancels_the_part),
        cmocka_unit_test(a_part_that_breaks_off_breaks_the_answer_off),
        cmocka_unit_test(a_part_that_is_away_is_named),
        cmocka_unit_test(a_slow_browser_gets_a_big_answer_whole),
    };
    return RUN_ALL(tests);
}
