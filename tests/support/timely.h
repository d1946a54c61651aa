/* tests/support/timely.h: limits of time that hold on a machine that is busy with other things; as tests/support/patience.mjs.
 *
 * Threads: any, as stretch.h.
 */
#pragma once

#include "tests/support/stretch.h"
#include "tests/support/test.h"

/** What took ms had to take less than limit_ms, as many times more as a computation takes longer now. */
static inline void test_timely(uint64_t ms, uint64_t limit_ms)
{
    if (ms >= limit_ms)
        assert_in_range(ms, 0, limit_ms * test_stretch_percent() / 100);
}
