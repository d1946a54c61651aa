/* The scheduler over a model that remembers: each token depends on everything before it, so a wrongly shared, lost or doubled cell changes the
 * text. Its context has cells with tags like the real one and runs full like it. Included once by each test of the scheduler.
 *
 * Threads: one. */
#pragma once

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
    int period, wrong_in; /* it says what it said `period` tokens ago, but for one of `wrong_in` tokens (0: never wrong); 0: what the hash says */
    int32_t said[ROWS_MAX];
    double row_cost, step_cost;
    uint64_t cost, cost_sum; /* of the last step, and of all */
    int64_t cancel_inside;   /* this request is cancelled while the step runs */
    bool asked_dead;
    bool uncut;       /* sequences are forgotten as a whole or not at all, as those of recurrent models */
    int fails_behind; /* the next step fails behind so many rows; 0: it does not */
} * model;
static struct cds_sched *sched;

static inline uint64_t mix(uint64_t state, int32_t token)
{
    state = (state ^ (uint64_t)(uint32_t)token) * 0x9E3779B97F4A7C15ULL;
    return state ^ (state >> 29);
}
static inline int32_t answer(uint64_t state)
{
    return state % 61 == 0 ? 'z' : 'a' + (int32_t)(state % 25);
}

static inline unsigned new_cell(void)
{
    for (unsigned i = 0; i < model->cells; i++)
        if (!model->cell[i].tags)
            return i;
    fail_msg("the context is full");
    return 0;
}
static inline int model_decode(void *engine, const struct cds_row *rows, int count)
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
        if (i + 1 == model->fails_behind) {
            model->fails_behind = 0;
            return -1;
        }
        bool wrong = model->wrong_in && state % (uint64_t)model->wrong_in == 0;
        model->said[i] = model->period && model->filled[s] > model->period && !wrong
                             ? model->cell[model->at[s][model->filled[s] - model->period]].token
                             : answer(state);
    }
    model->steps++;
    model->rows = count;
    model->cost = (uint64_t)(1000 * (model->step_cost + model->row_cost * count));
    model->cost_sum += model->cost;
    return 0;
}
static inline void *model_sampler(void *engine, const struct cds_sampling *sampling)
{
    return malloc(1);
}
static inline int32_t model_sample(void *engine, void *sampler, int row)
{
    return model->said[row];
}
static inline uint64_t model_spent(void *engine)
{
    return model->cost;
}
static inline int model_piece(void *engine, int32_t token, char *buf, int size)
{
    buf[0] = (char)token;
    return 1;
}
static inline bool model_end(void *engine, int32_t token)
{
    return token == 'z';
}
static inline void model_drop(void *engine, int sequence, int from)
{
    if (model->uncut && from > 0)
        return;
    while (model->filled[sequence] > from) {
        unsigned cell = model->at[sequence][--model->filled[sequence]];
        model->used -= --model->cell[cell].tags == 0;
    }
}
static inline void model_share(void *engine, int from, int to, int count)
{
    assert_int_equal(model->filled[to], 0);
    assert_true(model->filled[from] >= count);
    for (int p = 0; p < count; p++) {
        model->at[to][p] = model->at[from][p];
        model->cell[model->at[to][p]].tags++;
    }
    model->filled[to] = count;
}
static struct cds_engine_ops ops = {
    .decode = model_decode,
    .sampler_new = model_sampler,
    .sampler_free = free,
    .sample = model_sample,
    .piece = model_piece,
    .is_end = model_end,
    .drop = model_drop,
    .share = model_share,
    .spent = model_spent,
};

static struct outcome {
    char text[TEXT_MAX];
    uint32_t tokens;
    bool ended;
    int first_step; /* steps when its first token came */
    struct cds_job_report report;
} got[JOBS];
static uint64_t computed_sum;

static inline void on_text(void *user, int64_t id, const char *text, size_t len, uint32_t tokens)
{
    assert_true(strlen(got[id].text) + len < TEXT_MAX);
    strncat(got[id].text, text, len);
    if (got[id].tokens == 0)
        got[id].first_step = model->steps;
    got[id].tokens = tokens;
}
static inline void on_end(void *user, const struct cds_job_report *r)
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
static const struct cds_sched_sink sink = {.on_text = on_text, .on_end = on_end};
static struct cds_sched_limits limits;
static struct cds_speculation speculation; /* of every request that is added */

static inline void make(void)
{
    cds_sched_free(&sched);
    memset(model, 0, sizeof(*model));
    model->cells = limits.cells;
    model->row_cost = 1;
    memset(got, 0, sizeof(got));
    computed_sum = 0;
    assert_int_equal(cds_sched_new(&limits, &ops, NULL, &sink, NULL, &sched, NULL), CDS_OK);
}
static inline int fresh(void **state)
{
    model = calloc(1, sizeof(*model));
    speculation = (struct cds_speculation){0};
    limits = (struct cds_sched_limits){.slots = 8,
                                       .kept = 8,
                                       .cells = 8192,
                                       .prefill_busy = 64,
                                       .prefill_idle = 128,
                                       .drafts = 63,
                                       .jobs = JOBS,
                                       .answer_reserve = 64,
                                       .share = true};
    make();
    return 0;
}
static inline int cleared(void **state)
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
static inline int32_t token_at(const struct ask *a, uint32_t i)
{
    return i < a->shared ? (int32_t)(1000 + i) : (int32_t)(1000000 + (a->like ? a->like : (uint32_t)a->id) * 5000 + i);
}
static inline struct ask plain(int64_t id, uint32_t shared, uint32_t own, uint32_t max_tokens)
{
    return (struct ask){.id = id, .shared = shared, .own = own, .max_tokens = max_tokens};
}
static inline cds_rc add(struct ask ask)
{
    const struct ask *a = &ask;
    struct cds_job_spec spec = {.id = a->id,
                                .token_count = a->shared + a->own,
                                .max_tokens = a->max_tokens,
                                .scope = a->scope ? a->scope : 1,
                                .priority = a->priority,
                                .fork_of = a->fork_of,
                                .speculation = speculation};
    cds_text_reset(&spec.text);
    spec.tokens = calloc(spec.token_count, sizeof(int32_t));
    for (uint32_t i = 0; i < spec.token_count; i++)
        spec.tokens[i] = token_at(a, i);
    cds_rc rc = cds_sched_add(sched, &spec, NULL);
    if (rc != CDS_OK)
        free(spec.tokens);
    return rc;
}
static inline void begin(struct ask a)
{
    assert_int_equal(add(a), CDS_OK);
    cds_sched_start(sched, a.id, a.max_tokens);
}
/** The text the model gives when nobody else is there. */
static inline void assert_text(struct ask ask)
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
static inline void run(void)
{
    for (int i = 0; i < 20000 && cds_sched_runnable(sched); i++) {
        cds_sched_step(sched);
        struct cds_sched_counters c = cds_sched_counters(sched);
        assert_int_equal(c.cells_live + c.cells_kept, model->used);
    }
    assert_false(cds_sched_runnable(sched));
}

/* Texts of 61 letters on the average end by themselves; requests that must grow are chosen by their number. */
static inline int64_t talker(int64_t from, uint32_t prompt, uint32_t tokens)
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

#define T(name) cmocka_unit_test_setup_teardown(name, fresh, cleared)
