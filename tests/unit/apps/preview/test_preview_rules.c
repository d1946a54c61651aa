#include <string.h>

#include "apps/preview/rules.h"
#include "tests/support/test.h"

#define LABEL "0123456789abcdef0123456789abcdef"

static void only_a_label_before_the_tail_is_an_address(void **state)
{
    static const char *const wrong[] = {"",
                                        LABEL,
                                        LABEL ".localhost",
                                        LABEL ".localhost:6734",
                                        LABEL ".localhost:67330",
                                        LABEL ".localhost.:6733",
                                        "0" LABEL ".localhost:6733",
                                        "x." LABEL ".localhost:6733",
                                        "g123456789abcdef0123456789abcdef.localhost:6733",
                                        LABEL ".localhost:6733 ",
                                        "localhost:6733",
                                        LABEL "@localhost:6733"};
    char label[RULES_LABEL_LEN + 1] = "";
    assert_true(rules_label(LABEL ".localhost:6733", ".localhost:6733", label));
    assert_string_equal(label, LABEL);
    assert_true(rules_label("0123456789ABCDEF0123456789abcdef.LocalHost:6733", ".localhost:6733", label));
    assert_string_equal(label, LABEL);
    assert_false(rules_label(NULL, ".localhost:6733", label));
    for (size_t i = 0; i < sizeof(wrong) / sizeof(wrong[0]); i++)
        assert_false(rules_label(wrong[i], ".localhost:6733", label));
}

static void our_paths_are_known_in_every_spelling(void **state)
{
    static const char *const ours[] = {"/.cds",        "/.cds/",   "/.cds/enter",     "/.CDS/x",    "//.cds/x",     "/./.cds",
                                       "/a/../.cds/x", "/../.cds", "/a/b/../../.cds", "/\\.cds\\x", "/.cds/x/../y", ".cds"};
    static const char *const others[] = {"/", "", "/cds", "/.cdsx", "/x/.cds", "/.cds/../x", "/.cds/..", "/a/.cds/../b", "/..."};
    for (size_t i = 0; i < sizeof(ours) / sizeof(ours[0]); i++)
        assert_true(rules_is_ours(ours[i]));
    for (size_t i = 0; i < sizeof(others) / sizeof(others[0]); i++)
        assert_false(rules_is_ours(others[i]));
}

static void check_cookies(const char *header, const char *left)
{
    CDS_CLEANUP(cds_buf_free) struct cds_buf out = cds_buf_init(1024);
    bool some = rules_strip_cookies(header, &out);
    assert_int_equal(some, left != NULL);
    assert_string_equal(out.len ? out.data : "", left ? left : "");
}

static void our_cookies_are_taken_out_and_the_others_stay(void **state)
{
    check_cookies("a=1; b=2", "a=1; b=2");
    check_cookies("cds_preview=x", NULL);
    check_cookies("a=1;cds_preview=x;  __Host-cds_refresh=y ; b=\"2;", "a=1; b=\"2");
    check_cookies("__host-__secure-CDS_x=1; cds-any=2; cdsx=3; =cds_preview", "cdsx=3; =cds_preview");
    check_cookies("", NULL);
    check_cookies(" ; ;", NULL);
    check_cookies("cds_preview =x; bare", "bare=");
}

static void a_cookie_is_found_by_name_and_length(void **state)
{
    assert_null(rules_cookie(NULL, "c", 1));
    assert_null(rules_cookie("xc=1", "c", 1));
    assert_null(rules_cookie("c=12", "c", 1));
    assert_int_equal(*rules_cookie("c=12; a=3; c=4", "c", 1), '4');
}

static void a_program_sets_cookies_of_its_own_host_only(void **state)
{
    assert_true(rules_may_set_cookie("a=1; Path=/; HttpOnly; SameSite=Lax"));
    assert_true(rules_may_set_cookie("domain=1"));
    assert_false(rules_may_set_cookie("a=1; Domain=localhost"));
    assert_false(rules_may_set_cookie("a=1;domain"));
    assert_false(rules_may_set_cookie("a=1; Path=/;  DOMAIN = .example.org"));
    assert_false(rules_may_set_cookie("cds_preview=1"));
    assert_false(rules_may_set_cookie(" __Host-cds_preview=1; Secure"));
    assert_false(rules_may_set_cookie(""));
}

static void a_ticket_stands_alone_in_its_form(void **state)
{
    size_t len = 0;
    assert_string_equal(rules_ticket("ticket=ab", 9, &len), "ab");
    assert_int_equal(len, 2);
    assert_null(rules_ticket("ticket=", 7, &len));
    assert_null(rules_ticket("x&ticket=ab", 11, &len));
}

static void places_at_the_program_become_paths(void **state)
{
    assert_string_equal(rules_location("http://localhost:8000/a?b", 8000), "/a?b");
    assert_string_equal(rules_location("HTTP://127.0.0.1:8000", 8000), "/");
    static const char *const stay[] = {"/a",
                                       "http://localhost:8001/",
                                       "http://localhost/",
                                       "https://localhost:8000/",
                                       "http://localhost:80001/",
                                       "http://localhost:8000//evil.example.org",
                                       "http://localhost:8000/\\evil.example.org",
                                       "http://localhost:8000@evil.org/"};
    for (size_t i = 0; i < sizeof(stay) / sizeof(stay[0]); i++)
        assert_null(rules_location(stay[i], 8000));
}

static void credentials_and_what_reaches_further_do_not_pass(void **state)
{
    assert_false(rules_passes_in("authorization") || rules_passes_in("Proxy-Authorization") || rules_passes_in("X-Forwarded-Anything") ||
                 rules_passes_in("forwarded"));
    assert_true(rules_passes_in("Accept") && rules_passes_in("X-Own"));
    assert_false(rules_passes_back("Clear-Site-Data") || rules_passes_back("Alt-Svc"));
    assert_true(rules_passes_back("ETag") && rules_passes_back("Content-Security-Policy"));
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(only_a_label_before_the_tail_is_an_address),
        cmocka_unit_test(our_paths_are_known_in_every_spelling),
        cmocka_unit_test(our_cookies_are_taken_out_and_the_others_stay),
        cmocka_unit_test(a_cookie_is_found_by_name_and_length),
        cmocka_unit_test(a_program_sets_cookies_of_its_own_host_only),
        cmocka_unit_test(a_ticket_stands_alone_in_its_form),
        cmocka_unit_test(places_at_the_program_become_paths),
        cmocka_unit_test(credentials_and_what_reaches_further_do_not_pass),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
