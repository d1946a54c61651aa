#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <string.h>

#include <cmocka.h>

#include "apps/llmworker/inputs.h"

static cds_rc parse(const char *json, struct cds_inputs *ret, struct cds_err *err)
{
    static cds_json *kept; /* borrowed texts live until the next call */
    cds_json_unref(kept);
    kept = NULL;
    if (cds_json_parse(json, strlen(json), &kept, err) != CDS_OK)
        return CDS_BAD_SYNTAX;
    return cds_inputs_meant(kept) ? cds_inputs_read(kept, ret, err) : CDS_NOT_FOUND;
}

static void inputs_are_read_with_their_form(void **state)
{
    struct cds_inputs in;
    assert_int_equal(parse("{\"job\":7,\"task\":\"embed\",\"inputs\":[\"a\",[1,2]],\"dimensions\":16,\"norm\":-1,\"pooling\":\"none\"}", &in, NULL),
                     CDS_OK);
    assert_int_equal(in.id, 7);
    assert_int_equal(in.kind, CDS_VECTORS_EMBED);
    assert_int_equal(in.dimensions, 16);
    assert_int_equal(in.norm, CDS_NORM_NONE);
    assert_int_equal(in.pooling, CDS_POOL_NONE);
    assert_int_equal(parse("{\"job\":7,\"task\":\"embed\",\"inputs\":[\"a\"]}", &in, NULL), CDS_OK);
    assert_int_equal(in.pooling, -1);
    assert_int_equal(in.norm, CDS_NORM_EUCLID);
}

static void a_ranking_is_read(void **state)
{
    struct cds_inputs in;
    assert_int_equal(parse("{\"job\":1,\"task\":\"rank\",\"query\":\"q\",\"documents\":[\"a\"],\"chunks\":true,\"overlap\":9}", &in, NULL), CDS_OK);
    assert_int_equal(in.kind, CDS_VECTORS_RANK);
    assert_true(in.chunks);
    assert_int_equal(in.overlap, 9);
    assert_int_equal(parse("{\"job\":1,\"task\":\"rank\",\"method\":\"cosine\",\"query\":\"q\",\"documents\":[\"a\"]}", &in, NULL), CDS_OK);
    assert_int_equal(in.kind, CDS_VECTORS_COSINE);
    assert_int_equal(parse("{\"job\":1,\"task\":\"sing\"}", &in, NULL), CDS_NOT_FOUND);
}

static void what_is_missing_or_wrong_is_named(void **state)
{
    static const struct {
        const char *json, *pointer;
    } cases[] = {
        {"{\"task\":\"embed\",\"inputs\":[\"a\"]}", "/job"},
        {"{\"job\":1,\"task\":\"embed\"}", "/inputs"},
        {"{\"job\":1,\"task\":\"embed\",\"inputs\":[]}", "/inputs"},
        {"{\"job\":1,\"task\":\"embed\",\"inputs\":[\"\"]}", "/inputs"},
        {"{\"job\":1,\"task\":\"embed\",\"inputs\":[[1,-1]]}", "/inputs"},
        {"{\"job\":1,\"task\":\"embed\",\"inputs\":[\"a\"],\"dimensions\":-1}", "/dimensions"},
        {"{\"job\":1,\"task\":\"embed\",\"inputs\":[\"a\"],\"norm\":65}", "/norm"},
        {"{\"job\":1,\"task\":\"embed\",\"inputs\":[\"a\"],\"pooling\":\"rank\"}", "/pooling"},
        {"{\"job\":1,\"task\":\"rank\",\"documents\":[\"a\"]}", "/query"},
        {"{\"job\":1,\"task\":\"rank\",\"query\":\"q\",\"documents\":[1]}", "/documents"},
        {"{\"job\":1,\"task\":\"rank\",\"query\":\"q\",\"documents\":[\"a\"],\"overlap\":-1}", "/overlap"},
        {"{\"job\":1,\"task\":\"rank\",\"query\":\"q\",\"documents\":[\"a\"],\"form\":\"{query}\"}", "/form"},
    };
    for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
        struct cds_inputs in;
        struct cds_err err = {0};
        assert_int_equal(parse(cases[i].json, &in, &err), CDS_BAD_PARAM);
        assert_string_equal(err.pointer, cases[i].pointer);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(inputs_are_read_with_their_form),
        cmocka_unit_test(a_ranking_is_read),
        cmocka_unit_test(what_is_missing_or_wrong_is_named),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
