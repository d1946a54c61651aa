/* apps/cyberdevstudio/ledger_verify.h: does every token and every micro-credit add up?
 *
 * Source:  database/migrations/0013_budgets.sql, 0016_audit.sql. The rules are those that every statement of the ledger keeps, so one
 *          broken rule is a defect (or somebody changed the tables by hand). docs/ledger-rules.md says what each of them is adapted from.
 * Threads: one thread, that of the connection.
 * used + held <= limit is not one of them as it stands: docs/adr/0013-limits-and-room.md says which form of it is.
 */
#pragma once

#include "lib/db/db.h"

enum {
    CDS_LEDGER_CHECKS = 20,
    CDS_LEDGER_OF_ANSWERS = 13,               /**< number of the rule that needs the client's list */
    CDS_LEDGER_ANSWERS_MAX = 64 * 1024 * 1024 /**< bytes of that list */
};

/** One rule as the program knows it; all static. */
struct cds_ledger_rule {
    int number;              /**< of docs/ledger-rules.md, 1 to 14; several rules may share one */
    const char *name, *rule; /**< rule: one sentence */
    const char *sql;         /**< gives the number of broken rows and one example */
};
extern const struct cds_ledger_rule cds_ledger_rules[CDS_LEDGER_CHECKS];

/** What became of one rule. */
struct cds_ledger_check {
    int number; /**< as in struct cds_ledger_rule, and so are the next two */
    const char *name, *rule;
    bool skipped;      /**< it needs a list that was not given */
    int64_t broken;    /**< rows that break it */
    char example[160]; /**< one of them, "" when none */
};

struct cds_ledger_report {
    struct cds_ledger_check checks[CDS_LEDGER_CHECKS];
    int64_t requests, open_requests, entries, tokens, cost_micro; /**< totals, for the eye */
    int64_t broken;                                               /**< sum over all checks */
};

/** Checks everything in one snapshot, so that it is right while the studio works.
 *  @return CDS_OK also when rules are broken: look at broken */
CDS_MUST_USE cds_rc cds_ledger_verify(struct cds_db *db, struct cds_ledger_report *ret, struct cds_err *reterr);
/** The same, and rule 13.
 *  @param answers what a load client was told, one answer a line ("request-id prompt completion", or "request-id" when only a part of it came);
 *                 NULL: there is none
 *  @return as above; CDS_BAD_PARAM (answers is no such list) */
CDS_MUST_USE cds_rc cds_ledger_verify_answers(struct cds_db *db, const char *answers, struct cds_ledger_report *ret, struct cds_err *reterr);
/** ledger.c: the report as `ledger verify` prints it. */
void cds_ledger_print(const struct cds_ledger_report *report);
