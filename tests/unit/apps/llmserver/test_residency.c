/* tests/unit/apps/llmserver/test_residency.c: the list of pinned models. */
#include "tests/support/test.h"

#include "apps/llmserver/residency.h"

static void a_model_is_pinned_by_its_whole_id(void **state)
{
    assert_true(cds_residency_named("a", "a"));
    assert_true(cds_residency_named("x, smollm2-135m-instruct ,y", "smollm2-135m-instruct"));
    assert_true(cds_residency_named("x,y", "y"));
    assert_false(cds_residency_named("x,y", "x,y"));
    assert_false(cds_residency_named("smollm2-135m-instruct", "smollm2"));
    assert_false(cds_residency_named("smollm2", "smollm2-135m-instruct"));
    assert_false(cds_residency_named("", "a"));
    assert_false(cds_residency_named(", ,", ""));
}

int main(void)
{
    const struct CMUnitTest tests[] = {cmocka_unit_test(a_model_is_pinned_by_its_whole_id)};
    return RUN_ALL(tests);
}
