/* Which pages may post to auth. */
#include "apps/auth/origin.h"
#include "tests/support/test.h"

static void init(struct cds_origins *origins, const char *url, const char *bind)
{
    assert_int_equal(cds_origins_init(origins, url, bind, 6711, NULL), CDS_OK);
}

static void takes(const struct cds_origins *origins, const char *origin)
{
    assert_int_equal(cds_origins_check(origins, origin, "same-origin", NULL), CDS_OK);
}

static void refuses(const struct cds_origins *origins, const char *origin)
{
    struct cds_err err = {0};
    assert_int_equal(cds_origins_check(origins, origin, NULL, &err), CDS_DENIED);
    assert_string_equal(err.rule, "http.origin");
    assert_non_null(strstr(err.hint, origins->allowed[0]));
}

static void loopback_counts_under_each_of_its_names_but_for_the_right_port_only(void **state)
{
    struct cds_origins o;
    init(&o, "", "127.0.0.1");
    takes(&o, "http://127.0.0.1:6711");
    takes(&o, "http://localhost:6711");
    takes(&o, "http://[::1]:6711");
    refuses(&o, "http://127.0.0.1:6712");
    refuses(&o, "http://127.0.0.1");
    refuses(&o, "https://127.0.0.1:6711");
    refuses(&o, "http://localhost:6711.evil.example");
    refuses(&o, "http://evil.example");
    refuses(&o, "null");
    refuses(&o, "");
    assert_false(o.https);
}

static void a_public_address_counts_without_its_path_and_usual_port(void **state)
{
    struct cds_origins o;
    init(&o, "HTTPS://Studio.Example.org:443/some/path", "0.0.0.0");
    assert_string_equal(o.allowed[0], "https://studio.example.org");
    assert_true(o.https);
    takes(&o, "https://studio.example.org");
    refuses(&o, "http://studio.example.org");
    refuses(&o, "https://studio.example.org.evil.example");
    refuses(&o, "http://localhost:6711"); /* not bound to loopback */
    init(&o, "http://studio.lan:80", "127.0.0.1");
    assert_string_equal(o.allowed[0], "http://studio.lan");
    takes(&o, "http://localhost:6711");
}

static void requests_without_an_origin_pass_unless_the_browser_says_cross_site(void **state)
{
    struct cds_origins o;
    init(&o, "", "127.0.0.1");
    assert_int_equal(cds_origins_check(&o, NULL, NULL, NULL), CDS_OK);
    assert_int_equal(cds_origins_check(&o, NULL, "same-origin", NULL), CDS_OK);
    assert_int_equal(cds_origins_check(&o, NULL, "cross-site", NULL), CDS_DENIED);
}

static void an_ipv6_address_gets_its_brackets(void **state)
{
    struct cds_origins o;
    init(&o, "", "::1");
    assert_string_equal(o.allowed[0], "http://[::1]:6711");
}

static void a_wildcard_means_this_machine_until_a_public_address_is_set(void **state)
{
    struct cds_origins o;
    init(&o, "", "0.0.0.0");
    takes(&o, "http://127.0.0.1:6711");
    takes(&o, "http://localhost:6711");
    refuses(&o, "http://0.0.0.0:6711");
    refuses(&o, "http://192.0.2.1:6711");
}

static void odd_public_addresses_are_refused_with_the_option_named(void **state)
{
    static const char *const urls[] = {"studio.example.org", "ftp://studio.example.org", "http://", "http:///x", "http://user@host",
                                       "http://a b",         "javascript:alert(1)"};
    for (size_t i = 0; i < CDS_ARRAY_LEN(urls); i++) {
        struct cds_origins o = {.count = 77};
        struct cds_err err = {0};
        assert_int_equal(cds_origins_init(&o, urls[i], "127.0.0.1", 6711, &err), CDS_BAD_PARAM);
        assert_non_null(strstr(err.message, "ui.public_url"));
        assert_int_equal(o.count, 77);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(loopback_counts_under_each_of_its_names_but_for_the_right_port_only),
        cmocka_unit_test(a_public_address_counts_without_its_path_and_usual_port),
        cmocka_unit_test(requests_without_an_origin_pass_unless_the_browser_says_cross_site),
        cmocka_unit_test(an_ipv6_address_gets_its_brackets),
        cmocka_unit_test(a_wildcard_means_this_machine_until_a_public_address_is_set),
        cmocka_unit_test(odd_public_addresses_are_refused_with_the_option_named),
    };
    return RUN_ALL(tests);
}
