/* tests/support/stretch.h: how busy with other things the machine is, told by a burst of work; as stretch() of tests/support/patience.mjs.
 *
 * Threads: any; the burst is measured with the processor time of the calling thread.
 */
#pragma once

#include <stdint.h>
#include <time.h>

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
