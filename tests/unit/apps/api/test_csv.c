#include <stdlib.h>

#include "apps/api/csv.h"
#include "apps/api/usage_range.h"
#include "tests/support/test.h"

static const char *field(const char *text)
{
    static char got[256];
    struct cds_buf out = cds_buf_init(200);
    csv_text(&out, text);
    snprintf(got, sizeof(got), "%s", out.data ? out.data : "");
    cds_buf_free(&out);
    return got;
}

static void plain_text_stays_as_it_is(void **state)
{
    assert_string_equal(field("ci-bot"), "ci-bot");
    assert_string_equal(field("Grüße 2=2"), "Grüße 2=2");
    assert_string_equal(field(""), "");
    assert_string_equal(field(NULL), "");
}

static void separators_quotes_line_ends_and_blanks_at_an_edge_are_quoted(void **state)
{
    assert_string_equal(field("a,b"), "\"a,b\"");
    assert_string_equal(field("a;b"), "\"a;b\"");
    assert_string_equal(field("say \"hi\""), "\"say \"\"hi\"\"\"");
    assert_string_equal(field("a\r\nb"), "\"a\r\nb\"");
    assert_string_equal(field(" a"), "\" a\"");
    assert_string_equal(field("a "), "\"a \"");
}

static void what_a_table_program_takes_for_a_formula_begins_with_an_apostrophe(void **state)
{
    assert_string_equal(field("=1+1"), "'=1+1");
    assert_string_equal(field("+1"), "'+1");
    assert_string_equal(field("-1"), "'-1");
    assert_string_equal(field("@SUM(A1)"), "'@SUM(A1)");
    assert_string_equal(field("\t=1"), "\"'\t=1\"");
    assert_string_equal(field("\r=1"), "\"'\r=1\"");
    assert_string_equal(field("  =1"), "\"'  =1\"");
    assert_string_equal(field("=a,\"b\""), "\"'=a,\"\"b\"\"\"");
    assert_string_equal(field("\xef\xbc\x9d"
                              "1"),
                        "'\xef\xbc\x9d"
                        "1");
    assert_string_equal(field("\xef\xbc\x8b"), "'\xef\xbc\x8b");
    assert_string_equal(field("\xef\xbc\x8d"), "'\xef\xbc\x8d");
    assert_string_equal(field("\xef\xbc\xa0"), "'\xef\xbc\xa0");
}

/* What RFC 4180 reads back of one field; NULL: it is not one field. */
static const char *read_back(const char *text)
{
    static char got[64];
    size_t n = 0;
    if (*text != '"')
        return strpbrk(text, ",\"\r\n") ? NULL : text;
    for (text++;; text++) {
        if (*text == '"' && text[1] != '"')
            break;
        if (!*text)
            return NULL;
        text += *text == '"';
        got[n++] = *text;
    }
    got[n] = '\0';
    return text[1] ? NULL : got;
}

static void any_text_is_one_field_that_reads_back_and_is_no_formula(void **state)
{
    static const char letters[] = "=+-@,;\"\t\r\n aZ9'";
    srand(7);
    for (int i = 0; i < 20000; i++) {
        char text[16];
        size_t len = 1 + (size_t)rand() % (sizeof(text) - 1);
        for (size_t k = 0; k < len; k++)
            text[k] = letters[(size_t)rand() % (sizeof(letters) - 1)];
        text[len] = '\0';
        const char *back = read_back(field(text));
        assert_non_null(back);
        assert_null(strchr("=+-@\t\r\n", back[strspn(back, " ")] ? back[strspn(back, " ")] : 'x'));
        assert_string_equal(*back == '\'' && *text != '\'' ? back + 1 : back, text);
    }
}

static void days_are_counted_with_leap_years(void **state)
{
    assert_int_equal(usage_days("2026-11-01", "2026-11-30"), 30);
    assert_int_equal(usage_days("2026-11-01", "2026-11-01"), 1);
    assert_int_equal(usage_days("2024-02-28", "2024-03-01"), 3);
    assert_int_equal(usage_days("2100-02-28", "2100-03-01"), 2);
    assert_int_equal(usage_days("2025-12-31", "2026-01-01"), 2);
    assert_int_equal(usage_days("2024-01-01", "2024-12-31"), 366);
    assert_int_equal(usage_days("2026-11-02", "2026-11-01"), 0);
}

static void days_that_do_not_exist_are_none(void **state)
{
    static const char *const none[] = {"2026-02-29", "2026-04-31", "2026-13-01", "2026-00-10", "2026-01-00", "2026-01-32", "0000-01-01"};
    for (size_t i = 0; i < sizeof(none) / sizeof(none[0]); i++) {
        assert_int_equal(usage_days(none[i], "2027-01-01"), 0);
        assert_int_equal(usage_days("0001-01-01", none[i]), 0);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(plain_text_stays_as_it_is),
        cmocka_unit_test(separators_quotes_line_ends_and_blanks_at_an_edge_are_quoted),
        cmocka_unit_test(what_a_table_program_takes_for_a_formula_begins_with_an_apostrophe),
        cmocka_unit_test(any_text_is_one_field_that_reads_back_and_is_no_formula),
        cmocka_unit_test(days_are_counted_with_leap_years),
        cmocka_unit_test(days_that_do_not_exist_are_none),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
