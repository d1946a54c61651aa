/* tests/unit/lib/http/test_client.c: calls to our own server over loopback. */
#include "lib/base/buf.h"
#include "lib/base/str.h"
#include "lib/http/client.h"
#include "tests/unit/lib/http/rig.h"

struct outcome {
    struct rig *rig;
    struct cds_http_client *client;
    struct cds_http_call *call;
    unsigned done, heads, pieces;
    int status;
    char type[64], cookies[64];
    struct cds_buf body;
    struct cds_err err;
    bool failed, hold;
};

static void on_header(void *user, const char *name, const char *value)
{
    struct outcome *o = user;
    if (cds_streq(name, "Set-Cookie"))
        strncat(o->cookies, value, sizeof(o->cookies) - strlen(o->cookies) - 1);
}

static void on_head(void *user, int status, const char *type)
{
    struct outcome *o = user;
    o->heads++;
    o->status = status;
    snprintf(o->type, sizeof(o->type), "%s", type ? type : "");
}

static bool on_data(void *user, const char *data, size_t len)
{
    struct outcome *o = user;
    if (o->hold)
        return false;
    o->pieces++;
    assert_int_equal(cds_buf_add(&o->body, data, len), CDS_OK);
    return true;
}

static void on_done(void *user, int status, const char *body, size_t len, const struct cds_err *err)
{
    struct outcome *o = user;
    o->done++;
    o->call = NULL;
    o->status = status;
    o->failed = err != NULL;
    if (err)
        o->err = *err;
    if (len)
        assert_int_equal(cds_buf_add(&o->body, body, len), CDS_OK);
}

static void open_outcome(struct outcome *o, struct rig *rig)
{
    memset(o, 0, sizeof(*o));
    o->rig = rig;
    o->body = cds_buf_init(64 * 1024 * 1024);
    assert_int_equal(cds_http_client_new(rig->loop, &o->client, NULL), CDS_OK);
}

static void close_outcome(struct outcome *o)
{
    cds_http_client_free(&o->client);
    cds_buf_free(&o->body);
}

static void start(struct outcome *o, const char *method, uint16_t port, const char *path, const char *body, bool stream)
{
    char url[256];
    static const char *const headers[] = {"X-Thing: v", "Content-Type: application/json", NULL};
    snprintf(url, sizeof(url), "http://127.0.0.1:%u%s", port, path);
    const struct cds_http_call_spec spec = {.method = method,
                                            .url = url,
                                            .headers = headers,
                                            .body = body,
                                            .body_len = body ? strlen(body) : 0,
                                            .deadline_ms = cds_now_ms() + RIG_WAIT_MS,
                                            .body_max_bytes = 4096,
                                            .on_head = on_head,
                                            .on_header = on_header,
                                            .on_data = stream ? on_data : NULL,
                                            .on_done = on_done,
                                            .user = o};
    assert_int_equal(cds_http_call_start(o->client, &spec, &o->call, NULL), CDS_OK);
    assert_non_null(o->call);
}

static void echo(void *user, struct cds_http_req *req)
{
    struct rig *rig = user;
    char text[512];
    size_t len;
    const char *body = cds_http_body(req, &len), *type = cds_http_header(req, "Content-Type");
    rig->calls++;
    int n = snprintf(text, sizeof(text), "%s %s %s %s %.*s", cds_http_method(req), cds_http_target(req), cds_http_header(req, "X-Thing"),
                     type ? type : "-", (int)len, body);
    cds_http_add_header(req, "Set-Cookie", "a=1;");
    cds_http_add_header(req, "Set-Cookie", "b=2;");
    cds_http_reply(req, cds_streq(cds_http_path(req), "/418") ? 418 : 200, "text/plain", text, (size_t)n);
}

static void a_call_sends_method_headers_and_body_and_collects_the_answer(void **state)
{
    struct rig rig;
    struct outcome o;
    rig_open(&rig, echo);
    open_outcome(&o, &rig);
    start(&o, "POST", rig.port, "/a/../b?q=1", "{}", false);
    RIG_UNTIL(&rig, o.done);
    assert_false(o.failed);
    assert_int_equal(o.status, 200);
    assert_string_equal(o.type, "text/plain");
    assert_string_equal(o.cookies, "a=1;b=2;");
    assert_string_equal(o.body.data, "POST /a/../b?q=1 v application/json {}"); /* the path is not rewritten */
    assert_int_equal(o.heads, 1);
    close_outcome(&o);
    rig_close(&rig);
}

static void other_methods_and_error_statuses_are_answers_like_any(void **state)
{
    struct rig rig;
    struct outcome o;
    static const char *const methods[] = {"GET", "PUT", "DELETE", "PATCH"};
    rig_open(&rig, echo);
    open_outcome(&o, &rig);
    for (size_t i = 0; i < CDS_ARRAY_LEN(methods); i++) {
        cds_buf_clear(&o.body);
        o.done = 0;
        start(&o, methods[i], rig.port, "/418", NULL, false);
        RIG_UNTIL(&rig, o.done);
        assert_false(o.failed);
        assert_int_equal(o.status, 418);
        assert_true(cds_starts_with(o.body.data, methods[i]));
    }
    o.done = 0;
    start(&o, "HEAD", rig.port, "/", NULL, false);
    RIG_UNTIL(&rig, o.done);
    assert_false(o.failed);
    close_outcome(&o);
    rig_close(&rig);
}

static void nothing_listening_is_unavailable(void **state)
{
    struct rig rig;
    struct outcome o;
    uint16_t port;
    rig_open(&rig, echo);
    open_outcome(&o, &rig);
    int kept = rig_keep_port(&port);
    start(&o, "GET", port, "/", NULL, false);
    RIG_UNTIL(&rig, o.done);
    assert_true(o.failed);
    assert_int_equal(o.err.code, CDS_UNAVAILABLE);
    assert_int_equal(o.status, 0);
    close(kept);
    close_outcome(&o);
    rig_close(&rig);
}

static void a_silent_server_is_timed_out_at_the_deadline(void **state)
{
    struct rig rig;
    struct outcome o;
    char url[64];
    rig_open(&rig, rig_keep);
    open_outcome(&o, &rig);
    snprintf(url, sizeof(url), "http://127.0.0.1:%u/", rig.port);
    /* Again where the deadline passed before the server had the request at all. */
    for (uint32_t ms = 200; !rig.calls; ms *= 2) {
        const struct cds_http_call_spec spec = {.method = "GET", .url = url, .deadline_ms = cds_now_ms() + ms, .on_done = on_done, .user = &o};
        o.done = 0;
        assert_int_equal(cds_http_call_start(o.client, &spec, &o.call, NULL), CDS_OK);
        RIG_UNTIL(&rig, o.done);
        assert_int_equal(o.err.code, CDS_TIMED_OUT);
        assert_true(ms < RIG_WAIT_MS);
    }
    RIG_UNTIL(&rig, rig.gone == 1); /* and the server sees the caller leave */
    close_outcome(&o);
    rig_close(&rig);
}

static void a_passed_deadline_and_a_broken_address_are_refused_at_once(void **state)
{
    struct rig rig;
    struct outcome o;
    struct cds_err err;
    rig_open(&rig, echo);
    open_outcome(&o, &rig);
    struct cds_http_call_spec spec = {.method = "GET", .url = "http://127.0.0.1:1/", .deadline_ms = cds_now_ms(), .on_done = on_done, .user = &o};
    assert_int_equal(cds_http_call_start(o.client, &spec, &o.call, &err), CDS_TIMED_OUT);
    assert_null(o.call);
    spec.deadline_ms = cds_now_ms() + RIG_WAIT_MS;
    spec.url = "file:///proc/self/stat";
    spec.body_max_bytes = 4096;
    assert_int_equal(cds_http_call_start(o.client, &spec, &o.call, &err), CDS_OK);
    RIG_UNTIL(&rig, o.done);
    assert_int_equal(o.err.code, CDS_UNAVAILABLE);
    assert_int_equal(o.body.len, 0);
    close_outcome(&o);
    rig_close(&rig);
}

static void big(void *user, struct cds_http_req *req)
{
    static char text[300000];
    memset(text, 'x', sizeof(text));
    cds_http_reply(req, 200, "text/plain", text, sizeof(text));
}

static void a_collected_answer_over_the_ceiling_is_refused(void **state)
{
    struct rig rig;
    struct outcome o;
    rig_open(&rig, big);
    open_outcome(&o, &rig);
    start(&o, "GET", rig.port, "/", NULL, false);
    RIG_UNTIL(&rig, o.done);
    assert_true(o.failed);
    assert_int_equal(o.err.code, CDS_TOO_LARGE);
    close_outcome(&o);
    rig_close(&rig);
}

static void a_stream_arrives_in_pieces_and_can_be_paused(void **state)
{
    struct rig rig;
    struct outcome o;
    rig_open(&rig, big);
    open_outcome(&o, &rig);
    o.hold = true;
    start(&o, "GET", rig.port, "/", NULL, true);
    RIG_UNTIL(&rig, o.heads);
    for (int i = 0; i < 20; i++)
        cds_loop_once(rig.loop, 1);
    assert_int_equal(o.body.len, 0);
    assert_int_equal(o.done, 0);
    o.hold = false;
    cds_http_call_resume(o.call);
    RIG_UNTIL(&rig, o.done);
    assert_false(o.failed);
    assert_int_equal(o.body.len, 300000);
    assert_true(o.pieces > 1);
    close_outcome(&o);
    rig_close(&rig);
}

static void a_cancelled_call_is_silent_and_the_server_sees_it(void **state)
{
    struct rig rig;
    struct outcome o;
    rig_open(&rig, rig_keep);
    open_outcome(&o, &rig);
    start(&o, "GET", rig.port, "/", NULL, true);
    RIG_UNTIL(&rig, rig.req);
    cds_http_call_cancel(&o.call);
    assert_null(o.call);
    cds_http_call_cancel(&o.call);
    RIG_UNTIL(&rig, rig.gone == 1);
    assert_int_equal(o.done, 0);
    close_outcome(&o);
    rig_close(&rig);
}

static bool cancel_inside(void *user, const char *data, size_t len)
{
    struct outcome *o = user;
    o->pieces++;
    cds_http_call_cancel(&o->call);
    return true;
}

static void a_call_may_be_cancelled_from_inside_its_own_data(void **state)
{
    struct rig rig;
    struct outcome o;
    char url[64];
    rig_open(&rig, big);
    open_outcome(&o, &rig);
    snprintf(url, sizeof(url), "http://127.0.0.1:%u/", rig.port);
    const struct cds_http_call_spec spec = {
        .method = "GET", .url = url, .deadline_ms = cds_now_ms() + RIG_WAIT_MS, .on_data = cancel_inside, .on_done = on_done, .user = &o};
    assert_int_equal(cds_http_call_start(o.client, &spec, &o.call, NULL), CDS_OK);
    RIG_UNTIL(&rig, o.pieces);
    for (int i = 0; i < 20; i++)
        cds_loop_once(rig.loop, 1);
    assert_int_equal(o.pieces, 1);
    assert_int_equal(o.done, 0);
    close_outcome(&o);
    rig_close(&rig);
}

static void again(void *user, int status, const char *body, size_t len, const struct cds_err *err)
{
    struct outcome *o = user;
    o->call = NULL;
    if (++o->done < 3) {
        char url[64];
        snprintf(url, sizeof(url), "http://127.0.0.1:%u/", o->rig->port);
        const struct cds_http_call_spec spec = {
            .method = "GET", .url = url, .deadline_ms = cds_now_ms() + RIG_WAIT_MS, .body_max_bytes = 4096, .on_done = again, .user = o};
        assert_int_equal(cds_http_call_start(o->client, &spec, &o->call, NULL), CDS_OK);
    }
}

static void a_call_may_start_the_next_from_its_end(void **state)
{
    struct rig rig;
    struct outcome o;
    rig_open(&rig, rig_hello);
    open_outcome(&o, &rig);
    again(&o, 0, "", 0, NULL);
    RIG_UNTIL(&rig, o.done == 3);
    assert_int_equal(rig.calls, 2);
    close_outcome(&o);
    rig_close(&rig);
}

static void many_calls_run_at_once(void **state)
{
    enum { MANY = 40 };
    struct rig rig;
    struct outcome o[MANY];
    rig_open(&rig, echo);
    for (int i = 0; i < MANY; i++) {
        memset(&o[i], 0, sizeof(o[i]));
        o[i].body = cds_buf_init(4096);
    }
    assert_int_equal(cds_http_client_new(rig.loop, &o[0].client, NULL), CDS_OK);
    for (int i = 0; i < MANY; i++) {
        o[i].client = o[0].client;
        start(&o[i], "POST", rig.port, "/", "x", true);
    }
    for (int i = 0; i < MANY; i++)
        RIG_UNTIL(&rig, o[i].done);
    assert_int_equal(rig.calls, MANY);
    for (int i = 0; i < MANY; i++) {
        assert_false(o[i].failed);
        cds_buf_free(&o[i].body);
    }
    cds_http_client_free(&o[0].client);
    rig_close(&rig);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_call_sends_method_headers_and_body_and_collects_the_answer),
        cmocka_unit_test(other_methods_and_error_statuses_are_answers_like_any),
        cmocka_unit_test(nothing_listening_is_unavailable),
        cmocka_unit_test(a_silent_server_is_timed_out_at_the_deadline),
        cmocka_unit_test(a_passed_deadline_and_a_broken_address_are_refused_at_once),
        cmocka_unit_test(a_collected_answer_over_the_ceiling_is_refused),
        cmocka_unit_test(a_stream_arrives_in_pieces_and_can_be_paused),
        cmocka_unit_test(a_cancelled_call_is_silent_and_the_server_sees_it),
        cmocka_unit_test(a_call_may_be_cancelled_from_inside_its_own_data),
        cmocka_unit_test(a_call_may_start_the_next_from_its_end),
        cmocka_unit_test(many_calls_run_at_once),
    };
    return RUN_ALL(tests);
}
