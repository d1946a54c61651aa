/* apps/auth/throttle.h: slows down guessing, per address and per account, without ever locking anyone out for good.
 *
 * Threads: loop thread only.
 * Rules:   an address may fail CDS_THROTTLE_BURST times at once and gets one try back every 12 s; an account waits 1, 2, 4 ... 30 s after its
 *          third, fourth, fifth ... failure in a row. An attempt counts when it begins (so that parallel guesses count) and is given back
 *          when it succeeds or could not be tried.
 * Memory:  a fixed table; in a full set the entry that was idle longest makes room.
 */
#pragma once

#include <stdint.h>

#include "lib/base/err.h"

enum {
    CDS_THROTTLE_BURST = 5,
    CDS_THROTTLE_REFILL_MS = 12000,
    CDS_THROTTLE_FREE = 3, /**< failures of an account before it has to wait */
    CDS_THROTTLE_WAIT_MAX_MS = 30000,
    CDS_THROTTLE_FORGET_MS = 900000, /**< an account's failures count until it was quiet for this long */
};

struct cds_throttle;
CDS_MUST_USE cds_rc cds_throttle_new(struct cds_throttle **ret, struct cds_err *reterr);
void cds_throttle_free(struct cds_throttle **throttle);
/**
 * Begins an attempt.
 * @param ip       client address as text; IPv6 counts by its /64
 * @param account  folded mail address, or NULL for an attempt that names none
 * @return CDS_OK; CDS_RATE_LIMITED with retry_after_ms, rule "login.ip" or "login.account" (nothing is counted then)
 */
CDS_MUST_USE cds_rc cds_throttle_begin(struct cds_throttle *throttle, const char *ip, const char *account, uint64_t now_ms, struct cds_err *reterr);
/** The attempt succeeded: the address gets its try back and the account starts afresh. */
void cds_throttle_succeeded(struct cds_throttle *throttle, const char *ip, const char *account, uint64_t now_ms);
/** The attempt was not tried (busy, database away): as if it had not begun. */
void cds_throttle_undo(struct cds_throttle *throttle, const char *ip, const char *account, uint64_t now_ms);
