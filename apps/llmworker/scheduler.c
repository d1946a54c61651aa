#include "apps/llmworker/scheduler.h"

#include <stdlib.h>
#include <string.h>

#include "apps/llmworker/job.h"
#include "apps/llmworker/together.h"
#include "apps/llmworker/turn.h"
#include "lib/base/clock.h"

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
    unsigned rows = limits->slots + limits->prefill_idle + limits->drafts;
    sched->rows = calloc(rows, sizeof(*sched->rows));
    sched->row_slot = calloc(rows, sizeof(*sched->row_slot));
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
    cds_checkpoints_clear(&s->checkpoints);
    cds_cells_clear(&s->cells);
    free(s->rows);
    free(s->row_slot);
    free(s);
    *sched = NULL;
}

/* --- building a step ----------------------------------------------------------------------------------------------------- */

static bool generates(const struct cds_job *job)
{
    return job && job->state == CDS_JOB_GENERATING;
}

/** Those that go into the next step. */
static unsigned count_generating(const struct cds_sched *sched)
{
    unsigned count = 0;
    for (unsigned i = 0; i < sched->slot_count; i++)
        count += generates(sched->slots[i].job) && cds_turn_has(sched, sched->slots[i].job);
    return count;
}

static bool anybody_generates(const struct cds_sched *sched)
{
    for (unsigned i = 0; i < sched->slot_count; i++)
        if (generates(sched->slots[i].job))
            return true;
    return false;
}

/** The next token of a job that has no cell yet: of its text, and behind its end of the guess at what comes next. */
static unsigned add_row(struct cds_sched *sched, struct cds_job *job, unsigned rows)
{
    size_t at = cds_job_filled(job) + job->planned++;
    unsigned slot = (unsigned)(job->slot - sched->slots);
    int32_t token = at < job->token_count ? job->tokens[at] : job->draft[at - job->token_count];
    sched->rows[rows] = (struct cds_row){.token = token, .position = (int32_t)at, .sequence = (int32_t)slot, .sample = at + 1 >= job->token_count};
    sched->rows[rows].tell = job->told && at + 1 < job->prompt_count && job->told[at];
    sched->row_slot[rows] = slot;
    return rows + 1;
}

/** One row for every request that generates, and its guess behind it. */
static unsigned add_generating(struct cds_sched *sched)
{
    unsigned rows = 0;
    for (unsigned i = 0; i < sched->slot_count; i++) {
        struct cds_job *job = sched->slots[i].job;
        if (!generates(job) || !cds_turn_has(sched, job))
            continue;
        rows = add_row(sched, job, rows);
        for (unsigned k = 0; k < job->draft_count; k++)
            rows = add_row(sched, job, rows);
    }
    return rows;
}

/** What is left until somebody can generate: this job, or one that waits for the beginning it reads. */
static unsigned distance(const struct cds_sched *sched, const struct cds_job *job)
{
    unsigned least = cds_job_remaining(job), done = cds_job_filled(job) + job->planned;
    for (const struct cds_job *other = sched->jobs; other; other = other->next) {
        if (other->follow == job && other->state == CDS_JOB_WAITING && other->follow_until > done && other->token_count - done < least)
            least = (unsigned)(other->token_count - done);
    }
    return least;
}

/** The state before the last token of its prompt is to be kept: that token waits for the next step. */
static bool ends_piece(const struct cds_sched *sched, const struct cds_job *job)
{
    return job->planned && cds_checkpoints_used(sched) && cds_job_filled(job) + job->planned + 1 == job->prompt_count;
}

/** Tokens of its prompt that may go into this step. */
static unsigned readable(const struct cds_sched *sched, const struct cds_job *job)
{
    unsigned rest = cds_job_remaining(job);
    return rest && cds_together_waits(sched, job) ? rest - 1 : rest;
}

/** The prompt that comes next: the one that arrived first, or the one with the least left. */
static struct cds_job *pick_prompt(struct cds_sched *sched, bool oldest)
{
    struct cds_job *best = NULL;
    for (unsigned i = 0; i < sched->slot_count; i++) {
        struct cds_job *job = sched->slots[i].job;
        if (!job || job->state != CDS_JOB_READING || !cds_turn_has(sched, job) || readable(sched, job) == 0 || ends_piece(sched, job))
            continue;
        if (!best || (oldest ? job->order < best->order : distance(sched, job) < distance(sched, best)))
            best = job;
    }
    return best;
}

static unsigned add_piece(struct cds_sched *sched, struct cds_job *job, unsigned most, unsigned rows)
{
    unsigned whole = readable(sched, job) < most ? readable(sched, job) : most;
    for (unsigned count = cds_checkpoints_piece(sched, job, whole); count; count--)
        rows = add_row(sched, job, rows);
    return rows;
}

/** Pieces of prompts: a quarter of the share to the oldest, so that nobody starves, the rest to the shortest. */
static unsigned add_prompts(struct cds_sched *sched, unsigned rows)
{
    unsigned share = anybody_generates(sched) ? sched->limits.prefill_busy : sched->limits.prefill_idle;
    if (rows && sched->ops->beside)
        share = sched->ops->beside(sched->engine, sched->rows, (int)rows, share);
    (void)cds_slots_make_room(sched, rows + share); /* as much as there is */
    if (share > sched->cells.unused_count - rows)
        share = sched->cells.unused_count - rows;
    unsigned end = rows + share;
    cds_together_begin(sched);
    struct cds_job *oldest = pick_prompt(sched, true);
    if (oldest && share)
        rows = add_piece(sched, oldest, share < 4 ? 1 : share / 4, rows);
    for (struct cds_job *job; rows < end && (job = pick_prompt(sched, sched->limits.fifo)) != NULL;)
        rows = add_piece(sched, job, end - rows, rows);
    return rows;
}

/* --- what went otherwise ------------------------------------------------------------------------------------------------- */

/** The engine gave the batch back undone. */
static void recover(struct cds_sched *sched, int rc)
{
    struct cds_job *newest = NULL;
    for (unsigned i = 0; i < sched->slot_count; i++) {
        struct cds_job *job = sched->slots[i].job;
        if (job)
            job->planned = job->draft_count = 0;
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
    for (unsigned i = 0; i < sched->slot_count; i++) {
        struct cds_slot *slot = &sched->slots[i];
        /* A sequence that cannot be cut is as far as the failed batch had come: it is read again from its beginning, and its state is not kept. */
        if (!sched->limits.share && rc != 1) {
            cds_branch_cut(&sched->cells, &slot->branch, 0);
            if (slot->job && (slot->job->state == CDS_JOB_GENERATING || slot->job->state == CDS_JOB_READING))
                slot->job->state = cds_job_next_state(slot->job);
        }
        sched->ops->drop(sched->engine, (int)i, (int)slot->branch.filled);
    }
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
    cds_turn_choose(sched);
    /* Answers grow by one cell each; if there is none left, the newest request waits until there is. */
    while (!cds_slots_make_room(sched, count_generating(sched)) && cds_slots_put_back_newest(sched))
        ;
    unsigned generating = count_generating(sched);
    cds_speculate_plan(sched, generating);
    sched->row_count = add_prompts(sched, add_generating(sched));
    if (sched->row_count == 0) {
        /* Prompts without a cell for their next token: all cells are theirs together, so one has to wait for the others. */
        if (pick_prompt(sched, true))
            (void)cds_slots_put_back_newest(sched);
        return;
    }
    sched->computing = true;
    uint64_t began_ns = cds_now_ns();
    int rc = sched->ops->decode(sched->engine, sched->rows, (int)sched->row_count);
    uint64_t us = (cds_now_ns() - began_ns) / 1000;
    if (us > sched->counters.step_us)
        sched->counters.step_us = us;
    sched->computing = false;
    if (rc == 0) {
        sched->counters.steps++;
        sched->counters.rows += sched->row_count;
        if (generating > sched->counters.most_generating)
            sched->counters.most_generating = generating;
        cds_turn_made(sched, sched->row_count);
        cds_speculate_learn(sched, generating);
        cds_results_take(sched, generating);
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
    counters.checkpoint_bytes = sched->checkpoints.bytes;
    counters.cells_live = sched->cells.live_count;
    counters.cells_kept = sched->cells.count - sched->cells.unused_count - sched->cells.live_count;
    for (const struct cds_job *job = sched->jobs; job; job = job->next)
        counters.waiting += job->state == CDS_JOB_WAITING;
    return counters;
}
