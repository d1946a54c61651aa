#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "apps/llmworker/scheduler.h"

/* A model that continues every sequence with the next letter: after 'c' comes 'd'; 'z' is the end. It checks what a real one demands:
 * positions without gaps, cells within the context. */
enum { CELLS = 256, SEQS = 4, END_TOKEN = 'z' };
static struct fake {
    int filled[CDS_SLOTS_MAX]; /* positions per sequence */
    int rows, prompt_rows, generating, steps, most_rows, shares;
    int fail_next;
    int32_t last[256]; /* token of each row */
} fake;

static int fake_decode(void *engine, const struct cds_row *rows, int count)
{
    if (fake.fail_next) {
        int rc = fake.fail_next;
        fake.fail_next = 0;
        return rc;
    }
    fake.steps++;
    fake.rows = count;
    fake.generating = 0;
    for (int i = 0; i < count; i++) {
        assert_int_equal(rows[i].position, fake.filled[rows[i].sequence]);
        fake.filled[rows[i].sequence]++;
        fake.last[i] = rows[i].token;
        fake.generating += rows[i].sample;
    }
    int total = 0;
    for (int i = 0; i < CDS_SLOTS_MAX; i++)
        total += fake.filled[i];
    assert_true(total <= CELLS + CELLS); /* shared cells count twice here */
    if (count > fake.most_rows)
        fake.most_rows = count;
    return 0;
}
static void *fake_sampler(void *engine, const struct cds_sampling *sampling)
{
    return malloc(1);
}
static int32_t fake_sample(void *engine, void *sampler, int row)
{
    return fake.last[row] + 1;
}
static int fake_piece(void *engine, int32_t token, char *buf, int size)
{
    buf[0] = (char)token;
    return 1;
}
static bool fake_end(void *engine, int32_t token)
{
    return token == END_TOKEN;
}
static void fake_drop(void *engine, int sequence, int from)
{
    if (fake.filled[sequence] > from)
        fake.filled[sequence] = from;
}
static void fake_share(void *engine, int from, int to, int count)
{
    assert_true(fake.filled[from] >= count);
    assert_int_equal(fake.filled[to], 0);
    fake.filled[to] = count;
    fake.shares++;
}
static const struct cds_engine_ops ops = {.decode = fake_decode,
                                          .sampler_new = fake_sampler,
                                          .sampler_free = free,
                                          .sample = fake_sample,
                                          .piece = fake_piece,
                                          .is_end = fake_end,
                                          .drop = fake_drop,
                                          .share = fake_share};

/* What came out, per request. */
static struct outcome {
    char text[128];
    uint32_t tokens;
    bool ended;
    struct cds_job_report report;
} got[16];

static void on_text(void *user, int64_t id, const char *text, size_t len, uint32_t tokens)
{
    strncat(got[id].text, text, len);
    got[id].tokens = tokens;
}
static void on_end(void *user, const struct cds_job_report *report)
{
    assert_false(got[report->id].ended);
    got[report->id].ended = true;
    got[report->id].report = *report;
}
static const struct cds_sched_sink sink = {.on_text = on_text, .on_end = on_end};
static struct cds_sched *sched;

static struct cds_sched *make(unsigned slots, unsigned cells)
{
    const struct cds_sched_limits limits = {.slots = slots, .cells = cells, .prefill_busy = 8, .prefill_idle = 16, .jobs = 12, .share = true};
    struct cds_sched *made = NULL;
    assert_int_equal(cds_sched_new(&limits, &ops, NULL, &sink, NULL, &made, NULL), CDS_OK);
    return made;
}
static int fresh(void **state)
{
    memset(&fake, 0, sizeof(fake));
    memset(got, 0, sizeof(got));
    sched = make(SEQS, CELLS);
    return 0;
}
static int cleared(void **state)
{
    cds_sched_free(&sched);
    return 0;
}

static cds_rc add(int64_t id, const char *prompt, uint32_t max_tokens, uint64_t scope, const char *stop)
{
    struct cds_job_spec spec = {.id = id, .token_count = strlen(prompt), .max_tokens = max_tokens, .scope = scope};
    cds_text_reset(&spec.text);
    if (stop)
        assert_int_equal(cds_text_add_stop(&spec.text, stop, strlen(stop)), CDS_OK);
    spec.tokens = calloc(spec.token_count + 1, sizeof(int32_t));
    for (size_t i = 0; i < spec.token_count; i++)
        spec.tokens[i] = prompt[i];
    cds_rc rc = cds_sched_add(sched, &spec, NULL);
    if (rc != CDS_OK)
        free(spec.tokens);
    return rc;
}
static void begin(int64_t id, const char *prompt, uint32_t max_tokens)
{
    assert_int_equal(add(id, prompt, max_tokens, 1, NULL), CDS_OK);
    cds_sched_start(sched, id, max_tokens);
}
static void run(void)
{
    for (int i = 0; i < 500 && cds_sched_runnable(sched); i++)
        cds_sched_step(sched);
    assert_false(cds_sched_runnable(sched));
}

static void scheduler_generates_until_max_tokens(void **state)
{
    begin(1, "abc", 4);
    run();
    assert_string_equal(got[1].text, "defg");
    assert_int_equal(got[1].report.end, CDS_JOB_LENGTH);
    assert_int_equal(got[1].report.prompt_tokens, 3);
    assert_int_equal(got[1].report.evaluated_tokens, 3);
    assert_int_equal(got[1].report.completion_tokens, 4);
}

static void scheduler_stops_at_the_end_token_and_counts_it(void **state)
{
    begin(1, "w", 10);
    run();
    assert_string_equal(got[1].text, "xy");
    assert_int_equal(got[1].report.end, CDS_JOB_STOP);
    assert_int_equal(got[1].report.completion_tokens, 3);
}

static void scheduler_stops_at_a_stop_string_over_several_tokens(void **state)
{
    assert_int_equal(add(1, "a", 20, 1, "ef"), CDS_OK);
    cds_sched_start(sched, 1, 20);
    run();
    assert_string_equal(got[1].text, "bcd");
    assert_int_equal(got[1].report.end, CDS_JOB_STOP);
    assert_int_equal(got[1].report.completion_tokens, 5);
}

static void scheduler_computes_nothing_before_start(void **state)
{
    assert_int_equal(add(1, "abc", 4, 1, NULL), CDS_OK);
    assert_false(cds_sched_runnable(sched));
    cds_sched_step(sched);
    assert_int_equal(fake.steps, 0);
}

static void scheduler_pauses_at_the_grant_and_goes_on_with_the_next(void **state)
{
    assert_int_equal(add(1, "a", 10, 1, NULL), CDS_OK);
    cds_sched_start(sched, 1, 3);
    run();
    assert_string_equal(got[1].text, "bcd");
    assert_false(got[1].ended);
    cds_sched_grant(sched, 1, 5, false);
    run();
    assert_string_equal(got[1].text, "bcdef");
    assert_false(got[1].ended);
    cds_sched_grant(sched, 1, 5, true);
    assert_true(got[1].ended);
    assert_int_equal(got[1].report.end, CDS_JOB_LENGTH);
    assert_int_equal(got[1].report.completion_tokens, 5);
}

static void scheduler_puts_running_requests_into_one_batch(void **state)
{
    begin(1, "a", 10);
    begin(2, "b", 10);
    begin(3, "c", 10);
    cds_sched_step(sched);
    cds_sched_step(sched);
    assert_int_equal(fake.rows, 3);
    assert_int_equal(cds_sched_counters(sched).most_generating, 3);
    run();
    assert_string_equal(got[1].text, "bcdefghijk");
    assert_string_equal(got[3].text, "defghijklm");
}

static void scheduler_limits_the_prompt_share_of_a_step_while_others_generate(void **state)
{
    char prompt[101];
    memset(prompt, 'm', 100);
    prompt[100] = '\0';
    begin(1, "a", 24);
    cds_sched_step(sched);
    begin(2, prompt, 2);
    for (int i = 0; i < 5; i++) {
        cds_sched_step(sched);
        assert_true(fake.rows <= 1 + 8);
    }
    assert_int_equal(got[1].tokens, 6);
    run();
    assert_string_equal(got[2].text, "no");
}

static void scheduler_lets_a_short_prompt_pass_a_long_one(void **state)
{
    char prompt[161];
    memset(prompt, 'm', 160);
    prompt[160] = '\0';
    begin(1, prompt, 2);
    cds_sched_step(sched);
    begin(2, "abc", 2);
    cds_sched_step(sched);
    assert_int_equal(got[2].tokens, 1);
    assert_int_equal(got[1].tokens, 0);
    run();
    assert_true(got[1].ended);
}

static void scheduler_cancels_before_the_next_step_and_frees_the_slot(void **state)
{
    begin(1, "a", 20);
    cds_sched_step(sched);
    cds_sched_step(sched);
    int steps = fake.steps;
    cds_sched_cancel(sched, 1);
    assert_true(got[1].ended);
    assert_int_equal(got[1].report.end, CDS_JOB_CANCELLED);
    assert_int_equal(got[1].report.completion_tokens, 2);
    assert_false(cds_sched_runnable(sched));
    assert_int_equal(fake.steps, steps);
    assert_int_equal(cds_sched_counters(sched).active, 0);
}

static void scheduler_reports_the_evaluated_part_of_a_cancelled_prompt(void **state)
{
    char prompt[41];
    memset(prompt, 'm', 40);
    prompt[40] = '\0';
    begin(1, prompt, 2);
    cds_sched_step(sched);
    cds_sched_cancel(sched, 1);
    assert_int_equal(got[1].report.evaluated_tokens, 16);
    assert_int_equal(got[1].report.completion_tokens, 0);
}

static void scheduler_ignores_unknown_requests(void **state)
{
    cds_sched_cancel(sched, 9);
    cds_sched_start(sched, 9, 5);
    cds_sched_grant(sched, 9, 5, true);
    assert_false(got[9].ended);
}

static void scheduler_makes_requests_wait_for_a_slot(void **state)
{
    for (int i = 1; i <= SEQS + 1; i++)
        begin(i, "a", 5);
    cds_sched_step(sched);
    assert_int_equal(cds_sched_counters(sched).active, SEQS);
    assert_int_equal(cds_sched_counters(sched).waiting, 1);
    run();
    for (int i = 1; i <= SEQS + 1; i++)
        assert_string_equal(got[i].text, "bcdef");
}

static void scheduler_makes_requests_wait_for_cells(void **state)
{
    cds_sched_free(&sched);
    sched = make(4, 32);
    begin(1, "aaaaaaaaaa", 10);
    begin(2, "bbbbbbbbbb", 10);
    cds_sched_step(sched);
    assert_int_equal(cds_sched_counters(sched).active, 1);
    run();
    assert_int_equal(got[1].report.completion_tokens, 10);
    assert_int_equal(got[2].report.completion_tokens, 10);
}

static void scheduler_refuses_what_can_never_fit(void **state)
{
    cds_sched_free(&sched);
    sched = make(4, 16);
    assert_int_equal(add(1, "aaaaaaaaaa", 7, 1, NULL), CDS_CONTEXT_LENGTH);
    assert_int_equal(add(1, "aaaaaaaaaa", 6, 1, NULL), CDS_OK);
    assert_int_equal(add(1, "a", 1, 1, NULL), CDS_CONFLICT);
    assert_int_equal(add(2, "", 1, 1, NULL), CDS_BAD_PARAM);
    for (int i = 2; i <= 12; i++)
        assert_int_equal(add(i, "a", 1, 1, NULL), CDS_OK);
    assert_int_equal(add(13, "a", 1, 1, NULL), CDS_BUSY);
}

static void scheduler_reuses_the_beginning_of_an_ended_request(void **state)
{
    begin(1, "hello world a", 2);
    run();
    int before = fake.steps;
    begin(2, "hello world b", 2);
    run();
    assert_int_equal(got[2].report.cached_tokens, 12);
    assert_int_equal(got[2].report.prompt_tokens, 13);
    assert_int_equal(got[2].report.evaluated_tokens, 13);
    assert_int_equal(fake.steps - before, 2);
    assert_string_equal(got[2].text, "cd");
}

static void scheduler_shares_the_beginning_of_a_running_request(void **state)
{
    begin(1, "hello world a", 20);
    cds_sched_step(sched);
    begin(2, "hello world b", 2);
    run();
    assert_int_equal(fake.shares, 1);
    assert_int_equal(got[2].report.cached_tokens, 12);
    assert_string_equal(got[2].text, "cd");
}

static void scheduler_shares_nothing_between_scopes(void **state)
{
    begin(1, "hello world a", 2);
    run();
    assert_int_equal(add(2, "hello world a", 2, 2, NULL), CDS_OK);
    cds_sched_start(sched, 2, 2);
    run();
    assert_int_equal(got[2].report.cached_tokens, 0);
}

static void scheduler_fails_only_the_newest_request_when_the_model_fails(void **state)
{
    begin(1, "a", 6);
    cds_sched_step(sched);
    begin(2, "b", 6);
    fake.fail_next = -3;
    run();
    assert_int_equal(got[2].report.end, CDS_JOB_FAILED);
    assert_int_equal(got[1].report.end, CDS_JOB_LENGTH);
    assert_string_equal(got[1].text, "bcdefg");
}

static void scheduler_gives_up_kept_cells_before_requests(void **state)
{
    begin(1, "a", 2);
    run();
    begin(2, "x", 1);
    fake.fail_next = 1;
    run();
    assert_int_equal(got[2].report.end, CDS_JOB_LENGTH);
    assert_string_equal(got[2].text, "y");
}

static void scheduler_refuses_limits_out_of_range(void **state)
{
    struct cds_sched *none = NULL;
    const struct cds_sched_limits limits = {.slots = CDS_SLOTS_MAX + 1, .cells = 10, .prefill_busy = 1, .prefill_idle = 1, .jobs = 1};
    assert_int_equal(cds_sched_new(&limits, &ops, NULL, &sink, NULL, &none, NULL), CDS_BAD_PARAM);
    assert_null(none);
}

#define T(name) cmocka_unit_test_setup_teardown(name, fresh, cleared)
int main(void)
{
    const struct CMUnitTest tests[] = {
        T(scheduler_generates_until_max_tokens),
        T(scheduler_stops_at_the_end_token_and_counts_it),
        T(scheduler_stops_at_a_stop_string_over_several_tokens),
        T(scheduler_computes_nothing_before_start),
        T(scheduler_pauses_at_the_grant_and_goes_on_with_the_next),
        T(scheduler_puts_running_requests_into_one_batch),
        T(scheduler_limits_the_prompt_share_of_a_step_while_others_generate),
        T(scheduler_lets_a_short_prompt_pass_a_long_one),
        T(scheduler_cancels_before_the_next_step_and_frees_the_slot),
        T(scheduler_reports_the_evaluated_part_of_a_cancelled_prompt),
        T(scheduler_ignores_unknown_requests),
        T(scheduler_makes_requests_wait_for_a_slot),
        T(scheduler_makes_requests_wait_for_cells),
        T(scheduler_refuses_what_can_never_fit),
        T(scheduler_reuses_the_beginning_of_an_ended_request),
        T(scheduler_shares_the_beginning_of_a_running_request),
        T(scheduler_shares_nothing_between_scopes),
        T(scheduler_fails_only_the_newest_request_when_the_model_fails),
        T(scheduler_gives_up_kept_cells_before_requests),
        T(scheduler_refuses_limits_out_of_range),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
