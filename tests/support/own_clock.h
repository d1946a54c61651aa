/* tests/support/own_clock.h: a clock of the test's own: the functions of lib/base/clock.h are replaced at link time, so a program includes this once.
 *
 * It stands still until the test lets time pass: no stop of the process, however long, makes anything due.
 *
 * Threads: the test's own.
 */
#pragma once

#include <stdint.h>
#include <stdio.h>

#include "lib/base/clock.h"
#include "lib/base/loop.h"

/** Not 0, which some take for "never". */
static uint64_t own_clock_ms = 1000000;

uint64_t cds_now_ms(void)
{
    return own_clock_ms;
}
uint64_t cds_now_ns(void)
{
    return own_clock_ms * 1000000;
}
uint64_t cds_wall_ms(void)
{
    return 1800000000000 + own_clock_ms;
}
int cds_ms_left(uint64_t deadline_ms)
{
    if (deadline_ms <= own_clock_ms)
        return 0;
    return deadline_ms - own_clock_ms > INT32_MAX ? INT32_MAX : (int)(deadline_ms - own_clock_ms);
}
char *cds_time_rfc3339(uint64_t wall_ms, char buf[static 25])
{
    (void)wall_ms;
    snprintf(buf, 25, "2027-01-15T08:00:00.000Z");
    return buf;
}

/** Lets so much time pass, and the timers of the loop fire in it, each when it is due (to 10 ms). */
static inline void own_clock_pass(struct cds_loop *loop, uint64_t ms)
{
    enum { STEP_MS = 10 };
    for (uint64_t end = own_clock_ms + ms; own_clock_ms < end;) {
        own_clock_ms += end - own_clock_ms < STEP_MS ? end - own_clock_ms : STEP_MS;
        cds_loop_once(loop, 0);
    }
}
