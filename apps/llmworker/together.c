#include "apps/llmworker/together.h"

#include "apps/llmworker/turn.h"

/** What it had to read itself. */
static uint32_t own(const struct cds_job *job)
{
    return (uint32_t)job->prompt_count - job->cached;
}

static bool may_wait(const struct cds_job *job)
{
    return job->state == CDS_JOB_READING && job->generated == 0 && !job->preload && own(job) <= CDS_TOGETHER_OWN;
}

void cds_together_begin(struct cds_sched *sched)
{
    bool waits = false;
    for (unsigned i = 0; i < sched->slot_count && !waits; i++) {
        const struct cds_job *job = sched->slots[i].job;
        waits = job && may_wait(job) && cds_job_remaining(job) == 1 && own(job) > 1;
    }
    if (!waits)
        sched->together_since = sched->counters.prompt_rows;
}

bool cds_together_waits(const struct cds_sched *sched, const struct cds_job *job)
{
    uint64_t waited = sched->counters.prompt_rows - sched->together_since;
    if (sched->limits.fifo || !may_wait(job) || waited >= CDS_TOGETHER_ROWS || waited >= (uint64_t)own(job) * CDS_TOGETHER_EACH)
        return false;
    for (unsigned i = 0; i < sched->slot_count; i++) {
        const struct cds_job *other = sched->slots[i].job;
        if (!other || other == job || other->state != CDS_JOB_READING || other->priority != job->priority || !cds_turn_has(sched, other))
            continue;
        if (cds_job_remaining(other) <= 1 || cds_job_remaining(other) > 2 * own(job))
            continue;
        if (other->key == job->key || cds_slots_active_of(sched, other->key) <= cds_slots_active_of(sched, job->key))
            return true;
    }
    return false;
}
