/* apps/llmworker/turn.h: inside of the scheduler: whose tokens go into the next step, where not all can.
 *
 * A step has one set of adapters (adapters.h). Requests of the same set go together; sets take turns: one keeps the model while others wait for at
 * most CDS_TURN_STEPS steps or CDS_TURN_ROWS rows, then comes the one that waited longest.
 * Threads: one owner, that of the scheduler.
 */
#pragma once

#include "apps/llmworker/job.h"

enum { CDS_TURN_STEPS = 4, CDS_TURN_ROWS = 64 };

/** Chooses the set of the next step and tells the engine. */
void cds_turn_choose(struct cds_sched *sched);
/** Does the job go into this step? */
bool cds_turn_has(const struct cds_sched *sched, const struct cds_job *job);
/** A step of so many rows was made. */
void cds_turn_made(struct cds_sched *sched, unsigned rows);
