/* The reader of the abuse list: a row with a slip in it must not be taken for one that asks less. */
#include "tests/sandbox/abuse/row.h"
#include "tests/support/test.h"

#include "tests/sandbox/abuse/row.c"

#define HEAD "row A01\nname a sentence\nengine run\n"
#define CASE "case it is played\nlanguage sh\ncode <<<\nexit 0\n>>>\n"

static const struct row_condition conditions[] = {{"cgroup", true}, {"rlimit", false}, {NULL, false}};
static struct row row;

static bool parse(const char *text)
{
    row_free(&row);
    return row_parse(strdup(text), conditions, &row);
}

static void a_row_is_read_as_it_stands(void **state)
{
    assert_true(parse("# a comment\n" HEAD "\n" CASE "limit wall_ms 300\nend exit signal\nsays a b  c\nlong\ncase the next\nfs read x -> ok\n"));
    assert_string_equal(row.id, "A01");
    assert_int_equal(row.case_count, 2);
    assert_string_equal(row.cases[0].code, "exit 0\n");
    assert_string_equal(case_get(&row.cases[0], "says"), "a b  c");
    assert_string_equal(case_get(&row.cases[0], "limit"), "wall_ms 300");
    assert_non_null(case_get(&row.cases[0], "long"));
    assert_null(case_get(&row.cases[1], "long"));
    assert_int_equal(case_number(&row.cases[0], "exit", 7), 7);
}

static void a_line_counts_only_where_its_conditions_hold(void **state)
{
    assert_true(parse(HEAD CASE "[cgroup] exit 1\n[rlimit] exit 2\n[cgroup][rlimit] signal 9\n"));
    assert_int_equal(case_number(&row.cases[0], "exit", 0), 1);
    assert_null(case_get(&row.cases[0], "signal"));
    assert_true(row_condition_holds(&row, "cgroup"));
    assert_false(row_condition_holds(&row, "rlimit"));
}

static void each_slip_is_an_error_with_its_reason(void **state)
{
    static const struct {
        const char *text, *why;
    } slips[] = {
        {"", "a row has"},
        {"row A01\nname x\nengine run\n", "a row has"},
        {"row B01\nname x\nengine run\n" CASE, "a row has"},
        {"row A01\nengine run\n" CASE, "a row has"},
        {HEAD "says x\n" CASE, "belongs into a case"},
        {HEAD CASE "say x\n", "no such key"},
        {HEAD CASE "[cgroups] says x\n", "no such condition"},
        {HEAD CASE "[cgroup says x\n", "no such condition"},
        {HEAD CASE "[rlimit] end okay\n", "does not fit"},
        {HEAD CASE "end\n", "does not fit"},
        {HEAD CASE "exit one\n", "does not fit"},
        {HEAD CASE "exit -1\n", "does not fit"},
        {HEAD CASE "limit wall_ms\n", "does not fit"},
        {HEAD CASE "limit wall_ms 0\n", "does not fit"},
        {HEAD CASE "limit walls 5\n", "does not fit"},
        {HEAD CASE "long ago\n", "does not fit"},
        {HEAD CASE "says\n", "does not fit"},
        {HEAD CASE "needs luck\n", "no such condition"},
        {HEAD CASE "code <<<\nx\n>>>\n", "one code"},
        {HEAD "case\n", "has a sentence"},
        {HEAD "case x\nlanguage sh\ncode <<<\nexit 0\n", "no end"},
        {HEAD "case x\nlanguage sh\ncode <<<\n>>>\n", "no text"},
        {HEAD "case x\nlanguage sh\ncode exit\n", "code <<<"},
        {HEAD "case x\ncode <<<\nexit 0\n>>>\n", "has a language"},
        {HEAD "case x\nsays y\n", "has code"},
    };
    for (size_t i = 0; i < CDS_ARRAY_LEN(slips); i++)
        if (parse(slips[i].text) || !strstr(row.problem, slips[i].why))
            fail_msg("%s: \"%s\"", slips[i].text, row.problem);
    row_free(&row);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_row_is_read_as_it_stands),
        cmocka_unit_test(a_line_counts_only_where_its_conditions_hold),
        cmocka_unit_test(each_slip_is_an_error_with_its_reason),
    };
    return RUN_ALL(tests);
}
