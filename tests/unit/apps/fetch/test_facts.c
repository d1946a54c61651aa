/* tests/unit/apps/fetch/test_facts.c: what the headers of the parts of one model say together, and the gate. */
#include "tests/support/test.h"

#include "apps/fetch/facts.h"

static cds_json *facts(int part, int parts, long long parameters)
{
    return cds_json_pack("{s:i,s:i,s:I,s:I,s:I,s:I}", "part", part, "parts", parts, "parameters", parameters, "tensors", 3LL, "tensor_bytes",
                         parameters * 2, "needed_bytes", parameters * 2 + 64);
}

static void facts_of_all_parts_are_summed(void **state)
{
    CDS_JSON_AUTO sum = NULL;
    struct cds_err err;
    for (int i = 0; i < 3; i++) {
        CDS_JSON_AUTO one = facts(i, 3, 1000 + i);
        assert_int_equal(cds_facts_add(&sum, one, (unsigned)i, 3, "x.gguf", &err), CDS_OK);
        assert_int_equal(cds_json_get_i64(one, "parameters", 0), 1000 + i); /* the first is copied */
    }
    assert_int_equal(cds_json_get_i64(sum, "parameters", 0), 3003);
    assert_int_equal(cds_json_get_i64(sum, "tensors", 0), 9);
    assert_int_equal(cds_json_get_i64(sum, "tensor_bytes", 0), 6006);
    assert_int_equal(cds_json_get_i64(sum, "needed_bytes", 0), 6006 + 3 * 64);
}

static void facts_of_another_place_are_refused(void **state)
{
    static const struct {
        int part, parts;
        unsigned index, count;
    } wrong[] = {{1, 3, 0, 3}, {0, 2, 0, 3}, {0, 0, 0, 3}, {0, 3, 0, 1}};
    for (size_t i = 0; i < CDS_ARRAY_LEN(wrong); i++) {
        CDS_JSON_AUTO sum = NULL;
        CDS_JSON_AUTO one = facts(wrong[i].part, wrong[i].parts, 7);
        struct cds_err err;
        assert_int_equal(cds_facts_add(&sum, one, wrong[i].index, wrong[i].count, "x.gguf", &err), CDS_BAD_PARAM);
        assert_null(sum);
        assert_non_null(strstr(err.message, "not what its name says"));
    }
}

static void facts_that_overflow_together_are_refused(void **state)
{
    CDS_JSON_AUTO sum = NULL;
    CDS_JSON_AUTO first = facts(0, 2, INT64_MAX / 4);
    CDS_JSON_AUTO second = facts(1, 2, 1);
    struct cds_err err;
    assert_int_equal(cds_json_set(second, "parameters", cds_json_int(INT64_MAX)), 0);
    assert_int_equal(cds_facts_add(&sum, first, 0, 2, "x.gguf", &err), CDS_OK);
    assert_int_equal(cds_facts_add(&sum, second, 1, 2, "x.gguf", &err), CDS_BAD_PARAM);
}

static void facts_over_the_gate_are_refused_with_both_numbers(void **state)
{
    CDS_JSON_AUTO one = facts(0, 1, 3000000001);
    struct cds_err err;
    assert_int_equal(cds_facts_gate(one, 0, &err), CDS_OK);
    assert_int_equal(cds_facts_gate(one, 3000000001, &err), CDS_OK);
    assert_int_equal(cds_facts_gate(one, 3000000000, &err), CDS_DENIED);
    assert_string_equal(err.rule, "llm.parameters_max");
    assert_non_null(strstr(err.message, "3000000001 parameters"));
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(facts_of_all_parts_are_summed),
        cmocka_unit_test(facts_of_another_place_are_refused),
        cmocka_unit_test(facts_that_overflow_together_are_refused),
        cmocka_unit_test(facts_over_the_gate_are_refused_with_both_numbers),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
