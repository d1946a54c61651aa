#include "tests/support/test.h"

#include "apps/llmserver/queue.h"

static void push(struct cds_queue *queue, struct cds_queued *entry, const char *key, uint32_t tokens, uint64_t running)
{
    *entry = (struct cds_queued){.key = key, .tokens = tokens, .priority = CDS_QUEUE_NORMAL};
    cds_queue_push(queue, entry, running);
}

static void queue_keeps_the_order_of_one_user(void **state)
{
    struct cds_queue queue = {0};
    struct cds_queued a[3];
    for (int i = 0; i < 3; i++)
        push(&queue, &a[i], "ann", 300, 0);
    for (int i = 0; i < 3; i++)
        assert_ptr_equal(cds_queue_pop(&queue, 0), &a[i]);
    assert_null(cds_queue_pop(&queue, 0));
    assert_int_equal(queue.count, 0);
}

static void queue_lets_a_single_request_pass_a_crowd_of_another_user(void **state)
{
    struct cds_queue queue = {0};
    struct cds_queued crowd[100], single;
    for (int i = 0; i < 100; i++)
        push(&queue, &crowd[i], "ann", 300, 0);
    push(&queue, &single, "bob", 300, 0);
    assert_ptr_equal(cds_queue_pop(&queue, 0), &crowd[0]);
    assert_ptr_equal(cds_queue_pop(&queue, 0), &single);
    assert_ptr_equal(cds_queue_pop(&queue, 0), &crowd[1]);
}

static void queue_counts_what_a_user_has_running(void **state)
{
    struct cds_queue queue = {0};
    struct cds_queued busy, idle;
    push(&queue, &busy, "ann", 300, 1200);
    push(&queue, &idle, "bob", 300, 0);
    assert_ptr_equal(cds_queue_pop(&queue, 0), &idle);
    assert_ptr_equal(cds_queue_pop(&queue, 0), &busy);
}

static void queue_gives_no_credit_for_time_without_requests(void **state)
{
    struct cds_queue queue = {0};
    struct cds_queued old[5], ann[2], bob[2];
    for (int i = 0; i < 5; i++)
        push(&queue, &old[i], "ann", 300, 0);
    for (int i = 0; i < 5; i++)
        cds_queue_pop(&queue, 0);
    for (int i = 0; i < 2; i++)
        push(&queue, &bob[i], "bob", 300, 0);
    for (int i = 0; i < 2; i++)
        push(&queue, &ann[i], "ann", 300, 0);
    assert_ptr_equal(cds_queue_pop(&queue, 0), &bob[0]);
    assert_ptr_equal(cds_queue_pop(&queue, 0), &ann[0]);
}

static void queue_forgets_a_removed_entry(void **state)
{
    struct cds_queue queue = {0};
    struct cds_queued a, b, c;
    push(&queue, &a, "ann", 300, 0);
    push(&queue, &b, "ann", 300, 0);
    push(&queue, &c, "bob", 300, 0);
    cds_queue_remove(&queue, &a);
    cds_queue_remove(&queue, &a);
    assert_false(a.waiting);
    assert_int_equal(queue.count, 2);
    cds_queue_remove(&queue, &c);
    assert_ptr_equal(cds_queue_pop(&queue, 0), &b);
    assert_null(cds_queue_pop(&queue, 0));
}

static void queue_shares_tokens_and_not_requests(void **state)
{
    struct cds_queue queue = {0};
    struct cds_queued big[20], small[80];
    for (int i = 0; i < 20; i++)
        push(&queue, &big[i], "ann", 1600, 0);
    for (int i = 0; i < 80; i++)
        push(&queue, &small[i], "bob", 400, 0);
    uint64_t ann = 0, bob = 0;
    for (int i = 0; i < 50; i++) {
        struct cds_queued *entry = cds_queue_pop(&queue, 0);
        *(entry->key[0] == 'a' ? &ann : &bob) += entry->tokens;
        assert_true(i < 5 || (ann <= bob + 2000 && bob <= ann + 2000));
    }
    assert_true(ann >= 15000 && bob >= 15000);
}

static void queue_serves_higher_classes_first_and_who_waited_long_with_them(void **state)
{
    struct cds_queue queue = {0};
    struct cds_queued low = {.key = "ann", .tokens = 100, .priority = 0}, high = {.key = "bob", .tokens = 100, .priority = 2};
    struct cds_queued late = {.key = "eve", .tokens = 100, .priority = 0}, normal = {.key = "bob", .tokens = 100, .priority = 1, .since_ms = 70000};
    cds_queue_push(&queue, &low, 0);
    cds_queue_push(&queue, &high, 0);
    assert_ptr_equal(cds_queue_pop(&queue, 1000), &high);
    assert_ptr_equal(cds_queue_pop(&queue, 1000), &low);
    cds_queue_push(&queue, &late, 0);
    cds_queue_push(&queue, &normal, 0);
    assert_ptr_equal(cds_queue_pop(&queue, CDS_QUEUE_AGE_MS * 2 + 100), &late);
    assert_ptr_equal(cds_queue_pop(&queue, 70000), &normal);
}

/** Places that were told come true when nothing else happens, whatever the mixture. */
static void queue_tells_the_place_that_comes_true(void **state)
{
    static const char *const keys[] = {"ann", "bob", "eve", "joe"};
    unsigned seed = 3;
    for (int round = 0; round < 200; round++) {
        struct cds_queue queue = {0};
        struct cds_queued entries[24];
        unsigned place[24];
        int count = 1 + rand_r(&seed) % 24;
        for (int i = 0; i < count; i++) {
            entries[i] = (struct cds_queued){.key = keys[rand_r(&seed) % 4], .tokens = 1 + rand_r(&seed) % 900, .priority = rand_r(&seed) % 3};
            cds_queue_push(&queue, &entries[i], rand_r(&seed) % 2 * 500);
        }
        for (int i = rand_r(&seed) % 4; i > 0 && queue.count > 1; i--)
            cds_queue_pop(&queue, 0);
        for (int i = rand_r(&seed) % 4; i > 0 && queue.count > 1; i--)
            cds_queue_remove(&queue, &entries[rand_r(&seed) % count]);
        unsigned left = queue.count, walked = 0;
        for (int i = 0; i < count; i++) {
            place[i] = cds_queue_place(&queue, &entries[i]);
            assert_int_equal(place[i] == 0, !entries[i].waiting);
        }
        for (const struct cds_queued *e = NULL; (e = cds_queue_after(&queue, e)) != NULL;)
            walked++;
        assert_int_equal(walked, left);
        for (unsigned n = 1; n <= left; n++)
            assert_int_equal(place[cds_queue_pop(&queue, 0) - entries], n);
        assert_null(cds_queue_pop(&queue, 0));
    }
}

static void queue_counts_the_entries_of_a_key(void **state)
{
    struct cds_queue queue = {0};
    struct cds_queued a, b, c;
    push(&queue, &a, "ann", 1, 0);
    push(&queue, &b, "ann", 1, 0);
    push(&queue, &c, "bob", 1, 0);
    assert_int_equal(cds_queue_count_of(&queue, "ann"), 2);
    assert_int_equal(cds_queue_count_of(&queue, "eve"), 0);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(queue_keeps_the_order_of_one_user),
        cmocka_unit_test(queue_lets_a_single_request_pass_a_crowd_of_another_user),
        cmocka_unit_test(queue_counts_what_a_user_has_running),
        cmocka_unit_test(queue_gives_no_credit_for_time_without_requests),
        cmocka_unit_test(queue_forgets_a_removed_entry),
        cmocka_unit_test(queue_shares_tokens_and_not_requests),
        cmocka_unit_test(queue_serves_higher_classes_first_and_who_waited_long_with_them),
        cmocka_unit_test(queue_tells_the_place_that_comes_true),
        cmocka_unit_test(queue_counts_the_entries_of_a_key),
    };
    return RUN_ALL(tests);
}
