/* tests/unit/lib/json/test_schema.c: what a refusal says, what compiling refuses, and the limits of one validation. */
#include "lib/base/cleanup.h"
#include "lib/json/schema.h"
#include "tests/support/test.h"

static cds_json *parse(const char *text)
{
    cds_json *value = NULL;
    struct cds_err err;
    if (cds_json_parse(text, strlen(text), &value, &err))
        fail_msg("%s: %s", text, err.message);
    return value;
}

static struct cds_schema *compile(const char *text)
{
    CDS_JSON_AUTO json = parse(text);
    struct cds_schema *schema = NULL;
    struct cds_err err;
    if (cds_schema_compile(json, &schema, &err))
        fail_msg("%s: %s", text, err.message);
    return schema;
}

static cds_rc validate(const char *schema_text, const char *value_text, struct cds_err *err)
{
    CDS_CLEANUP(cds_schema_free) struct cds_schema *schema = compile(schema_text);
    CDS_JSON_AUTO value = parse(value_text);
    *err = (struct cds_err){0};
    return cds_schema_validate(schema, value, err);
}

static void refusal_names_the_place_and_what_was_expected(void **state)
{
    static const char schema[] =
        "{\"type\":\"object\",\"additionalProperties\":false,\"required\":[\"a\"],\"properties\":{"
        "\"a\":{\"type\":\"string\",\"minLength\":2,\"maxLength\":3,\"pattern\":\"^[a-z\\u00e9]+$\"},"
        "\"n\":{\"type\":\"integer\",\"minimum\":1,\"maximum\":9,\"multipleOf\":3},"
        "\"x\":{\"type\":\"number\",\"exclusiveMinimum\":0,\"exclusiveMaximum\":1.5},"
        "\"l\":{\"type\":\"array\",\"minItems\":1,\"maxItems\":2,\"uniqueItems\":true,\"items\":{\"type\":[\"integer\",\"null\"]}},"
        "\"e\":{\"enum\":[\"r\",\"w\"]},\"c\":{\"const\":7},\"o\":{\"minProperties\":1,\"maxProperties\":2},\"z\":false,"
        "\"s/~\":{\"type\":\"object\",\"properties\":{\"deep\":{\"type\":\"array\",\"items\":{\"type\":\"boolean\"}}}},"
        "\"any\":{\"anyOf\":[{\"type\":\"string\"},{\"type\":\"null\"}]},\"not\":{\"not\":{\"type\":\"string\"}},"
        "\"all\":{\"allOf\":[{\"type\":\"integer\"},{\"minimum\":5}]},\"one\":{\"oneOf\":[{\"type\":\"integer\"},{\"minimum\":5}]}}}";
    static const struct {
        const char *value, *pointer, *says;
    } rows[] = {
        {"[]", "", "The value must be an object."},
        {"{}", "/a", "/a is missing."},
        {"{\"a\":5}", "/a", "/a must be a string."},
        {"{\"a\":\"x\"}", "/a", "at least 2 characters"},
        {"{\"a\":\"abcd\"}", "/a", "at most 3 characters"},
        {"{\"a\":\"ab1\"}", "/a", "must match ^[a-z"},
        {"{\"a\":\"ab\",\"n\":0}", "/n", "at least 1"},
        {"{\"a\":\"ab\",\"n\":12}", "/n", "at most 9"},
        {"{\"a\":\"ab\",\"n\":4}", "/n", "multiple of 3"},
        {"{\"a\":\"ab\",\"n\":3.5}", "/n", "a whole number"},
        {"{\"a\":\"ab\",\"x\":0}", "/x", "above 0"},
        {"{\"a\":\"ab\",\"x\":1.5}", "/x", "below 1.5"},
        {"{\"a\":\"ab\",\"l\":[]}", "/l", "at least 1 items"},
        {"{\"a\":\"ab\",\"l\":[1,2,3]}", "/l", "at most 2 items"},
        {"{\"a\":\"ab\",\"l\":[1,1.0]}", "/l/1", "in the list twice"},
        {"{\"a\":\"ab\",\"l\":[1,\"x\"]}", "/l/1", "a whole number or null"},
        {"{\"a\":\"ab\",\"e\":\"x\"}", "/e", "must be one of [\"r\",\"w\"]"},
        {"{\"a\":\"ab\",\"c\":8}", "/c", "not the one allowed value"},
        {"{\"a\":\"ab\",\"o\":{}}", "/o", "at least 1 members"},
        {"{\"a\":\"ab\",\"o\":{\"a\":1,\"b\":2,\"c\":3}}", "/o", "at most 2 members"},
        {"{\"a\":\"ab\",\"z\":1}", "/z", "not allowed here"},
        {"{\"a\":\"ab\",\"s/~\":{\"deep\":[true,0]}}", "/s~1~0/deep/1", "true or false"},
        {"{\"a\":\"ab\",\"b/c\":1}", "/b~1c", "not a known member"},
        {"{\"a\":\"ab\",\"any\":1}", "/any", "none of the allowed forms"},
        {"{\"a\":\"ab\",\"not\":\"s\"}", "/not", "a form that is not allowed"},
        {"{\"a\":\"ab\",\"all\":4}", "/all", "at least 5"},
        {"{\"a\":\"ab\",\"one\":6}", "/one", "more than one of the allowed forms"},
        {"{\"a\":\"ab\",\"one\":4.5}", "/one", "none of the allowed forms"},
    };
    struct cds_err err;
    for (size_t i = 0; i < CDS_ARRAY_LEN(rows); i++) {
        if (validate(schema, rows[i].value, &err) != CDS_BAD_PARAM)
            fail_msg("accepted: %s", rows[i].value);
        assert_int_equal(err.code, CDS_BAD_PARAM);
        assert_string_equal(err.pointer, rows[i].pointer);
        if (!strstr(err.message, rows[i].says))
            fail_msg("%s: \"%s\" does not say \"%s\"", rows[i].value, err.message, rows[i].says);
    }
}

static void values_at_every_edge_are_accepted(void **state)
{
    struct cds_err err;
    assert_int_equal(validate("{\"minLength\":2,\"maxLength\":2}", "\"\xc3\xa9\xf0\x9f\x98\x80\"", &err), CDS_OK);
    assert_int_equal(validate("{\"minimum\":-9223372036854775808,\"maximum\":9223372036854775807}", "9223372036854775807", &err), CDS_OK);
    assert_int_equal(validate("{\"maximum\":9223372036854775806}", "9223372036854775807", &err), CDS_BAD_PARAM);
    assert_int_equal(validate("{\"type\":\"integer\"}", "4.0", &err), CDS_OK);
    assert_int_equal(validate("{\"minItems\":1,\"maxItems\":1}", "[1]", &err), CDS_OK);
    assert_int_equal(err.code, CDS_OK); /* a success writes no error */
}

static void one_of_required_lists_names_the_members(void **state)
{
    static const char schema[] = "{\"type\":\"object\",\"oneOf\":[{\"required\":[\"path\"]},{\"required\":[\"code\"]}]}";
    struct cds_err err;
    assert_int_equal(validate(schema, "{\"code\":1}", &err), CDS_OK);
    assert_int_equal(validate(schema, "{}", &err), CDS_BAD_PARAM);
    assert_non_null(strstr(err.message, "exactly one of these members: path, code"));
    assert_int_equal(validate(schema, "{\"code\":1,\"path\":2}", &err), CDS_BAD_PARAM);
    assert_non_null(strstr(err.message, "exactly one of these members: path, code"));
}

static void compile_refuses_every_keyword_it_does_not_check(void **state)
{
    static const struct {
        const char *schema, *pointer;
    } rows[] = {
        {"{\"patternProperties\":{}}", "#/patternProperties"},
        {"{\"if\":true}", "#/if"},
        {"{\"contains\":true}", "#/contains"},
        {"{\"maxLenght\":3}", "#/maxLenght"},
        {"{\"properties\":{\"a\":{\"dependencies\":{}}}}", "#/properties/a/dependencies"},
        {"{\"items\":[true]}", "#/items"},
        {"{\"anyOf\":[true,{\"else\":1}]}", "#/anyOf/1/else"},
        {"{\"type\":\"text\"}", "#/type"},
        {"{\"type\":[]}", "#/type"},
        {"{\"type\":5}", "#/type"},
        {"{\"enum\":[]}", "#/enum"},
        {"{\"enum\":\"a\"}", "#/enum"},
        {"{\"required\":\"a\"}", "#/required"},
        {"{\"required\":[1]}", "#/required"},
        {"{\"properties\":[]}", "#/properties"},
        {"{\"minLength\":-1}", "#/minLength"},
        {"{\"maxItems\":1.5}", "#/maxItems"},
        {"{\"minimum\":\"1\"}", "#/minimum"},
        {"{\"multipleOf\":0}", "#/multipleOf"},
        {"{\"multipleOf\":0.5}", "#/multipleOf"},
        {"{\"pattern\":\"(\"}", "#/pattern"},
        {"{\"pattern\":5}", "#/pattern"},
        {"{\"uniqueItems\":1}", "#/uniqueItems"},
        {"{\"allOf\":[]}", "#/allOf"},
        {"{\"allOf\":{}}", "#/allOf"},
        {"{\"not\":5}", "#/not/"},
        {"{\"$ref\":\"#/definitions/a\"}", "#/$ref"},
        {"{\"$ref\":\"other.json\"}", "#/$ref"},
        {"{\"$ref\":\"#/properties/a\"}", "#/$ref"},
        {"{\"$ref\":\"#/definitions/a~0b\",\"definitions\":{\"a~b\":true}}", "#/$ref"},
        {"{\"$ref\":\"#\",\"type\":\"string\"}", "#/type"},
        {"{\"properties\":{\"a\":{\"definitions\":{}}}}", "#/properties/a/definitions"},
        {"{\"items\":{\"$id\":\"x\"}}", "#/items/$id"},
        {"[]", "#/"},
    };
    for (size_t i = 0; i < CDS_ARRAY_LEN(rows); i++) {
        CDS_JSON_AUTO json = parse(rows[i].schema);
        struct cds_schema *schema = NULL;
        struct cds_err err = {0};
        if (cds_schema_compile(json, &schema, &err) != CDS_BAD_PARAM)
            fail_msg("accepted: %s", rows[i].schema);
        assert_null(schema);
        assert_string_equal(err.pointer, rows[i].pointer);
    }
}

static void compile_keeps_its_own_copy(void **state)
{
    cds_json *json = parse("{\"enum\":[\"a\"],\"required\":[\"b\"]}");
    struct cds_schema *schema = NULL;
    assert_int_equal(cds_schema_compile(json, &schema, NULL), CDS_OK);
    cds_json_unref(json);
    CDS_JSON_AUTO value = parse("\"a\"");
    assert_int_equal(cds_schema_validate(schema, value, NULL), CDS_OK);
    cds_schema_free(&schema);
    assert_null(schema);
    cds_schema_free(&schema);
}

static void a_reference_reaches_its_definition_and_itself(void **state)
{
    static const char tree[] =
        "{\"definitions\":{\"n\":{\"type\":\"object\",\"additionalProperties\":false,\"properties\":{\"kids\":{\"type\":\"array\","
        "\"items\":{\"$ref\":\"#/definitions/n\"}}}}},\"$ref\":\"#/definitions/n\"}";
    struct cds_err err;
    assert_int_equal(validate(tree, "{\"kids\":[{\"kids\":[{}]},{}]}", &err), CDS_OK);
    assert_int_equal(validate(tree, "{\"kids\":[{\"kids\":[{\"x\":1}]},{}]}", &err), CDS_BAD_PARAM);
    assert_string_equal(err.pointer, "/kids/0/kids/0/x");
}

static void a_reference_that_leads_nowhere_ends(void **state)
{
    struct cds_err err;
    assert_int_equal(validate("{\"$ref\":\"#\"}", "1", &err), CDS_BAD_PARAM);
    assert_non_null(strstr(err.message, "deeper than"));
    /* Two branches each: without a count of steps this would take 2^128 of them. */
    assert_int_equal(validate("{\"anyOf\":[{\"$ref\":\"#\"},{\"$ref\":\"#\"}]}", "1", &err), CDS_BAD_PARAM);
}

static void unique_items_has_a_ceiling(void **state)
{
    CDS_CLEANUP(cds_schema_free) struct cds_schema *schema = compile("{\"uniqueItems\":true}");
    CDS_JSON_AUTO list = cds_json_array();
    for (int i = 0; i < CDS_SCHEMA_UNIQUE_MAX; i++)
        assert_int_equal(cds_json_append(list, cds_json_int(i)), 0);
    assert_int_equal(cds_schema_validate(schema, list, NULL), CDS_OK);
    assert_int_equal(cds_json_append(list, cds_json_int(-1)), 0);
    assert_int_equal(cds_schema_validate(schema, list, NULL), CDS_BAD_PARAM);
}

static void a_pointer_that_does_not_fit_is_left_out(void **state)
{
    char text[400], key[200];
    struct cds_err err;
    memset(key, 'k', sizeof(key) - 1);
    key[sizeof(key) - 1] = '\0';
    snprintf(text, sizeof(text), "{\"%s\":1}", key);
    assert_int_equal(validate("{\"additionalProperties\":false}", text, &err), CDS_BAD_PARAM);
    assert_string_equal(err.pointer, "");
    assert_non_null(strstr(err.message, "not a known member"));
}

static void built_values_deeper_than_the_limit_are_refused(void **state)
{
    CDS_CLEANUP(cds_schema_free) struct cds_schema *schema = compile("{\"items\":{\"$ref\":\"#\"}}");
    cds_json *value = cds_json_array();
    for (int i = 0; i < 2 * CDS_SCHEMA_DEPTH_MAX; i++) {
        cds_json *outer = cds_json_array();
        assert_int_equal(cds_json_append(outer, value), 0);
        value = outer;
    }
    assert_int_equal(cds_schema_validate(schema, value, NULL), CDS_BAD_PARAM);
    cds_json_unref(value);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(refusal_names_the_place_and_what_was_expected),
        cmocka_unit_test(values_at_every_edge_are_accepted),
        cmocka_unit_test(one_of_required_lists_names_the_members),
        cmocka_unit_test(compile_refuses_every_keyword_it_does_not_check),
        cmocka_unit_test(compile_keeps_its_own_copy),
        cmocka_unit_test(a_reference_reaches_its_definition_and_itself),
        cmocka_unit_test(a_reference_that_leads_nowhere_ends),
        cmocka_unit_test(unique_items_has_a_ceiling),
        cmocka_unit_test(a_pointer_that_does_not_fit_is_left_out),
        cmocka_unit_test(built_values_deeper_than_the_limit_are_refused),
    };
    return RUN_ALL(tests);
}
