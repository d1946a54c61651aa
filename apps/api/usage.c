/* apps/api/usage.c: what a user has spent, and what an admin allows. Reads the ledger's tables; only llmserver writes them, but for the limit
 * of a month. */
#include <stdio.h>
#include <string.h>

#include "apps/api/message.h"

/* One statement, so that all parts of the page are of one moment. The JSON is built by the database. */
static const char summary_sql[] =
    "WITH p AS (SELECT date_trunc('month', now() AT TIME ZONE 'UTC')::date AS month),"
    " b AS (SELECT u.month_tokens_limit AS lim, coalesce(b.used, 0) AS used, coalesce(b.held, 0) AS held"
    "   FROM users u CROSS JOIN p LEFT JOIN budget_user b ON b.user_id = u.id AND b.period = p.month WHERE u.id = $1::uuid),"
    " l AS (SELECT model, count(*) AS requests, sum(n_in) AS n_in, sum(n_out) AS n_out, sum(cost_micro) AS cost"
    "   FROM token_ledger CROSS JOIN p WHERE user_id = $1::uuid AND period = p.month GROUP BY model),"
    " r AS (SELECT q.id, q.model, coalesce(l.n_in, q.done_in) AS n_in, coalesce(l.n_out, q.done_out) AS n_out, coalesce(q.cost_micro, 0) AS cost,"
    "   CASE q.state WHEN 1 THEN 'open' WHEN 3 THEN 'expired' ELSE q.outcome END AS state, coalesce(q.ended_at, q.admitted_at) AS at"
    "   FROM llm_requests q LEFT JOIN token_ledger l ON l.user_id = q.user_id AND l.request_id = q.id"
    "   WHERE q.user_id = $1::uuid ORDER BY q.admitted_at DESC, q.id DESC LIMIT 20)"
    " SELECT json_build_object("
    "  'period', to_char(p.month, 'YYYY-MM'),"
    "  'resets_at', to_char(p.month + interval '1 month', 'YYYY-MM-DD\"T\"HH24:MI:SS\"Z\"'),"
    "  'limit_tokens', b.lim, 'used_tokens', b.used, 'held_tokens', b.held,"
    "  'remaining_tokens', CASE WHEN b.lim IS NULL THEN NULL ELSE greatest(b.lim - b.used - b.held, 0) END,"
    "  'cost_micro', (SELECT coalesce(sum(cost), 0) FROM l), 'requests', (SELECT coalesce(sum(requests), 0) FROM l),"
    "  'by_model', (SELECT coalesce(json_agg(json_build_object('model', model, 'requests', requests, 'prompt_tokens', n_in,"
    "     'completion_tokens', n_out, 'cost_micro', cost) ORDER BY cost DESC, model), '[]') FROM l),"
    "  'recent', (SELECT coalesce(json_agg(json_build_object('request_id', id, 'model', model, 'prompt_tokens', n_in,"
    "     'completion_tokens', n_out, 'cost_micro', cost, 'state', state, 'at', to_char(at AT TIME ZONE 'UTC', 'YYYY-MM-DD\"T\"HH24:MI:SS.MS\"Z\"'))"
    "     ORDER BY at DESC, id DESC), '[]') FROM r))"
    " FROM p, b";

/* A lower limit than is used already only blocks what comes; what counted then is noted for `ledger verify`. The row of the month is made here if it
 * is not there: an update would miss one that llmserver makes at the same moment with the old limit, and it would stand for the whole month. An
 * upsert waits for it. Shortly before midnight the next month's may be the one that is being made. */
static const char budget_sql[] =
    "WITH u AS (UPDATE users SET month_tokens_limit = $2::bigint WHERE email = lower($1) RETURNING id, email),"
    " m AS (SELECT DISTINCT date_trunc('month', (now() + w.ahead) AT TIME ZONE 'UTC')::date AS period"
    "   FROM (VALUES (interval '0'), (interval '10 minutes')) w(ahead)),"
    " b AS (INSERT INTO budget_user AS b (user_id, period, lim) SELECT u.id, m.period, $2::bigint FROM u CROSS JOIN m ORDER BY 1, 2"
    "   ON CONFLICT (user_id, period) DO UPDATE SET lim = excluded.lim, counted_when_set = b.used + b.held RETURNING 1)"
    " SELECT id, email FROM u WHERE (SELECT count(*) FROM b) >= 0";

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

static void on_budget(void *user, const struct cds_rows *rows, const struct cds_err *err)
{
    struct call *call = call_queried(user, err);
    struct cds_err failed;
    if (!call)
        return;
    if (cds_rows_count(rows) == 0) {
        cds_fail(&failed, CDS_NOT_FOUND, __func__, "There is no user with this address.");
        cds_err_pointer(&failed, "/email");
        call_fail(call, &failed);
        return;
    }
    call_succeed(call, cds_json_pack("{s:s,s:s,s:O}", "user_id", cds_rows_str(rows, 0, 0), "email", cds_rows_str(rows, 0, 1), "month_tokens",
                                     cds_json_get(call->params, "month_tokens")));
}

void usage_summary(struct call *call)
{
    const char *params[] = {call_who(call)->claims.user_id};
    call_query(call, summary_sql, 1, params, on_summary);
}

void budget_set(struct call *call)
{
    char tokens[32];
    snprintf(tokens, sizeof(tokens), "%lld", (long long)cds_json_get_i64(call->params, "month_tokens", 0));
    const char *params[] = {cds_json_get_str(call->params, "email"), tokens};
    call_query(call, budget_sql, 2, params, on_budget);
}
