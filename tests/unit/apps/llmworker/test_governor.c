#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>

#include <cmocka.h>

#include "apps/llmworker/governor.h"

/** Steps of 10 ms that got this share of the CPU time they wanted. */
static uint32_t steps(struct cds_governor *g, int count, double share, uint64_t *now_ms)
{
    uint32_t threads = g->now;
    for (int i = 0; i < count; i++) {
        *now_ms += 10;
        threads = cds_governor_step(g, 10000, (uint64_t)(10000 * g->now * share), *now_ms);
    }
    return threads;
}

static void governor_keeps_all_threads_on_a_quiet_machine(void **state)
{
    struct cds_governor g = cds_governor_begin(4);
    uint64_t now = 0;
    assert_int_equal(steps(&g, 1000, 0.97, &now), 4);
}

static void governor_lets_a_single_hiccup_pass(void **state)
{
    struct cds_governor g = cds_governor_begin(2);
    uint64_t now = 0;
    assert_int_equal(steps(&g, 1, 0.1, &now), 2);
    assert_int_equal(steps(&g, 20, 1, &now), 2);
}

static void governor_goes_down_when_threads_are_pushed_away(void **state)
{
    struct cds_governor g = cds_governor_begin(2);
    uint64_t now = 0;
    assert_int_equal(steps(&g, 10, 0.5, &now), 1);
    assert_int_equal(steps(&g, 50, 0.5, &now), 1);
}

static void governor_never_goes_below_one(void **state)
{
    struct cds_governor g = cds_governor_begin(1);
    uint64_t now = 0;
    assert_int_equal(steps(&g, 100, 0.01, &now), 1);
}

static void governor_comes_back_when_the_neighbour_is_gone(void **state)
{
    struct cds_governor g = cds_governor_begin(2);
    uint64_t now = 0;
    steps(&g, 10, 0.5, &now);
    assert_int_equal(g.now, 1);
    assert_int_equal(steps(&g, 150, 1, &now), 2);
    assert_int_equal(steps(&g, 1000, 1, &now), 2);
}

static void governor_tries_less_often_while_it_fails(void **state)
{
    struct cds_governor g = cds_governor_begin(2);
    uint64_t now = 0;
    int on_two = 0;
    for (int i = 0; i < 3000; i++) {
        steps(&g, 1, g.now == 2 ? 0.5 : 1, &now);
        on_two += g.now == 2;
    }
    /* Thirty seconds beside a busy neighbour: a handful of tries of a few steps each. */
    assert_in_range(on_two, 2, 60);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(governor_keeps_all_threads_on_a_quiet_machine),   cmocka_unit_test(governor_lets_a_single_hiccup_pass),
        cmocka_unit_test(governor_goes_down_when_threads_are_pushed_away), cmocka_unit_test(governor_never_goes_below_one),
        cmocka_unit_test(governor_comes_back_when_the_neighbour_is_gone),  cmocka_unit_test(governor_tries_less_often_while_it_fails),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
