/* lib/base/pool.h: a small pool of threads for blocking work (bcrypt, fsync), with a bounded queue.
 *
 * Threads: submit from the loop thread; run() on a worker; done() on the loop thread.
 */
#pragma once

#include <stddef.h>

#include "lib/base/err.h"
#include "lib/base/loop.h"

struct cds_pool;
CDS_MUST_USE cds_rc cds_pool_new(struct cds_loop *loop, unsigned threads, size_t queue_max, struct cds_pool **ret_pool, struct cds_err *reterr);
/** Waits for running jobs, drops queued ones without calling done. */
void cds_pool_free(struct cds_pool **pool);
/** @return CDS_OK; CDS_BUSY when queue_max jobs wait already */
CDS_MUST_USE cds_rc cds_pool_submit(struct cds_pool *pool, void (*run)(void *user), void (*done)(void *user), void *user);
