#include "apps/llmworker/job.h"

#include <stdlib.h>
#include <string.h>

#include "lib/base/clock.h"

struct cds_job *cds_job_find(const struct cds_sched *sched, int64_t id)
{
    struct cds_job *job = sched->jobs;
    while (job && job->id != id)
        job = job->next;
    return job;
}

void cds_job_remove(struct cds_sched *sched, struct cds_job *job)
{
    struct cds_job **link = &sched->jobs;
    while (*link && *link != job)
        link = &(*link)->next;
    if (*link) {
        *link = job->next;
        sched->job_count--;
    }
    for (struct cds_job *other = sched->jobs; other; other = other->next)
        if (other->follow == job)
            other->follow = NULL;
    sched->ops->sampler_free(job->sampler);
    free(job->tokens);
    free(job->told);
    free(job);
}

void cds_job_end(struct cds_sched *sched, struct cds_job *job, enum cds_job_end end)
{
    uint32_t prompt = job->prompt_told;
    struct cds_job_report report = {
        .id = job->id,
        .end = end,
        .prompt_tokens = prompt,
        .cached_tokens = job->cached,
        .evaluated_tokens = job->reached < prompt && !job->shifted ? job->reached : prompt,
        .computed_tokens = job->computed,
        .recomputed_tokens = job->recomputed,
        .completion_tokens = job->generated,
        .foreign_tokens = job->foreign,
        .steps_to_first = job->steps_to_first,
        .shifted_tokens = job->shifted,
        .forced_tokens = job->forced,
        .validated_tokens = job->validated,
        .refuted_tokens = job->refuted,
        .stop = (int)job->text.hit - 1,
    };
    if (job->slot) {
        if (end == CDS_JOB_CANCELLED) {
            uint32_t steps = job->cancelled ? (uint32_t)(sched->counters.steps - job->cancel_step) : 0;
            uint64_t us = job->cancelled ? (cds_now_ns() - job->cancel_ns) / 1000 : 0;
            if (us > sched->counters.cancel_us)
                sched->counters.cancel_us = us;
            sched->counters.cancelled++;
            if (steps > sched->counters.cancel_steps)
                sched->counters.cancel_steps = steps;
        }
        if (end != CDS_JOB_FAILED)
            cds_checkpoints_take(sched, job);
        cds_slots_leave(sched, job, end != CDS_JOB_FAILED);
    }
    cds_job_remove(sched, job);
    sched->sink.on_end(sched->user, &report);
}

bool cds_job_remember(struct cds_job *job, int32_t token)
{
    if (job->token_count == job->token_room) {
        size_t room = job->token_room + job->token_room / 2 + 64;
        int32_t *grown = realloc(job->tokens, room * sizeof(*grown));
        if (!grown)
            return false;
        job->tokens = grown;
        job->token_room = room;
    }
    job->tokens[job->token_count++] = token;
    return true;
}

enum cds_job_state cds_job_next_state(const struct cds_job *job)
{
    if (!job->slot)
        return CDS_JOB_WAITING;
    return cds_job_filled(job) + 1 >= job->token_count ? CDS_JOB_GENERATING : CDS_JOB_READING;
}

void cds_job_shift(struct cds_sched *sched, struct cds_job *job)
{
    if (!job->window || job->token_count < job->window)
        return;
    size_t dropped = (job->token_count - job->keep) / 2;
    memmove(job->tokens + job->keep, job->tokens + job->keep + dropped, (job->token_count - job->keep - dropped) * sizeof(*job->tokens));
    job->token_count -= dropped;
    job->shifted += (uint32_t)dropped;
    /* What is left was evaluated before, but for the newest token, and has to be once more: at other places it is another text. */
    job->reached = (uint32_t)job->token_count - 1;
    if (job->prompt_count > job->reached)
        job->prompt_count = job->reached;
    cds_lookup_forget(&job->lookup);
    cds_slots_shorten(sched, job, job->keep);
}

cds_rc cds_sched_add(struct cds_sched *sched, const struct cds_job_spec *spec, struct cds_err *reterr)
{
    if (spec->token_count == 0 || spec->max_tokens == 0)
        return cds_fail(reterr, CDS_BAD_PARAM, __func__, "The prompt is empty.");
    if (spec->window && (spec->token_count >= spec->window || spec->window > sched->limits.cells || spec->keep >= spec->window / 2))
        return cds_fail(reterr, CDS_CONTEXT_LENGTH, __func__, "The prompt has %zu tokens, of which %u stay, and its window %u.", spec->token_count,
                        spec->keep, spec->window);
    if (!spec->window && (spec->token_count >= sched->limits.cells || spec->max_tokens > sched->limits.cells - spec->token_count))
        return cds_fail(reterr, CDS_CONTEXT_LENGTH, __func__, "The prompt has %zu tokens and asks for %u more, but the model holds %u in all.",
                        spec->token_count, spec->max_tokens, sched->limits.cells);
    if (cds_job_find(sched, spec->id))
        return cds_fail(reterr, CDS_CONFLICT, __func__, "The request number is taken.");
    if (sched->job_count >= sched->limits.jobs)
        return cds_fail(reterr, CDS_BUSY, __func__, "The model process knows %u requests already.", sched->job_count);
    struct cds_job *job = calloc(1, sizeof(*job));
    if (!job)
        return cds_fail(reterr, CDS_EXHAUSTED, __func__, "There is not enough memory for the request.");
    job->sampler = sched->ops->sampler_new(sched->engine, &spec->sampling);
    if (!job->sampler) {
        free(job);
        return cds_fail(reterr, CDS_EXHAUSTED, __func__, "There is not enough memory for the request.");
    }
    job->id = spec->id;
    job->fork_of = spec->fork_of;
    job->order = ++sched->clock;
    job->scope = spec->scope;
    job->key = spec->key ? spec->key : spec->scope;
    job->priority = spec->priority;
    job->tokens = spec->tokens;
    job->token_count = job->token_room = job->prompt_count = spec->token_count;
    job->max_tokens = spec->max_tokens;
    job->told = spec->told;
    while (job->told && job->told_from + 1 < spec->token_count && !job->told[job->told_from])
        job->told_from++;
    job->text = spec->text;
    memcpy(job->end_rows, spec->end_rows, sizeof(job->end_rows));
    job->end_row_count = spec->end_row_count;
    job->preload = spec->preload;
    job->prompt_told = (uint32_t)spec->token_count;
    job->window = spec->window;
    job->keep = spec->keep;
    job->speculation = spec->speculation;
    job->adapters = spec->adapters;
    if (job->speculation.lookup)
        cds_lookup_feed(&job->lookup, job->tokens, job->token_count);
    struct cds_job **link = &sched->jobs;
    while (*link)
        link = &(*link)->next;
    *link = job;
    sched->job_count++;
    return CDS_OK;
}

void cds_sched_start(struct cds_sched *sched, int64_t id, uint32_t granted)
{
    struct cds_job *job = cds_job_find(sched, id);
    if (!job || job->state != CDS_JOB_PREPARED || granted == 0)
        return;
    job->granted = granted;
    job->order = ++sched->clock;
    job->rows_at_start = sched->counters.prompt_rows;
    job->steps_at_start = sched->counters.steps;
    job->state = CDS_JOB_WAITING;
}

void cds_job_after_grant(struct cds_sched *sched, struct cds_job *job)
{
    if (job->state != CDS_JOB_PAUSED)
        return;
    if (job->generated < job->granted) {
        job->state = cds_job_next_state(job);
    } else if (job->last_grant) {
        CDS_CLEANUP(cds_buf_free) struct cds_buf out = cds_buf_init(CDS_TEXT_OUT_MAX);
        cds_text_end(&job->text, &out);
        if (out.len)
            sched->sink.on_text(sched->user, job->id, out.data, out.len, job->generated);
        cds_job_end(sched, job, CDS_JOB_LENGTH);
    }
}

void cds_sched_grant(struct cds_sched *sched, int64_t id, uint32_t granted, bool last)
{
    struct cds_job *job = cds_job_find(sched, id);
    if (!job)
        return;
    if (granted > job->granted)
        job->granted = granted;
    job->last_grant = job->last_grant || last;
    if (sched->computing)
        sched->late = true;
    else
        cds_job_after_grant(sched, job);
}

void cds_sched_cancel(struct cds_sched *sched, int64_t id)
{
    struct cds_job *job = cds_job_find(sched, id);
    if (!job || job->cancelled)
        return;
    if (!sched->computing) {
        cds_job_end(sched, job, CDS_JOB_CANCELLED);
        return;
    }
    job->cancelled = true;
    job->cancel_step = sched->counters.steps;
    job->cancel_ns = cds_now_ns();
    sched->late = true;
}
