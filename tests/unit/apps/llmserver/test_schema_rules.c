#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <string.h>

#include <cmocka.h>

#include "apps/llmserver/schema_rules.h"
#include "lib/base/str.h"
#include "lib/json/schema.h"

static cds_json *json(const char *text)
{
    cds_json *value = NULL;
    assert_int_equal(cds_json_parse(text, strlen(text), &value, NULL), CDS_OK);
    return value;
}

static cds_rc rules(const char *text, bool strict, cds_json **ret, cds_json **check, struct cds_err *err)
{
    CDS_JSON_AUTO schema = json(text);
    return cds_schema_rules(schema, "/s", strict, ret, check, err);
}

static void rules_name_the_keyword_that_would_be_dropped(void **state)
{
    static const char *const bad[][2] = {
        {"true", "/s/"},
        {"{\"not\":{}}", "/s/not"},
        {"{\"type\":\"object\",\"properties\":{\"a\":{\"if\":{}}}}", "/s/properties/a/if"},
        {"{\"anyOf\":[{},{\"multipleOf\":2}]}", "/s/anyOf/1/multipleOf"},
        {"{\"items\":{\"contains\":{}}}", "/s/items/contains"},
        {"{\"anyOf\":[]}", "/s/anyOf"},
        {"{\"enum\":[]}", "/s/enum"},
        {"{\"$ref\":\"#/properties/a\"}", "/s/$ref"},
        {"{\"$ref\":\"http://x\"}", "/s/$ref"},
        {"{\"type\":\"number\",\"minimum\":1}", "/s/minimum"},
        {"{\"type\":\"integer\",\"maximum\":1.5}", "/s/maximum"},
        {"{\"type\":\"array\",\"maxItems\":2001}", "/s/maxItems"},
        {"{\"type\":\"string\",\"minLength\":-1}", "/s/minLength"},
        {"{\"pattern\":\"abc\"}", "/s/pattern"},
        {"{\"pattern\":\"^abc\"}", "/s/pattern"},
        {"{\"pattern\":\"abc$\"}", "/s/pattern"},
        {"{\"pattern\":\"^(?:a)$\"}", "/s/pattern"},
        {"{\"pattern\":\"^a\\\\$\"}", "/s/pattern"},
        {"{\"pattern\":\"^\\\\s$\"}", "/s/pattern"},
        {"{\"pattern\":\"^(?=a)b$\"}", "/s/pattern"},
        {"{\"pattern\":\"^[a$\"}", "/s/pattern"},
        {"{\"format\":\"email\"}", "/s/format"},
        {"{\"required\":[\"a\"],\"properties\":{\"b\":{}}}", "/s/required"},
        {"{\"properties\":[]}", "/s/properties"},
    };
    for (size_t i = 0; i < CDS_ARRAY_LEN(bad); i++) {
        cds_json *made = NULL, *check = NULL;
        struct cds_err err = {0};
        assert_int_equal(rules(bad[i][0], true, &made, &check, &err), CDS_BAD_PARAM);
        assert_string_equal(err.pointer, bad[i][1]);
        assert_null(made);
        assert_null(check);
    }
}

static void rules_write_sets_out_and_leave_notes_and_foreign_formats_away(void **state)
{
    cds_json *made = NULL, *check = NULL;
    assert_int_equal(rules("{\"title\":\"t\",\"type\":\"object\",\"properties\":{\"a\":{\"pattern\":\"^\\\\d[\\\\w-]\\\\.$\"},\"b\":{\"type\":"
                           "\"string\",\"format\":\"email\"},"
                           "\"c\":{\"$ref\":\"#/$defs/d\"}},\"$defs\":{\"d\":{\"prefixItems\":[{\"type\":\"integer\"}]}}}",
                           false, &made, &check, NULL),
                     CDS_OK);
    CDS_JSON_AUTO wanted =
        json("{\"type\":\"object\",\"properties\":{\"a\":{\"pattern\":\"^[0-9][a-zA-Z0-9_-]\\\\.$\"},\"b\":{\"type\":\"string\"},\"c\":{\"$ref\":"
             "\"#/$defs/d\"}},\"$defs\":{\"d\":{\"prefixItems\":[{\"type\":\"integer\"}]}}}");
    assert_true(cds_json_equal(made, wanted));
    CDS_JSON_AUTO checked =
        json("{\"type\":\"object\",\"properties\":{\"a\":{\"pattern\":\"^\\\\d[\\\\w-]\\\\.$\"},\"b\":{\"type\":\"string\"},\"c\":{\"$ref\":"
             "\"#/definitions/d\"}},\"definitions\":{\"d\":{}}}");
    assert_true(cds_json_equal(check, checked));
    struct cds_schema *compiled = NULL;
    assert_int_equal(cds_schema_compile(check, &compiled, NULL), CDS_OK);
    cds_schema_free(&compiled);
    cds_json_unref(made);
    cds_json_unref(check);
}

static void rules_stop_at_their_limits(void **state)
{
    struct cds_buf text = cds_buf_init(1 << 20);
    for (int count = 4095; count <= 4096; count++) {
        cds_json *made = NULL, *check = NULL;
        cds_buf_clear(&text);
        assert_int_equal(cds_buf_add_str(&text, "{\"anyOf\":[{}"), CDS_OK);
        for (int i = 1; i < count; i++)
            assert_int_equal(cds_buf_add_str(&text, ",{}"), CDS_OK);
        assert_int_equal(cds_buf_add_str(&text, "]}"), CDS_OK);
        assert_int_equal(rules(text.data, true, &made, &check, NULL), count == 4095 ? CDS_OK : CDS_BAD_PARAM);
        cds_json_unref(made);
        cds_json_unref(check);
    }
    cds_buf_clear(&text);
    assert_int_equal(cds_buf_add_str(&text, "{\"const\":\""), CDS_OK);
    for (int i = 0; i < 27000; i++)
        assert_int_equal(cds_buf_add_str(&text, "0123456789"), CDS_OK);
    assert_int_equal(cds_buf_add_str(&text, "\"}"), CDS_OK);
    cds_json *made = NULL;
    assert_int_equal(rules(text.data, true, &made, NULL, NULL), CDS_BAD_PARAM);
    cds_buf_free(&text);
    /* Deeper than a text can be; the model process is fed with values. */
    for (int depth = 64; depth <= 65; depth++) {
        CDS_JSON_AUTO schema = cds_json_object();
        cds_json *check = NULL;
        for (int i = 1; i < depth; i++)
            schema = cds_json_pack("{s:o}", "items", schema);
        made = NULL;
        assert_int_equal(cds_schema_rules(schema, "/s", true, &made, &check, NULL), depth == 64 ? CDS_OK : CDS_BAD_PARAM);
        cds_json_unref(made);
        cds_json_unref(check);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(rules_name_the_keyword_that_would_be_dropped),
        cmocka_unit_test(rules_write_sets_out_and_leave_notes_and_foreign_formats_away),
        cmocka_unit_test(rules_stop_at_their_limits),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
