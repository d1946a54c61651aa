/* lib/base/clock.h: time and deadlines. A wait takes a deadline (absolute, monotonic), never a duration,
 * so that retries cannot stretch it.
 *
 * Threads: safe.
 */
#pragma once

#include <stdint.h>

/** Milliseconds on CLOCK_MONOTONIC. */
uint64_t cds_now_ms(void);
/** Nanoseconds on CLOCK_MONOTONIC. */
uint64_t cds_now_ns(void);
/** Milliseconds since 1970 UTC on CLOCK_REALTIME. */
uint64_t cds_wall_ms(void);
/** Milliseconds left until deadline_ms, 0 when passed, INT32_MAX at most: fit for poll(). */
int cds_ms_left(uint64_t deadline_ms);
/** RFC 3339 UTC with milliseconds, "2026-11-21T04:34:32.123Z"; buf holds at least 25 bytes. Returns buf. */
char *cds_time_rfc3339(uint64_t wall_ms, char buf[static 25]);
