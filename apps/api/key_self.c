/* apps/api/key_self.c: key.self: an API key asks about itself. */
#include "apps/api/message.h"

#define TIME_OF(column) "to_char(" column " AT TIME ZONE 'UTC', 'YYYY-MM-DD\"T\"HH24:MI:SS\"Z\"')"
#define USED_SINCE(from)                                                                                                                             \
    "(SELECT json_build_object('tokens', coalesce(sum(n_in + n_out), 0), 'requests', count(*), 'cost_micro', coalesce(sum(cost_micro), 0))"          \
    " FROM l WHERE at >= " from ")"

/* A line stands in the month of its admission: the last three months hold all of this month and this week. Limits of the whole studio are not among
 * the limits: what others use is nobody's business. $1 user, $2 key, $3 role of now. */
static const char self_sql[] =
    "WITH n AS (SELECT now() AT TIME ZONE 'UTC' AS now, date_trunc('month', now() AT TIME ZONE 'UTC')::date AS month),"
    " l AS MATERIALIZED (SELECT e.n_in, e.n_out, e.cost_micro, e.created_at AT TIME ZONE 'UTC' AS at FROM token_ledger e CROSS JOIN n"
    "   WHERE e.kind = 1 AND e.user_id = $1::uuid AND e.key_id = $2::uuid AND e.period >= n.month - interval '2 months'),"
    " w AS (SELECT p.scope, p.model, (ARRAY['tokens', 'microcredits', 'requests'])[p.unit] AS unit, p.span, greatest(coalesce(b.lim + b.granted, "
    "p.lim), 0)"
    "     AS lim, coalesce(b.used, 0) AS used, coalesce(b.held, 0) AS held, budget_end(p.span, p.zone, p.old_zone, p.zone_from, s.start) AS ends"
    "   FROM api_keys k JOIN budget_policies p ON p.removed_at IS NULL AND (p.scope IN ('user', 'user_model') AND p.user_id = k.user_id"
    "     OR p.scope IN ('key', 'key_model') AND p.key_id = coalesce(k.budget_key, k.id))"
    "   CROSS JOIN LATERAL (SELECT budget_start(p.span, p.zone, p.old_zone, p.zone_from, now()) AS start) s"
    "   LEFT JOIN budget_windows b ON b.policy = p.id AND b.starts_at = s.start WHERE k.user_id = $1::uuid AND k.id = $2::uuid"
    "   ORDER BY 1, 2 NULLS FIRST, 3, 4 LIMIT 64)"
    " SELECT json_build_object('key_id', k.id, 'name', k.name, 'role', $3::text, 'scopes', k.scopes, 'models', k.models,"
    "  'created_at', " TIME_OF("k.created_at") ", 'expires_at', " TIME_OF("k.expires_at") ", 'last_used_at', " TIME_OF(
        "k.last_used_at") ","
                          "  'requests_per_minute', k.requests_per_minute, 'tokens_per_minute', k.tokens_per_minute,"
                          "  'concurrent_requests', k.concurrent_requests,"
                          "  'remaining_tokens', (SELECT min(greatest(w.lim - w.used - w.held, 0)) FROM w WHERE w.unit = 'tokens' AND w.model IS "
                          "NULL),"
                          "  'limits', (SELECT coalesce(json_agg(json_build_object('scope', w.scope, 'model', w.model, 'unit', w.unit, 'window', "
                          "w.span, 'limit', w.lim,"
                          "    'used', w.used, 'held', w.held, 'remaining', greatest(w.lim - w.used - w.held, 0),"
                          "    'resets_at', CASE WHEN w.ends < 'infinity' THEN " TIME_OF(
                              "w.ends") " END)), '[]') FROM w),"
                                        "  'usage', json_build_object('today', " USED_SINCE("date_trunc('day', n.now)") ", 'week', " USED_SINCE(
                                            "date_trunc('week', n.now)") ","
                                                                         "   'month', " USED_SINCE(
                                                                             "n.month") "))"
                                                                                        " FROM api_keys k CROSS JOIN n WHERE k.user_id = $1::uuid "
                                                                                        "AND k.id = $2::uuid";

static void not_a_key(struct call *call)
{
    struct cds_err err;
    cds_fail(&err, CDS_NOT_FOUND, __func__, "This call is not made with an API key: you are signed in.");
    cds_err_rule(&err, "key.none");
    cds_err_hint(&err, "user.self and usage.summary tell about you; key.list names your keys.");
    call_fail(call, &err);
}

static void on_self(void *user, const struct cds_rows *rows, const struct cds_err *err)
{
    struct call *call = call_queried(user, err);
    if (call && cds_rows_count(rows))
        call_succeed_text(call, NULL, cds_rows_str(rows, 0, 0));
    else if (call)
        not_a_key(call);
}

void key_self(struct call *call)
{
    const struct cds_credential *who = call_who(call);
    const char *params[] = {who->claims.user_id, who->claims.key_id, cds_role_name(who->role)};
    if (*who->claims.key_id)
        call_query(call, self_sql, 3, params, on_self);
    else
        not_a_key(call);
}
