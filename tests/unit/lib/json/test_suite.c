/* tests/unit/lib/json/test_suite.c: Debian's json-schema-test-suite, draft 7, against lib/json/schema.h.
 *
 * Which groups use something unsupported is decided here, apart from the code under test: such a group must be refused when it is
 * compiled, every other one must compile and give the expected verdict on each of its values. */
#include <dirent.h>

#include "lib/base/fd.h"
#include "lib/base/str.h"
#include "lib/json/schema.h"
#include "tests/support/test.h"

#define SUITE "/usr/share/json-schema-test-suite/tests/draft7"

static unsigned ran, refused_groups;

static const char *const supported[] = {"$comment",    "$id",      "$ref",      "$schema",          "additionalProperties",
                                        "allOf",       "anyOf",    "const",     "default",          "definitions",
                                        "description", "enum",     "examples",  "exclusiveMaximum", "exclusiveMinimum",
                                        "format",      "items",    "maxItems",  "maxLength",        "maxProperties",
                                        "maximum",     "minItems", "minLength", "minProperties",    "minimum",
                                        "multipleOf",  "not",      "oneOf",     "pattern",          "properties",
                                        "required",    "title",    "type",      "uniqueItems"};

static const char *unsupported(const cds_json *schema, bool root);

static const char *unsupported_map(const cds_json *map)
{
    void *iter = NULL;
    const char *key, *why = NULL;
    cds_json *part;
    while (!why && cds_json_next(map, &iter, &key, &part))
        why = unsupported(part, false);
    return why;
}

static const char *unsupported_list(const cds_json *list)
{
    const char *why = NULL;
    for (size_t i = 0; i < cds_json_size(list) && !why; i++)
        why = unsupported(cds_json_at(list, i), false);
    return why;
}

/** Why one member puts a schema outside of the supported part, or NULL. */
static const char *unsupported_member(const char *key, const cds_json *v, bool root)
{
    bool known = false;
    for (size_t i = 0; i < CDS_ARRAY_LEN(supported); i++)
        known = known || cds_streq(supported[i], key);
    if (!known)
        return key;
    if (cds_streq(key, "$id") || cds_streq(key, "definitions") || cds_streq(key, "$schema")) {
        if (!root)
            return key;
        return cds_streq(key, "definitions") ? unsupported_map(v) : NULL;
    }
    if (cds_streq(key, "$ref")) {
        const char *text = cds_json_str(v);
        bool local = text && (cds_streq(text, "#") || (cds_starts_with(text, "#/definitions/") && !strpbrk(text + 14, "/~%")));
        return local ? NULL : "$ref to elsewhere";
    }
    if (cds_streq(key, "multipleOf"))
        return cds_json_i64(v, 0) > 0 ? NULL : "multipleOf of a fraction";
    if (cds_streq(key, "items"))
        return cds_json_is(v, CDS_JSON_ARRAY) ? "items as a list" : unsupported(v, false);
    if (cds_streq(key, "properties"))
        return unsupported_map(v);
    if (cds_streq(key, "allOf") || cds_streq(key, "anyOf") || cds_streq(key, "oneOf"))
        return unsupported_list(v);
    if (cds_streq(key, "not") || cds_streq(key, "additionalProperties"))
        return unsupported(v, false);
    return NULL;
}

static const char *unsupported(const cds_json *schema, bool root)
{
    void *iter = NULL;
    const char *key, *why = NULL;
    cds_json *v;
    static const char *const beside_ref[] = {"$ref",  "$id",         "$schema", "$comment", "definitions",
                                             "title", "description", "default", "examples", "format"};
    bool ref = cds_json_get(schema, "$ref") != NULL;
    while (!why && cds_json_is(schema, CDS_JSON_OBJECT) && cds_json_next(schema, &iter, &key, &v)) {
        bool may = !ref;
        for (size_t i = 0; i < CDS_ARRAY_LEN(beside_ref); i++)
            may = may || cds_streq(beside_ref[i], key);
        why = may ? unsupported_member(key, v, root) : "a keyword beside $ref";
    }
    return why;
}

static void run_group(const char *file, const cds_json *group)
{
    const cds_json *schema = cds_json_get(group, "schema"), *cases = cds_json_get(group, "tests");
    const char *name = cds_json_get_str(group, "description"), *why = unsupported(schema, true);
    struct cds_schema *compiled = NULL;
    struct cds_err err = {0};
    cds_rc rc = cds_schema_compile(schema, &compiled, &err);
    if (why) {
        if (rc != CDS_BAD_PARAM)
            fail_msg("%s: \"%s\" uses %s and was not refused", file, name, why);
        printf("refused as it must be: %s: %s (%s)\n", file, name, why);
        refused_groups++;
        return;
    }
    if (rc)
        fail_msg("%s: \"%s\": %s", file, name, err.message);
    for (size_t i = 0; i < cds_json_size(cases); i++) {
        const cds_json *one = cds_json_at(cases, i);
        bool expected = cds_json_is(cds_json_get(one, "valid"), CDS_JSON_TRUE);
        rc = cds_schema_validate(compiled, cds_json_get(one, "data"), &err);
        if ((rc == CDS_OK) != expected)
            fail_msg("%s: \"%s\": \"%s\" must be %s: %s", file, name, cds_json_get_str(one, "description"), expected ? "valid" : "invalid",
                     rc ? err.message : "it was accepted");
        ran++;
    }
    cds_schema_free(&compiled);
}

static void run_file(const char *file)
{
    CDS_CLEANUP(cds_buf_free) struct cds_buf text = cds_buf_init(1 << 20);
    CDS_JSON_AUTO groups = NULL;
    char path[512];
    snprintf(path, sizeof(path), "%s/%s", SUITE, file);
    assert_int_equal(cds_read_file(path, &text, NULL), CDS_OK);
    assert_int_equal(cds_json_parse(text.data, text.len, &groups, NULL), CDS_OK);
    for (size_t i = 0; i < cds_json_size(groups); i++)
        run_group(file, cds_json_at(groups, i));
}

static void schema_passes_the_draft_7_suite_or_refuses_what_it_does_not_support(void **state)
{
    DIR *folder = opendir(SUITE);
    if (!folder)
        fail_msg("%s is missing: install the package json-schema-test-suite", SUITE);
    unsigned files = 0;
    for (struct dirent *e; (e = readdir(folder));) {
        size_t len = strlen(e->d_name);
        if (len > 5 && cds_streq(e->d_name + len - 5, ".json")) {
            run_file(e->d_name);
            files++;
        }
    }
    closedir(folder);
    printf("%u files, %u values judged, %u groups refused\n", files, ran, refused_groups);
    assert_true(files >= 35);
    assert_true(ran >= 264);
    assert_true(refused_groups >= 50);
}

int main(void)
{
    const struct CMUnitTest tests[] = {cmocka_unit_test(schema_passes_the_draft_7_suite_or_refuses_what_it_does_not_support)};
    return RUN_ALL(tests);
}
