/* Rules of hosts: what they are, what they match, and what is no rule. */
#include "lib/http/host_rule.h"
#include "tests/support/test.h"

static struct cds_host_rule rule_of(const char *text)
{
    struct cds_host_rule rule;
    struct cds_err err;
    if (cds_host_rule_parse(text, strlen(text), true, &rule, &err))
        fail_msg("%s: %s", text, err.message);
    return rule;
}

static bool matches(const char *rule_text, const char *host, uint16_t port)
{
    const struct cds_host_rule rule = rule_of(rule_text);
    return cds_host_rules_match(&rule, 1, host, port);
}

static void a_host_is_matched_whole_and_by_its_usual_ports(void **state)
{
    assert_true(matches("pypi.org", "pypi.org", 443));
    assert_true(matches("PyPI.org.", "pypi.org", 80));
    assert_false(matches("pypi.org", "pypi.org", 22));
    assert_false(matches("pypi.org", "evilpypi.org", 443));
    assert_false(matches("pypi.org", "files.pypi.org", 443));
    assert_false(matches("pypi.org", "pypi.org.evil.org", 443));
    assert_true(matches("pypi.org:8443", "pypi.org", 8443));
    assert_false(matches("pypi.org:8443", "pypi.org", 443));
    assert_true(matches("10.1.2.3", "10.1.2.3", 80));
}

static void a_star_is_what_is_below_and_never_the_name_itself(void **state)
{
    assert_true(matches("*.example.org", "a.example.org", 443));
    assert_true(matches("*.example.org", "a.b.example.org", 443));
    assert_false(matches("*.example.org", "example.org", 443));
    assert_false(matches("*.example.org", ".example.org", 443));
    assert_false(matches("*.example.org", "aexample.org", 443));
    assert_true(matches("*", "anything.test", 80));
    assert_false(matches("*", "anything.test", 8080));
    assert_true(matches("*:8080", "anything.test", 8080));
}

static void what_is_no_rule_is_refused_with_a_sentence_that_shows_it(void **state)
{
    static const char *const texts[] = {"",          ".",        "a..b",        "-a.org",        "a b",    "http://a.org", "a.org/x",
                                        "a.org:",    "a.org:0",  "a.org:65536", "a.org:1x",      "*a.org", "a.*.org",      "*.",
                                        "**.a.org",  "[::1]:80", "::1",         "1.2.3",         "0x7f.1", "2130706433",   "1.2.3.256",
                                        "*.1.2.3.4", "a@b.org",  "a.org#",      "m\xc3\xbc.org", "a\\.org"};
    struct cds_host_rule rule = {.port = 7};
    struct cds_err err;
    for (size_t i = 0; i < CDS_ARRAY_LEN(texts); i++) {
        if (cds_host_rule_parse(texts[i], strlen(texts[i]), true, &rule, &err) != CDS_BAD_PARAM)
            fail_msg("%s was taken", texts[i]);
        assert_int_equal(rule.port, 7);
        assert_true(err.message[0] && err.hint[0]);
    }
    assert_int_equal(cds_host_rule_parse("*", 1, false, &rule, &err), CDS_BAD_PARAM);
    char name[CDS_HOST_MAX + 1], text[300];
    memset(text, 'a', sizeof(text));
    assert_false(cds_host_name(text, 64, name)); /* one label */
    for (size_t i = 50; i < sizeof(text); i += 50)
        text[i] = '.';
    assert_true(cds_host_name(text, CDS_HOST_MAX, name));
    assert_false(cds_host_name(text, CDS_HOST_MAX + 1, name));
}

static void a_list_is_divided_and_bounded(void **state)
{
    static struct cds_host_rule rules[CDS_HOST_RULES_MAX];
    char text[CDS_HOST_RULES_MAX * 3 + 8] = "";
    struct cds_err err;
    size_t count = 99;
    assert_int_equal(cds_host_rules_parse(" a.org,\n*.b.org:8080  * ", rules, &count, &err), CDS_OK);
    assert_int_equal(count, 3);
    assert_int_equal(cds_host_rules_parse(" , ", rules, &count, &err), CDS_OK);
    assert_int_equal(count, 0);
    for (int i = 0; i < CDS_HOST_RULES_MAX; i++)
        strcat(text, "a ");
    assert_int_equal(cds_host_rules_parse(text, rules, &count, &err), CDS_OK);
    strcat(text, "a");
    assert_int_equal(cds_host_rules_parse(text, rules, &count, &err), CDS_BAD_PARAM);
}

static bool covers(const char *list, const char *text)
{
    static struct cds_host_rule rules[CDS_HOST_RULES_MAX];
    size_t count;
    const struct cds_host_rule rule = rule_of(text);
    assert_int_equal(cds_host_rules_parse(list, rules, &count, NULL), CDS_OK);
    return cds_host_rules_cover(rules, count, &rule);
}

static void a_rule_is_covered_only_by_what_allows_all_of_it(void **state)
{
    assert_true(covers("*", "a.org"));
    assert_true(covers("*", "*.a.org"));
    assert_false(covers("*", "a.org:22"));
    assert_true(covers("*:22", "a.org:22"));
    assert_true(covers("*.org", "*.a.org"));
    assert_true(covers("*.a.org", "*.a.org"));
    assert_true(covers("*.a.org", "b.a.org"));
    assert_false(covers("*.a.org", "a.org"));
    assert_false(covers("a.org", "*.a.org"));
    assert_false(covers("*.a.org", "*.org"));
    assert_false(covers("*.a.org b.org", "c.org"));
    assert_false(covers("a.org:443", "a.org")); /* 80, too */
    assert_true(covers("a.org:443", "a.org:443"));
    assert_true(covers("a.org:443 a.org:80", "a.org"));
    assert_false(covers("", "a.org"));
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_host_is_matched_whole_and_by_its_usual_ports),
        cmocka_unit_test(a_star_is_what_is_below_and_never_the_name_itself),
        cmocka_unit_test(what_is_no_rule_is_refused_with_a_sentence_that_shows_it),
        cmocka_unit_test(a_list_is_divided_and_bounded),
        cmocka_unit_test(a_rule_is_covered_only_by_what_allows_all_of_it),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
