/* The scheduler over a model that remembers: each token depends on everything before it, so a wrongly shared, lost or doubled cell changes the
 * text. Its context has cells with tags like the real one and runs full like it. */
#include "tests/support/test.h"

#include "apps/llmworker/scheduler.h"

enum { CELLS_MAX = 16384, SEQS = CDS_SEQUENCES_MAX, ROWS_MAX = 512, JOBS = 512, TEXT_MAX = 700 };
static struct model {
    unsigned cells; /* of the context */
    struct {
        int32_t token;
        int tags;
    } cell[CELLS_MAX];
    unsigned at[SEQS][CELLS_MAX]; /* cell of each position */
    int filled[SEQS];
    unsigned used;
    uint64_t state[ROWS_MAX]; /* after each row */
    int steps, rows;
    int64_t cancel_inside; /* this request is cancelled while the step runs */
    bool asked_dead;
} * model;
static struct cds_sched *sched;

static uint64_t mix(uint64_t state, int32_t token)
{
    state = (state ^ (uint64_t)(uint32_t)token) * 0x9E3779B97F4A7C15ULL;
    return state ^ (state >> 29);
}
static int32_t answer(uint64_t state)
{
    return state % 61 == 0 ? 'z' : 'a' + (int32_t)(state % 25);
}

static unsigned new_cell(void)
{
    for (unsigned i = 0; i < model->cells; i++)
        if (!model->cell[i].tags)
            return i;
    fail_msg("the context is full");
    return 0;
}
static int model_decode(void *engine, const struct cds_row *rows, int count)
{
    assert_true(count <= ROWS_MAX);
    if (model->used + (unsigned)count > model->cells)
        return 1;
    if (model->cancel_inside) {
        cds_sched_cancel(sched, model->cancel_inside);
        model->cancel_inside = 0;
        model->asked_dead = cds_sched_step_is_dead(sched);
        if (model->asked_dead)
            return 2;
    }
    for (int i = 0; i < count; i++) {
        int s = rows[i].sequence;
        assert_int_equal(rows[i].position, model->filled[s]);
        unsigned cell = new_cell();
        model->cell[cell].token = rows[i].token;
        model->cell[cell].tags = 1;
        model->used++;
        model->at[s][model->filled[s]++] = cell;
        uint64_t state = 7;
        for (int p = 0; rows[i].sample && p < model->filled[s]; p++)
            state = mix(state, model->cell[model->at[s][p]].token);
        model->state[i] = state;
    }
    model->steps++;
    model->rows = count;
    return 0;
}
static void *model_sampler(void *engine, const struct cds_sampling *sampling)
{
    return malloc(1);
}
static int32_t model_sample(void *engine, void *sampler, int row)
{
    return answer(model->state[row]);
}
static int model_piece(void *engine, int32_t token, char *buf, int size)
{
    buf[0] = (char)token;
    return 1;
}
static bool model_end(void *engine, int32_t token)
{
    return token == 'z';
}
static void model_drop(void *engine, int sequence, int from)
{
    while (model->filled[sequence] > from) {
        unsigned cell = model->at[sequence][--model->filled[sequence]];
        model->used -= --model->cell[cell].tags == 0;
    }
}
static void model_share(void *engine, int from, int to, int count)
{
    assert_int_equal(model->filled[to], 0);
    assert_true(model->filled[from] >= count);
    for (int p = 0; p < count; p++) {
        model->at[to][p] = model->at[from][p];
        model->cell[model->at[to][p]].tags++;
    }
    model->filled[to] = count;
}
static const struct cds_engine_ops ops = {
    .decode = model_decode,
    .sampler_new = model_sampler,
    .sampler_free = free,
    .sample = model_sample,
    .piece = model_piece,
    .is_end = model_end,
    .drop = model_drop,
    .share = model_share,
};

static struct outcome {
    char text[TEXT_MAX];
    uint32_t tokens;
    bool ended;
    int first_step; /* steps when its first token came */
    struct cds_job_report report;
} got[JOBS];
static uint64_t computed_sum;

static void on_text(void *user, int64_t id, const char *text, size_t len, uint32_t tokens)
{
    assert_true(strlen(got[id].text) + len < TEXT_MAX);
    strncat(got[id].text, text, len);
    if (got[id].tokens == 0)
        got[id].first_step = model->steps;
    got[id].tokens = tokens;
}
static void on_end(void *user, const struct cds_job_report *r)
{
    assert_false(got[r->id].ended);
    got[r->id].ended = true;
    got[r->id].report = *r;
    computed_sum += r->computed_tokens;
    /* What is billed rests on this, however the request ended. */
    assert_int_equal(r->evaluated_tokens, r->cached_tokens + r->computed_tokens - r->recomputed_tokens);
    if (r->completion_tokens)
        assert_int_equal(r->evaluated_tokens, r->prompt_tokens);
}
static const struct cds_sched_sink sink = {on_text, on_end, NULL};
static struct cds_sched_limits limits;

static void make(void)
{
    cds_sched_free(&sched);
    memset(model, 0, sizeof(*model));
    model->cells = limits.cells;
    memset(got, 0, sizeof(got));
    computed_sum = 0;
    assert_int_equal(cds_sched_new(&limits, &ops, NULL, &sink, NULL, &sched, NULL), CDS_OK);
}
static int fresh(void **state)
{
    model = calloc(1, sizeof(*model));
    limits = (struct cds_sched_limits){
        .slots = 8, .kept = 8, .cells = 8192, .prefill_busy = 64, .prefill_idle = 128, .jobs = JOBS, .answer_reserve = 64, .share = true};
    make();
    return 0;
}
static int cleared(void **state)
{
    cds_sched_free(&sched);
    free(model);
    return 0;
}

struct ask {
    int64_t id;
    uint32_t shared, own; /* tokens of the common beginning, and further ones nobody else has */
    uint32_t max_tokens;
    uint64_t scope;
    enum cds_job_class priority;
    int64_t fork_of;
    uint32_t like; /* own tokens of this request instead of its own; 0: its own */
};
static int32_t token_at(const struct ask *a, uint32_t i)
{
    return i < a->shared ? (int32_t)(1000 + i) : (int32_t)(1000000 + (a->like ? a->like : (uint32_t)a->id) * 5000 + i);
}
static struct ask plain(int64_t id, uint32_t shared, uint32_t own, uint32_t max_tokens)
{
    return (struct ask){.id = id, .shared = shared, .own = own, .max_tokens = max_tokens};
}
static cds_rc add(struct ask ask)
{
    const struct ask *a = &ask;
    struct cds_job_spec spec = {.id = a->id,
                                .token_count = a->shared + a->own,
                                .max_tokens = a->max_tokens,
                                .scope = a->scope ? a->scope : 1,
                                .priority = a->priority,
                                .fork_of = a->fork_of};
    cds_text_reset(&spec.text);
    spec.tokens = calloc(spec.token_count, sizeof(int32_t));
    for (uint32_t i = 0; i < spec.token_count; i++)
        spec.tokens[i] = token_at(a, i);
    cds_rc rc = cds_sched_add(sched, &spec, NULL);
    if (rc != CDS_OK)
        free(spec.tokens);
    return rc;
}
static void begin(struct ask a)
{
    assert_int_equal(add(a), CDS_OK);
    cds_sched_start(sched, a.id, a.max_tokens);
}
/** The text the model gives when nobody else is there. */
static void assert_text(struct ask ask)
{
    const struct ask *a = &ask;
    char text[TEXT_MAX] = "";
    uint64_t state = 7;
    for (uint32_t i = 0; i < a->shared + a->own; i++)
        state = mix(state, token_at(a, i));
    uint32_t tokens = 0;
    while (tokens < got[a->id].tokens) {
        int32_t next = answer(state);
        tokens++;
        if (next == 'z')
            break;
        text[strlen(text)] = (char)next;
        state = mix(state, next);
    }
    assert_string_equal(got[a->id].text, text);
}
static void run(void)
{
    for (int i = 0; i < 20000 && cds_sched_runnable(sched); i++) {
        cds_sched_step(sched);
        struct cds_sched_counters c = cds_sched_counters(sched);
        assert_int_equal(c.cells_live + c.cells_kept, model->used);
    }
    assert_false(cds_sched_runnable(sched));
}

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

/* Texts of 61 letters on the average end by themselves; requests that must grow are chosen by their number. */
static int64_t talker(int64_t from, uint32_t prompt, uint32_t tokens)
{
    for (int64_t id = from;; id++) {
        struct ask a = plain(id, 0, prompt, tokens);
        uint64_t state = 7;
        for (uint32_t i = 0; i < prompt; i++)
            state = mix(state, token_at(&a, i));
        uint32_t n = 0;
        for (int32_t next; n < tokens && (next = answer(state)) != 'z'; n++)
            state = mix(state, next);
        if (n == tokens)
            return id;
    }
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

static void cancel_frees_the_capacity_within_one_step_in_200_of_200_tries(void **state)
{
    limits.slots = 32;
    limits.kept = 16;
    limits.cells = 16384;
    unsigned seed = 5, inside = 0, dead = 0;
    for (int try = 0; try < 200; try++) {
        make();
        int count = try % 4 == 0 ? 1 : 32;
        for (int i = 1; i <= count + 2; i++)
            begin(plain(i, 0, i % 3 ? 20 : 700, 300));
        for (int i = try % 7; i > 0; i--)
            cds_sched_step(sched);
        int64_t id = 1 + rand_r(&seed) % (count + 2);
        if (got[id].ended)
            continue;
        uint64_t steps = cds_sched_counters(sched).steps;
        if (try % 2) {
            model->cancel_inside = id;
            cds_sched_step(sched);
            inside++;
            dead += model->asked_dead;
        } else {
            cds_sched_cancel(sched, id);
        }
        assert_true(got[id].ended);
        assert_int_equal(got[id].report.end, CDS_JOB_CANCELLED);
        assert_true(cds_sched_counters(sched).steps - steps <= 1);
        assert_true(cds_sched_counters(sched).cancel_steps <= 1);
        if (!(try % 2)) {
            begin(plain(400, 0, 10, 1));
            for (int i = 0; i < 2 && !got[400].tokens; i++)
                cds_sched_step(sched);
        }
    }
    assert_true(inside >= 90);
}

static void cancel_of_all_requests_of_a_step_gives_the_step_up(void **state)
{
    begin(plain(1, 0, 500, 10));
    cds_sched_step(sched);
    model->cancel_inside = 1;
    cds_sched_step(sched);
    assert_true(model->asked_dead);
    assert_true(got[1].ended);
    assert_int_equal(got[1].report.evaluated_tokens, 128);
    assert_int_equal(cds_sched_counters(sched).aborted_steps, 1);
    assert_int_equal(cds_sched_counters(sched).steps, 1);
    begin((struct ask){.id = 2, .own = 500, .max_tokens = 3, .like = 1});
    run();
    assert_int_equal(got[2].report.cached_tokens, 128);
    assert_text((struct ask){.id = 2, .own = 500, .max_tokens = 3, .like = 1});
}

static void storm_of_everything_keeps_every_text_and_every_count_right(void **state)
{
    unsigned seed = 11;
    for (int round = 0; round < 30; round++) {
        limits.slots = 1 + rand_r(&seed) % 6;
        limits.kept = rand_r(&seed) % 5;
        limits.cells = 300 + rand_r(&seed) % 300;
        limits.answer_reserve = rand_r(&seed) % 3 * 16;
        limits.share = round % 5 != 4;
        make();
        struct ask asks[60];
        for (int i = 1; i < 60; i++) {
            asks[i] = (struct ask){.id = i,
                                   .shared = rand_r(&seed) % 4 * 40,
                                   .own = 1 + rand_r(&seed) % 30,
                                   .max_tokens = 1 + rand_r(&seed) % 90,
                                   .scope = 1 + rand_r(&seed) % 3,
                                   .priority = rand_r(&seed) % 3};
            if (i > 1 && rand_r(&seed) % 6 == 0) {
                asks[i] = asks[i - 1];
                asks[i].id = i;
                asks[i].like = asks[i - 1].like ? asks[i - 1].like : (uint32_t)i - 1;
                asks[i].fork_of = i - 1;
            }
            assert_int_equal(add(asks[i]), CDS_OK);
            cds_sched_start(sched, i, 1 + rand_r(&seed) % 40);
            for (int n = rand_r(&seed) % 6; n > 0; n--) {
                int64_t other = 1 + rand_r(&seed) % i;
                if (rand_r(&seed) % 9 == 0)
                    model->cancel_inside = other;
                else if (rand_r(&seed) % 14 == 0)
                    cds_sched_cancel(sched, other);
                else
                    cds_sched_grant(sched, other, got[other].tokens + 20, false);
                cds_sched_step(sched);
                struct cds_sched_counters c = cds_sched_counters(sched);
                assert_int_equal(c.cells_live + c.cells_kept, model->used);
                model->cancel_inside = 0;
            }
        }
        for (int i = 1; i < 60; i++)
            cds_sched_grant(sched, i, 90, true);
        run();
        for (int i = 1; i < 60; i++) {
            assert_true(got[i].ended);
            assert_int_not_equal(got[i].report.end, CDS_JOB_FAILED);
            assert_text(asks[i]);
        }
        struct cds_sched_counters c = cds_sched_counters(sched);
        assert_int_equal(c.prompt_rows, computed_sum);
        assert_int_equal(c.active + c.waiting + c.cells_live, 0);
    }
}

#define T(name) cmocka_unit_test_setup_teardown(name, fresh, cleared)
int main(void)
{
    const struct CMUnitTest tests[] = {
        T(sharing_computes_a_common_beginning_once_for_eight_requests_that_come_together),
        T(sharing_uses_the_beginning_that_a_busy_request_holds),
        T(sharing_takes_over_when_the_reader_of_the_beginning_is_cancelled),
        T(sharing_waits_for_nothing_of_another_scope),
        T(sharing_gives_up_the_tails_used_longest_ago_and_keeps_their_beginning),
        T(sharing_gives_up_no_more_of_a_tail_than_is_needed),
        T(prefill_lets_no_answer_wait_for_more_than_its_share),
        T(prefill_lets_a_short_prompt_pass_one_of_3800_tokens),
        T(prefill_lets_no_stream_of_short_prompts_starve_a_long_one),
        T(fifo_is_what_the_order_is_measured_against),
        T(forks_compute_nothing_of_their_prompt),
        T(forks_read_by_themselves_when_their_parent_is_cancelled),
        T(full_context_puts_the_newest_request_back_and_fails_none),
        T(full_context_fails_only_what_can_never_fit),
        T(keys_share_the_sequences_so_that_one_request_does_not_wait_for_a_hundred),
        T(classes_take_the_place_of_lower_ones),
        T(cancel_frees_the_capacity_within_one_step_in_200_of_200_tries),
        T(cancel_of_all_requests_of_a_step_gives_the_step_up),
        T(storm_of_everything_keeps_every_text_and_every_count_right),
    };
    return RUN_ALL(tests);
}
