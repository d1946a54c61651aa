/* lib/base/clock.c: see clock.h. */
#include "lib/base/clock.h"

#include <stdio.h>
#include <time.h>

static uint64_t read_ns(clockid_t clock)
{
    struct timespec t;
    clock_gettime(clock, &t);
    return (uint64_t)t.tv_sec * 1000000000u + (uint64_t)t.tv_nsec;
}

uint64_t cds_now_ns(void)
{
    return read_ns(CLOCK_MONOTONIC);
}

uint64_t cds_now_ms(void)
{
    return read_ns(CLOCK_MONOTONIC) / 1000000u;
}

uint64_t cds_wall_ms(void)
{
    return read_ns(CLOCK_REALTIME) / 1000000u;
}

int cds_ms_left(uint64_t deadline_ms)
{
    uint64_t now = cds_now_ms();
    if (deadline_ms <= now)
        return 0;
    return deadline_ms - now > INT32_MAX ? INT32_MAX : (int)(deadline_ms - now);
}

char *cds_time_rfc3339(uint64_t wall_ms, char buf[static 25])
{
    time_t seconds = (time_t)(wall_ms / 1000);
    struct tm tm;
    gmtime_r(&seconds, &tm);
    size_t n = strftime(buf, 25, "%Y-%m-%dT%H:%M:%S", &tm);
    snprintf(buf + n, 25 - n, ".%03uZ", (unsigned)(wall_ms % 1000));
    return buf;
}
