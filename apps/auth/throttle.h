/* apps/auth/throttle.h: slows down guessing, without ever locking anyone out, and making sessions and keys without end.
 *
 * Threads: loop thread only.
 * Rules:   an address may fail CDS_THROTTLE_BURST times at once and gets one try back every 12 s. An account waits for that address 1, 2, 4 ... 30 s
 *          after its third, fourth, fifth ... failure in a row from there, so nobody makes its owner wait elsewhere. Failures at an account from
 *          everywhere have a budget of their own (one back every 5 s), against guessing from many addresses; it does not bind addresses from which
 *          this account was signed in to since the process started. An attempt counts when it begins (so that parallel guesses count) and is given
 *          back when it succeeds or could not be tried. Sign-ins that succeed, and keys that are made, have a budget too (one back every 10 s).
 * Memory:  fixed tables; in a full set the entry that was idle longest makes room.
 */
#pragma once

#include <stdint.h>

#include "lib/base/err.h"

enum {
    CDS_THROTTLE_BURST = 5,
    CDS_THROTTLE_REFILL_MS = 12000,
    CDS_THROTTLE_FREE = 3, /**< failures of an account from one address before it has to wait there */
    CDS_THROTTLE_WAIT_MAX_MS = 30000,
    CDS_THROTTLE_FORGET_MS = 900000, /**< failures in a row count until it was quiet for this long */
    CDS_THROTTLE_ACCOUNT_BURST = 50, /**< failures of an account from everywhere ... */
    CDS_THROTTLE_ACCOUNT_MS = 5000,  /**< ... of which one comes back after this long */
    CDS_THROTTLE_MADE_BURST = 200,   /**< sessions or keys of one user at once ... */
    CDS_THROTTLE_MADE_MS = 10000,    /**< ... of which one comes back after this long: 8,640 a day */
};

struct cds_throttle;
CDS_MUST_USE cds_rc cds_throttle_new(struct cds_throttle **ret, struct cds_err *reterr);
void cds_throttle_free(struct cds_throttle **throttle);
/**
 * Begins an attempt.
 * @param ip       client address as text; IPv6 counts by its /64
 * @param account  folded mail address, or NULL for an attempt that names none
 * @return CDS_OK; CDS_RATE_LIMITED with retry_after_ms, rule "login.ip", "login.account" or "login.often" (nothing is counted then)
 */
CDS_MUST_USE cds_rc cds_throttle_begin(struct cds_throttle *throttle, const char *ip, const char *account, uint64_t now_ms, struct cds_err *reterr);
/** The attempt succeeded: its try is given back, the account starts afresh at this address, which counts as its own from now on. */
void cds_throttle_succeeded(struct cds_throttle *throttle, const char *ip, const char *account, uint64_t now_ms);
/** The attempt was not tried (busy, database away): as if it had not begun. */
void cds_throttle_undo(struct cds_throttle *throttle, const char *ip, const char *account, uint64_t now_ms);
/** A user makes a key. @return CDS_OK; CDS_RATE_LIMITED with retry_after_ms, rule "key.often" */
CDS_MUST_USE cds_rc cds_throttle_make(struct cds_throttle *throttle, const char *user_id, uint64_t now_ms, struct cds_err *reterr);
