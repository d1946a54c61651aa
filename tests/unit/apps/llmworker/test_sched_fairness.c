/* Whose tokens go into the next step: long and short prompts, keys, classes, a full context. */
#include "tests/unit/apps/llmworker/sched_model.h"

static void prefill_lets_no_answer_wait_for_more_than_its_share(void **state)
{
    begin(plain(1, 0, 8, 400));
    while (got[1].tokens < 2)
        cds_sched_step(sched);
    begin(plain(2, 0, 3800, 2));
    uint64_t rows = cds_sched_counters(sched).prompt_rows;
    int steps = 0;
    while (!got[2].tokens && ++steps)
        cds_sched_step(sched);
    assert_int_equal(cds_sched_counters(sched).most_between, 64);
    assert_int_equal(cds_sched_counters(sched).prompt_rows - rows, 3800);
    assert_true(steps <= 3800 / 64 + 2); /* and the share is used: the rate of the model, nothing less */
}

static void prefill_lets_a_short_prompt_pass_one_of_3800_tokens(void **state)
{
    begin(plain(1, 0, 3800, 2));
    cds_sched_step(sched);
    begin(plain(2, 0, 16, 2));
    run();
    assert_true(got[2].report.foreign_tokens <= 256);
    assert_true(got[2].first_step < got[1].first_step);
}

static void prefill_lets_no_stream_of_short_prompts_starve_a_long_one(void **state)
{
    begin(plain(1, 0, 1000, 2));
    for (int id = 2; !got[1].tokens && id < 200; id++) {
        begin(plain(id, 0, 120, 1));
        cds_sched_step(sched);
    }
    assert_true(got[1].tokens > 0);
    assert_true(got[1].first_step <= 1000 / 16 + 2);
}

static void fifo_is_what_the_order_is_measured_against(void **state)
{
    limits.fifo = true;
    make();
    begin(plain(1, 0, 3800, 2));
    cds_sched_step(sched);
    begin(plain(2, 0, 16, 2));
    run();
    assert_true(got[2].report.foreign_tokens > 3500);
}

static void full_context_puts_the_newest_request_back_and_fails_none(void **state)
{
    limits.cells = 400;
    make();
    int64_t a = talker(1, 100, 150), b = talker(a + 1, 100, 150), c = talker(b + 1, 100, 20);
    begin(plain(a, 0, 100, 150));
    begin(plain(b, 0, 100, 150));
    for (int i = 0; i < 5; i++)
        cds_sched_step(sched);
    assert_int_equal(cds_sched_counters(sched).active, 2);
    begin(plain(c, 0, 100, 20));
    run();
    assert_true(cds_sched_counters(sched).put_back > 0);
    assert_int_equal(got[a].report.recomputed_tokens, 0); /* the oldest one never pays */
    assert_true(got[b].report.recomputed_tokens > 0);
    for (int i = 0; i < 2; i++) {
        int64_t id = i ? b : a;
        assert_int_equal(got[id].report.end, CDS_JOB_LENGTH);
        assert_int_equal(got[id].report.completion_tokens, 150);
        assert_text(plain(id, 0, 100, 150));
    }
    assert_int_equal(got[c].report.end, CDS_JOB_LENGTH);
    assert_int_equal(cds_sched_counters(sched).recomputed_tokens,
                     got[a].report.recomputed_tokens + got[b].report.recomputed_tokens + got[c].report.recomputed_tokens);
    assert_int_equal(cds_sched_counters(sched).prompt_rows, computed_sum);
}

static void full_context_fails_only_what_can_never_fit(void **state)
{
    limits.cells = 400;
    make();
    assert_int_equal(add(plain(1, 0, 200, 201)), CDS_CONTEXT_LENGTH);
    int64_t id = talker(2, 200, 200);
    begin(plain(id, 0, 200, 200));
    run();
    assert_int_equal(got[id].report.completion_tokens, 200);
}

static void keys_share_the_sequences_so_that_one_request_does_not_wait_for_a_hundred(void **state)
{
    for (int i = 1; i <= 100; i++)
        begin(plain(i, 0, 40, 200));
    for (int i = 0; i < 12; i++)
        cds_sched_step(sched);
    int before = model->steps;
    begin((struct ask){.id = 200, .own = 40, .max_tokens = 20, .scope = 2});
    while (!got[200].tokens)
        cds_sched_step(sched);
    assert_true(got[200].first_step - before <= 2 + 1); /* its own prompt is one step */
    int in_steps = got[200].first_step - before;
    run();
    assert_int_equal(got[200].report.steps_to_first, in_steps);
    for (int i = 1; i <= 100; i++)
        assert_text(plain(i, 0, 40, 200));
}

static void classes_take_the_place_of_lower_ones(void **state)
{
    limits.slots = 2;
    make();
    int64_t a = talker(1, 20, 100), b = talker(a + 1, 20, 100);
    begin((struct ask){.id = a, .own = 20, .max_tokens = 100, .priority = CDS_CLASS_LOW});
    begin((struct ask){.id = b, .own = 20, .max_tokens = 100, .priority = CDS_CLASS_NORMAL});
    for (int i = 0; i < 5; i++)
        cds_sched_step(sched);
    begin((struct ask){.id = 300, .own = 20, .max_tokens = 5, .priority = CDS_CLASS_HIGH});
    cds_sched_step(sched);
    assert_int_equal(got[300].tokens, 1);
    uint32_t tokens = got[a].tokens;
    cds_sched_step(sched);
    assert_int_equal(got[a].tokens, tokens); /* the low one waits */
    assert_true(got[b].tokens > tokens);
    run();
    assert_text((struct ask){.id = a, .own = 20, .max_tokens = 100});
}

static void nobody_is_put_back_where_what_is_computed_twice_would_be_another_answer(void **state)
{
    limits.slots = 1;
    limits.share = false;
    limits.nobody_put_back = true;
    make();
    int64_t a = talker(1, 20, 100);
    begin((struct ask){.id = a, .own = 20, .max_tokens = 100, .priority = CDS_CLASS_LOW});
    for (int i = 0; i < 5; i++)
        cds_sched_step(sched);
    begin((struct ask){.id = 299, .own = 20, .max_tokens = 5});
    begin((struct ask){.id = 300, .own = 20, .max_tokens = 5, .priority = CDS_CLASS_HIGH});
    run();
    assert_int_equal(cds_sched_counters(sched).put_back, 0);
    assert_int_equal(got[a].report.recomputed_tokens, 0);
    assert_true(got[a].first_step + 100 <= got[300].first_step);
    assert_true(got[300].first_step < got[299].first_step); /* those that wait still go by their classes */
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        T(prefill_lets_no_answer_wait_for_more_than_its_share),
        T(prefill_lets_a_short_prompt_pass_one_of_3800_tokens),
        T(prefill_lets_no_stream_of_short_prompts_starve_a_long_one),
        T(fifo_is_what_the_order_is_measured_against),
        T(full_context_puts_the_newest_request_back_and_fails_none),
        T(full_context_fails_only_what_can_never_fit),
        T(keys_share_the_sequences_so_that_one_request_does_not_wait_for_a_hundred),
        T(classes_take_the_place_of_lower_ones),
        cmocka_unit_test_setup_teardown(nobody_is_put_back_where_what_is_computed_twice_would_be_another_answer, fresh, cleared),
    };
    return RUN_ALL(tests);
}
