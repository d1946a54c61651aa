/* apps/api/usage_report.c: usage.report, usage.track: sums of the ledger, and what is known of one request. */
#include <stdio.h>

#include "apps/api/message.h"
#include "apps/api/owned.h"
#include "apps/api/usage_range.h"

#define TIME_OF(column) "to_char(" column " AT TIME ZONE 'UTC', 'YYYY-MM-DD\"T\"HH24:MI:SS.MS\"Z\"')"

#define COUNTS_OF(requests, n_in, n_cached, n_out, cost)                                                                                             \
    "'requests', " requests ", 'prompt_tokens', " n_in ", 'cached_tokens', " n_cached ", 'completion_tokens', " n_out ", 'cost_micro', " cost

/* One statement, so that rows and totals are of one moment: the sum of all pages is the total of each, as long as nothing is booked in between. The
 * order is that of bytes, whatever the database sorts by, so that a cursor means the same everywhere. $6 by, $7 cursor, $8 rows of a page. */
static const char report_sql[] =
    "WITH l AS MATERIALIZED (SELECT (CASE $6::text WHEN 'day' THEN to_char(e.created_at AT TIME ZONE $4::text, 'YYYY-MM-DD') WHEN 'model' THEN "
    "e.model"
    "   WHEN 'key' THEN e.user_id || ' ' || e.key_id ELSE e.user_id::text END) COLLATE \"C\" AS k, count(*) AS requests, sum(e.n_in) AS n_in,"
    "   sum(e.n_cached) AS n_cached, sum(e.n_out) AS n_out, sum(e.cost_micro) AS cost FROM " USAGE_LINES " GROUP BY 1),"
    " u AS MATERIALIZED (SELECT * FROM l WHERE $7::text IS NULL OR k > $7::text COLLATE \"C\" ORDER BY k LIMIT $8::int + 1),"
    " p AS (SELECT u.*, CASE WHEN $6::text IN ('key', 'user') THEN split_part(k, ' ', 1)::uuid END AS whose,"
    "   CASE WHEN $6::text = 'key' THEN split_part(k, ' ', 2)::uuid END AS key FROM u ORDER BY k LIMIT $8::int)"
    " SELECT json_build_object('by', $6::text, 'from', $2::text, 'to', $3::text, 'time_zone', $4::text,"
    "  'rows', (SELECT coalesce(json_agg(json_build_object('day', CASE WHEN $6::text = 'day' THEN k END, 'model', CASE WHEN $6::text = 'model' THEN "
    "k END,"
    "    'key_id', nullif(p.key, " USAGE_NO_KEY "), 'key_name', a.name, 'user_id', p.whose, 'email', o.email,"
    "    " COUNTS_OF(
        "requests", "n_in", "n_cached", "n_out",
        "cost") ") ORDER BY k), '[]')"
                "    FROM p LEFT JOIN users o ON o.id = p.whose LEFT JOIN api_keys a ON a.user_id = p.whose AND a.id = p.key),"
                "  'totals', (SELECT json_build_object(" COUNTS_OF(
                    "coalesce(sum(requests), 0)", "coalesce(sum(n_in), 0)", "coalesce(sum(n_cached), 0)", "coalesce(sum(n_out), 0)",
                    "coalesce(sum(cost), 0)") ") FROM l),"
                                              "  'next_cursor', CASE WHEN (SELECT count(*) FROM u) > $8::int THEN (SELECT max(k) FROM p) END)";

static void on_report(void *user, const struct cds_rows *rows, const struct cds_err *err)
{
    struct call *call = usage_queried(user, err);
    if (call)
        call_succeed_text(call, NULL, cds_rows_str(rows, 0, 0));
}

void usage_report(struct call *call)
{
    struct usage_range range;
    char limit[16];
    if (!usage_range_read(call, &range))
        return;
    snprintf(limit, sizeof(limit), "%lld", (long long)cds_json_get_i64(call->params, "limit", 100));
    const char *params[] = {range.user_id,
                            range.from,
                            range.to,
                            range.time_zone,
                            range.model,
                            cds_json_get_str(call->params, "by"),
                            cds_json_get_str(call->params, "cursor"),
                            limit};
    call_query(call, report_sql, 8, params, on_report);
}

/* ---- one request ---- */
static const char track_sql[] =
    "SELECT json_build_object('request_id', q.id, 'state', CASE q.state WHEN 1 THEN 'open' WHEN 2 THEN 'settled' ELSE 'given_up' END, 'model', "
    "q.model,"
    "  'key_id', nullif(q.key_id, " USAGE_NO_KEY "), 'admitted_at', " TIME_OF("q.admitted_at") ", 'ended_at', " TIME_OF(
        "q.ended_at") ","
                      "  'outcome', q.outcome, 'held_tokens', CASE WHEN q.state = 1 THEN q.held ELSE 0 END, 'prompt_tokens', coalesce(l.n_in, "
                      "q.done_in),"
                      "  'cached_tokens', coalesce(l.n_cached, 0), 'completion_tokens', coalesce(l.n_out, q.done_out), 'cost_micro', l.cost_micro)"
                      " FROM llm_requests q LEFT JOIN token_ledger l ON l.user_id = q.user_id AND l.request_id = q.id AND l.kind = 1"
                      " WHERE q.user_id = $1::uuid AND q.id = $2::uuid";

static void on_track(void *user, const struct cds_rows *rows, const struct cds_err *err)
{
    struct call *call = call_queried(user, err);
    struct cds_err gone;
    if (!call)
        return;
    if (cds_rows_count(rows)) {
        call_succeed_text(call, NULL, cds_rows_str(rows, 0, 0));
        return;
    }
    cds_fail(&gone, CDS_NOT_FOUND, __func__, "The ledger has no such request, or it is somebody else's.");
    cds_err_pointer(&gone, "/params/request_id");
    cds_err_hint(&gone, "A request that was refused before it held tokens is not in the ledger.");
    call_fail(call, &gone);
}

void usage_track(struct call *call)
{
    const char *whose = owned_whose(call, "requests");
    if (!whose)
        return;
    const char *params[] = {whose, cds_json_get_str(call->params, "request_id")};
    call_query(call, track_sql, 2, params, on_track);
}
