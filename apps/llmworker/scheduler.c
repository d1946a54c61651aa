#include "apps/llmworker/scheduler.h"

#include <stdlib.h>
#include <string.h>

#include "apps/llmworker/job.h"

cds_rc cds_sched_new(const struct cds_sched_limits *limits, const struct cds_engine_ops *ops, void *engine, const struct cds_sched_sink *sink,
                     void *user, struct cds_sched **ret, struct cds_err *reterr)
{
    if (limits->slots < 1 || limits->slots > CDS_SLOTS_MAX || limits->kept > CDS_SEQUENCES_MAX - limits->slots || limits->jobs < 1 ||
        limits->jobs > CDS_JOBS_MAX || limits->prefill_busy < 1 || limits->prefill_idle < limits->prefill_busy || limits->cells < 1)
        return cds_fail(reterr, CDS_BAD_PARAM, __func__, "The limits of the scheduler are out of range.");
    CDS_CLEANUP(cds_sched_free) struct cds_sched *sched = calloc(1, sizeof(*sched));
    if (!sched)
        return cds_fail(reterr, CDS_EXHAUSTED, __func__, "There is not enough memory.");
    sched->limits = *limits;
    sched->slot_count = limits->slots + limits->kept;
    sched->ops = ops;
    sched->engine = engine;
    sched->sink = *sink;
    sched->user = user;
    sched->rows = calloc(limits->slots + limits->prefill_idle, sizeof(*sched->rows));
    sched->row_slot = calloc(limits->slots + limits->prefill_idle, sizeof(*sched->row_slot));
    cds_rc rc = sched->rows && sched->row_slot ? CDS_OK : cds_fail(reterr, CDS_EXHAUSTED, __func__, "There is not enough memory for one batch.");
    if (rc == CDS_OK)
        rc = cds_cells_init(&sched->cells, limits->cells, reterr);
    for (unsigned i = 0; rc == CDS_OK && i < sched->slot_count; i++)
        rc = cds_branch_init(&sched->cells, &sched->slots[i].branch, reterr);
    if (rc != CDS_OK)
        // NOLINTNEXTLINE(clang-analyzer-unix.Malloc): freed at its declaration (CDS_CLEANUP)
        return rc;
    *ret = sched;
    sched = NULL;
    return CDS_OK;
}

void cds_sched_free(struct cds_sched **sched)
{
    if (!sched || !*sched)
        return;
    struct cds_sched *s = *sched;
    while (s->jobs)
        cds_job_remove(s, s->jobs);
    for (unsigned i = 0; i < s->slot_count; i++)
        cds_branch_clear(&s->slots[i].branch);
    cds_cells_clear(&s->cells);
    free(s->rows);
    free(s->row_slot);
    free(s);
    *sched = NULL;
}

/* --- building a step ----------------------------------------------------------------------------------------------------- */

static unsigned count_generating(const struct cds_sched *sched)
{
    unsigned count = 0;
    for (unsigned i = 0; i < sched->slot_count; i++)
        count += sched->slots[i].job && sched->slots[i].job->state == CDS_JOB_GENERATING;
    return count;
}

static unsigned add_row(struct cds_sched *sched, struct cds_job *job, unsigned rows)
{
    size_t at = cds_job_filled(job) + job->planned++;
    unsigned slot = (unsigned)(job->slot - sched->slots);
    sched->rows[rows] =
        (struct cds_row){.token = job->tokens[at], .position = (int32_t)at, .sequence = (int32_t)slot, .sample = at + 1 == job->token_count};
    sched->row_slot[rows] = slot;
    return rows + 1;
}

/** One row for every request that generates. */
static unsigned add_generating(struct cds_sched *sched)
{
    unsigned rows = 0;
    for (unsigned i = 0; i < sched->slot_count; i++) {
        struct cds_job *job = sched->slots[i].job;
        if (job && job->state == CDS_JOB_GENERATING)
            rows = add_row(sched, job, rows);
    }
    return rows;
}

static unsigned remaining(const struct cds_job *job)
{
    return (unsigned)(job->token_count - cds_job_filled(job) - job->planned);
}

/** What is left until somebody can generate: this job, or one that waits for the beginning it reads. */
static unsigned distance(const struct cds_sched *sched, const struct cds_job *job)
{
    unsigned least = remaining(job), done = cds_job_filled(job) + job->planned;
    for (const struct cds_job *other = sched->jobs; other; other = other->next) {
        if (other->follow == job && other->state == CDS_JOB_WAITING && other->follow_until > done && other->token_count - done < least)
            least = (unsigned)(other->token_count - done);
    }
    return least;
}

/** The prompt that comes next: the one that arrived first, or the one with the least left. */
static struct cds_job *pick_prompt(struct cds_sched *sched, bool oldest)
{
    struct cds_job *best = NULL;
    for (unsigned i = 0; i < sched->slot_count; i++) {
        struct cds_job *job = sched->slots[i].job;
        if (!job || job->state != CDS_JOB_READING || remaining(job) == 0)
            continue;
        if (!best || (oldest ? job->order < best->order : distance(sched, job) < distance(sched, best)))
            best = job;
    }
    return best;
}

static unsigned add_piece(struct cds_sched *sched, struct cds_job *job, unsigned most, unsigned rows)
{
    for (unsigned count = remaining(job) < most ? remaining(job) : most; count; count--)
        rows = add_row(sched, job, rows);
    return rows;
}

/** Pieces of prompts: a quarter of the share to the oldest, so that nobody starves, the rest to the shortest. */
static unsigned add_prompts(struct cds_sched *sched, unsigned rows)
{
    unsigned share = rows ? sched->limits.prefill_busy : sched->limits.prefill_idle;
    (void)cds_slots_make_room(sched, rows + share); /* as much as there is */
    if (share > sched->cells.unused_count - rows)
        share = sched->cells.unused_count - rows;
    unsigned end = rows + share;
    struct cds_job *oldest = pick_prompt(sched, true);
    if (oldest && share)
        rows = add_piece(sched, oldest, share < 4 ? 1 : share / 4, rows);
    for (struct cds_job *job; rows < end && (job = pick_prompt(sched, sched->limits.fifo)) != NULL;)
        rows = add_piece(sched, job, end - rows, rows);
    return rows;
}

/* --- results ------------------------------------------------------------------------------------------------------------- */

/** An end token of the model, or one the request named. */
static bool ends(const struct cds_sched *sched, const struct cds_job *job, int32_t token)
{
    for (unsigned i = 0; i < job->end_token_count; i++)
        if (job->end_tokens[i] == token)
            return true;
    return sched->ops->is_end(sched->engine, token);
}

/** Text of one token goes out; says how the request ends, or that it goes on. */
static bool take_token(struct cds_sched *sched, struct cds_job *job, int32_t token, enum cds_job_end *ret_end)
{
    char piece[512];
    bool ended = ends(sched, job, token);
    bool stopped = false;
    if (job->generated++ == 0) {
        job->foreign = (uint32_t)(sched->counters.prompt_rows - job->rows_at_start - job->computed);
        job->steps_to_first = (uint32_t)(sched->counters.steps - job->steps_at_start);
    }
    CDS_CLEANUP(cds_buf_free) struct cds_buf out = cds_buf_init(CDS_TEXT_OUT_MAX);
    if (!ended) {
        int n = sched->ops->piece(sched->engine, token, piece, sizeof(piece));
        stopped = n > 0 && cds_text_feed(&job->text, piece, (size_t)n, &out);
    }
    bool full = job->generated >= job->max_tokens || (job->last_grant && job->generated >= job->granted);
    if (!stopped && (ended || full))
        cds_text_end(&job->text, &out);
    sched->sink.on_text(sched->user, job->id, out.data ? out.data : "", out.len, job->generated);
    if (ended || stopped)
        *ret_end = CDS_JOB_STOP;
    else if (full)
        *ret_end = CDS_JOB_LENGTH;
    else if (!cds_job_remember(job, token))
        *ret_end = CDS_JOB_FAILED;
    else
        return false;
    return true;
}

static void next_token(struct cds_sched *sched, struct cds_job *job, unsigned row)
{
    enum cds_job_end end;
    int32_t token = sched->ops->sample(sched->engine, job->sampler, (int)row);
    if (sched->sink.on_token)
        sched->sink.on_token(sched->user, job->id, token, job->sampler);
    if (take_token(sched, job, token, &end))
        cds_job_end(sched, job, end);
    else
        job->state = job->generated < job->granted ? CDS_JOB_GENERATING : CDS_JOB_PAUSED;
}

/** The prompt of a request is read: those that fork off begin here, each with its own draw from the same logits. */
static void begin_forks(struct cds_sched *sched, struct cds_job *parent, unsigned row)
{
    for (struct cds_job *job = sched->jobs, *next; job; job = next) {
        next = job->next;
        if (job->fork_of != parent->id || job->state != CDS_JOB_WAITING || job->cancelled)
            continue;
        job->fork_of = 0;
        if (cds_slots_fork(sched, parent, job))
            next_token(sched, job, row);
    }
}

/** A row was evaluated: the token has its cell. */
static void count_row(struct cds_sched *sched, const struct cds_row *row, struct cds_slot *slot)
{
    struct cds_job *job = slot->job;
    uint32_t at = slot->branch.filled;
    cds_branch_append(&sched->cells, &slot->branch, row->token);
    job->planned--;
    if (at < job->reached) {
        job->computed++;
        job->recomputed++;
        sched->counters.recomputed_tokens++;
        sched->counters.prompt_rows++;
        return;
    }
    job->reached = at + 1;
    if (at < job->prompt_count) {
        job->computed++;
        sched->counters.prompt_rows++;
    }
}

/** After a batch: what was evaluated counts, and rows with logits give the next token. */
static void take_results(struct cds_sched *sched, unsigned generating)
{
    uint64_t before = sched->counters.prompt_rows;
    for (unsigned i = 0; i < sched->row_count; i++)
        count_row(sched, &sched->rows[i], &sched->slots[sched->row_slot[i]]);
    uint32_t between = (uint32_t)(sched->counters.prompt_rows - before);
    if (generating && between > sched->counters.most_between)
        sched->counters.most_between = between;
    for (unsigned i = 0; i < sched->row_count; i++) {
        struct cds_job *job = sched->slots[sched->row_slot[i]].job;
        if (!sched->rows[i].sample || job->cancelled)
            continue;
        if (job->generated == 0)
            begin_forks(sched, job, i);
        next_token(sched, job, i);
    }
}

/** The engine gave the batch back undone. */
static void recover(struct cds_sched *sched, int rc)
{
    struct cds_job *newest = NULL;
    for (unsigned i = 0; i < sched->slot_count; i++) {
        struct cds_job *job = sched->slots[i].job;
        if (job)
            job->planned = 0;
        if (job && (!newest || job->order > newest->order))
            newest = job;
    }
    if (rc == 2)
        sched->counters.aborted_steps++; /* as we asked: nobody wants it any more */
    else if (cds_slots_evict_all(sched) && rc == 1)
        return;
    else if (rc == 1 && cds_slots_put_back_newest(sched))
        return;
    else if (newest)
        cds_job_end(sched, newest, CDS_JOB_FAILED);
    /* A failed batch may have left part of its rows in the context: every sequence is cut back to what is known. */
    for (unsigned i = 0; i < sched->slot_count; i++)
        sched->ops->drop(sched->engine, (int)i, (int)sched->slots[i].branch.filled);
}

/** What was asked while the engine computed. */
static void settle_late(struct cds_sched *sched)
{
    if (!sched->late)
        return;
    sched->late = false;
    for (struct cds_job *job = sched->jobs, *next; job; job = next) {
        next = job->next;
        if (job->cancelled)
            cds_job_end(sched, job, CDS_JOB_CANCELLED);
        else
            cds_job_after_grant(sched, job);
    }
}

/* --- one step ------------------------------------------------------------------------------------------------------------ */

void cds_sched_step(struct cds_sched *sched)
{
    cds_slots_admit(sched);
    /* Answers grow by one cell each; if there is none left, the newest request waits until there is. */
    while (!cds_slots_make_room(sched, count_generating(sched)) && cds_slots_put_back_newest(sched))
        ;
    unsigned generating = add_generating(sched);
    sched->row_count = add_prompts(sched, generating);
    if (sched->row_count == 0) {
        /* Prompts without a cell for their next token: all cells are theirs together, so one has to wait for the others. */
        if (pick_prompt(sched, true))
            (void)cds_slots_put_back_newest(sched);
        return;
    }
    sched->computing = true;
    int rc = sched->ops->decode(sched->engine, sched->rows, (int)sched->row_count);
    sched->computing = false;
    if (rc == 0) {
        sched->counters.steps++;
        sched->counters.rows += sched->row_count;
        if (generating > sched->counters.most_generating)
            sched->counters.most_generating = generating;
        take_results(sched, generating);
    } else {
        recover(sched, rc);
    }
    settle_late(sched);
    if (rc == 0)
        cds_slots_admit(sched);
}

bool cds_sched_step_is_dead(const struct cds_sched *sched)
{
    for (unsigned i = 0; sched->computing && i < sched->row_count; i++)
        if (!sched->slots[sched->row_slot[i]].job->cancelled)
            return false;
    return sched->computing;
}

bool cds_sched_runnable(const struct cds_sched *sched)
{
    for (const struct cds_job *job = sched->jobs; job; job = job->next) {
        if (job->state == CDS_JOB_GENERATING || job->state == CDS_JOB_READING)
            return true;
    }
    return cds_slots_could_admit(sched);
}

struct cds_sched_counters cds_sched_counters(const struct cds_sched *sched)
{
    struct cds_sched_counters counters = sched->counters;
    counters.active = sched->active;
    counters.waiting = 0;
    counters.cells_live = sched->cells.live_count;
    counters.cells_kept = sched->cells.count - sched->cells.unused_count - sched->cells.live_count;
    for (const struct cds_job *job = sched->jobs; job; job = job->next)
        counters.waiting += job->state == CDS_JOB_WAITING;
    return counters;
}
