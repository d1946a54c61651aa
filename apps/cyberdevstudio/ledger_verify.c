/* apps/cyberdevstudio/ledger_verify.c: see ledger_verify.h. */
#include "apps/cyberdevstudio/ledger_verify.h"

#include "lib/base/str.h"

/** Per window: what its settled requests used, what its open ones hold, what was booked without a hold. */
#define WINDOWS                                                                                                                                      \
    "WITH c AS (SELECT w.p, w.s, coalesce(sum((ARRAY[q.used, q.cost_microcredits, least(q.used, 1)])[w.u]) FILTER (WHERE q.state = 2), 0) used,"      \
    " coalesce(sum((ARRAY[q.held, q.held_micro, q.held_requests])[w.u]) FILTER (WHERE q.state = 1), 0) held,"                                         \
    " coalesce(sum((ARRAY[q.used, q.cost_microcredits, least(q.used, 1)])[w.u]) FILTER (WHERE q.state = 2 AND q.held = 0), 0) unheld"                 \
    " FROM llm_requests q CROSS JOIN LATERAL unnest(q.win_policy, q.win_start, q.win_unit) w(p, s, u) GROUP BY 1, 2) "

/** Each statement gives the number of broken rows and one example. */
static const struct {
    const char *name, *rule, *sql;
} rules[CDS_LEDGER_CHECKS] = {
    {"window_used", "What a budget window has used is what its policy found and the sum of the settled requests that count in it.",
     WINDOWS "SELECT count(*), min(b.policy || ' ' || b.starts_at || ': used ' || b.used || ', settled ' || b.seeded + coalesce(c.used, 0))"
             " FROM budget_windows b LEFT JOIN c ON c.p = b.policy AND c.s = b.starts_at WHERE b.used <> b.seeded + coalesce(c.used, 0)"},
    {"window_held", "What is held in a budget window is the sum over the open requests that count in it.",
     WINDOWS "SELECT count(*), min(b.policy || ' ' || b.starts_at || ': held ' || b.held || ', open ' || coalesce(c.held, 0))"
             " FROM budget_windows b LEFT JOIN c ON c.p = b.policy AND c.s = b.starts_at WHERE b.held <> coalesce(c.held, 0)"},
    {"window_there", "Every window that a request counts in is there.",
     WINDOWS "SELECT count(*), min(c.p || ' ' || c.s) FROM c LEFT JOIN budget_windows b ON b.policy = c.p AND b.starts_at = c.s WHERE b.policy IS NULL"},
    {"window_granted", "What was granted in a budget window is the sum of its grants, each with a reason.",
     "SELECT count(*), min(coalesce(b.policy, g.policy) || ' ' || coalesce(b.starts_at, g.starts_at) || ': granted ' || coalesce(b.granted, 0) || ', lines ' || coalesce(g.n, 0)) FROM budget_windows b"
     " FULL JOIN (SELECT policy, starts_at, sum(amount) n FROM budget_grants GROUP BY 1, 2) g ON g.policy = b.policy AND g.starts_at = b.starts_at"
     " WHERE b.policy IS NULL OR b.granted <> coalesce(g.n, 0)"},
    {"request_booked", "Every settled request has its one ledger entry with the same tokens and cost.",
     "SELECT count(*), min(q.id::text) FROM llm_requests q LEFT JOIN token_ledger l ON l.user_id = q.user_id AND l.request_id = q.id"
     " WHERE q.state = 2 AND (l.request_id IS NULL OR q.used IS DISTINCT FROM l.n_in + l.n_out OR q.cost_microcredits IS DISTINCT FROM l.cost_micro"
     " OR q.period <> l.period OR q.key_id <> l.key_id)"},
    {"entry_has_request", "Every ledger entry belongs to a settled request.",
     "SELECT count(*), min(l.request_id::text) FROM token_ledger l LEFT JOIN llm_requests q ON q.user_id = l.user_id AND q.id = l.request_id"
     " AND q.state = 2 WHERE q.id IS NULL"},
    {"given_up_holds_nothing", "A request that was given up holds nothing and has no ledger entry.",
     "SELECT count(*), min(q.id::text) FROM llm_requests q WHERE q.state = 3 AND (q.held <> 0 OR EXISTS (SELECT FROM token_ledger l"
     " WHERE l.user_id = q.user_id AND l.request_id = q.id))"},
    {"entry_priced", "Every cost is tokens times the price pinned at admission, rounded up to a whole micro-credit.",
     "SELECT count(*), min(q.id::text) FROM llm_requests q JOIN token_ledger l ON l.user_id = q.user_id AND l.request_id = q.id WHERE l.cost_micro <>"
     " ceil(((l.n_in - l.n_cached)::numeric * q.price_input + l.n_cached::numeric * q.price_cached + l.n_out::numeric * q.price_output) / 1000000)"},
    /* held is 0 when the reservation was lost in a crash or given up: such a request is charged without a hold. */
    {"within_hold", "No request used more than was held for it.",
     "SELECT count(*), min(id::text) FROM llm_requests WHERE state = 2 AND held > 0 AND used > held"},
    /* What was booked without a hold (lost in a crash, or given up by the reaper) may pass a limit, and a limit may be set below what counts. */
    {"within_limit", "No budget counts more than its limit, or than it counted when the limit was set, but for what was booked without a hold.",
     WINDOWS "SELECT count(*), min(b.policy || ' ' || b.starts_at || ': used ' || b.used || ', held ' || b.held || ', limit ' || b.lim + b.granted)"
             " FROM budget_windows b LEFT JOIN c ON c.p = b.policy AND c.s = b.starts_at"
             " WHERE b.used + b.held > greatest(b.lim + b.granted, b.counted_when_set) + coalesce(c.unheld, 0) AND b.lim IS NOT NULL"},
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
