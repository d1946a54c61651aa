#include <math.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "apps/llmworker/sampling.h"
#include "lib/base/str.h"

static cds_json *kept;

static cds_rc read(const char *text, struct cds_sampling *ret, struct cds_bias **bias, struct cds_err *err)
{
    cds_json_unref(kept);
    kept = NULL;
    assert_int_equal(cds_json_parse(text, strlen(text), &kept, NULL), CDS_OK);
    return cds_sampling_read(kept, ret, bias, err);
}

static void sampling_has_the_usual_numbers_when_nothing_is_said(void **state)
{
    struct cds_sampling s;
    struct cds_bias *bias;
    assert_int_equal(read("{}", &s, &bias, NULL), CDS_OK);
    assert_true(fabsf(s.temperature - 0.8F) < 1e-6F && fabsf(s.top_p - 0.95F) < 1e-6F && fabsf(s.min_p - 0.05F) < 1e-6F);
    assert_int_equal(s.top_k, 40);
    assert_int_equal(s.repeat_last_n, 64);
    assert_int_equal(s.order_count, CDS_STEPS);
    assert_int_equal(s.dry_breaker_count, 4);
    assert_int_equal(s.thinking_budget, -1);
    assert_false(s.wants_chance);
    assert_null(bias);
}

static void sampling_reads_order_bias_and_chances(void **state)
{
    struct cds_sampling s;
    struct cds_bias *bias;
    assert_int_equal(read("{\"samplers\":[\"top_k\",\"penalties\"],\"logit_bias\":[[5,null],[7,-2.5]],\"logprobs\":0,\"dry_sequence_breakers\":[],"
                          "\"mirostat\":2,\"grammar\":\"root ::= \\\"a\\\"\",\"grammar_lazy\":true,\"triggers\":[\"x\"]}",
                          &s, &bias, NULL),
                     CDS_OK);
    assert_int_equal(s.order_count, 2);
    assert_int_equal(s.order[0], CDS_STEP_TOP_K);
    assert_int_equal(s.order[1], CDS_STEP_PENALTIES);
    assert_int_equal(s.bias_count, 2);
    assert_true(isinf(bias[0].bias) && bias[0].bias < 0 && bias[1].bias == -2.5F && bias[1].token == 7);
    assert_true(s.wants_chance && s.logprobs == 0);
    assert_int_equal(s.dry_breaker_count, 0);
    assert_true(s.grammar_lazy && s.trigger_count == 1);
    free(bias);
}

static void sampling_names_the_member_it_refuses(void **state)
{
    static const char *const cases[][2] = {
        {"{\"top_k\":-1}", "/top_k"},
        {"{\"mirostat\":3}", "/mirostat"},
        {"{\"samplers\":[\"x\"]}", "/samplers"},
        {"{\"samplers\":1}", "/samplers"},
        {"{\"logit_bias\":[[-1,1]]}", "/logit_bias"},
        {"{\"logit_bias\":[[1,5000]]}", "/logit_bias"},
        {"{\"logprobs\":21}", "/logprobs"},
        {"{\"grammar\":5}", "/grammar"},
        {"{\"dry_sequence_breakers\":[1]}", "/dry_sequence_breakers"},
    };
    for (size_t i = 0; i < CDS_ARRAY_LEN(cases); i++) {
        struct cds_sampling s;
        struct cds_bias *bias;
        struct cds_err err = {0};
        assert_int_equal(read(cases[i][0], &s, &bias, &err), CDS_BAD_PARAM);
        assert_string_equal(err.pointer, cases[i][1]);
        assert_null(bias);
    }
    cds_json_unref(kept);
    kept = NULL;
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(sampling_has_the_usual_numbers_when_nothing_is_said),
        cmocka_unit_test(sampling_reads_order_bias_and_chances),
        cmocka_unit_test(sampling_names_the_member_it_refuses),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
