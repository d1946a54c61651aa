#include "apps/llmworker/job.h"

#include <string.h>

/** Does the answer end with this row, the token included? */
static bool ends_with(const struct cds_job *job, const struct cds_end_row *row, int32_t token)
{
    unsigned before = row->count - 1;
    if (row->tokens[before] != token || job->generated < before || job->token_count < before)
        return false;
    return memcmp(row->tokens, job->tokens + job->token_count - before, before * sizeof(*row->tokens)) == 0;
}

/** An end token of the model, or a row of tokens the request named. */
static bool ends(const struct cds_sched *sched, const struct cds_job *job, int32_t token)
{
    for (unsigned i = 0; i < job->end_row_count; i++)
        if (ends_with(job, &job->end_rows[i], token))
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

/** The token that the sampler chooses from a row. @return false: the request ended with it, and job is gone */
static bool next_token(struct cds_sched *sched, struct cds_job *job, unsigned row, int32_t *ret_token)
{
    enum cds_job_end end;
    int32_t token = *ret_token = sched->ops->sample(sched->engine, job->sampler, (int)row);
    if (sched->ops->had_no_choice && sched->ops->had_no_choice(job->sampler)) {
        job->unsampled++;
        sched->counters.unsampled_tokens++;
    }
    if (sched->sink.on_token)
        sched->sink.on_token(sched->user, job->id, token, job->sampler);
    if (take_token(sched, job, token, &end)) {
        cds_job_end(sched, job, end);
        return false;
    }
    cds_job_shift(sched, job);
    job->state = job->generated < job->granted ? cds_job_next_state(job) : CDS_JOB_PAUSED;
    if (job->speculation.lookup)
        cds_lookup_feed(&job->lookup, job->tokens, job->token_count);
    return true;
}

/** The prompt of a request is read: those that fork off begin here, each with its own draw from the same logits. */
static void begin_forks(struct cds_sched *sched, struct cds_job *parent, unsigned row)
{
    for (struct cds_job *job = sched->jobs, *next; job; job = next) {
        next = job->next;
        if (job->fork_of != parent->id || job->state != CDS_JOB_WAITING || job->cancelled)
            continue;
        job->fork_of = 0;
        int32_t token;
        if (cds_slots_fork(sched, parent, job))
            (void)next_token(sched, job, row, &token);
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

/** A guess that came true: its row stands, like one that was asked for. */
static void keep_guess(struct cds_sched *sched, struct cds_job *job, int32_t token)
{
    cds_branch_append(&sched->cells, &job->slot->branch, token);
    job->reached = job->slot->branch.filled;
    job->validated++;
    job->refuted--;
    if (job->draft_by == CDS_DRAFT_GRAMMAR) {
        job->forced++;
        sched->counters.forced_tokens++;
    }
}

/**
 * The rows of one request that give tokens, the first one at `row`: its last token, then its guess. A row behind the first wrong guess was
 * computed for a text that is not there; it is taken out of the context again.
 */
static void take_tokens(struct cds_sched *sched, struct cds_slot *slot, unsigned row)
{
    struct cds_job *job = slot->job;
    if (job->preload && !job->cancelled) {
        if (sched->sink.on_read)
            sched->sink.on_read(sched->user, job->id, (int)(slot - sched->slots), job->tokens, cds_job_filled(job));
        cds_job_end(sched, job, CDS_JOB_STOP);
        return;
    }
    int32_t guess[CDS_DRAFT_MAX], token;
    unsigned guesses = job->draft_count, right = 0;
    memcpy(guess, job->draft, guesses * sizeof(*guess));
    job->draft_count = job->planned = 0;
    job->refuted += guesses; /* until they come true */
    bool goes_on = !job->cancelled;
    while (goes_on) {
        goes_on = next_token(sched, job, row + right, &token) && right < guesses && token == guess[right];
        if (goes_on) {
            keep_guess(sched, job, token);
            right++;
        }
    }
    if (guesses == 0)
        return;
    /* The job may have ended, but nothing has taken its sequence yet. */
    if (right < guesses)
        sched->ops->drop(sched->engine, (int)(slot - sched->slots), (int)slot->branch.filled);
    cds_speculate_judge(sched, slot->job == job ? job : NULL, right, guesses);
}

/** The chance of the token of a prompt that stands behind this row. */
static void tell(struct cds_sched *sched, const struct cds_job *job, unsigned row)
{
    size_t next = (size_t)sched->rows[row].position + 1;
    if (job->cancelled || next >= job->prompt_count || !sched->sink.on_told)
        return;
    sched->ops->tell(sched->engine, job->sampler, (int)row, job->tokens[next]);
    sched->sink.on_told(sched->user, job->id, (uint32_t)next, job->tokens[next], job->sampler);
}

void cds_results_take(struct cds_sched *sched, unsigned generating)
{
    uint64_t before = sched->counters.prompt_rows;
    for (unsigned i = 0; i < sched->row_count; i++) {
        struct cds_slot *slot = &sched->slots[sched->row_slot[i]];
        if ((size_t)sched->rows[i].position < slot->job->token_count)
            count_row(sched, &sched->rows[i], slot);
    }
    for (unsigned i = 0; i < sched->slot_count; i++) {
        const struct cds_job *job = sched->slots[i].job;
        if (job && job->state == CDS_JOB_READING && cds_job_filled(job) + 1 == job->prompt_count)
            cds_checkpoints_take(sched, job);
    }
    uint32_t between = (uint32_t)(sched->counters.prompt_rows - before);
    if (generating && between > sched->counters.most_between)
        sched->counters.most_between = between;
    for (unsigned i = 0; i < sched->row_count; i++) {
        struct cds_slot *slot = &sched->slots[sched->row_slot[i]];
        if (sched->rows[i].tell && slot->job)
            tell(sched, slot->job, i);
        if (!sched->rows[i].sample || !slot->job)
            continue;
        unsigned guesses = slot->job->draft_count;
        if (slot->job->generated == 0 && !slot->job->cancelled)
            begin_forks(sched, slot->job, i);
        take_tokens(sched, slot, i);
        i += guesses;
    }
}
