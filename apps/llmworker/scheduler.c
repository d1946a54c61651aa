#include "apps/llmworker/scheduler.h"

#include <stdlib.h>
#include <string.h>

#include "apps/llmworker/job.h"

cds_rc cds_sched_new(const struct cds_sched_limits *limits, const struct cds_engine_ops *ops, void *engine, const struct cds_sched_sink *sink,
                     void *user, struct cds_sched **ret, struct cds_err *reterr)
{
    if (limits->slots < 1 || limits->slots > CDS_SLOTS_MAX || limits->jobs < 1 || limits->jobs > CDS_JOBS_MAX || limits->prefill_busy < 1 ||
        limits->prefill_idle < limits->prefill_busy || limits->cells < 1)
        return cds_fail(reterr, CDS_BAD_PARAM, __func__, "The limits of the scheduler are out of range.");
    CDS_CLEANUP(cds_sched_free) struct cds_sched *sched = calloc(1, sizeof(*sched));
    if (!sched)
        return cds_fail(reterr, CDS_EXHAUSTED, __func__, "There is not enough memory.");
    sched->limits = *limits;
    sched->ops = ops;
    sched->engine = engine;
    sched->sink = *sink;
    sched->user = user;
    sched->rows = calloc(limits->slots + limits->prefill_idle, sizeof(*sched->rows));
    sched->row_slot = calloc(limits->slots + limits->prefill_idle, sizeof(*sched->row_slot));
    for (unsigned i = 0; i < limits->slots; i++)
        sched->slots[i].tokens = calloc(limits->cells, sizeof(int32_t));
    bool ok = sched->rows && sched->row_slot;
    for (unsigned i = 0; i < limits->slots; i++)
        ok = ok && sched->slots[i].tokens;
    if (!ok)
        // NOLINTNEXTLINE(clang-analyzer-unix.Malloc): freed at its declaration (CDS_CLEANUP)
        return cds_fail(reterr, CDS_EXHAUSTED, __func__, "There is not enough memory for %u sequences.", limits->slots);
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
    for (unsigned i = 0; i < s->limits.slots; i++)
        free(s->slots[i].tokens);
    free(s->rows);
    free(s->row_slot);
    free(s);
    *sched = NULL;
}

/** One row for every request that generates. */
static unsigned add_generating(struct cds_sched *sched, unsigned rows)
{
    for (unsigned i = 0; i < sched->limits.slots; i++) {
        struct cds_slot *slot = &sched->slots[i];
        if (!slot->job || slot->job->state != CDS_JOB_GENERATING)
            continue;
        sched->rows[rows] =
            (struct cds_row){.token = slot->job->next_token, .position = (int32_t)slot->filled, .sequence = (int32_t)i, .sample = true};
        sched->row_slot[rows++] = i;
    }
    return rows;
}

static unsigned remaining(const struct cds_job *job)
{
    return (unsigned)(job->token_count - job->slot->filled - job->planned);
}

/** The prompt that comes next: the one that arrived first, or the one with the least left. */
static struct cds_job *pick_prompt(struct cds_sched *sched, bool oldest)
{
    struct cds_job *best = NULL;
    for (unsigned i = 0; i < sched->limits.slots; i++) {
        struct cds_job *job = sched->slots[i].job;
        if (!job || job->state != CDS_JOB_READING || remaining(job) == 0)
            continue;
        if (!best || (oldest ? job->order < best->order : remaining(job) < remaining(best)))
            best = job;
    }
    return best;
}

static unsigned add_piece(struct cds_sched *sched, struct cds_job *job, unsigned most, unsigned rows)
{
    unsigned count = remaining(job) < most ? remaining(job) : most;
    for (unsigned i = 0; i < count; i++) {
        size_t at = job->slot->filled + job->planned;
        sched->rows[rows] = (struct cds_row){
            .token = job->tokens[at], .position = (int32_t)at, .sequence = (int32_t)(job->slot - sched->slots), .sample = at + 1 == job->token_count};
        sched->row_slot[rows++] = (unsigned)(job->slot - sched->slots);
        job->planned++;
    }
    return rows;
}

/** Pieces of prompts: a quarter of the share to the oldest, so that nobody starves, the rest to the shortest. */
static unsigned add_prompts(struct cds_sched *sched, unsigned rows)
{
    unsigned share = rows ? sched->limits.prefill_busy : sched->limits.prefill_idle;
    unsigned end = rows + share;
    struct cds_job *oldest = pick_prompt(sched, true);
    if (oldest)
        rows = add_piece(sched, oldest, share < 4 ? 1 : share / 4, rows);
    for (struct cds_job *job; rows < end && (job = pick_prompt(sched, false)) != NULL;)
        rows = add_piece(sched, job, end - rows, rows);
    return rows;
}

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
    job->generated++;
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
    else
        return false;
    return true;
}

/** After a batch: what was evaluated counts, and rows with logits give the next token. */
static void take_results(struct cds_sched *sched, unsigned rows)
{
    for (unsigned i = 0; i < rows; i++) {
        struct cds_slot *slot = &sched->slots[sched->row_slot[i]];
        struct cds_job *job = slot->job;
        slot->tokens[slot->filled++] = sched->rows[i].token;
        if (job->planned)
            job->planned--;
        if (!sched->rows[i].sample)
            continue;
        int32_t token = sched->ops->sample(sched->engine, job->sampler, (int)i);
        enum cds_job_end end;
        job->next_token = token;
        if (sched->sink.on_token)
            sched->sink.on_token(sched->user, job->id, token, job->sampler);
        if (take_token(sched, job, token, &end))
            cds_job_end(sched, job, end);
        else
            job->state = job->generated < job->granted ? CDS_JOB_GENERATING : CDS_JOB_PAUSED;
    }
}

/** The model refused the batch: kept cells go first; if that was not it, the newest request does. */
static void recover(struct cds_sched *sched, int rc)
{
    struct cds_job *newest = NULL;
    for (unsigned i = 0; i < sched->limits.slots; i++) {
        struct cds_job *job = sched->slots[i].job;
        if (job)
            job->planned = 0;
        if (job && (!newest || job->order > newest->order))
            newest = job;
    }
    if (cds_slots_evict_all(sched) && rc == 1)
        return;
    if (newest)
        cds_job_end(sched, newest, CDS_JOB_FAILED);
    /* A failed batch may have left part of its rows in the context: every sequence is cut back to what is known. */
    for (unsigned i = 0; i < sched->limits.slots; i++)
        sched->ops->drop(sched->engine, (int)i, (int)sched->slots[i].filled);
}

void cds_sched_step(struct cds_sched *sched)
{
    cds_slots_admit(sched);
    unsigned generating = add_generating(sched, 0);
    unsigned rows = add_prompts(sched, generating);
    if (rows == 0)
        return;
    int rc = sched->ops->decode(sched->engine, sched->rows, (int)rows);
    if (rc != 0) {
        recover(sched, rc);
        return;
    }
    sched->counters.steps++;
    sched->counters.rows += rows;
    sched->counters.prompt_rows += rows - generating;
    if (generating > sched->counters.most_generating)
        sched->counters.most_generating = generating;
    take_results(sched, rows);
    cds_slots_admit(sched);
}

bool cds_sched_runnable(const struct cds_sched *sched)
{
    for (const struct cds_job *job = sched->jobs; job; job = job->next) {
        if (job->state == CDS_JOB_GENERATING || job->state == CDS_JOB_READING)
            return true;
    }
    const struct cds_job *first = cds_slots_first_waiting(sched);
    return first && cds_slots_could_admit(sched, first);
}

struct cds_sched_counters cds_sched_counters(const struct cds_sched *sched)
{
    struct cds_sched_counters counters = sched->counters;
    counters.active = 0;
    counters.waiting = 0;
    for (const struct cds_job *job = sched->jobs; job; job = job->next) {
        counters.active += job->slot != NULL;
        counters.waiting += job->state == CDS_JOB_WAITING;
    }
    return counters;
}
