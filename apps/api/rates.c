/* apps/api/rates.c: rate.set, rate.list: how fast a user may ask the model server, which reads it each second (docs/adr/0070-rate-limits.md). */
#include <stdio.h>

#include "apps/api/message.h"

static const char set_sql[] =
    "INSERT INTO rate_limits AS r (user_id, requests_per_minute, tokens_per_minute, concurrent_requests, set_by, set_at)"
    " SELECT u.id, $2::int, $3::bigint, $4::int, $5::uuid, clock_timestamp() FROM users u WHERE u.id = $1::uuid AND u.status <> 'deleted'"
    " ON CONFLICT (user_id) DO UPDATE SET requests_per_minute = excluded.requests_per_minute, tokens_per_minute = excluded.tokens_per_minute,"
    " concurrent_requests = excluded.concurrent_requests, set_by = excluded.set_by, set_at = excluded.set_at RETURNING 1";

static const char list_sql[] =
    "SELECT coalesce(json_agg(json_build_object('user_id', r.user_id, 'email', u.email, 'requests_per_minute', r.requests_per_minute,"
    " 'tokens_per_minute', r.tokens_per_minute, 'concurrent_requests', r.concurrent_requests) ORDER BY u.email), '[]')"
    " FROM (SELECT * FROM rate_limits WHERE requests_per_minute IS NOT NULL OR tokens_per_minute IS NOT NULL OR concurrent_requests IS NOT NULL"
    " ORDER BY set_at DESC LIMIT 500) r JOIN users u ON u.id = r.user_id";

static const char *number(const struct call *call, const char *name, char out[static 24])
{
    if (!cds_json_is(cds_json_get(call->params, name), CDS_JSON_INTEGER))
        return NULL;
    snprintf(out, 24, "%lld", (long long)cds_json_get_i64(call->params, name, 0));
    return out;
}

static void on_set(void *user, const struct cds_rows *rows, const struct cds_err *err)
{
    struct call *call = call_queried(user, err);
    struct cds_err unknown;
    if (!call)
        return;
    if (cds_rows_count(rows)) {
        call_succeed(call, cds_json_pack("{s:s,s:b}", "user_id", cds_json_get_str(call->params, "user_id"), "set", 1));
        return;
    }
    cds_fail(&unknown, CDS_NOT_FOUND, __func__, "There is no user with this id.");
    cds_err_pointer(&unknown, "/params/user_id");
    cds_err_hint(&unknown, "user.list names the users.");
    call_fail(call, &unknown);
}

void rate_set(struct call *call)
{
    char requests[24], tokens[24], together[24];
    const char *params[] = {cds_json_get_str(call->params, "user_id"), number(call, "requests_per_minute", requests),
                            number(call, "tokens_per_minute", tokens), number(call, "concurrent_requests", together), call_who(call)->claims.user_id};
    call_query(call, set_sql, 5, params, on_set);
}

static void on_list(void *user, const struct cds_rows *rows, const struct cds_err *err)
{
    struct call *call = call_queried(user, err);
    if (call)
        call_succeed_text(call, "limits", cds_rows_str(rows, 0, 0));
}

void rate_list(struct call *call)
{
    call_query(call, list_sql, 0, NULL, on_list);
}
