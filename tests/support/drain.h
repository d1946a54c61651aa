/* tests/support/drain.h: waits until a pool has no work under way, so that what frees itself on the loop has done so.
 *
 * Threads: the loop's. For a pool of one thread, which takes its work in the order it came.
 */
#pragma once

#include <stdbool.h>

#include "lib/base/pool.h"
#include "tests/support/test.h"

static inline void test_drain_run(void *user)
{
    (void)user;
}

static inline void test_drain_done(void *user)
{
    *(bool *)user = true;
}

static inline void test_drain(struct cds_loop *loop, struct cds_pool *pool)
{
    bool done = false;
    assert_int_equal(cds_pool_submit(pool, test_drain_run, test_drain_done, &done), CDS_OK);
    while (!done)
        cds_loop_once(loop, 20);
}
