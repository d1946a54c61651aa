/* tests/unit/lib/json/test_json.c: strict reading, writing, building, asking. */
#include <math.h>

#include "lib/base/cleanup.h"
#include "lib/json/json.h"
#include "tests/support/test.h"

static cds_json *parse(const char *text)
{
    cds_json *value = NULL;
    struct cds_err err;
    if (cds_json_parse(text, strlen(text), &value, &err))
        fail_msg("%s: %s", text, err.message);
    return value;
}

static void assert_refused(const char *text, size_t len, const char *why)
{
    cds_json *value = (cds_json *)(uintptr_t)1;
    struct cds_err err = {0};
    if (cds_json_parse(text, len, &value, &err) != CDS_BAD_SYNTAX)
        fail_msg("accepted: %s", text);
    assert_int_equal(err.code, CDS_BAD_SYNTAX);
    assert_ptr_equal(value, (cds_json *)(uintptr_t)1); /* outputs stay as they were */
    if (!strstr(err.message, why))
        fail_msg("\"%s\" does not say \"%s\"", err.message, why);
}

static void parse_reads_every_kind_of_value(void **state)
{
    CDS_JSON_AUTO v = parse(" {\"s\":\"\\u00e9\\ud83d\\ude00\",\"i\":-7,\"r\":1.5,\"t\":true,\"f\":false,\"n\":null,\"a\":[1,[]],\"o\":{}} ");
    assert_string_equal(cds_json_get_str(v, "s"), "é😀");
    assert_int_equal(cds_json_get_i64(v, "i", 0), -7);
    assert_true(cds_json_num(cds_json_get(v, "r"), 0) == 1.5);
    assert_true(cds_json_true(cds_json_get(v, "t"), false));
    assert_false(cds_json_true(cds_json_get(v, "f"), true));
    assert_int_equal(cds_json_type(cds_json_get(v, "n")), CDS_JSON_NULL);
    assert_int_equal(cds_json_size(cds_json_get(v, "a")), 2);
    assert_int_equal(cds_json_size(v), 8);
}

static void parse_takes_a_text_that_is_no_object(void **state)
{
    CDS_JSON_AUTO s = parse("\"x\"");
    CDS_JSON_AUTO n = parse("12");
    assert_string_equal(cds_json_str(s), "x");
    assert_int_equal(cds_json_i64(n, 0), 12);
}

static void parse_refuses_what_is_not_one_strict_json_text(void **state)
{
    static const struct {
        const char *text, *why;
    } rows[] = {{"", "ends too early"},
                {"{\"a\":1", "line 1"},
                {"{\"a\":1,\"a\":2}", "same member twice"},
                {"{\"a\":{\"b\":1,\"b\":1}}", "same member twice"},
                {"1 2", "follows after its end"},
                {"{} x", "follows after its end"},
                {"[1,]", "not JSON"},
                {"{'a':1}", "not JSON"},
                {"NaN", "not JSON"},
                {"// c\n1", "not JSON"},
                {"[1,\n 2,\n x]", "line 3, column 2"},
                {"\"\xff\"", "not UTF-8"},
                {"\"\xc0\xaf\"", "not UTF-8"},
                {"\"\\ud800\"", "not JSON"},
                {"\"a\nb\"", "not JSON"},
                {"123456789012345678901234567890", "too large"},
                {"1e999", "too large"}};
    for (size_t i = 0; i < CDS_ARRAY_LEN(rows); i++)
        assert_refused(rows[i].text, strlen(rows[i].text), rows[i].why);
}

static void parse_refuses_nul_escaped_or_raw(void **state)
{
    assert_refused("\"a\\u0000b\"", 10, "NUL");
    assert_refused("\"a\0b\"", 5, "NUL");
    assert_refused("{\"a\\u0000\":1}", 13, "NUL");
    assert_refused("1\0", 2, "NUL");
    assert_refused("{}\0x", 4, "NUL");
    cds_json *v = NULL;
    assert_int_equal(cds_json_parse(NULL, 0, &v, NULL), CDS_BAD_SYNTAX);
}

static char *nested(int depth, char open, char close)
{
    char *text = calloc(1, 2 * (size_t)depth + 1);
    memset(text, open, (size_t)depth);
    memset(text + depth, close, (size_t)depth);
    return text;
}

static void parse_takes_64_levels(void **state)
{
    CDS_CLEANUP(cds_free_ptr) char *text = nested(64, '[', ']');
    CDS_JSON_AUTO v = parse(text);
    assert_true(cds_json_is(v, CDS_JSON_ARRAY));
}

static void parse_refuses_65_levels_before_it_recurses(void **state)
{
    CDS_CLEANUP(cds_free_ptr) char *text = nested(65, '[', ']');
    assert_refused(text, strlen(text), "deeper than 64 levels at line 1, column 65");
    CDS_CLEANUP(cds_free_ptr) char *far = nested(200000, '[', ']');
    assert_refused(far, strlen(far), "deeper than 64");
}

static void parse_does_not_count_brackets_inside_strings(void **state)
{
    CDS_CLEANUP(cds_free_ptr) char *text = nested(100, '[', '[');
    text[0] = '"';
    text[1] = '\\';
    text[2] = '"';
    text[199] = '"';
    CDS_JSON_AUTO v = parse(text);
    assert_int_equal(cds_json_str_len(v), 197);
}

static void dump_writes_compact_text_that_parses_to_the_same_value(void **state)
{
    const char *text = "{\"z\":[1,-2.5,\"\\\"\\\\\\n\xc3\xa9\",true,null],\"a\":{}}";
    CDS_JSON_AUTO v = parse(text);
    size_t len = 0;
    CDS_CLEANUP(cds_free_ptr) char *out = cds_json_dumps(v, &len);
    assert_string_equal(out, text);
    assert_int_equal(len, strlen(text));
    CDS_JSON_AUTO back = parse(out);
    assert_true(cds_json_equal(v, back));
}

static void dump_leaves_nothing_behind_when_the_buffer_is_too_small(void **state)
{
    CDS_CLEANUP(cds_buf_free) struct cds_buf buf = cds_buf_init(8);
    assert_int_equal(cds_buf_add_str(&buf, "ab"), CDS_OK);
    CDS_JSON_AUTO v = parse("[1,2,3,4,5]");
    assert_int_equal(cds_json_dump(v, &buf), CDS_TOO_LARGE);
    assert_string_equal(buf.data, "ab");
    assert_int_equal(buf.len, 2);
}

static void string_refuses_what_no_reader_would_take(void **state)
{
    assert_null(cds_json_string(NULL));
    assert_null(cds_json_string("\xff"));
    assert_null(cds_json_stringn("a\0b", 3));
    assert_null(cds_json_real(NAN));
    CDS_JSON_AUTO s = cds_json_stringn("abc", 2);
    assert_string_equal(cds_json_str(s), "ab");
}

static void set_and_append_steal_their_value_also_when_they_fail(void **state)
{
    CDS_JSON_AUTO object = cds_json_object();
    CDS_JSON_AUTO array = cds_json_array();
    /* The sanitizer build sees it if one of these leaks. */
    assert_int_equal(cds_json_set(object, "a", cds_json_string("x")), 0);
    assert_int_not_equal(cds_json_set(array, "a", cds_json_string("x")), 0);
    assert_int_not_equal(cds_json_set(object, NULL, cds_json_string("x")), 0);
    assert_int_not_equal(cds_json_set(object, "a", NULL), 0);
    assert_int_not_equal(cds_json_append(object, cds_json_string("x")), 0);
    assert_int_equal(cds_json_append(array, cds_json_int(5)), 0);
    assert_int_equal(cds_json_del(object, "a"), 0);
    assert_int_equal(cds_json_size(object), 0);
    assert_int_equal(cds_json_i64(cds_json_at(array, 0), 0), 5);
}

static void asking_a_wrong_type_or_nothing_does_no_harm(void **state)
{
    CDS_JSON_AUTO n = cds_json_int(1);
    assert_null(cds_json_get(NULL, "a"));
    assert_null(cds_json_get(n, "a"));
    assert_null(cds_json_get(n, NULL));
    assert_null(cds_json_at(n, 0));
    assert_null(cds_json_str(NULL));
    assert_int_equal(cds_json_size(NULL), 0);
    assert_int_equal(cds_json_size(n), 0);
    assert_int_equal(cds_json_str_len(n), 0);
    assert_int_equal(cds_json_i64(NULL, -3), -3);
    assert_true(cds_json_true(n, true));
    assert_int_equal(cds_json_type(NULL), CDS_JSON_NULL);
    cds_json_unref(NULL);
}

static void i64_takes_whole_reals_and_no_others(void **state)
{
    CDS_JSON_AUTO v = parse("[4.0, 4.5, 9007199254740992.0, 1e300, \"4\", true]");
    assert_int_equal(cds_json_i64(cds_json_at(v, 0), -1), 4);
    assert_int_equal(cds_json_i64(cds_json_at(v, 1), -1), -1);
    assert_int_equal(cds_json_i64(cds_json_at(v, 2), -1), 9007199254740992);
    assert_int_equal(cds_json_i64(cds_json_at(v, 3), -1), -1);
    assert_int_equal(cds_json_i64(cds_json_at(v, 4), -1), -1);
    assert_int_equal(cds_json_i64(cds_json_at(v, 5), -1), -1);
}

static void equal_compares_values_not_spelling(void **state)
{
    static const struct {
        const char *a, *b;
        bool equal;
    } rows[] = {{"1", "1.0", true},
                {"{\"a\":1,\"b\":2}", "{\"b\":2,\"a\":1}", true},
                {"[1,2]", "[2,1]", false},
                {"1", "true", false},
                {"0", "false", false},
                {"9007199254740993", "9007199254740992.0", false},
                {"9223372036854775807", "9223372036854775808.0", false},
                {"-9223372036854775808", "9223372036854775808.0", false},
                {"1.5", "1", false},
                {"\"a\"", "\"b\"", false},
                {"{\"a\":1}", "{\"a\":1,\"b\":1}", false},
                {"{\"a\":1}", "{\"b\":1}", false},
                {"null", "null", true},
                {"[[1.0]]", "[[1]]", true}};
    for (size_t i = 0; i < CDS_ARRAY_LEN(rows); i++) {
        CDS_JSON_AUTO a = parse(rows[i].a);
        CDS_JSON_AUTO b = parse(rows[i].b);
        if (cds_json_equal(a, b) != rows[i].equal || cds_json_equal(b, a) != rows[i].equal)
            fail_msg("%s and %s", rows[i].a, rows[i].b);
    }
}

static void next_walks_members_in_the_order_of_the_text(void **state)
{
    CDS_JSON_AUTO v = parse("{\"c\":1,\"a\":2,\"b\":3}");
    char order[4] = "";
    void *iter = NULL;
    const char *key;
    cds_json *value;
    size_t n = 0;
    while (cds_json_next(v, &iter, &key, &value))
        order[n++] = key[0];
    assert_string_equal(order, "cab");
    iter = NULL;
    assert_false(cds_json_next(NULL, &iter, &key, &value));
}

static void pack_builds_and_copy_is_deep(void **state)
{
    CDS_JSON_AUTO v = cds_json_pack("{s:s, s:I, s:[i,b]}", "a", "x", "n", (long long)INT64_MAX, "l", 1, 1);
    CDS_JSON_AUTO c = cds_json_copy(v);
    assert_true(cds_json_equal(v, c));
    cds_json_set(cds_json_get(c, "l"), "x", cds_json_null());
    cds_json_append(cds_json_get(c, "l"), cds_json_null());
    assert_false(cds_json_equal(v, c));
    assert_null(cds_json_pack("{s:s}", "a", "\xff"));
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(parse_reads_every_kind_of_value),
        cmocka_unit_test(parse_takes_a_text_that_is_no_object),
        cmocka_unit_test(parse_refuses_what_is_not_one_strict_json_text),
        cmocka_unit_test(parse_refuses_nul_escaped_or_raw),
        cmocka_unit_test(parse_takes_64_levels),
        cmocka_unit_test(parse_refuses_65_levels_before_it_recurses),
        cmocka_unit_test(parse_does_not_count_brackets_inside_strings),
        cmocka_unit_test(dump_writes_compact_text_that_parses_to_the_same_value),
        cmocka_unit_test(dump_leaves_nothing_behind_when_the_buffer_is_too_small),
        cmocka_unit_test(string_refuses_what_no_reader_would_take),
        cmocka_unit_test(set_and_append_steal_their_value_also_when_they_fail),
        cmocka_unit_test(asking_a_wrong_type_or_nothing_does_no_harm),
        cmocka_unit_test(i64_takes_whole_reals_and_no_others),
        cmocka_unit_test(equal_compares_values_not_spelling),
        cmocka_unit_test(next_walks_members_in_the_order_of_the_text),
        cmocka_unit_test(pack_builds_and_copy_is_deep),
    };
    return RUN_ALL(tests);
}
