/* Guesses at the next tokens: the text is the same as without, they cost less than they save, and nothing of a wrong one stays. */
#include "tests/unit/apps/llmworker/sched_model.h"

#include "apps/llmworker/job.h"

enum { PROMPT = 80, ANSWER = 400 };

/** A request whose prompt and answer are letters. */
static void begin_letters(int64_t id, uint32_t max_tokens, uint32_t granted)
{
    struct cds_job_spec spec = {.id = id, .token_count = PROMPT, .max_tokens = max_tokens, .scope = 1, .speculation = speculation};
    cds_text_reset(&spec.text);
    spec.tokens = calloc(PROMPT, sizeof(int32_t));
    unsigned seed = (unsigned)id;
    for (int i = 0; i < PROMPT; i++)
        spec.tokens[i] = 'a' + rand_r(&seed) % 25;
    assert_int_equal(cds_sched_add(sched, &spec, NULL), CDS_OK);
    cds_sched_start(sched, id, granted);
}

struct plan {
    int period, wrong_in;
    double step_cost;
    int requests;
};
static struct outcome without_guesses[JOBS];
/** Runs the same requests with or without guesses. @return what it cost */
static uint64_t answers(struct plan plan, struct cds_speculation how)
{
    make();
    speculation = how;
    model->period = plan.period;
    model->wrong_in = plan.wrong_in;
    model->step_cost = plan.step_cost;
    for (int i = 1; i <= plan.requests; i++)
        begin_letters(i, ANSWER, ANSWER);
    run();
    assert_int_equal(cds_sched_counters(sched).cells_live, 0);
    return model->cost_sum;
}
static uint64_t plainly(struct plan plan)
{
    uint64_t cost = answers(plan, (struct cds_speculation){0});
    memcpy(without_guesses, got, sizeof(without_guesses));
    return cost;
}
static void assert_same(int requests)
{
    uint64_t guessed = 0;
    for (int i = 1; i <= requests; i++) {
        const struct cds_job_report *r = &got[i].report;
        assert_string_equal(got[i].text, without_guesses[i].text);
        assert_int_equal(r->end, without_guesses[i].report.end);
        assert_int_equal(r->completion_tokens, without_guesses[i].report.completion_tokens);
        assert_int_equal(r->evaluated_tokens, without_guesses[i].report.evaluated_tokens);
        assert_int_equal(r->computed_tokens, without_guesses[i].report.computed_tokens);
        assert_true(r->validated_tokens < r->completion_tokens);
        guessed += r->validated_tokens + r->refuted_tokens;
    }
    struct cds_sched_counters c = cds_sched_counters(sched);
    assert_true(guessed >= c.validated_tokens + c.refuted_tokens);
}
static const struct cds_speculation lookup = {.lookup = true}, insisting = {.lookup = true, .always = true};

static void guesses_leave_text_and_counts_as_they_are(void **state)
{
    for (int wrong_in = 0; wrong_in < 40; wrong_in += 3)
        for (int requests = 1; requests <= 4; requests += 3) {
            struct plan plan = {.period = 7 + wrong_in, .wrong_in = wrong_in, .requests = requests};
            (void)plainly(plan);
            int steps = model->steps;
            (void)answers(plan, insisting);
            assert_same(requests);
            assert_true(model->steps <= steps);
        }
}

static void guesses_make_a_repeating_text_cost_less_than_half(void **state)
{
    struct plan plan = {.period = 40, .wrong_in = 60, .step_cost = 8, .requests = 1};
    uint64_t without = plainly(plan), with = answers(plan, lookup);
    assert_same(1);
    assert_true((double)without / (double)with >= 1.8);
    assert_true(got[1].report.validated_tokens > 200);
}

static void guesses_never_cost_more_than_three_percent(void **state)
{
    /* Rows for nothing and rows at full price; texts that never repeat, that break off often, and that nearly do. */
    const struct plan plans[] = {{0, 0, 0, 1},   {0, 0, 8, 1},   {11, 4, 0, 1}, {11, 4, 8, 1},
                                 {30, 25, 0, 1}, {30, 12, 2, 1}, {0, 0, 4, 8},  {9, 6, 1, 8}};
    for (size_t i = 0; i < sizeof(plans) / sizeof(*plans); i++) {
        uint64_t without = plainly(plans[i]), with = answers(plans[i], lookup);
        assert_same(plans[i].requests);
        assert_true((double)with <= (double)without * 1.03 + 32 * 1000 * (plans[i].step_cost + 1) * 0.1);
    }
}

static void guesses_end_when_all_together_have_lost_their_share(void **state)
{
    make();
    speculation = lookup;
    model->period = 40;
    model->step_cost = 8;
    begin_letters(1, ANSWER, ANSWER);
    while (got[1].tokens < 200)
        cds_sched_step(sched);
    uint64_t before = cds_sched_counters(sched).guesses;
    assert_true(before > 0);
    sched->stake.lost = 0.02 * sched->stake.spent + 64 * 1000 * (model->step_cost + model->row_cost);
    run();
    assert_int_equal(cds_sched_counters(sched).guesses, before);
}

static void guesses_are_not_made_where_rows_cost_what_steps_cost(void **state)
{
    (void)answers((struct plan){.period = 20, .requests = 1}, lookup);
    assert_int_equal(cds_sched_counters(sched).guesses, 0);
}

static void guesses_stay_within_what_was_granted(void **state)
{
    (void)plainly((struct plan){.period = 10, .requests = 1});
    make();
    model->period = 10;
    speculation = insisting;
    begin_letters(1, ANSWER, 7);
    for (uint32_t granted = 7; granted < 400; granted += 9) {
        run();
        assert_int_equal(got[1].tokens, granted);
        cds_sched_grant(sched, 1, granted + 9, false);
    }
    cds_sched_grant(sched, 1, ANSWER, true);
    run();
    assert_same(1);
}

static void guesses_wait_while_somebody_reads(void **state)
{
    speculation = insisting;
    model->period = 10;
    begin_letters(1, ANSWER, ANSWER);
    while (got[1].tokens < 20)
        cds_sched_step(sched);
    uint64_t before = cds_sched_counters(sched).guesses;
    assert_true(before > 0);
    begin((struct ask){.id = 2, .own = 1000, .max_tokens = 1});
    cds_sched_step(sched);
    cds_sched_step(sched);
    assert_int_equal(cds_sched_counters(sched).guesses, before);
    assert_int_equal(model->rows, 1 + 64);
    run();
    assert_true(cds_sched_counters(sched).guesses > before);
}

static void guesses_take_no_cell_of_a_running_request(void **state)
{
    limits.cells = 2 * (PROMPT + ANSWER) - 100;
    limits.answer_reserve = 64;
    struct plan plan = {.period = 13, .wrong_in = 20, .requests = 2};
    (void)plainly(plan);
    uint64_t put_back = cds_sched_counters(sched).put_back;
    (void)answers(plan, insisting);
    for (int i = 1; i <= 2; i++)
        assert_string_equal(got[i].text, without_guesses[i].text);
    assert_true(cds_sched_counters(sched).put_back <= put_back + 1);
}

static void guesses_that_are_computed_at_a_cancel_leave_nothing(void **state)
{
    speculation = insisting;
    model->period = 10;
    begin_letters(1, ANSWER, ANSWER);
    begin_letters(2, ANSWER, ANSWER);
    while (cds_sched_counters(sched).guesses < 4)
        cds_sched_step(sched);
    model->cancel_inside = 1;
    cds_sched_step(sched);
    assert_true(got[1].ended && !got[2].ended);
    struct cds_sched_counters c = cds_sched_counters(sched);
    assert_int_equal(c.cells_live + c.cells_kept, model->used);
    run();
}

static unsigned wishes; /* tokens the draft model was asked for last */
static bool knows;      /* it says what the model will say */
static unsigned calls;
static unsigned guess(void *engine, int sequence, const int32_t *tokens, size_t count, float confidence, int32_t *ret, unsigned most)
{
    calls++;
    wishes = most;
    assert_int_equal((int)(confidence * 10), 7);
    for (unsigned i = 0; i < most; i++) {
        size_t from = count + i - (size_t)model->period;
        ret[i] = knows ? from < count ? tokens[from] : ret[from - count] : '?';
    }
    return most;
}
static uint64_t guess_spent(void *engine)
{
    return wishes * 100;
}

static void draft_model_is_asked_as_long_as_it_is_right(void **state)
{
    struct plan plan = {.period = 50, .step_cost = 8, .requests = 1};
    struct cds_speculation how = {.draft = true, .min = 2, .most = 9, .confidence = 0.7f};
    uint64_t without = plainly(plan);
    ops.draft = guess;
    ops.draft_spent = guess_spent;
    calls = 0;
    knows = true;
    (void)answers(plan, how);
    assert_same(1);
    assert_in_range(wishes, 1, 9);
    assert_true(got[1].report.validated_tokens > 250);
    assert_true(model->cost_sum + calls * 900 < without * 2 / 3);
    calls = 0;
    knows = false;
    uint64_t with = answers(plan, how);
    assert_same(1);
    assert_int_equal(got[1].report.validated_tokens, 0);
    assert_true(calls < 40);
    assert_true((double)with <= (double)without * 1.1);
    ops.draft = NULL;
    ops.draft_spent = NULL;
}

static void lookup_finds_the_longest_and_latest_copy(void **state)
{
    const int32_t text[] = {1, 2, 3, 9, 7, 1, 2, 3, 4, 5, 1, 2, 3, 6, 2, 3, 8, 1, 2, 3};
    struct cds_lookup l = {0};
    int32_t draft[4];
    cds_lookup_feed(&l, text, 20);
    assert_int_equal(cds_lookup_draft(&l, text, 20, draft, 2), 2);
    assert_int_equal(draft[0], 6);
    assert_int_equal(draft[1], 2);
    const int32_t turn[] = {4, 5, 6, 4, 5, 6, 4, 5, 6};
    l = (struct cds_lookup){0};
    cds_lookup_feed(&l, turn, 9);
    assert_int_equal(cds_lookup_draft(&l, turn, 9, draft, 4), 4); /* what repeats itself goes on beyond the end */
    assert_memory_equal(draft, turn, 3 * sizeof(*turn));
    assert_int_equal(draft[3], 4);
    const int32_t fresh_text[] = {1, 2, 3, 4, 5, 6};
    l = (struct cds_lookup){0};
    cds_lookup_feed(&l, fresh_text, 6);
    assert_int_equal(cds_lookup_draft(&l, fresh_text, 6, draft, 4), 0);
    assert_true(cds_lookup_chance(&l) == 0);
}

static void lookup_trusts_a_copy_the_longer_it_holds(void **state)
{
    int32_t text[200];
    struct cds_lookup l = {0};
    for (int i = 0; i < 100; i++)
        text[i] = text[i + 100] = i * 7;
    double before = 0;
    for (size_t n = 103; n < 190; n += 20) {
        while (n > 103 && l.run < n - 103)
            cds_lookup_feed(&l, text, 104 + l.run);
        if (n == 103)
            cds_lookup_feed(&l, text, 103);
        assert_true(cds_lookup_chance(&l) > before);
        before = cds_lookup_chance(&l);
    }
    assert_true(before > 0.95);
    text[190] = -1;
    while (l.run && l.run < 87)
        cds_lookup_feed(&l, text, 104 + l.run);
    text[191] = -2;
    cds_lookup_feed(&l, text, 191);
    assert_int_equal(l.run, 0);
    assert_int_equal(l.at, 0);
}

static void cost_lies_on_a_line_between_what_was_seen(void **state)
{
    struct cds_cost c = {0};
    assert_true(cds_cost_of(&c, 5) == 0);
    cds_cost_learn(&c, 1, 100);
    assert_true(cds_cost_of(&c, 8) == 800);
    for (int i = 0; i < 20; i++)
        cds_cost_learn(&c, 16, 400);
    assert_true(cds_cost_of(&c, 1) == 100 && cds_cost_of(&c, 16) == 400);
    assert_in_range((uint64_t)cds_cost_of(&c, 8), 239, 241);
    assert_true(cds_cost_of(&c, 32) == 800);
}

static void cost_decides_how_long_a_draft_pays(void **state)
{
    struct cds_costs flat = {0}, steep = {0};
    for (unsigned rows = 1; rows <= 64; rows *= 2) {
        cds_cost_learn(&flat.answers, rows, 100 + rows);
        cds_cost_learn(&steep.answers, rows, 100 * rows);
    }
    assert_int_equal(cds_costs_draft(&flat, 1, 0.99, 0, 63), 63);
    assert_true(cds_costs_draft(&flat, 1, 0.5, 0, 63) < 16);
    assert_int_equal(cds_costs_draft(&flat, 1, 0.99, 0, 5), 3); /* four rows in all; no more than was asked for */
    assert_int_equal(cds_costs_draft(&flat, 1, 0.9, 200, 63), 0);
    assert_int_equal(cds_costs_draft(&steep, 1, 0.99, 0, 63), 0);
    assert_int_equal(cds_costs_draft(&flat, 1, 0, 0, 63), 0);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup_teardown(guesses_leave_text_and_counts_as_they_are, fresh, cleared),
        cmocka_unit_test_setup_teardown(guesses_make_a_repeating_text_cost_less_than_half, fresh, cleared),
        cmocka_unit_test_setup_teardown(guesses_never_cost_more_than_three_percent, fresh, cleared),
        cmocka_unit_test_setup_teardown(guesses_end_when_all_together_have_lost_their_share, fresh, cleared),
        cmocka_unit_test_setup_teardown(guesses_are_not_made_where_rows_cost_what_steps_cost, fresh, cleared),
        cmocka_unit_test_setup_teardown(guesses_stay_within_what_was_granted, fresh, cleared),
        cmocka_unit_test_setup_teardown(guesses_wait_while_somebody_reads, fresh, cleared),
        cmocka_unit_test_setup_teardown(guesses_take_no_cell_of_a_running_request, fresh, cleared),
        cmocka_unit_test_setup_teardown(guesses_that_are_computed_at_a_cancel_leave_nothing, fresh, cleared),
        cmocka_unit_test_setup_teardown(draft_model_is_asked_as_long_as_it_is_right, fresh, cleared),
        cmocka_unit_test_setup_teardown(lookup_finds_the_longest_and_latest_copy, fresh, cleared),
        cmocka_unit_test_setup_teardown(lookup_trusts_a_copy_the_longer_it_holds, fresh, cleared),
        cmocka_unit_test_setup_teardown(cost_lies_on_a_line_between_what_was_seen, fresh, cleared),
        cmocka_unit_test_setup_teardown(cost_decides_how_long_a_draft_pays, fresh, cleared),
    };
    return RUN_ALL(tests);
}
