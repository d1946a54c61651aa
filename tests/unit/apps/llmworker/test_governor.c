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

/** Steps of 10 ms per row with all its CPU time, whatever the number of threads; with two threads each row takes `two_us`. */
static uint32_t answers(struct cds_governor *g, int count, uint64_t one_us, uint64_t two_us, uint64_t *now_ms)
{
    for (int i = 0; i < count; i++) {
        uint64_t us = g->now == 2 ? two_us : one_us;
        *now_ms += us / 1000;
        cds_governor_row(g, 1, us, *now_ms);
        cds_governor_step(g, us, us * g->now, *now_ms);
    }
    return g->now;
}

static void governor_leaves_a_core_to_each_thread_of_others(void **state)
{
    struct cds_governor g = cds_governor_begin(2);
    assert_true(cds_governor_looks(&g, 1000));
    assert_int_equal(cds_governor_queue(&g, 2, 2, 1000), 2); /* nobody but us */
    assert_false(cds_governor_looks(&g, 1100));
    for (uint64_t now = 1200; now < 4000; now += 200)
        cds_governor_queue(&g, 3, 2, now);
    assert_int_equal(g.now, 1);
    uint64_t now = 4000;
    assert_int_equal(answers(&g, 500, 10000, 6000, &now), 1); /* it is not even tried while the other one is there */
    for (; now < 15000; now += 200)
        cds_governor_queue(&g, 1, 2, now);
    assert_int_equal(answers(&g, 200, 10000, 6000, &now), 2);
    struct cds_governor big = cds_governor_begin(16);
    assert_int_equal(cds_governor_queue(&big, 20, 16, 1000), 12);
    assert_int_equal(cds_governor_queue(&big, 400, 16, 1200), 1);
}

static void governor_leaves_a_number_of_threads_that_is_slower_than_fewer(void **state)
{
    struct cds_governor g = cds_governor_begin(2);
    uint64_t now = 1000;
    answers(&g, 20, 10000, 6000, &now);
    assert_int_equal(g.now, 2);
    g.now = 1;
    answers(&g, 20, 10000, 6000, &now);
    /* Both threads get all their time, and come forward three times slower. */
    unsigned on_two = 0;
    for (int i = 0; i < 3000; i++)
        on_two += answers(&g, 1, 10000, 30000, &now) == 2;
    assert_in_range(on_two, 1, 90);
    assert_int_equal(answers(&g, 4000, 10000, 6000, &now), 2); /* and is tried again */
}

static void governor_reads_the_run_queue(void **state)
{
    assert_int_equal(cds_governor_runnable("7.48 9.41 8.69 4/183 9205\n"), 4);
    assert_int_equal(cds_governor_runnable(""), 0);
    assert_int_equal(cds_governor_runnable("a b c d"), 0);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(governor_keeps_all_threads_on_a_quiet_machine),
        cmocka_unit_test(governor_lets_a_single_hiccup_pass),
        cmocka_unit_test(governor_goes_down_when_threads_are_pushed_away),
        cmocka_unit_test(governor_never_goes_below_one),
        cmocka_unit_test(governor_leaves_a_core_to_each_thread_of_others),
        cmocka_unit_test(governor_leaves_a_number_of_threads_that_is_slower_than_fewer),
        cmocka_unit_test(governor_reads_the_run_queue),
        cmocka_unit_test(governor_comes_back_when_the_neighbour_is_gone),
        cmocka_unit_test(governor_tries_less_often_while_it_fails),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
