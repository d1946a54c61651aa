/* sandbox/job_pool.h: jails that are ready before their job is known: every step of confinement done, the project mounted, the interpreter, where
 * there is a preload for it, started.
 *
 * A jail is made ready for the (language, project, access, limits) of a run that just ended, since the next run is most often the same again,
 * and serves one job. So it holds the same walls as a cold one: nothing is mounted or allowed later.
 *
 * Source:  docs/adr/0032-ready-jails.md; option run.pool.
 * Threads: loop thread only.
 */
#pragma once

#include "sandbox/job.h"

enum { JAIL_POOL_MAX = 64, JAIL_POOL_TTL_MS = 600000, JAIL_POOL_PAUSE_MS = 2 };

struct jail_pool;
/** @param size  most jails kept ready, 1..JAIL_POOL_MAX @param ret  owned */
CDS_MUST_USE cds_rc jail_pool_new(struct jail_engine *engine, unsigned size, struct jail_pool **ret, struct cds_err *reterr);
/** Ends the jails that wait. */
void jail_pool_free(struct jail_pool **pool);
/** A ready jail for this job, which is the caller's now; NULL: none fits. */
struct jail_job *jail_pool_take(struct jail_pool *pool, const struct cds_job_spec *spec);
/** A job like this ended: another one may come. Makes a jail ready soon. */
void jail_pool_expect(struct jail_pool *pool, const struct cds_job_spec *spec);
/** A jail of the pool ended by itself. */
void jail_pool_lost(struct jail_pool *pool, const struct jail_job *job);
/** Jails that wait. */
size_t jail_pool_ready(const struct jail_pool *pool);
