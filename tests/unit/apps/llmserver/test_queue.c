#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>

#include <cmocka.h>

#include "apps/llmserver/queue.h"

static void queue_keeps_the_order_of_one_user(void **state)
{
    struct cds_queue queue = {0};
    struct cds_queued a[3];
    for (int i = 0; i < 3; i++)
        cds_queue_push(&queue, &a[i], "ann", 0);
    for (int i = 0; i < 3; i++)
        assert_ptr_equal(cds_queue_pop(&queue), &a[i]);
    assert_null(cds_queue_pop(&queue));
    assert_int_equal(queue.count, 0);
}

static void queue_lets_a_single_request_pass_a_crowd_of_another_user(void **state)
{
    struct cds_queue queue = {0};
    struct cds_queued crowd[100], single;
    for (int i = 0; i < 100; i++)
        cds_queue_push(&queue, &crowd[i], "ann", 0);
    cds_queue_push(&queue, &single, "bob", 0);
    assert_ptr_equal(cds_queue_pop(&queue), &crowd[0]);
    assert_ptr_equal(cds_queue_pop(&queue), &single);
    assert_ptr_equal(cds_queue_pop(&queue), &crowd[1]);
}

static void queue_counts_what_a_user_has_running(void **state)
{
    struct cds_queue queue = {0};
    struct cds_queued busy, idle;
    cds_queue_push(&queue, &busy, "ann", 4);
    cds_queue_push(&queue, &idle, "bob", 0);
    assert_ptr_equal(cds_queue_pop(&queue), &idle);
    assert_ptr_equal(cds_queue_pop(&queue), &busy);
}

static void queue_gives_no_credit_for_time_without_requests(void **state)
{
    struct cds_queue queue = {0};
    struct cds_queued old[5], ann[2], bob[2];
    for (int i = 0; i < 5; i++)
        cds_queue_push(&queue, &old[i], "ann", 0);
    for (int i = 0; i < 5; i++)
        cds_queue_pop(&queue);
    for (int i = 0; i < 2; i++)
        cds_queue_push(&queue, &bob[i], "bob", 0);
    for (int i = 0; i < 2; i++)
        cds_queue_push(&queue, &ann[i], "ann", 0);
    assert_ptr_equal(cds_queue_pop(&queue), &bob[0]);
    assert_ptr_equal(cds_queue_pop(&queue), &ann[0]);
}

static void queue_forgets_a_removed_entry(void **state)
{
    struct cds_queue queue = {0};
    struct cds_queued a, b;
    cds_queue_push(&queue, &a, "ann", 0);
    cds_queue_push(&queue, &b, "ann", 0);
    cds_queue_remove(&queue, &a);
    cds_queue_remove(&queue, &a);
    assert_false(a.waiting);
    assert_int_equal(queue.count, 1);
    assert_ptr_equal(cds_queue_pop(&queue), &b);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(queue_keeps_the_order_of_one_user),    cmocka_unit_test(queue_lets_a_single_request_pass_a_crowd_of_another_user),
        cmocka_unit_test(queue_counts_what_a_user_has_running), cmocka_unit_test(queue_gives_no_credit_for_time_without_requests),
        cmocka_unit_test(queue_forgets_a_removed_entry),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
