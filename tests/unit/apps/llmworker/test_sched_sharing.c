/* Which cells requests have in common, and what is given up when there are too few. */
#include "tests/unit/apps/llmworker/sched_model.h"

static void sharing_computes_a_common_beginning_once_for_eight_requests_that_come_together(void **state)
{
    for (int i = 1; i <= 8; i++)
        begin(plain(i, 1500, 32, 8));
    run();
    for (int i = 1; i <= 8; i++) {
        assert_true(got[i].ended);
        assert_text(plain(i, 1500, 32, 8));
    }
    assert_int_equal(cds_sched_counters(sched).prompt_rows, 1500 + 8 * 32);
    assert_int_equal(computed_sum, 1756);
}

static void sharing_uses_the_beginning_that_a_busy_request_holds(void **state)
{
    begin(plain(1, 2000, 0, 600));
    while (got[1].tokens < 3)
        cds_sched_step(sched);
    uint64_t before = cds_sched_counters(sched).prompt_rows;
    begin(plain(2, 2000, 16, 4));
    while (!got[2].ended)
        cds_sched_step(sched);
    assert_true(cds_sched_counters(sched).prompt_rows - before <= 32);
    assert_int_equal(got[2].report.cached_tokens, 2000);
    assert_text(plain(2, 2000, 16, 4));
}

static void sharing_takes_over_when_the_reader_of_the_beginning_is_cancelled(void **state)
{
    begin(plain(1, 1000, 8, 4));
    begin(plain(2, 1000, 8, 4));
    for (int i = 0; i < 4; i++)
        cds_sched_step(sched);
    assert_int_equal(cds_sched_counters(sched).active, 1); /* the second one waits for the first one's work */
    cds_sched_cancel(sched, 1);
    run();
    assert_int_equal(got[1].report.evaluated_tokens, 512);
    assert_int_equal(got[2].report.cached_tokens, 512);
    assert_int_equal(got[2].report.computed_tokens, 1008 - 512);
    assert_text(plain(2, 1000, 8, 4));
}

static void sharing_waits_for_nothing_of_another_scope(void **state)
{
    begin(plain(1, 1000, 8, 4));
    begin((struct ask){.id = 2, .shared = 1000, .own = 8, .max_tokens = 4, .scope = 2});
    cds_sched_step(sched);
    assert_int_equal(cds_sched_counters(sched).active, 2);
    run();
    assert_int_equal(got[2].report.cached_tokens, 0);
    assert_int_equal(got[1].report.cached_tokens, 0);
}

static void sharing_gives_up_the_tails_used_longest_ago_and_keeps_their_beginning(void **state)
{
    limits.cells = 1024;
    make();
    for (int i = 1; i <= 3; i++) {
        begin(plain(i, 200, 250, 1));
        run();
    }
    begin(plain(4, 0, 200, 1));
    run(); /* takes the tail of the first one, not the common beginning */
    begin(plain(5, 200, 10, 1));
    run();
    assert_int_equal(got[5].report.cached_tokens, 200);
    begin((struct ask){.id = 6, .shared = 200, .own = 250, .max_tokens = 1, .like = 3});
    run();
    assert_true(got[6].report.cached_tokens > 200); /* the youngest tail is still there */
    assert_text((struct ask){.id = 6, .shared = 200, .own = 250, .max_tokens = 1, .like = 3});
}

static void sharing_gives_up_no_more_of_a_tail_than_is_needed(void **state)
{
    limits.cells = 600;
    make();
    begin(plain(1, 0, 400, 1));
    run();
    begin(plain(2, 0, 250, 1));
    run();
    begin((struct ask){.id = 3, .own = 400, .max_tokens = 1, .like = 1});
    run();
    assert_true(got[3].report.cached_tokens > 200 && got[3].report.cached_tokens < 400);
    assert_text((struct ask){.id = 3, .own = 400, .max_tokens = 1, .like = 1});
}

static void forks_compute_nothing_of_their_prompt(void **state)
{
    for (int i = 1; i <= 4; i++)
        begin((struct ask){.id = i, .shared = 300, .max_tokens = 12, .fork_of = i == 1 ? 0 : 1});
    run();
    assert_int_equal(cds_sched_counters(sched).prompt_rows, 300);
    for (int i = 1; i <= 4; i++) {
        assert_text((struct ask){.id = i, .shared = 300, .max_tokens = 12});
        assert_int_equal(got[i].report.cached_tokens, i == 1 ? 0 : 300);
    }
}

static void forks_read_by_themselves_when_their_parent_is_cancelled(void **state)
{
    begin((struct ask){.id = 1, .shared = 300, .max_tokens = 12});
    begin((struct ask){.id = 2, .shared = 300, .max_tokens = 12, .fork_of = 1});
    cds_sched_step(sched);
    cds_sched_cancel(sched, 1);
    run();
    assert_text((struct ask){.id = 2, .shared = 300, .max_tokens = 12});
    assert_int_equal(got[2].report.computed_tokens, 300 - 128);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        T(sharing_computes_a_common_beginning_once_for_eight_requests_that_come_together),
        T(sharing_uses_the_beginning_that_a_busy_request_holds),
        T(sharing_takes_over_when_the_reader_of_the_beginning_is_cancelled),
        T(sharing_waits_for_nothing_of_another_scope),
        T(sharing_gives_up_the_tails_used_longest_ago_and_keeps_their_beginning),
        T(sharing_gives_up_no_more_of_a_tail_than_is_needed),
        T(forks_compute_nothing_of_their_prompt),
        T(forks_read_by_themselves_when_their_parent_is_cancelled),
    };
    return RUN_ALL(tests);
}
