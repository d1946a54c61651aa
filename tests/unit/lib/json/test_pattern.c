/* tests/unit/lib/json/test_pattern.c: the language of pattern.h, what it refuses, and that time stays linear. */
#include "lib/base/cleanup.h"
#include "lib/json/pattern.h"
#include "tests/support/test.h"

static bool matches(const char *pattern, const char *text)
{
    struct cds_pattern *p = NULL;
    struct cds_err err;
    if (cds_pattern_compile(pattern, &p, &err))
        fail_msg("%s", err.message);
    bool yes = cds_pattern_match(p, text, strlen(text));
    cds_pattern_free(&p);
    assert_null(p);
    return yes;
}

static void match_agrees_with_ecma_262(void **state)
{
    static const struct {
        const char *pattern, *text;
        bool expected;
    } rows[] = {
        {"", "", true},
        {"", "x", true},
        {"a+", "xxaayy", true},
        {"a+", "xx", false},
        {"^a*$", "aaa", true},
        {"^a*$", "", true},
        {"^a*$", "abc", false},
        {"^(ab)+$", "abab", true},
        {"^(ab)+$", "aba", false},
        {"^(?:a|bc|)d$", "bcd", true},
        {"^(?:a|bc|)d$", "d", true},
        {"^(?:a|bc|)d$", "abcd", false},
        {"^a{3}$", "aaa", true},
        {"^a{3}$", "aa", false},
        {"^a{3}$", "aaaa", false},
        {"^a{2,}$", "a", false},
        {"^a{2,}$", "aaaaa", true},
        {"^a{0,2}$", "", true},
        {"^a{0,2}$", "aa", true},
        {"^a{0,2}$", "aaa", false},
        {"^a{1,3}b$", "aaab", true},
        {"^a{1,3}b$", "aaaab", false},
        {"^a{2,4}$", "aaaa", true},
        {"^a{2,4}$", "aaaaa", false},
        {"^xa{0}y$", "xy", true},
        {"^(a|b){2}$", "ba", true},
        {"^(a?){3}$", "aa", true},
        {"^(a*)*$", "aaab", false},
        {"^()*$", "", true},
        {"^[a-c]$", "b", true},
        {"^[a-c]$", "d", false},
        {"^[^a-c]$", "d", true},
        {"^[^a-c]$", "a", false},
        {"^[a\\-z]$", "-", true},
        {"^[a\\-z]$", "m", false},
        {"^[a-]$", "-", true},
        {"^\\d\\w\\s$", "1_ ", true},
        {"^\\D\\W\\S$", "a-x", true},
        {"^\\D$", "5", false},
        {"^[\\d\\s]+$", "1 2", true},
        {"^\\x41\\u00e9$", "A\xc3\xa9", true},
        {"^[\\x00-\\x1f]$", "\t", true},
        {"^.$", "\xf0\x9f\x98\x80", true},
        {"^..$", "\xc3\xa9", false},
        {"^.$", "\n", false},
        {"^.$", "\xe2\x80\xa8", false},
        {"^\\s$", "\xc2\xa0", true},
        {"^[\xc3\xa0-\xc3\xbf]$", "\xc3\xa9", true},
        {"^\\.\\/\\\\$", "./\\", true},
        {"a$", "a\n", false},
        {"x|^y$|z", "ay", false},
        {"x|^y$|z", "az", true},
        {"\\^\\$", "a^$", true},
        {"^[0-9a-f]{8}-[0-9a-f]{4}$", "0123abcd-beef", true},
        {"^[0-9a-f]{8}-[0-9a-f]{4}$", "0123ABCD-beef", false},
    };
    for (size_t i = 0; i < CDS_ARRAY_LEN(rows); i++) {
        if (matches(rows[i].pattern, rows[i].text) != rows[i].expected)
            fail_msg("%s on %s must be %d", rows[i].pattern, rows[i].text, rows[i].expected);
    }
}

static void compile_refuses_what_is_outside_of_the_language(void **state)
{
    static const char *const rows[] = {"(",     ")",      "a)",      "[a",    "*",       "a**",   "a+?",   "{2}",    "a{",
                                       "a{2",   "a{3,2}", "a{,2}",   "a{x}",  "a{9999}", "\\b",   "\\1",   "\\k<a>", "\\p{L}",
                                       "(?=a)", "(?!a)",  "(?<n>a)", "(?i)a", "\\xg1",   "\\u12", "\\",    "[z-a]",  "[a-\\d]",
                                       "[\\D]", "^*",     "a]",      "}",     "\\-",     "\xff",  "[\\q]", "(?",     "[]]"};
    for (size_t i = 0; i < CDS_ARRAY_LEN(rows); i++) {
        struct cds_pattern *p = NULL;
        struct cds_err err = {0};
        if (cds_pattern_compile(rows[i], &p, &err) != CDS_BAD_PARAM)
            fail_msg("accepted: %s", rows[i]);
        assert_null(p);
        assert_true(err.message[0] != '\0');
    }
}

static void compile_refuses_a_pattern_that_grows_too_large(void **state)
{
    struct cds_pattern *p = NULL;
    char wide[2048] = "^(";
    assert_int_equal(cds_pattern_compile("^[a-z]{1000}$", &p, NULL), CDS_OK);
    cds_pattern_free(&p);
    assert_int_equal(cds_pattern_compile("^[a-z]{1024}$", &p, NULL), CDS_BAD_PARAM);
    assert_int_equal(cds_pattern_compile("((a{100}){100}){100}", &p, NULL), CDS_BAD_PARAM);
    for (int i = 0; i < 600; i++)
        strcat(wide, "a|");
    assert_int_equal(cds_pattern_compile(strcat(wide, "a)"), &p, NULL), CDS_BAD_PARAM);
    assert_int_equal(cds_pattern_compile("()()()()()()()()()()()()()()()()()", &p, NULL), CDS_BAD_PARAM);
    assert_null(p);
}

static void compile_refuses_too_many_ranges(void **state)
{
    struct cds_pattern *p = NULL;
    char text[1024] = "[";
    for (int i = 0; i < CDS_PATTERN_RANGES_MAX; i++)
        strcat(text, "a");
    strcat(text, "]");
    assert_int_equal(cds_pattern_compile(text, &p, NULL), CDS_OK);
    cds_pattern_free(&p);
    assert_int_equal(cds_pattern_compile(strcat(text, "[b]"), &p, NULL), CDS_BAD_PARAM);
}

/* A backtracking matcher needs 2^N steps for these; this test would not end. */
static void match_does_not_explode_on_hostile_text(void **state)
{
    enum { N = 20000 };
    CDS_CLEANUP(cds_free_ptr) char *text = malloc(N + 2);
    memset(text, 'a', N);
    text[N] = '!';
    text[N + 1] = '\0';
    assert_false(matches("^(a+)+$", text));
    assert_false(matches("^(a|a)*$", text));
    assert_false(matches("^(a*)*b$", text));
    assert_true(matches("^(a?){50}a{50}", text));
}

static void match_never_reads_behind_the_text(void **state)
{
    struct cds_pattern *p = NULL;
    assert_int_equal(cds_pattern_compile("^.$", &p, NULL), CDS_OK);
    /* A cut character: the sanitizer build sees a read behind its end. */
    CDS_CLEANUP(cds_free_ptr) char *cut = malloc(1);
    cut[0] = (char)0xf0;
    assert_true(cds_pattern_match(p, cut, 1));
    cds_pattern_free(&p);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(match_agrees_with_ecma_262),
        cmocka_unit_test(compile_refuses_what_is_outside_of_the_language),
        cmocka_unit_test(compile_refuses_a_pattern_that_grows_too_large),
        cmocka_unit_test(compile_refuses_too_many_ranges),
        cmocka_unit_test(match_does_not_explode_on_hostile_text),
        cmocka_unit_test(match_never_reads_behind_the_text),
    };
    return RUN_ALL(tests);
}
