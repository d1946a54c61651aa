/* apps/cyberdevstudio/ledger_rules.c: the rules of `ledger verify` as SQL. See ledger_verify.h. */
#include "apps/cyberdevstudio/ledger_verify.h"

const struct cds_ledger_rule cds_ledger_rules[CDS_LEDGER_CHECKS] = {
    /* The ledger has one line for each settlement, so "each transaction sums to zero" becomes: what a settlement wrote into the ledger is what it
     * wrote into the request and into the budget. Here in total, below line by line. */
    {1, "totals", "In each month ledger, settled requests and budgets of users count the same tokens, and ledger and requests the same cost.",
     "WITH l AS (SELECT period, sum(n_in + n_out) t, sum(cost_micro) c FROM token_ledger GROUP BY 1),"
     " q AS (SELECT period, sum(used) t, sum(cost_micro) c FROM llm_requests WHERE state = 2 GROUP BY 1),"
     " b AS (SELECT period, sum(used) t FROM budget_user GROUP BY 1),"
     " p AS (SELECT period FROM l UNION SELECT period FROM q UNION SELECT period FROM b)"
     " SELECT count(*), min(p.period || ': ledger ' || coalesce(l.t, 0) || ', requests ' || coalesce(q.t, 0) || ', budgets ' || coalesce(b.t, 0) ||"
     " ' tokens; ledger ' || coalesce(l.c, 0) || ', requests ' || coalesce(q.c, 0) || ' micro-credits')"
     " FROM p LEFT JOIN l USING (period) LEFT JOIN q USING (period) LEFT JOIN b USING (period)"
     " WHERE coalesce(l.t, 0) <> coalesce(q.t, 0) OR coalesce(l.t, 0) <> coalesce(b.t, 0) OR coalesce(l.c, 0) <> coalesce(q.c, 0)"},
    {2, "user_used", "What a user has used in a month is the sum of the ledger.",
     "SELECT count(*), min(coalesce(b.user_id, l.user_id) || ' ' || coalesce(b.period, l.period) || ': budget ' || coalesce(b.used, 0) ||"
     " ', ledger ' || coalesce(l.used, 0)) FROM budget_user b FULL JOIN"
     " (SELECT user_id, period, sum(n_in + n_out) used FROM token_ledger GROUP BY 1, 2) l"
     " ON l.user_id = b.user_id AND l.period = b.period WHERE coalesce(b.used, 0) <> coalesce(l.used, 0)"},
    {3, "user_held", "What is held for a user is the sum over open requests.",
     "SELECT count(*), min(coalesce(b.user_id, q.user_id) || ' ' || coalesce(b.period, q.period) || ': budget ' || coalesce(b.held, 0) ||"
     " ', open ' || coalesce(q.held, 0)) FROM budget_user b FULL JOIN"
     " (SELECT user_id, period, sum(held) held FROM llm_requests WHERE state = 1 GROUP BY 1, 2) q"
     " ON q.user_id = b.user_id AND q.period = b.period WHERE coalesce(b.held, 0) <> coalesce(q.held, 0)"},
    /* A key may get its limit, and with it its row, in the middle of a month: what it did before is not counted. */
    {4, "key_counts", "A key's budget never counts more than the ledger and its open requests.",
     "SELECT count(*), min(b.key_id || ' ' || b.period || ': used ' || b.used || ', held ' || b.held) FROM budget_key b WHERE"
     " b.used > (SELECT coalesce(sum(l.n_in + l.n_out), 0) FROM token_ledger l"
     " WHERE l.user_id = b.user_id AND l.key_id = b.key_id AND l.period = b.period)"
     " OR b.held > (SELECT coalesce(sum(q.held), 0) FROM llm_requests q WHERE q.user_id = b.user_id AND q.key_id = b.key_id AND q.period = b.period"
     " AND q.state = 1)"},
    /* What was booked without a hold (lost in a crash, or given up by the reaper) may pass a limit, and a limit may be set below what counts. */
    {5, "within_limit", "No budget counts more than its limit, or than it counted when the limit was set, but for what was booked without a hold.",
     "SELECT count(*), min(b.who || ' ' || b.period || ': used ' || b.used || ', held ' || b.held || ', limit ' || b.lim) FROM"
     " (SELECT user_id || '' AS who, user_id, NULL::uuid AS key_id, period, lim, used, held, counted_when_set FROM budget_user UNION ALL"
     "  SELECT user_id || ' key ' || key_id, user_id, key_id, period, lim, used, held, 0 FROM budget_key) b"
     " WHERE b.lim IS NOT NULL AND b.used + b.held > greatest(b.lim, b.counted_when_set) + (SELECT coalesce(sum(q.used), 0) FROM llm_requests q"
     " WHERE q.user_id = b.user_id AND q.period = b.period AND q.state = 2 AND q.held = 0 AND (b.key_id IS NULL OR q.key_id = b.key_id))"},
    {6, "request_booked", "Every settled request has its one ledger entry with the same tokens and cost.",
     "SELECT count(*), min(q.id::text) FROM llm_requests q LEFT JOIN token_ledger l ON l.user_id = q.user_id AND l.request_id = q.id"
     " WHERE q.state = 2 AND (l.request_id IS NULL OR q.used IS DISTINCT FROM l.n_in + l.n_out OR q.cost_micro IS DISTINCT FROM l.cost_micro"
     " OR q.period <> l.period OR q.key_id <> l.key_id)"},
    {6, "entry_has_request", "Every ledger entry belongs to a settled request.",
     "SELECT count(*), min(l.request_id::text) FROM token_ledger l LEFT JOIN llm_requests q ON q.user_id = l.user_id AND q.id = l.request_id"
     " AND q.state = 2 WHERE q.id IS NULL"},
    {6, "given_up_holds_nothing", "A request that was given up holds nothing and has no ledger entry.",
     "SELECT count(*), min(q.id::text) FROM llm_requests q WHERE q.state = 3 AND (q.held <> 0 OR EXISTS (SELECT FROM token_ledger l"
     " WHERE l.user_id = q.user_id AND l.request_id = q.id))"},
    {7, "entry_priced", "Every cost is tokens times the price pinned at admission.",
     "SELECT count(*), min(q.id::text) FROM llm_requests q JOIN token_ledger l ON l.user_id = q.user_id AND l.request_id = q.id WHERE l.cost_micro <>"
     " (l.n_in - l.n_cached) * q.price_in + l.n_cached * q.price_cached + l.n_out * q.price_out"},
    /* held is 0 when the reservation was lost in a crash or given up: such a request is charged without a hold. */
    {8, "within_hold", "No request used more than was held for it.",
     "SELECT count(*), min(id::text) FROM llm_requests WHERE state = 2 AND held > 0 AND used > held"},
    {9, "lease_kept", "No request has been open for an hour past its lease.",
     "SELECT count(*), min(id::text) FROM llm_requests WHERE state = 1 AND expires_at < now() - interval '1 hour'"},
    {10, "one_end", "An open request has no end, and one that ended has one end that says how and when.",
     "SELECT count(*), min(id::text) FROM llm_requests WHERE CASE state"
     " WHEN 1 THEN outcome IS NOT NULL OR ended_at IS NOT NULL OR used IS NOT NULL OR cost_micro IS NOT NULL"
     " WHEN 2 THEN outcome IS NULL OR ended_at IS NULL"
     " ELSE outcome IS DISTINCT FROM 'expired' OR ended_at IS NULL OR used IS NOT NULL OR cost_micro IS NOT NULL END"},
    {12, "usage_by_day", "What is shown by day, model and user is what the ledger sums up to.",
     "WITH v AS (SELECT user_id, day, model, requests, prompt_tokens, cached_tokens, completion_tokens, cost_micro FROM token_usage),"
     " l AS (SELECT user_id, (created_at AT TIME ZONE 'UTC')::date AS day, model, count(*), sum(n_in), sum(n_cached), sum(n_out), sum(cost_micro)"
     " FROM token_ledger GROUP BY 1, 2, 3), d AS ((TABLE v EXCEPT TABLE l) UNION ALL (TABLE l EXCEPT TABLE v))"
     " SELECT count(*), min(user_id || ' ' || day || ' ' || model) FROM d"},
    {12, "usage_by_model", "What is shown by day and model is what the ledger sums up to.",
     "WITH v AS (SELECT model, day, requests, prompt_tokens, cached_tokens, completion_tokens, cost_micro FROM model_usage),"
     " l AS (SELECT model, (created_at AT TIME ZONE 'UTC')::date AS day, count(*), sum(n_in), sum(n_cached), sum(n_out), sum(cost_micro)"
     " FROM token_ledger GROUP BY 1, 2), d AS ((TABLE v EXCEPT TABLE l) UNION ALL (TABLE l EXCEPT TABLE v))"
     " SELECT count(*), min(model || ' ' || day) FROM d"},
    {12, "month_shown", "What is shown of a month is what its budget counts.",
     "WITH b AS (SELECT user_id, period, used, held, lim FROM budget_user),"
     " d AS ((SELECT user_id, period, tokens, held, lim FROM tokens_used EXCEPT TABLE b) UNION ALL"
     " (TABLE b EXCEPT SELECT user_id, period, tokens, held, lim FROM tokens_used))"
     " SELECT count(*), min(user_id || ' ' || period) FROM d"},
    /* $1: the client's list, one answer a line. "ID IN OUT": whole, with these tokens; "ID": at least one token came, so it must be settled. */
    {13, "answers_booked", "Every answer of the client's list is settled once, with the tokens that the client was told.",
     "WITH a AS (SELECT (CASE WHEN x ~ '^[0-9a-f-]{36}( [0-9]{1,18} [0-9]{1,18})?$' THEN left(x, 36) ELSE x || '?' END)::uuid id, "
     "nullif(split_part(x, ' ', 2), '')::bigint n_in, nullif(split_part(x, ' ', 3), '')::bigint"
     " n_out FROM string_to_table($1, E'\\n') x WHERE x <> '')"
     " SELECT count(*), min(a.id::text) FROM a LEFT JOIN (SELECT q.id, count(*) n, min(l.n_in) n_in, min(l.n_out) n_out FROM llm_requests q"
     " JOIN token_ledger l ON l.user_id = q.user_id AND l.request_id = q.id WHERE q.state = 2 GROUP BY 1) s ON s.id = a.id"
     " WHERE s.n IS DISTINCT FROM 1 OR s.n_in <> a.n_in OR s.n_out <> a.n_out"},
};
