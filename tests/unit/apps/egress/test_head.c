/* Heads of proxy requests: what is understood, what becomes of it, and what could be read in two ways and is refused. */
#include "apps/egress/head.h"
#include "lib/base/cleanup.h"
#include "tests/support/test.h"

static struct egress_head head;
static struct cds_buf out;

static cds_rc parse(const char *text)
{
    struct cds_err err;
    head = (struct egress_head){.port = 0};
    return egress_head_parse(text, strlen(text), &head, &out, &err);
}

static void a_tunnel_names_host_and_port(void **state)
{
    assert_int_equal(parse("CONNECT PyPI.org:443 HTTP/1.1\r\nHost: pypi.org:443\r\nProxy-Authorization: Basic x\r\n\r\nTLS"), CDS_OK);
    assert_true(head.connect && head.good_host);
    assert_string_equal(head.host, "pypi.org");
    assert_int_equal(head.port, 443);
    assert_int_equal(head.len, strlen("CONNECT PyPI.org:443 HTTP/1.1\r\nHost: pypi.org:443\r\nProxy-Authorization: Basic x\r\n\r\n"));
    assert_int_equal(parse("CONNECT a.org:8443 HTTP/1.0\r\n\r\n"), CDS_OK);
    assert_int_equal(parse("CONNECT a.org:8443 HTTP/1.1\r\nHost: a.org\r\n\r\n"), CDS_OK);
    assert_int_equal(parse("CONNECT [::1]:443 HTTP/1.1\r\nHost: [::1]:443\r\n\r\n"), CDS_OK);
    assert_false(head.good_host);
    assert_string_equal(head.asked, "[::1]");
}

static void a_request_is_rewritten_for_its_origin(void **state)
{
    assert_int_equal(
        parse("POST http://A.org/x?y=1#z HTTP/1.1\r\nHost: a.org\r\nAccept: */*\r\nProxy-Connection: keep-alive\r\nConnection: x-mine, close\r\n"
              "X-Mine: 1\r\nTE: trailers\r\nUpgrade: h2c\r\nKeep-Alive: 5\r\nContent-Length: 7\r\n\r\nbody"),
        CDS_OK);
    assert_string_equal(out.data, "POST /x?y=1 HTTP/1.1\r\nHost: A.org\r\nAccept: */*\r\nContent-Length: 7\r\nConnection: close\r\n\r\n");
    assert_int_equal(head.body_bytes, 7);
    assert_int_equal(head.port, 80);
    assert_int_equal(parse("GET http://a.org:8080 HTTP/1.1\r\nHost: a.org:8080\r\n\r\n"), CDS_OK);
    assert_string_equal(out.data, "GET / HTTP/1.1\r\nHost: a.org:8080\r\nConnection: close\r\n\r\n");
    assert_int_equal(parse("GET http://a.org?q HTTP/1.0\r\n\r\n"), CDS_OK);
    assert_string_equal(out.data, "GET /?q HTTP/1.1\r\nHost: a.org\r\nConnection: close\r\n\r\n");
    /* Nobody can have the length taken out. */
    assert_int_equal(parse("POST http://a.org/ HTTP/1.1\r\nHost: a.org\r\nConnection: content-length\r\nContent-Length: 3\r\n\r\nabc"), CDS_OK);
    assert_non_null(strstr(out.data, "Content-Length: 3\r\n"));
}

static void what_can_be_read_in_two_ways_is_refused(void **state)
{
    static const char *const heads[] = {
        "GET / HTTP/1.1\r\nHost: a.org\r\n\r\n",
        "GET https://a.org/ HTTP/1.1\r\nHost: a.org\r\n\r\n",
        "GET ftp://a.org/ HTTP/1.1\r\nHost: a.org\r\n\r\n",
        "GET http://a.org/ HTTP/1.1\r\nHost: b.org\r\n\r\n",
        "GET http://a.org/ HTTP/1.1\r\nHost: a.org:8080\r\n\r\n",
        "GET http://a.org:8080/ HTTP/1.1\r\nHost: a.org\r\n\r\n",
        "GET http://a.org/ HTTP/1.1\r\n\r\n",
        "GET http://a.org/ HTTP/1.1\r\nHost: a.org\r\nHost: a.org\r\n\r\n",
        "GET http://a.org/ HTTP/1.1\r\nHost : a.org\r\n\r\n",
        "GET http://a.org/ HTTP/1.1\r\nHost: a.org\r\n folded\r\n\r\n",
        "GET http://a.org/ HTTP/1.1\nHost: a.org\n\r\n\r\n",
        "GET http://a.org/ HTTP/1.1\r\nHost: a.org\r\nX: a\rb\r\n\r\n",
        "GET http://a.org/ HTTP/2.0\r\nHost: a.org\r\n\r\n",
        "GET http://a.org/ x HTTP/1.1\r\nHost: a.org\r\n\r\n",
        "GET  http://a.org/ HTTP/1.1\r\nHost: a.org\r\n\r\n",
        "GET http://user@a.org/ HTTP/1.1\r\nHost: a.org\r\n\r\n",
        "GET http://a.org\\@b.org/ HTTP/1.1\r\nHost: a.org\r\n\r\n",
        "GET http:///x HTTP/1.1\r\nHost: a.org\r\n\r\n",
        "GET http://a.org:0/ HTTP/1.1\r\nHost: a.org\r\n\r\n",
        "GET http://a.org:70000/ HTTP/1.1\r\nHost: a.org\r\n\r\n",
        "POST http://a.org/ HTTP/1.1\r\nHost: a.org\r\nTransfer-Encoding: chunked\r\n\r\n",
        "POST http://a.org/ HTTP/1.1\r\nHost: a.org\r\nContent-Length: 1\r\nContent-Length: 2\r\n\r\n",
        "POST http://a.org/ HTTP/1.1\r\nHost: a.org\r\nContent-Length: +1\r\n\r\n",
        "POST http://a.org/ HTTP/1.1\r\nHost: a.org\r\nContent-Length: 1, 1\r\n\r\n",
        "POST http://a.org/ HTTP/1.1\r\nHost: a.org\r\nContent-Length:\r\n\r\n",
        "POST http://a.org/ HTTP/1.1\r\nHost: a.org\r\nContent-Length: 9999999999999999\r\n\r\n",
        "CONNECT a.org HTTP/1.1\r\nHost: a.org\r\n\r\n",
        "CONNECT a.org:443 HTTP/1.1\r\nHost: b.org:443\r\n\r\n",
        "CONNECT http://a.org:443 HTTP/1.1\r\nHost: a.org\r\n\r\n",
        "CONNECT a.org:443 HTTP/1.1\r\nHost: a.org:443\r\nContent-Length: 4\r\n\r\n",
        "\r\n\r\n",
        "GET\r\n\r\n",
        "G<T http://a.org/ HTTP/1.1\r\nHost: a.org\r\n\r\n",
        "GET http://a.org/ HTTP/1.1\r\nno colon\r\n\r\n",
        "GET http://a.org/\x01 HTTP/1.1\r\nHost: a.org\r\n\r\n",
    };
    for (size_t i = 0; i < CDS_ARRAY_LEN(heads); i++)
        if (parse(heads[i]) != CDS_BAD_REQUEST)
            fail_msg("taken: %s", heads[i]);
}

static void a_head_is_waited_for_up_to_its_ceiling(void **state)
{
    static char text[EGRESS_HEAD_MAX + 200];
    struct cds_err err;
    static const char begin[] = "GET http://a.org/ HTTP/1.1\r\nHost: a.org\r\nX: ";
    assert_int_equal(parse("GET http://a.org/ HT"), CDS_BUSY);
    memset(text, 'x', sizeof(text));
    memcpy(text, begin, sizeof(begin) - 1);
    memcpy(text + EGRESS_HEAD_MAX - 4, "\r\n\r\n", 4);
    assert_int_equal(egress_head_parse(text, EGRESS_HEAD_MAX, &head, &out, &err), CDS_OK);
    memset(text + EGRESS_HEAD_MAX - 4, 'x', 4);
    memcpy(text + EGRESS_HEAD_MAX - 3, "\r\n\r\n", 4);
    assert_int_equal(egress_head_parse(text, EGRESS_HEAD_MAX - 1, &head, &out, &err), CDS_BUSY);
    assert_int_equal(egress_head_parse(text, EGRESS_HEAD_MAX + 1, &head, &out, &err), CDS_TOO_LARGE);
    size_t at = (size_t)snprintf(text, sizeof(text), "GET http://a.org/ HTTP/1.1\r\nHost: a.org\r\n");
    for (int i = 0; i < EGRESS_HEADERS_MAX; i++)
        at += (size_t)snprintf(text + at, sizeof(text) - at, "X: %d\r\n", i);
    snprintf(text + at, sizeof(text) - at, "\r\n");
    assert_int_equal(parse(text), CDS_BAD_REQUEST);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_tunnel_names_host_and_port),
        cmocka_unit_test(a_request_is_rewritten_for_its_origin),
        cmocka_unit_test(what_can_be_read_in_two_ways_is_refused),
        cmocka_unit_test(a_head_is_waited_for_up_to_its_ceiling),
    };
    out = cds_buf_init(EGRESS_HEAD_MAX + 1024);
    int failed = cmocka_run_group_tests(tests, NULL, NULL);
    cds_buf_free(&out);
    return failed;
}
