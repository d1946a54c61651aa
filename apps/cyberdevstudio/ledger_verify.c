/* apps/cyberdevstudio/ledger_verify.c: see ledger_verify.h. */
#include "apps/cyberdevstudio/ledger_verify.h"

#include "lib/base/str.h"

/** Each statement gives the number of broken rows and one example. */
static const struct {
    const char *name, *rule, *sql;
} rules[CDS_LEDGER_CHECKS] = {
    {"user_used", "What a user has used in a month is the sum of the ledger.",
     "SELECT count(*), min(coalesce(b.user_id, l.user_id) || ' ' || coalesce(b.period, l.period) || ': budget ' || coalesce(b.used, 0) || ', ledger "
     "' ||"
     " coalesce(l.used, 0)) FROM budget_user b FULL JOIN (SELECT user_id, period, sum(n_in + n_out) used FROM token_ledger GROUP BY 1, 2) l"
     " ON l.user_id = b.user_id AND l.period = b.period WHERE coalesce(b.used, 0) <> coalesce(l.used, 0)"},
    {"user_held", "What is held for a user is the sum over open requests.",
     "SELECT count(*), min(coalesce(b.user_id, q.user_id) || ' ' || coalesce(b.period, q.period) || ': budget ' || coalesce(b.held, 0) || ', open ' "
     "||"
     " coalesce(q.held, 0)) FROM budget_user b FULL JOIN (SELECT user_id, period, sum(held) held FROM llm_requests WHERE state = 1 GROUP BY 1, 2) q"
     " ON q.user_id = b.user_id AND q.period = b.period WHERE coalesce(b.held, 0) <> coalesce(q.held, 0)"},
    /* A key may get its limit, and with it its row, in the middle of a month: what it did before is not counted. */
    {"key_counts", "A key's budget never counts more than the ledger and its open requests.",
     "SELECT count(*), min(b.key_id || ' ' || b.period || ': used ' || b.used || ', held ' || b.held) FROM budget_key b WHERE"
     " b.used > (SELECT coalesce(sum(l.n_in + l.n_out), 0) FROM token_ledger l WHERE l.user_id = b.user_id AND l.key_id = b.key_id AND l.period = "
     "b.period)"
     " OR b.held > (SELECT coalesce(sum(q.held), 0) FROM llm_requests q WHERE q.user_id = b.user_id AND q.key_id = b.key_id AND q.period = b.period"
     " AND q.state = 1)"},
    {"request_booked", "Every settled request has its one ledger entry with the same tokens and cost.",
     "SELECT count(*), min(q.id::text) FROM llm_requests q LEFT JOIN token_ledger l ON l.user_id = q.user_id AND l.request_id = q.id"
     " WHERE q.state = 2 AND (l.request_id IS NULL OR q.used IS DISTINCT FROM l.n_in + l.n_out OR q.cost_micro IS DISTINCT FROM l.cost_micro"
     " OR q.period <> l.period OR q.key_id <> l.key_id)"},
    {"entry_has_request", "Every ledger entry belongs to a settled request.",
     "SELECT count(*), min(l.request_id::text) FROM token_ledger l LEFT JOIN llm_requests q ON q.user_id = l.user_id AND q.id = l.request_id"
     " AND q.state = 2 WHERE q.id IS NULL"},
    {"given_up_holds_nothing", "A request that was given up holds nothing and has no ledger entry.",
     "SELECT count(*), min(q.id::text) FROM llm_requests q WHERE q.state = 3 AND (q.held <> 0 OR EXISTS (SELECT FROM token_ledger l"
     " WHERE l.user_id = q.user_id AND l.request_id = q.id))"},
    {"entry_priced", "Every cost is tokens times the price pinned at admission.",
     "SELECT count(*), min(q.id::text) FROM llm_requests q JOIN token_ledger l ON l.user_id = q.user_id AND l.request_id = q.id WHERE l.cost_micro <>"
     " (l.n_in - l.n_cached) * q.price_in + l.n_cached * q.price_cached + l.n_out * q.price_out"},
    /* held is 0 when the reservation was lost in a crash or given up: such a request is charged without a hold. */
    {"within_hold", "No request used more than was held for it.",
     "SELECT count(*), min(id::text) FROM llm_requests WHERE state = 2 AND held > 0 AND used > held"},
    /* What was booked without a hold (lost in a crash, or given up by the reaper) may pass a limit, and a limit may be set below what counts. */
    {"within_limit", "No budget counts more than its limit, or than it counted when the limit was set, but for what was booked without a hold.",
     "SELECT count(*), min(b.who || ' ' || b.period || ': used ' || b.used || ', held ' || b.held || ', limit ' || b.lim) FROM"
     " (SELECT user_id || '' AS who, user_id, NULL::uuid AS key_id, period, lim, used, held, counted_when_set FROM budget_user UNION ALL"
     "  SELECT user_id || ' key ' || key_id, user_id, key_id, period, lim, used, held, 0 FROM budget_key) b"
     " WHERE b.lim IS NOT NULL AND b.used + b.held > greatest(b.lim, b.counted_when_set) + (SELECT coalesce(sum(q.used), 0) FROM llm_requests q "
     "WHERE q.user_id = b.user_id"
     " AND q.period = b.period AND q.state = 2 AND q.held = 0 AND (b.key_id IS NULL OR q.key_id = b.key_id))"},
    {"ended_explained", "Every request that ended says how and when, and none has been open for an hour past its lease.",
     "SELECT count(*), min(id::text) FROM llm_requests WHERE (state <> 1 AND (outcome IS NULL OR ended_at IS NULL))"
     " OR (state = 1 AND expires_at < now() - interval '1 hour')"},
};

static const char totals[] = "SELECT (SELECT count(*) FROM llm_requests), (SELECT count(*) FROM llm_requests WHERE state = 1), count(*),"
                             " coalesce(sum(n_in + n_out), 0), coalesce(sum(cost_micro), 0) FROM token_ledger";

static cds_rc check(struct cds_db *db, int at, struct cds_ledger_check *ret, struct cds_err *reterr)
{
    CDS_CLEANUP(cds_rows_free) struct cds_rows *rows = NULL;
    cds_rc rc = cds_db_exec(db, rules[at].sql, 0, NULL, false, &rows, reterr);
    if (rc != CDS_OK)
        return rc;
    *ret = (struct cds_ledger_check){.name = rules[at].name, .rule = rules[at].rule, .broken = cds_rows_i64(rows, 0, 0, 0)};
    const char *example = cds_rows_str(rows, 0, 1);
    if (example)
        cds_strcpy(ret->example, sizeof(ret->example), example);
    return CDS_OK;
}

static cds_rc check_all(struct cds_db *db, struct cds_ledger_report *report, struct cds_err *reterr)
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
        rc = check(db, i, &report->checks[i], reterr);
        report->broken += rc == CDS_OK ? report->checks[i].broken : 0;
    }
    return rc;
}

cds_rc cds_ledger_verify(struct cds_db *db, struct cds_ledger_report *ret, struct cds_err *reterr)
{
    struct cds_ledger_report report;
    cds_rc rc = cds_db_script(db, "BEGIN ISOLATION LEVEL REPEATABLE READ READ ONLY; SET LOCAL statement_timeout = '10min'", reterr);
    if (rc != CDS_OK)
        return rc;
    rc = check_all(db, &report, reterr);
    /* Nothing was written: how the transaction ends does not matter, and must not hide the error before it. */
    struct cds_err ignored;
    if (cds_db_script(db, "ROLLBACK", &ignored) != CDS_OK && rc == CDS_OK)
        rc = cds_fail(reterr, CDS_UNAVAILABLE, __func__, "The database was lost while the ledger was checked; try again.");
    if (rc == CDS_OK)
        *ret = report;
    return rc;
}
