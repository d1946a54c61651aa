/* tests/support/timely.h: limits of time that hold on a machine that is busy with other things; as tests/support/patience.mjs.
 *
 * Threads: any; the burst is measured with the processor time of the calling thread.
 */
#pragma once

#include <stdint.h>
#include <time.h>

#include "tests/support/test.h"

static inline uint64_t test_clock_us(clockid_t clock)
{
    struct timespec t;
    clock_gettime(clock, &t);
    return (uint64_t)t.tv_sec * 1000000 + (uint64_t)t.tv_nsec / 1000;
}

/** How many times longer than on a processor of its own a computation takes now, in percent, at least 100: a burst of 60 ms is measured. */
static inline uint64_t test_stretch_percent(void)
{
    const uint64_t burst_us = 60000, wall = test_clock_us(CLOCK_MONOTONIC), cpu = test_clock_us(CLOCK_THREAD_CPUTIME_ID);
    uint64_t used;
    while ((used = test_clock_us(CLOCK_THREAD_CPUTIME_ID) - cpu) < burst_us)
        ;
    uint64_t percent = (test_clock_us(CLOCK_MONOTONIC) - wall) * 100 / used;
    return percent > 100 ? percent : 100;
}

/** What took ms had to take less than limit_ms, as many times more as a computation takes longer now. */
static inline void test_timely(uint64_t ms, uint64_t limit_ms)
{
    if (ms >= limit_ms)
        assert_in_range(ms, 0, limit_ms * test_stretch_percent() / 100);
}
