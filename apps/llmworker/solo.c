#include "apps/llmworker/solo.h"

cds_rc cds_solo_open(struct cds_solo *solo, struct cds_err *reterr)
{
    if (solo->sched)
        return CDS_OK;
    cds_rc rc = cds_engine_twin(solo->engine, solo->loading, solo->cells, CDS_SOLO_PIECE + 1, &solo->twin, reterr);
    if (rc != CDS_OK)
        return rc;
    struct cds_engine_facts facts;
    cds_engine_facts(solo->twin, &facts);
    const struct cds_sched_limits limits = {
        .slots = 1,
        .cells = facts.cells,
        .prefill_busy = CDS_SOLO_PIECE,
        .prefill_idle = CDS_SOLO_PIECE,
        .jobs = solo->jobs,
        .nobody_put_back = true, /* its tokens would be read again as a prompt, in larger pieces than they were made in */
    };
    cds_engine_watch(solo->twin, solo->look, solo->user);
    rc = cds_sched_new(&limits, &cds_engine_llama, solo->twin, solo->sink, solo->user, &solo->sched, reterr);
    if (rc != CDS_OK)
        cds_engine_close(&solo->twin);
    return rc;
}

void cds_solo_close(struct cds_solo *solo)
{
    cds_sched_free(&solo->sched);
    cds_engine_close(&solo->twin);
}

bool cds_solo_runnable(const struct cds_solo *solo)
{
    return solo->sched && cds_sched_runnable(solo->sched);
}

bool cds_solo_step_is_dead(const struct cds_solo *solo)
{
    return solo->sched && cds_sched_step_is_dead(solo->sched);
}

void cds_solo_step(struct cds_solo *solo)
{
    cds_sched_step(solo->sched);
}
