#include "apps/llmworker/job.h"

#include <stdlib.h>
#include <string.h>

static struct cds_job *find(const struct cds_sched *sched, int64_t id)
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
    if (job->slot)
        job->slot->job = NULL;
    sched->ops->sampler_free(job->sampler);
    free(job->tokens);
    free(job);
}

void cds_job_end(struct cds_sched *sched, struct cds_job *job, enum cds_job_end end)
{
    size_t reached = job->slot ? job->slot->filled : 0;
    struct cds_job_report report = {
        .id = job->id,
        .end = end,
        .prompt_tokens = (uint32_t)job->token_count,
        .cached_tokens = job->cached,
        .evaluated_tokens = (uint32_t)(reached < job->token_count ? reached : job->token_count),
        .completion_tokens = job->generated,
    };
    if (job->slot) {
        job->slot->used_at = ++sched->clock;
        job->slot->reserved = 0;
        if (!sched->limits.share || end == CDS_JOB_FAILED) {
            sched->ops->drop(sched->engine, (int)(job->slot - sched->slots), 0);
            job->slot->filled = 0;
        }
    }
    cds_job_remove(sched, job);
    sched->sink.on_end(sched->user, &report);
}

cds_rc cds_sched_add(struct cds_sched *sched, const struct cds_job_spec *spec, struct cds_err *reterr)
{
    if (spec->token_count == 0 || spec->max_tokens == 0)
        return cds_fail(reterr, CDS_BAD_PARAM, __func__, "The prompt is empty.");
    if (spec->token_count >= sched->limits.cells || spec->max_tokens > sched->limits.cells - spec->token_count)
        return cds_fail(reterr, CDS_CONTEXT_LENGTH, __func__, "The prompt has %zu tokens and asks for %u more, but the model holds %u in all.",
                        spec->token_count, spec->max_tokens, sched->limits.cells);
    if (find(sched, spec->id))
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
    job->order = ++sched->clock;
    job->scope = spec->scope;
    job->tokens = spec->tokens;
    job->token_count = spec->token_count;
    job->max_tokens = spec->max_tokens;
    job->text = spec->text;
    memcpy(job->end_tokens, spec->end_tokens, sizeof(job->end_tokens));
    job->end_token_count = spec->end_token_count;
    struct cds_job **link = &sched->jobs;
    while (*link)
        link = &(*link)->next;
    *link = job;
    sched->job_count++;
    return CDS_OK;
}

void cds_sched_start(struct cds_sched *sched, int64_t id, uint32_t granted)
{
    struct cds_job *job = find(sched, id);
    if (!job || job->state != CDS_JOB_PREPARED || granted == 0)
        return;
    job->granted = granted;
    job->order = ++sched->clock;
    job->state = CDS_JOB_WAITING;
}

void cds_sched_grant(struct cds_sched *sched, int64_t id, uint32_t granted, bool last)
{
    struct cds_job *job = find(sched, id);
    if (!job)
        return;
    if (granted > job->granted)
        job->granted = granted;
    job->last_grant = job->last_grant || last;
    if (job->state != CDS_JOB_PAUSED)
        return;
    if (job->generated < job->granted) {
        job->state = CDS_JOB_GENERATING;
    } else if (job->last_grant) {
        CDS_CLEANUP(cds_buf_free) struct cds_buf out = cds_buf_init(CDS_TEXT_OUT_MAX);
        cds_text_end(&job->text, &out);
        if (out.len)
            sched->sink.on_text(sched->user, job->id, out.data, out.len, job->generated);
        cds_job_end(sched, job, CDS_JOB_LENGTH);
    }
}

void cds_sched_cancel(struct cds_sched *sched, int64_t id)
{
    struct cds_job *job = find(sched, id);
    if (job)
        cds_job_end(sched, job, CDS_JOB_CANCELLED);
}
