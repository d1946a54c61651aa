#include "apps/llmworker/turn.h"

/** Has it something to compute? */
static bool wants(const struct cds_job *job)
{
    return job && (job->state == CDS_JOB_GENERATING || (job->state == CDS_JOB_READING && cds_job_filled(job) < job->token_count));
}

bool cds_turn_has(const struct cds_sched *sched, const struct cds_job *job)
{
    return cds_adapter_sets_equal(&sched->turn.adapters, &job->adapters);
}

void cds_turn_choose(struct cds_sched *sched)
{
    struct cds_turn *turn = &sched->turn;
    const struct cds_job *other = NULL;
    bool goes_on = false;
    for (unsigned i = 0; i < sched->slot_count; i++) {
        const struct cds_job *job = sched->slots[i].job;
        if (!wants(job))
            continue;
        if (cds_turn_has(sched, job))
            goes_on = true;
        else if (!other || job->turn_at < other->turn_at)
            other = job;
    }
    if (!other || (goes_on && turn->steps < CDS_TURN_STEPS && turn->rows < CDS_TURN_ROWS))
        return;
    *turn = (struct cds_turn){.adapters = other->adapters};
    sched->counters.turns++;
    if (sched->ops->adapt)
        sched->ops->adapt(sched->engine, &turn->adapters);
}

void cds_turn_made(struct cds_sched *sched, unsigned rows)
{
    sched->turn.steps++;
    sched->turn.rows += rows;
    for (unsigned i = 0; i < sched->slot_count; i++)
        if (sched->slots[i].job && cds_turn_has(sched, sched->slots[i].job))
            sched->slots[i].job->turn_at = sched->counters.steps;
}
