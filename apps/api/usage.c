/* apps/api/usage.c: what a user has spent. Reads the ledger's tables; only llmserver writes them. */
#include "apps/api/message.h"

/* One statement, so that all parts of the page are of one moment. The JSON is built by the database. */
static const char summary_sql[] =
    "WITH p AS (SELECT date_trunc('month', now() AT TIME ZONE 'UTC')::date AS month),"
    " b AS (SELECT (SELECT w.lim + w.granted FROM budget_policies o JOIN budget_windows w ON w.policy = o.id"
    "     AND w.starts_at = date_trunc('month', now(), 'UTC') WHERE o.subject = 'user ' || u.id AND o.unit = 1 AND o.span = 'month'"
    "     AND o.removed_at IS NULL) AS lim_now, (SELECT o.lim FROM budget_policies o WHERE o.subject = 'user ' || u.id AND o.unit = 1"
    "     AND o.span = 'month' AND o.removed_at IS NULL) AS lim_set,"
    "   (SELECT coalesce(sum(n_in + n_out), 0) FROM token_ledger t WHERE t.user_id = u.id AND t.period = p.month) AS used,"
    "   (SELECT coalesce(sum(q.held), 0) FROM llm_requests q WHERE q.user_id = u.id AND q.period = p.month AND q.state = 1) AS held"
    "   FROM users u CROSS JOIN p WHERE u.id = $1::uuid),"
    " l AS (SELECT model, count(*) AS requests, sum(n_in) AS n_in, sum(n_out) AS n_out, sum(cost_micro) AS cost"
    "   FROM token_ledger CROSS JOIN p WHERE user_id = $1::uuid AND period = p.month GROUP BY model),"
    " r AS (SELECT q.id, q.model, coalesce(l.n_in, q.done_in) AS n_in, coalesce(l.n_out, q.done_out) AS n_out, coalesce(q.cost_microcredits, 0) AS "
    "cost,"
    "   CASE q.state WHEN 1 THEN 'open' WHEN 3 THEN 'expired' ELSE q.outcome END AS state, coalesce(q.ended_at, q.admitted_at) AS at"
    "   FROM llm_requests q LEFT JOIN token_ledger l ON l.user_id = q.user_id AND l.request_id = q.id"
    "   WHERE q.user_id = $1::uuid ORDER BY q.id DESC LIMIT 20)"
    " SELECT json_build_object("
    "  'period', to_char(p.month, 'YYYY-MM'),"
    "  'resets_at', to_char(p.month + interval '1 month', 'YYYY-MM-DD\"T\"HH24:MI:SS\"Z\"'),"
    "  'limit_tokens', coalesce(b.lim_now, b.lim_set), 'used_tokens', b.used, 'held_tokens', b.held,"
    "  'remaining_tokens', CASE WHEN b.lim_set IS NOT NULL THEN greatest(coalesce(b.lim_now, b.lim_set) - b.used - b.held, 0) END,"
    "  'cost_micro', (SELECT coalesce(sum(cost), 0) FROM l), 'requests', (SELECT coalesce(sum(requests), 0) FROM l),"
    "  'by_model', (SELECT coalesce(json_agg(json_build_object('model', model, 'requests', requests, 'prompt_tokens', n_in,"
    "     'completion_tokens', n_out, 'cost_micro', cost) ORDER BY cost DESC, model), '[]') FROM l),"
    "  'recent', (SELECT coalesce(json_agg(json_build_object('request_id', id, 'model', model, 'prompt_tokens', n_in,"
    "     'completion_tokens', n_out, 'cost_micro', cost, 'state', state, 'at', to_char(at AT TIME ZONE 'UTC', 'YYYY-MM-DD\"T\"HH24:MI:SS.MS\"Z\"'))"
    "     ORDER BY at DESC, id DESC), '[]') FROM r))"
    " FROM p, b";

static void on_summary(void *user, const struct cds_rows *rows, const struct cds_err *err)
{
    struct call *call = call_queried(user, err);
    struct cds_err gone;
    if (!call)
        return;
    if (cds_rows_count(rows)) {
        call_succeed_text(call, NULL, cds_rows_str(rows, 0, 0));
        return;
    }
    cds_fail(&gone, CDS_NOT_FOUND, __func__, "This account does not exist any more.");
    call_fail(call, &gone);
}

void usage_summary(struct call *call)
{
    const char *params[] = {call_who(call)->claims.user_id};
    call_query(call, summary_sql, 1, params, on_summary);
}
