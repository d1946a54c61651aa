/* apps/cyberdevstudio/ledger_verify.c: see ledger_verify.h. */
#include "apps/cyberdevstudio/ledger_verify.h"

#include "lib/base/str.h"

static const char totals[] = "SELECT (SELECT count(*) FROM llm_requests), (SELECT count(*) FROM llm_requests WHERE state = 1), count(*),"
                             " coalesce(sum(n_in + n_out), 0), coalesce(sum(cost_micro), 0) FROM token_ledger";

static cds_rc not_a_list(struct cds_err *reterr)
{
    cds_fail(reterr, CDS_BAD_PARAM, __func__, "The list of answers holds a line that is not a request id, alone or with its two token counts.");
    return cds_err_hint(reterr, "A line is \"REQUEST-ID PROMPT-TOKENS COMPLETION-TOKENS\", or \"REQUEST-ID\" when only a part of the answer came.");
}

static cds_rc check(struct cds_db *db, const struct cds_ledger_rule *rule, const char *answers, struct cds_ledger_check *ret, struct cds_err *reterr)
{
    bool of_answers = rule->number == CDS_LEDGER_OF_ANSWERS;
    CDS_CLEANUP(cds_rows_free) struct cds_rows *rows = NULL;
    *ret = (struct cds_ledger_check){.number = rule->number, .name = rule->name, .rule = rule->rule, .skipped = of_answers && !answers};
    if (ret->skipped)
        return CDS_OK;
    cds_rc rc = cds_db_exec(db, rule->sql, of_answers ? 1 : 0, of_answers ? &answers : NULL, false, &rows, reterr);
    if (rc == CDS_BAD_PARAM && of_answers)
        return not_a_list(reterr);
    if (rc != CDS_OK)
        return rc;
    ret->broken = cds_rows_i64(rows, 0, 0, 0);
    const char *example = cds_rows_str(rows, 0, 1);
    if (example)
        cds_strcpy(ret->example, sizeof(ret->example), example);
    return CDS_OK;
}

static cds_rc check_all(struct cds_db *db, const char *answers, struct cds_ledger_report *report, struct cds_err *reterr)
{
    CDS_CLEANUP(cds_rows_free) struct cds_rows *rows = NULL;
    cds_rc rc = cds_db_exec(db, totals, 0, NULL, false, &rows, reterr);
    if (rc != CDS_OK)
        return rc;
    *report = (struct cds_ledger_report){.requests = cds_rows_i64(rows, 0, 0, 0),
                                         .open_requests = cds_rows_i64(rows, 0, 1, 0),
                                         .entries = cds_rows_i64(rows, 0, 2, 0),
                                         .tokens = cds_rows_i64(rows, 0, 3, 0),
                                         .cost_micro = cds_rows_i64(rows, 0, 4, 0)};
    for (int i = 0; i < CDS_LEDGER_CHECKS && rc == CDS_OK; i++) {
        rc = check(db, &cds_ledger_rules[i], answers, &report->checks[i], reterr);
        report->broken += rc == CDS_OK ? report->checks[i].broken : 0;
    }
    return rc;
}

cds_rc cds_ledger_verify_answers(struct cds_db *db, const char *answers, struct cds_ledger_report *ret, struct cds_err *reterr)
{
    struct cds_ledger_report report;
    cds_rc rc = cds_db_script(db, "BEGIN ISOLATION LEVEL REPEATABLE READ READ ONLY; SET LOCAL statement_timeout = '10min'", reterr);
    if (rc != CDS_OK)
        return rc;
    rc = check_all(db, answers, &report, reterr);
    /* Nothing was written: how the transaction ends does not matter, and must not hide the error before it. */
    struct cds_err ignored;
    if (cds_db_script(db, "ROLLBACK", &ignored) != CDS_OK && rc == CDS_OK)
        rc = cds_fail(reterr, CDS_UNAVAILABLE, __func__, "The database was lost while the ledger was checked; try again.");
    if (rc == CDS_OK)
        *ret = report;
    return rc;
}

cds_rc cds_ledger_verify(struct cds_db *db, struct cds_ledger_report *ret, struct cds_err *reterr)
{
    return cds_ledger_verify_answers(db, NULL, ret, reterr);
}
