/* apps/llmserver/rates.h: how fast somebody may ask: token buckets per user and per API key, in memory.
 *
 * Source:  docs/adr/0070-rate-limits.md; draft-ietf-httpapi-ratelimit-headers-11 for what clients are told.
 * Threads: loop thread only. Nothing reads a clock: now_ms comes from the caller (cds_now_ms).
 * A bucket holds at most one minute of its limit and fills evenly. A request takes one from the requests when it comes, its tokens when they are
 * reserved, and gives back what it did not use. What is asked with a key counts for the key and for its user.
 */
#pragma once

#include <stdbool.h>

#include "lib/base/err.h"

/** 0: no limit. */
struct cds_rate_limits {
    uint32_t requests_per_minute;
    uint64_t tokens_per_minute;
    uint32_t concurrent_requests;
};
/** Who asks. Texts are borrowed for the call. */
struct cds_rate_who {
    const char *user_id;
    const char *key_id; /**< "": a signed-in session */
    struct cds_rate_limits user, key;
};
/** What one limit says now. */
struct cds_rate_line {
    const char *name; /**< "user-requests", "key-tokens", "user-concurrency"; static */
    uint64_t limit, left;
    uint32_t full_in_ms; /**< until it is full again; of concurrency 0 */
    uint32_t next_in_ms; /**< until there is one more than `left`; where all is left, until what is taken now is back; of concurrency 0 */
};
enum { CDS_RATE_LINES = 6, CDS_RATE_SUBJECTS = 65536 };

struct cds_rates;
/** @param nodes  llmservers that share the limits: each enforces this part of them, at least 1 */
CDS_MUST_USE cds_rc cds_rates_new(unsigned nodes, struct cds_rates **ret, struct cds_err *reterr);
void cds_rates_free(struct cds_rates **rates);

/** A request comes: takes it from all limits or from none. @return CDS_OK; CDS_RATE_LIMITED with rule and wait; CDS_BUSY (too many subjects) */
CDS_MUST_USE cds_rc cds_rates_begin(struct cds_rates *rates, const struct cds_rate_who *who, uint64_t now_ms, struct cds_err *reterr);
/** It is over. */
void cds_rates_end(struct cds_rates *rates, const struct cds_rate_who *who, uint64_t now_ms);
/** Takes tokens: `most`, or what there is when that is at least `least`. @return CDS_OK with *ret_taken; CDS_RATE_LIMITED: nothing was taken */
CDS_MUST_USE cds_rc cds_rates_take(struct cds_rates *rates, const struct cds_rate_who *who, uint64_t least, uint64_t most, uint64_t now_ms,
                                   uint64_t *ret_taken, struct cds_err *reterr);
/** Gives back what was taken and not used. */
void cds_rates_give(struct cds_rates *rates, const struct cds_rate_who *who, uint64_t tokens, uint64_t now_ms);
/** The limits that hold for who. @return how many lines were written */
unsigned cds_rates_lines(struct cds_rates *rates, const struct cds_rate_who *who, uint64_t now_ms, struct cds_rate_line lines[static CDS_RATE_LINES]);
/** Subjects in memory: who has asked and is not back at the full minute. */
unsigned cds_rates_count(const struct cds_rates *rates);
