/* apps/cyberdevstudio/ledger_rules.c: the rules of `ledger verify` as SQL. See ledger_verify.h. */
#include "apps/cyberdevstudio/ledger_verify.h"

/** Per window: what its settled requests used, what its open ones hold, what was booked without a hold. */
#define WINDOWS                                                                                                                                      \
    "WITH c AS (SELECT w.p, w.s, coalesce(sum((ARRAY[q.used, q.cost_microcredits, least(q.used, 1)])[w.u]) FILTER (WHERE q.state = 2), 0) used,"     \
    " coalesce(sum((ARRAY[q.held, q.held_micro, q.held_requests])[w.u]) FILTER (WHERE q.state = 1), 0) held,"                                        \
    " coalesce(sum((ARRAY[q.used, q.cost_microcredits, least(q.used, 1)])[w.u]) FILTER (WHERE q.state = 2 AND q.held = 0), 0) unheld"                \
    " FROM llm_requests q CROSS JOIN LATERAL unnest(q.win_policy, q.win_start, q.win_unit) w(p, s, u) GROUP BY 1, 2) "

/** Both ways of a difference between what is shown (v) and what is computed anew (l). */
#define DIFFERENCE ", d AS ((TABLE v EXCEPT TABLE l) UNION ALL (TABLE l EXCEPT TABLE v)) "

const struct cds_ledger_rule cds_ledger_rules[CDS_LEDGER_CHECKS] = {
    /* The ledger has one line for each settlement, so "each transaction sums to zero" becomes: what a settlement wrote into the ledger is what it
     * wrote into the request and into its windows. Here in total, below line by line. */
    {1, "totals", "In each month ledger and settled requests count the same tokens and the same cost.",
     "WITH l AS (SELECT period, sum(n_in + n_out) t, sum(cost_micro) c FROM token_ledger GROUP BY 1),"
     " q AS (SELECT period, sum(used) t, sum(cost_microcredits) c FROM llm_requests WHERE state = 2 GROUP BY 1)"
     " SELECT count(*), min(period || ': ledger ' || coalesce(l.t, 0) || ', requests ' || coalesce(q.t, 0) ||"
     " ' tokens; ledger ' || coalesce(l.c, 0) || ', requests ' || coalesce(q.c, 0) || ' micro-credits') FROM l FULL JOIN q USING (period)"
     " WHERE coalesce(l.t, 0) <> coalesce(q.t, 0) OR coalesce(l.c, 0) <> coalesce(q.c, 0)"},
    {2, "window_used", "What a budget window has used is what its policy found and the sum of the settled requests that count in it.",
     WINDOWS "SELECT count(*), min(b.policy || ' ' || b.starts_at || ': used ' || b.used || ', settled ' || b.seeded + coalesce(c.used, 0))"
             " FROM budget_windows b LEFT JOIN c ON c.p = b.policy AND c.s = b.starts_at WHERE b.used <> b.seeded + coalesce(c.used, 0)"},
    {3, "window_held", "What is held in a budget window is the sum over the open requests that count in it.",
     WINDOWS "SELECT count(*), min(b.policy || ' ' || b.starts_at || ': held ' || b.held || ', open ' || coalesce(c.held, 0))"
             " FROM budget_windows b LEFT JOIN c ON c.p = b.policy AND c.s = b.starts_at WHERE b.held <> coalesce(c.held, 0)"},
    {4, "window_there", "Every window that a request counts in is there.",
     WINDOWS
     "SELECT count(*), min(c.p || ' ' || c.s) FROM c LEFT JOIN budget_windows b ON b.policy = c.p AND b.starts_at = c.s WHERE b.policy IS NULL"},
    {4, "window_granted", "What was granted in a budget window is the sum of its grants, each with a reason.",
     "SELECT count(*), min(coalesce(b.policy, g.policy) || ' ' || coalesce(b.starts_at, g.starts_at) || ': granted ' || coalesce(b.granted, 0) ||"
     " ', lines ' || coalesce(g.n, 0)) FROM budget_windows b"
     " FULL JOIN (SELECT policy, starts_at, sum(amount) n FROM budget_grants GROUP BY 1, 2) g ON g.policy = b.policy AND g.starts_at = b.starts_at"
     " WHERE b.policy IS NULL OR b.granted <> coalesce(g.n, 0)"},
    /* What was booked without a hold (lost in a crash, or given up by the reaper) may pass a limit, and a limit may be set below what counts. */
    {5, "within_limit", "No budget counts more than its limit, or than it counted when the limit was set, but for what was booked without a hold.",
     WINDOWS "SELECT count(*), min(b.policy || ' ' || b.starts_at || ': used ' || b.used || ', held ' || b.held || ', limit ' || b.lim + b.granted)"
             " FROM budget_windows b LEFT JOIN c ON c.p = b.policy AND c.s = b.starts_at"
             " WHERE b.used + b.held > greatest(b.lim + b.granted, b.counted_when_set) + coalesce(c.unheld, 0) AND b.lim IS NOT NULL"},
    {6, "request_booked", "Every settled request has its one ledger entry with the same tokens and cost.",
     "SELECT count(*), min(q.id::text) FROM llm_requests q LEFT JOIN token_ledger l ON l.user_id = q.user_id AND l.request_id = q.id"
     " WHERE q.state = 2 AND (l.request_id IS NULL OR q.used IS DISTINCT FROM l.n_in + l.n_out OR q.cost_microcredits IS DISTINCT FROM l.cost_micro"
     " OR q.period <> l.period OR q.key_id <> l.key_id)"},
    {6, "entry_has_request", "Every ledger entry belongs to a settled request.",
     "SELECT count(*), min(l.request_id::text) FROM token_ledger l LEFT JOIN llm_requests q ON q.user_id = l.user_id AND q.id = l.request_id"
     " AND q.state = 2 WHERE q.id IS NULL"},
    {6, "given_up_holds_nothing", "A request that was given up holds nothing and has no ledger entry.",
     "SELECT count(*), min(q.id::text) FROM llm_requests q WHERE q.state = 3 AND (q.held <> 0 OR EXISTS (SELECT FROM token_ledger l"
     " WHERE l.user_id = q.user_id AND l.request_id = q.id))"},
    {7, "entry_priced", "Every cost is tokens times the price pinned at admission, rounded up to a whole micro-credit.",
     "SELECT count(*), min(q.id::text) FROM llm_requests q JOIN token_ledger l ON l.user_id = q.user_id AND l.request_id = q.id WHERE l.cost_micro <>"
     " ceil(((l.n_in - l.n_cached)::numeric * q.price_input + l.n_cached::numeric * q.price_cached + l.n_out::numeric * q.price_output) / 1000000)"},
    /* held is 0 when the reservation was lost in a crash or given up: such a request is charged without a hold. */
    {8, "within_hold", "No request used more than was held for it.",
     "SELECT count(*), min(id::text) FROM llm_requests WHERE state = 2 AND held > 0 AND used > held"},
    {9, "lease_kept", "No request has been open for an hour past its lease.",
     "SELECT count(*), min(id::text) FROM llm_requests WHERE state = 1 AND expires_at < now() - interval '1 hour'"},
    {10, "one_end", "An open request has no end, and one that ended has one end that says how and when.",
     "SELECT count(*), min(id::text) FROM llm_requests WHERE CASE state"
     " WHEN 1 THEN outcome IS NOT NULL OR ended_at IS NOT NULL OR used IS NOT NULL OR cost_microcredits IS NOT NULL"
     " WHEN 2 THEN outcome IS NULL OR ended_at IS NULL"
     " ELSE outcome IS DISTINCT FROM 'expired' OR ended_at IS NULL OR used IS NOT NULL OR cost_microcredits IS NOT NULL END"},
    /* Computed here and not by the database's own functions, which whoever changes lines could change too. */
    {11, "audit_chain", "Each line of the audit log carries its hash and that of the line before it, without a gap, up to the end that is noted.",
     "WITH l AS (SELECT seq, prev, hash, lag(seq, 1, 0::bigint) OVER w AS seq_before, lag(hash, 1, decode(repeat('00', 32), 'hex')) OVER w AS"
     " hash_before, sha256(prev || convert_to(jsonb_build_array(seq, (extract(epoch FROM at) * 1000000)::bigint, phase, source, actor, actor_key,"
     " action, request_id, detail)::text, 'UTF8')) AS computed FROM audit_log WINDOW w AS (ORDER BY seq)),"
     " e AS (SELECT coalesce(max(seq), 0) AS seq, coalesce((SELECT hash FROM l ORDER BY seq DESC LIMIT 1), decode(repeat('00', 32), 'hex')) AS hash"
     " FROM l), bad AS (SELECT 'line ' || seq AS what FROM l WHERE seq <> seq_before + 1 OR prev <> hash_before OR hash <> computed UNION ALL"
     " SELECT 'the end is line ' || e.seq || ' and not ' || coalesce(h.seq::text, 'noted') FROM e LEFT JOIN audit_head h ON true"
     " WHERE h.seq IS DISTINCT FROM e.seq OR h.hash IS DISTINCT FROM e.hash) SELECT count(*), min(what) FROM bad"},
    {11, "ledger_sealed", "Each sealed day of the ledger is as it was sealed.",
     "SELECT count(*), min(s.detail ->> 'day') FROM audit_log s CROSS JOIN LATERAL (SELECT count(*) n,"
     " encode(sha256(coalesce(string_agg(sha256(convert_to(jsonb_build_array(user_id, request_id, kind, key_id, period, model, n_in, n_cached, n_out,"
     " cost_micro, (extract(epoch FROM created_at) * 1000000)::bigint)::text, 'UTF8')), ''::bytea ORDER BY user_id, request_id, kind), ''::bytea)),"
     " 'hex') digest FROM token_ledger WHERE created_at >= (s.detail ->> 'day')::date::timestamp AT TIME ZONE 'UTC'"
     " AND created_at < ((s.detail ->> 'day')::date + 1)::timestamp AT TIME ZONE 'UTC') x WHERE s.phase = 'seal'"
     " AND (x.n <> (s.detail ->> 'entries')::bigint OR x.digest <> s.detail ->> 'sha256')"},
    {12, "usage_by_day", "What is shown by day, model and user is what the ledger sums up to.",
     "WITH v AS (SELECT user_id, day, model, sum(requests), sum(prompt_tokens), sum(cached_tokens), sum(completion_tokens), sum(cost_micro)"
     " FROM token_usage GROUP BY 1, 2, 3), l AS (SELECT user_id, (created_at AT TIME ZONE 'UTC')::date AS day, model, count(*)::numeric, sum(n_in),"
     " sum(n_cached), sum(n_out), sum(cost_micro) FROM token_ledger GROUP BY 1, 2, 3)" DIFFERENCE
     "SELECT count(*), min(user_id || ' ' || day || ' ' || model) FROM d"},
    {12, "usage_by_model", "What is shown by day and model is what the ledger sums up to.",
     "WITH v AS (SELECT model, day, sum(requests), sum(prompt_tokens), sum(cached_tokens), sum(completion_tokens), sum(cost_micro)"
     " FROM model_usage GROUP BY 1, 2), l AS (SELECT model, (created_at AT TIME ZONE 'UTC')::date AS day, count(*)::numeric, sum(n_in), "
     "sum(n_cached),"
     " sum(n_out), sum(cost_micro) FROM token_ledger GROUP BY 1, 2)" DIFFERENCE "SELECT count(*), min(model || ' ' || day) FROM d"},
    {12, "month_shown", "What is shown of a month is what ledger, open requests and limits say.",
     "WITH l AS (SELECT user_id, period, sum(n_in + n_out)::bigint t FROM token_ledger GROUP BY 1, 2),"
     " q AS (SELECT user_id, period, sum(held)::bigint h FROM llm_requests WHERE state = 1 GROUP BY 1, 2),"
     " b AS (SELECT user_id, period, coalesce(t, 0) AS tokens, coalesce(h, 0) AS held, (SELECT p.lim FROM budget_policies p WHERE p.scope = 'user'"
     "   AND p.user_id = x.user_id AND p.unit = 1 AND p.span = 'month' AND p.removed_at IS NULL) AS lim FROM (l FULL JOIN q USING (user_id, period)) "
     "x),"
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
    {14, "replay_has_request", "Every answer that an Idempotency-Key gives again belongs to a settled request.",
     "SELECT count(*), min(i.principal || ' ' || i.key) FROM idempotency_keys i WHERE i.status = 200 AND NOT EXISTS (SELECT FROM llm_requests q"
     " WHERE q.user_id = i.user_id AND q.id = i.request_id AND q.state = 2)"},
};
