/* sandbox/disk_watch.h: looks at what a run writes into its project, because nothing else bounds it: /work is a folder of the host's disk.
 *
 * A run is over its limit when the project is larger than the quota of the file engine (and than it was at the start: a run that tidies up
 * a full project is welcome, up to twice the quota), when a folder hides from the count, or when the host's disk is nearly full.
 * Threads: start and stop on the loop thread; counting on a pool thread with the job's rights. Coarse by nature: what a run writes between
 *          two looks is not stopped.
 */
#pragma once

#include <stdbool.h>

#include "lib/base/pool.h"
#include "sandbox/confine/identity.h"

struct disk_watch;

/** @param over  called on the loop thread, at most once, never after stop. project_fd is borrowed; a copy is kept. */
CDS_MUST_USE cds_rc disk_watch_start(struct cds_loop *loop, struct cds_pool *pool, const struct cds_job_identity *who, int project_fd,
                                     void (*over)(void *user), void *user, struct disk_watch **ret, struct cds_err *reterr);
/** The same for a folder that is no project: over at more than these, whatever it held before. */
CDS_MUST_USE cds_rc disk_watch_start_limits(struct cds_loop *loop, struct cds_pool *pool, const struct cds_job_identity *who, int folder_fd,
                                            uint64_t bytes_max, uint64_t entries_max, void (*over)(void *user), void *user, struct disk_watch **ret,
                                            struct cds_err *reterr);
/** Idempotent on NULL; a look that is under way ends by itself. */
void disk_watch_stop(struct disk_watch **watch);
