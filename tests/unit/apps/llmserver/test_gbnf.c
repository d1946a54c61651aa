#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "apps/llmserver/gbnf.h"
#include "apps/llmserver/grammars.h"
#include "lib/base/buf.h"
#include "lib/base/str.h"

static void gbnf_takes_what_the_language_has(void **state)
{
    static const char *const good[] = {
        "root ::= \"a\"",
        "# first\nroot ::= a | b # end\na ::= [a-z^\\]\\x41-\\u00ff]+ \"\\n\\\"\"?\nb ::= (\"x\" |\n \"y\")* a{2,3} a{2} a{1,} .\n",
        "root ::=\n  \"a\" |\n  \"b\"\r\n",
        "root ::= item{0,3}\nitem ::= \"i\"",
        "root ::= | \"a\"\n",
        "root ::= list\nlist ::= \"x\" list | \"x\"\n",
        "root ::= \"(\" root \")\" | \"\"\n",
    };
    for (size_t i = 0; i < CDS_ARRAY_LEN(good); i++) {
        struct cds_err err = {0};
        if (cds_gbnf_check(good[i], strlen(good[i]), &err) != CDS_OK)
            fail_msg("%s: %s", good[i], err.message);
    }
}

static void gbnf_names_the_line_of_what_is_wrong(void **state)
{
    static const struct {
        const char *text, *said;
    } bad[] = {
        {"", "no rule \"root\""},
        {"start ::= \"a\"", "no rule \"root\""},
        {"%llguidance {}", "line 1: this is a grammar of another kind"},
        {"root ::= a\na ::= \"x", "line 2: a text does not end"},
        {"root ::= a\n\na ::= [x", "line 3: a set of characters does not end"},
        {"root ::= (\"a\"", "line 1: a group does not end"},
        {"root ::= \"a\" )", "line 1: there is a character"},
        {"root ::= missing", "line 1: there is no rule \"missing\""},
        {"root ::= \"a\"\nroot ::= \"b\"", "line 2: a rule is defined twice"},
        {"root = \"a\"", "line 1: ::= is missing"},
        {"root ::= *", "line 1: a repeat has nothing"},
        {"root ::= \"a\"{3,1}", "line 1: a repeat counts down"},
        {"root ::= \"a\"{9999}", "line 1: a repeat counts down, or over 2000"},
        {"root ::= \"a\"{x}", "line 1: a repeat has no number"},
        {"root ::= \"\\q\"", "line 1: there is no such escape"},
        {"root ::= \"\\x4\"", "line 1: an escape has too few"},
        {"root ::= <[1]>", "line 1: it names tokens"},
        {"root ::= root \"a\" | \"b\"", "line 1: a rule begins with itself"},
        {"root ::= a\na ::= b\nb ::= \"\" a \"x\"", "a rule begins with itself"},
        {"root ::= \"x\" (\"a\" | \"\")?", "can be empty in more than one way"},
        {"root ::= a\na ::= (b | c)?\nb ::= \"\"\nc ::= \"x\"", "can be empty in more than one way"},
    };
    for (size_t i = 0; i < CDS_ARRAY_LEN(bad); i++) {
        struct cds_err err = {0};
        assert_int_equal(cds_gbnf_check(bad[i].text, strlen(bad[i].text), &err), CDS_BAD_PARAM);
        if (!strstr(err.message, bad[i].said))
            fail_msg("%s: %s", bad[i].text, err.message);
    }
    static const char with_nul[] = "root ::= \"a\0\"";
    assert_int_equal(cds_gbnf_check(with_nul, sizeof(with_nul) - 1, NULL), CDS_BAD_PARAM);
}

/** text, n times, between begin and end; NULL: a rule with a name of its own each time. */
static cds_rc check_many(const char *begin, const char *text, int n, const char *end)
{
    struct cds_buf all = cds_buf_init(1 << 20);
    assert_int_equal(cds_buf_add_str(&all, begin), CDS_OK);
    for (int i = 0; i < n; i++)
        assert_int_equal(text ? cds_buf_add_str(&all, text) : cds_buf_addf(&all, "r%d ::= \"a\"\n", i), CDS_OK);
    assert_int_equal(cds_buf_add_str(&all, end), CDS_OK);
    cds_rc rc = cds_gbnf_check(all.data, all.len, NULL);
    cds_buf_free(&all);
    return rc;
}

static void gbnf_stops_at_its_limits(void **state)
{
    char close[80];
    memset(close, ')', sizeof(close));
    close[64] = '\0';
    assert_int_equal(check_many("root ::= ", "(", 64, "\"a\"))))))))))))))))))))))))))))))))))))))))))))))))))))))))))))))))))))"),
                     CDS_BAD_PARAM); /* too many ) */
    char end[96] = "\"a\"";
    strcat(end, close);
    assert_int_equal(check_many("root ::= ", "(", 64, end), CDS_OK);
    close[64] = ')';
    close[65] = '\0';
    strcpy(end, "\"a\"");
    strcat(end, close);
    assert_int_equal(check_many("root ::= ", "(", 65, end), CDS_BAD_PARAM);
    assert_int_equal(check_many("root ::= \"a\"\n", NULL, CDS_GBNF_RULES_MAX - 1, ""), CDS_OK);
    assert_int_equal(check_many("root ::= \"a\"\n", NULL, CDS_GBNF_RULES_MAX, ""), CDS_BAD_PARAM);
    assert_int_equal(check_many("root ::= ", "\"a\"{2000} ", 10, ""), CDS_OK);
    assert_int_equal(check_many("root ::= ", "\"a\"{2000} ", 11, ""), CDS_BAD_PARAM);
    assert_int_equal(check_many("root ::= ", "[ab]? ", 13, ""), CDS_OK);
    assert_int_equal(check_many("root ::= ", "[ab]? ", 14, ""), CDS_BAD_PARAM);
    assert_int_equal(check_many("root ::= \"a\" #", "0123456789", 27000, ""), CDS_BAD_PARAM);
}

static void grammars_that_come_with_the_server_can_all_be_read(void **state)
{
    static const char *const names[] = {"json", "json_arr", "list", "arithmetic", "c", "chess", "english", "japanese"};
    struct cds_grammars *grammars = NULL;
    struct cds_err err = {0};
    if (cds_grammars_open(CDS_SOURCE_DIR "/share/grammars", &grammars, &err) != CDS_OK)
        fail_msg("%s", err.message);
    for (size_t i = 0; i < CDS_ARRAY_LEN(names); i++)
        assert_non_null(cds_grammars_find(grammars, names[i], NULL));
    assert_null(cds_grammars_find(grammars, "none", &err));
    assert_non_null(strstr(err.message, "chess"));
    assert_string_equal(err.pointer, "/grammar");
    cds_grammars_free(&grammars);
    assert_int_equal(cds_grammars_open(CDS_SOURCE_DIR "/share/nowhere", &grammars, &err), CDS_OK);
    assert_null(cds_grammars_find(grammars, "json", &err));
    cds_grammars_free(&grammars);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(gbnf_takes_what_the_language_has),
        cmocka_unit_test(gbnf_names_the_line_of_what_is_wrong),
        cmocka_unit_test(gbnf_stops_at_its_limits),
        cmocka_unit_test(grammars_that_come_with_the_server_can_all_be_read),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
