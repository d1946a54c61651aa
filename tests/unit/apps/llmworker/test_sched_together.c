/* Short prompts of equals that come at once: who waits with the last token of its prompt for whom, and for how long. */
#include "tests/unit/apps/llmworker/sched_model.h"

enum { SHORT = 64 };

/** One with more in its spec than the others. Its prompt begins like nobody else's. */
static void begin_with(struct cds_job_spec spec, size_t tokens)
{
    spec.token_count = tokens;
    spec.scope = 1;
    cds_text_reset(&spec.text);
    spec.tokens = calloc(tokens, sizeof(int32_t));
    for (size_t i = 0; i < tokens; i++)
        spec.tokens[i] = (int32_t)(9000000 + spec.id * 1000 + (int64_t)i);
    assert_int_equal(cds_sched_add(sched, &spec, NULL), CDS_OK);
    cds_sched_start(sched, spec.id, spec.max_tokens);
}

static void step_until(int64_t id)
{
    for (int i = 0; i < 1000 && !got[id].tokens; i++)
        cds_sched_step(sched);
    assert_true(got[id].tokens > 0);
}

static void equals_that_come_at_once_are_answered_in_one_step(void **state)
{
    for (int id = 1; id <= 8; id++)
        begin(plain(id, 0, SHORT, 20));
    step_until(1);
    for (int id = 1; id <= 8; id++)
        assert_int_equal(got[id].first_step, 4); /* 8 x 64 tokens in steps of 128 */
    assert_int_equal(cds_sched_counters(sched).prompt_rows, 8 * SHORT);
    run();
    assert_int_equal(cds_sched_counters(sched).most_generating, 8);
    for (int id = 1; id <= 8; id++)
        assert_text(plain(id, 0, SHORT, 20));
}

static void equals_that_come_while_others_are_read_join_them(void **state)
{
    for (int id = 1; id <= 4; id++)
        begin(plain(id, 0, SHORT, 20));
    cds_sched_step(sched);
    for (int id = 5; id <= 8; id++)
        begin(plain(id, 0, SHORT, 20));
    step_until(1);
    for (int id = 1; id <= 8; id++)
        assert_int_equal(got[id].first_step, got[1].first_step);
}

static void equals_keep_a_running_answer_waiting_for_no_more_than_its_share(void **state)
{
    begin(plain(400, 0, 8, 500));
    step_until(400);
    for (int id = 1; id <= 7; id++)
        begin(plain(id, 0, SHORT, 20));
    uint32_t tokens = got[400].tokens;
    int steps = 0;
    while (!got[1].tokens && ++steps)
        cds_sched_step(sched);
    assert_int_equal(cds_sched_counters(sched).most_between, 64);
    assert_true(got[400].ended || got[400].tokens == tokens + (uint32_t)steps); /* one token in each of their steps */
}

static void a_prompt_waits_for_none_that_is_more_than_twice_as_long(void **state)
{
    begin(plain(1, 0, 40, 20));
    begin(plain(2, 0, 300, 20));
    step_until(1);
    assert_int_equal(got[1].first_step, 1);
    assert_int_equal(got[2].tokens, 0);
}

static void a_prompt_of_more_than_two_steps_waits_for_nobody(void **state)
{
    begin(plain(1, 0, 129, 20));
    begin(plain(2, 0, 129, 20));
    begin(plain(3, 0, 129, 20));
    step_until(1);
    assert_int_equal(got[2].tokens + got[3].tokens, 0);
    assert_int_equal(got[1].first_step, 2);
}

static void a_prompt_that_is_there_already_waits_for_nobody(void **state)
{
    begin(plain(1, 60, 4, 1));
    run();
    for (int id = 2; id <= 6; id++)
        begin(plain(id, 0, SHORT, 20));
    int before = model->steps;
    begin((struct ask){.id = 7, .shared = 60, .own = 4, .like = 1, .max_tokens = 20});
    step_until(7);
    assert_int_equal(got[7].first_step, before + 1);
}

static void nobody_waits_for_the_many_of_a_greedy_key(void **state)
{
    for (int id = 1; id <= 6; id++)
        begin(plain(id, 0, SHORT, 20));
    begin((struct ask){.id = 9, .own = SHORT, .max_tokens = 20, .scope = 2});
    step_until(9);
    assert_true(got[9].first_step < got[1].first_step || !got[1].tokens);
    assert_true(got[9].report.foreign_tokens <= 3 * SHORT);
}

static void keys_with_one_request_each_begin_together(void **state)
{
    for (int id = 1; id <= 6; id++)
        begin((struct ask){.id = id, .own = SHORT, .max_tokens = 20, .scope = (uint64_t)id});
    step_until(1);
    for (int id = 1; id <= 6; id++)
        assert_int_equal(got[id].first_step, 3);
}

static void a_higher_class_waits_for_no_lower_one(void **state)
{
    for (int id = 1; id <= 6; id++)
        begin((struct ask){.id = id, .own = SHORT, .max_tokens = 20, .priority = CDS_CLASS_LOW});
    begin((struct ask){.id = 7, .own = 40, .max_tokens = 20, .priority = CDS_CLASS_HIGH});
    step_until(7);
    assert_int_equal(got[7].first_step, 1);
}

static void nobody_waits_for_more_than_2048_tokens_of_others(void **state)
{
    enum { LONGEST = 128, COUNT = 40 };
    limits.slots = COUNT;
    limits.kept = 0;
    make();
    for (int id = 1; id <= COUNT; id++)
        begin(plain(id, 0, LONGEST, 8));
    step_until(1);
    uint64_t read = cds_sched_counters(sched).prompt_rows;
    assert_true(read >= 2048 && read <= 2048 + 3 * LONGEST); /* its own, and up to a step before it began to wait and behind */
    assert_int_equal(got[COUNT].tokens, 0);
    run();
}

static void nobody_waits_for_more_than_32_times_its_own_prompt(void **state)
{
    limits.slots = 64;
    limits.kept = 0;
    make();
    for (int id = 1; id <= 63; id++)
        begin(plain(id, 0, 20, 8));
    begin(plain(64, 0, 10, 8));
    run();
    assert_true(got[64].report.foreign_tokens >= 32 * 10 && got[64].report.foreign_tokens <= 32 * 10 + 2 * 128);
    assert_true(got[64].first_step < got[63].first_step);
}

static void those_that_wait_go_on_when_the_last_of_the_others_is_cancelled(void **state)
{
    begin(plain(1, 0, SHORT, 20));
    begin(plain(2, 0, 127, 20));
    cds_sched_step(sched);
    assert_int_equal(got[1].tokens, 0);
    cds_sched_cancel(sched, 2);
    cds_sched_step(sched);
    assert_int_equal(got[1].tokens, 1);
}

static void those_that_wait_and_a_full_context_hold_up_nobody_for_ever(void **state)
{
    limits.cells = 260;
    limits.answer_reserve = 1;
    make();
    for (int id = 1; id <= 8; id++)
        begin(plain(id, 0, SHORT, 100));
    run();
    for (int id = 1; id <= 8; id++) {
        assert_true(got[id].ended);
        assert_text(plain(id, 0, SHORT, 100));
    }
}

static void prompts_that_are_only_read_wait_for_nobody(void **state)
{
    for (int id = 2; id <= 8; id++)
        begin(plain(id, 0, SHORT, 20));
    begin_with((struct cds_job_spec){.id = 1, .max_tokens = 1, .preload = true}, 40);
    cds_sched_step(sched);
    assert_true(got[1].ended);
}

static void nobody_waits_for_those_of_other_adapters(void **state)
{
    struct cds_adapter_set other = {.count = 1};
    for (int id = 1; id <= 3; id++)
        begin_with((struct cds_job_spec){.id = id, .max_tokens = 20}, SHORT);
    for (int id = 4; id <= 6; id++)
        begin_with((struct cds_job_spec){.id = id, .max_tokens = 20, .adapters = other}, SHORT);
    step_until(1);
    assert_int_equal(got[3].first_step, got[1].first_step);
    assert_int_equal(got[4].tokens, 0);
    run();
    assert_int_equal(got[6].first_step, got[4].first_step);
}

static void who_has_said_something_waits_for_nobody(void **state)
{
    /* One whose window is full several times before it ends: the newer half is read anew, in steps that others come to. */
    struct cds_job_spec talks = {.id = 400, .max_tokens = 150, .window = 120, .keep = 4};
    for (;; talks.id++) {
        make();
        begin_with(talks, 100);
        run();
        if (got[talks.id].report.shifted_tokens > 120)
            break;
    }
    make();
    begin_with(talks, 100);
    unsigned most = 0;
    for (int id = 1; id < 200 && !got[talks.id].ended; id++) {
        begin(plain(id, 0, 100, 1));
        uint32_t before = got[talks.id].tokens;
        unsigned steps = 0;
        while (!got[talks.id].ended && got[talks.id].tokens == before && ++steps)
            cds_sched_step(sched);
        most = steps > most ? steps : most;
    }
    assert_true(got[talks.id].report.shifted_tokens > 0);
    assert_true(most <= 2);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        T(equals_that_come_at_once_are_answered_in_one_step),
        T(equals_that_come_while_others_are_read_join_them),
        T(equals_keep_a_running_answer_waiting_for_no_more_than_its_share),
        T(a_prompt_waits_for_none_that_is_more_than_twice_as_long),
        T(a_prompt_of_more_than_two_steps_waits_for_nobody),
        T(a_prompt_that_is_there_already_waits_for_nobody),
        T(nobody_waits_for_the_many_of_a_greedy_key),
        T(keys_with_one_request_each_begin_together),
        T(a_higher_class_waits_for_no_lower_one),
        T(nobody_waits_for_more_than_2048_tokens_of_others),
        T(nobody_waits_for_more_than_32_times_its_own_prompt),
        T(those_that_wait_go_on_when_the_last_of_the_others_is_cancelled),
        T(those_that_wait_and_a_full_context_hold_up_nobody_for_ever),
        T(prompts_that_are_only_read_wait_for_nobody),
        T(nobody_waits_for_those_of_other_adapters),
        T(who_has_said_something_waits_for_nobody),
    };
    return RUN_ALL(tests);
}
