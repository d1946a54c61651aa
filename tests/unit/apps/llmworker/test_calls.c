#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <string.h>

#include <cmocka.h>

#include "apps/llmworker/calls.h"
#include "lib/base/str.h"

static cds_json *json(const char *text)
{
    cds_json *value = NULL;
    assert_int_equal(cds_json_parse(text, strlen(text), &value, NULL), CDS_OK);
    return value;
}

/** What a text in pieces of n bytes gives: content, then name(arguments) of each call. */
static void check(const char *text, size_t n, const char *expected)
{
    struct cds_calls calls;
    struct cds_buf said = cds_buf_init(4096);
    CDS_JSON_AUTO deltas = cds_json_array();
    cds_calls_begin(&calls);
    for (size_t at = 0; at < strlen(text); at += n)
        assert_true(cds_calls_feed(&calls, text + at, strlen(text) - at < n ? strlen(text) - at : n, false, deltas));
    assert_true(cds_calls_feed(&calls, "", 0, true, deltas));
    for (size_t i = 0; i < cds_json_size(deltas); i++) {
        const cds_json *delta = cds_json_at(deltas, i);
        const char *name = cds_json_get_str(delta, "name"), *arguments = cds_json_get_str(delta, "arguments");
        const char *content = cds_json_get_str(delta, "content");
        assert_true(content || cds_json_get_i64(delta, "call", -1) == (int64_t)calls.count - 1 || cds_json_get_i64(delta, "call", -1) >= 0);
        assert_int_equal(cds_buf_addf(&said, "%s%s%s", name ? name : "", arguments ? arguments : "", content ? content : ""), CDS_OK);
    }
    assert_string_equal(said.data ? said.data : "", expected);
    cds_calls_clear(&calls);
    cds_buf_free(&said);
}

static void calls_are_read_in_pieces_of_any_size(void **state)
{
    for (size_t n = 1; n < 60; n++) {
        check("{\"tool_calls\":[{\"name\":\"f\",\"arguments\":{\"a\": 1, \"b\": \"x } y\"}}]}", n, "f{\"a\":1,\"b\":\"x } y\"}");
        check(" { \"tool_calls\" : [ { \"name\" : \"f\" , \"arguments\" : { } } , {\"name\":\"g\",\"arguments\":{\"q\":[{}]}} ] }", n,
              "f{}g{\"q\":[{}]}");
        check("{\"tool_calls\":[{\"name\":\"a\\u0062\",\"arguments\":{\"s\":\"\\\"\\\\\"}}]}", n, "ab{\"s\":\"\\\"\\\\\"}");
        check("plain words", n, "plain words");
        check("{\"tool", n, "{\"tool");
        check("{\"other\":1}", n, "{\"other\":1}");
        check("{\"tool_calls\":[{\"name\":\"f\",\"arguments\":{\"cut", n, "f{\"cut");
    }
}

static void calls_schema_holds_name_and_parameters_together_and_moves_references(void **state)
{
    CDS_JSON_AUTO tools =
        json("[{\"type\":\"function\",\"function\":{\"name\":\"f\",\"parameters\":{\"type\":\"object\",\"properties\":{\"x\":{\"$ref\":"
             "\"#/$defs/y\"}},\"$defs\":{\"y\":{\"type\":\"string\"}}}}},{\"type\":\"function\",\"function\":{\"name\":\"g\"}}]");
    CDS_JSON_AUTO schema = cds_calls_schema(tools, 3);
    const cds_json *list = cds_json_get(cds_json_get(schema, "properties"), "tool_calls");
    assert_int_equal(cds_json_get_i64(list, "maxItems", 0), 3);
    const cds_json *choices = cds_json_get(cds_json_get(list, "items"), "anyOf");
    assert_int_equal(cds_json_size(choices), 2);
    const cds_json *first = cds_json_get(cds_json_at(choices, 0), "properties");
    assert_string_equal(cds_json_get_str(cds_json_get(first, "name"), "const"), "f");
    const cds_json *x = cds_json_get(cds_json_get(cds_json_get(first, "arguments"), "properties"), "x");
    assert_string_equal(cds_json_get_str(x, "$ref"), "#/properties/tool_calls/items/anyOf/0/properties/arguments/$defs/y");
    const cds_json *second = cds_json_get(cds_json_get(cds_json_at(choices, 1), "properties"), "arguments");
    assert_true(cds_json_is(cds_json_get(second, "additionalProperties"), CDS_JSON_FALSE));
}

static void calls_are_explained_with_every_function(void **state)
{
    CDS_JSON_AUTO tools = json("[{\"type\":\"function\",\"function\":{\"name\":\"f\",\"description\":\"does it\"}}]");
    struct cds_buf out = cds_buf_init(4096);
    assert_int_equal(cds_calls_explain(tools, true, true, false, &out), CDS_OK);
    assert_non_null(strstr(out.data, "does it"));
    assert_non_null(strstr(out.data, "must call"));
    assert_non_null(strstr(out.data, "exactly one"));
    cds_buf_free(&out);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(calls_are_read_in_pieces_of_any_size),
        cmocka_unit_test(calls_schema_holds_name_and_parameters_together_and_moves_references),
        cmocka_unit_test(calls_are_explained_with_every_function),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
