#include "tests/support/test.h"

#include "apps/llmserver/threads.h"

static void check(uint32_t budget, unsigned count, const uint32_t *demand, const uint32_t *expected)
{
    uint32_t share[8];
    cds_threads_split(budget, demand, share, count);
    for (unsigned i = 0; i < count; i++)
        assert_int_equal(share[i], expected[i]);
}

static void threads_all_go_to_the_model_that_works_alone(void **state)
{
    check(8, 3, (uint32_t[]){0, 5, 0}, (uint32_t[]){0, 8, 0});
}

static void threads_are_split_by_demand_and_their_sum_is_the_budget(void **state)
{
    check(8, 2, (uint32_t[]){6, 2}, (uint32_t[]){6, 2});
    check(8, 3, (uint32_t[]){1, 1, 1}, (uint32_t[]){3, 3, 2});
    for (uint32_t a = 0; a < 9; a++)
        for (uint32_t b = 0; b < 9; b++) {
            uint32_t share[2], demand[2] = {a, b};
            cds_threads_split(5, demand, share, 2);
            assert_int_equal(share[0] + share[1], a + b ? 5 : 0);
        }
}

static void threads_reach_every_model_that_has_a_request(void **state)
{
    check(8, 2, (uint32_t[]){30, 1}, (uint32_t[]){7, 1});
    check(2, 3, (uint32_t[]){9, 1, 1}, (uint32_t[]){1, 1, 1});
}

static void threads_of_nobody_are_nobodys(void **state)
{
    check(8, 2, (uint32_t[]){0, 0}, (uint32_t[]){0, 0});
    check(8, 0, NULL, NULL);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(threads_all_go_to_the_model_that_works_alone),
        cmocka_unit_test(threads_are_split_by_demand_and_their_sum_is_the_budget),
        cmocka_unit_test(threads_reach_every_model_that_has_a_request),
        cmocka_unit_test(threads_of_nobody_are_nobodys),
    };
    return RUN_ALL(tests);
}
