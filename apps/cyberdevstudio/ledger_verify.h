/* apps/cyberdevstudio/ledger_verify.h: does every token and every micro-credit add up?
 *
 * Source:  database/migrations/0013_budgets.sql. The rules are those that every statement of the ledger keeps, so one
 *          broken rule is a defect (or somebody changed the tables by hand).
 * Threads: one thread, that of the connection.
 * used + held <= limit is not one of them as it stands: docs/adr/0013-limits-and-room.md says which form of it is.
 */
#pragma once

#include "lib/db/db.h"

enum { CDS_LEDGER_CHECKS = 11 };

/** One rule. */
struct cds_ledger_check {
    const char *name;  /**< static */
    const char *rule;  /**< static, one sentence */
    int64_t broken;    /**< rows that break it */
    char example[160]; /**< one of them, "" when none */
};

struct cds_ledger_report {
    struct cds_ledger_check checks[CDS_LEDGER_CHECKS];
    int64_t requests, open_requests, entries, tokens, cost_micro; /**< totals, for the eye */
    int64_t broken;                                               /**< sum over all checks */
};

/** Checks everything in one snapshot, so that it is right while the studio works. @return CDS_OK also when rules are broken: look at broken */
CDS_MUST_USE cds_rc cds_ledger_verify(struct cds_db *db, struct cds_ledger_report *ret, struct cds_err *reterr);
