/* apps/auth/password.h: which passwords are taken, and their bcrypt hashes.
 *
 * Source:  crypt(5) "$2b$", OWASP ASVS 2.1. bcrypt looks at 72 bytes only, so longer passwords are refused instead of cut.
 * Threads: safe. Hashing takes about 250 ms of CPU at the tuned cost: never on the loop thread.
 */
#pragma once

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "lib/base/err.h"

enum { CDS_PASSWORD_MIN_CHARS = 12, CDS_PASSWORD_MAX_BYTES = 72, CDS_HASH_SIZE = 64 };
enum { CDS_COST_MIN = 12, CDS_COST_MAX = 15, CDS_HASH_TARGET_MS = 250 };

/** May this become a password? @return CDS_OK; CDS_BAD_PARAM with pointer "/password", a rule "password.*" and a sentence */
CDS_MUST_USE cds_rc cds_password_policy(const char *password, size_t len, const char *email, struct cds_err *reterr);
/** bcrypt with a fresh salt. @return CDS_OK; CDS_BAD_PARAM (over 72 bytes, NUL inside, cost out of 4..15); CDS_EXHAUSTED */
CDS_MUST_USE cds_rc cds_password_hash(const char *password, size_t len, unsigned cost, char out[static CDS_HASH_SIZE], struct cds_err *reterr);
/** True if the password belongs to the hash; always costs one bcrypt, also for passwords that cannot match. */
bool cds_password_verify(const char *password, size_t len, const char *hash);
/** True if the hash was made with a lower cost or another method than now. A higher cost stays: measured on a busy machine it must weaken nothing. */
bool cds_password_stale(const char *hash, unsigned cost);
/** The cost a bcrypt hash was made with; 0: it is none. */
unsigned cds_password_cost(const char *hash);
/** The cost at which one bcrypt takes nearest to target_ms here, CDS_COST_MIN at least and CDS_COST_MAX at most. Takes a few of them at a low cost.
 */
unsigned cds_password_tune(unsigned target_ms);
/** The work that the check of a cheaper hash lacks to one at our cost, so that a wrong guess takes equally long for every account. */
void cds_password_pad(const char *hash, unsigned cost);
/** The cost of option auth.bcrypt_cost: itself, or the tuned one for 0. @return CDS_OK; CDS_BAD_PARAM (1 to 9) */
CDS_MUST_USE cds_rc cds_password_set_cost(uint64_t wanted, unsigned *ret, struct cds_err *reterr);
/** A hash of no password, for comparing when the mail is unknown: costs the same and never matches.
 *  @return CDS_OK; CDS_BAD_PARAM (cost out of 4..15) */
CDS_MUST_USE cds_rc cds_password_dummy(unsigned cost, char out[static CDS_HASH_SIZE], struct cds_err *reterr);
