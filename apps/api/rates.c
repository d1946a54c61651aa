/* apps/api/rates.c: rate.set, rate.list, rate.self: how fast a user may ask the model server, which reads it each second
 * (docs/adr/0070-rate-limits.md). Limits of keys are set by cds-auth (key.create, key.set_rates). */
#include <stdio.h>

#include "apps/api/message.h"

#define RATES(of)                                                                                                                                    \
    "'requests_per_minute', " of ".requests_per_minute, 'tokens_per_minute', " of ".tokens_per_minute, 'concurrent_requests', " of                   \
    ".concurrent_requests"
#define COLUMNS "requests_per_minute, tokens_per_minute, concurrent_requests"
#define LIMITED "requests_per_minute IS NOT NULL OR tokens_per_minute IS NOT NULL OR concurrent_requests IS NOT NULL"
#define LIMITED_OF(of) of ".requests_per_minute IS NOT NULL OR " of ".tokens_per_minute IS NOT NULL OR " of ".concurrent_requests IS NOT NULL"
/* Of a user without limits of their own; 0 in the configuration: any number. */
#define DEFAULTS(requests, tokens, together)                                                                                                         \
    "(SELECT nullif(" requests "::bigint, 0) AS requests_per_minute, nullif(" tokens "::bigint, 0) AS tokens_per_minute, nullif(" together           \
    "::bigint, 0) AS concurrent_requests) d"

static const char set_sql[] =
    "INSERT INTO rate_limits AS r (user_id, requests_per_minute, tokens_per_minute, concurrent_requests, set_by, set_at)"
    " SELECT u.id, $2::int, $3::bigint, $4::int, $5::uuid, clock_timestamp() FROM users u WHERE u.id = $1::uuid AND u.status <> 'deleted'"
    " ON CONFLICT (user_id) DO UPDATE SET requests_per_minute = excluded.requests_per_minute, tokens_per_minute = excluded.tokens_per_minute,"
    " concurrent_requests = excluded.concurrent_requests, set_by = excluded.set_by, set_at = excluded.set_at RETURNING 1";

static const char list_sql[] =
    "SELECT json_build_object('limits', (SELECT coalesce(json_agg(json_build_object('user_id', r.user_id, 'email', u.email, " RATES(
        "r") ") ORDER BY u.email), '[]') FROM (SELECT * FROM rate_limits WHERE " LIMITED
             " ORDER BY set_at DESC LIMIT 500) r JOIN users u ON u.id = r.user_id),"
             " 'keys', (SELECT coalesce(json_agg(json_build_object('key_id', k.id, 'name', k.name, 'user_id', k.user_id, 'email', k.email, " RATES(
                 "k") ") ORDER BY k.email, k.name, k.id), '[]') FROM (SELECT a.id, a.name, a.user_id, u.email, " COLUMNS
                      " FROM api_keys a JOIN users u ON u.id = a.user_id"
                      " WHERE a.revoked_at IS NULL AND (a.expires_at IS NULL OR a.expires_at > now()) AND (" LIMITED
                      ") ORDER BY a.created_at DESC, a.id LIMIT 500) k),"
                      " 'defaults', json_build_object(" RATES("d") ")) FROM " DEFAULTS("$1", "$2", "$3");

/* Each limit by itself: the user's own, or the studio's. */
static const char self_sql[] =
    "SELECT json_build_object('own', r.user_id IS NOT NULL, 'requests_per_minute', coalesce(r.requests_per_minute, d.requests_per_minute),"
    " 'tokens_per_minute', coalesce(r.tokens_per_minute, d.tokens_per_minute), 'concurrent_requests', coalesce(r.concurrent_requests,"
    " d.concurrent_requests)) FROM " DEFAULTS("$2", "$3", "$4") " LEFT JOIN rate_limits r ON r.user_id = $1::uuid AND (" LIMITED_OF("r") ")";

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

static const char *setting(const struct call *call, enum cds_opt option, char out[static 24])
{
    snprintf(out, 24, "%llu", (unsigned long long)cds_config_u64(call->api->config, option));
    return out;
}

void rate_list(struct call *call)
{
    char requests[24], tokens[24], together[24];
    const char *params[] = {setting(call, CDS_OPT_LLM_RATE_REQUESTS, requests), setting(call, CDS_OPT_LLM_RATE_TOKENS, tokens),
                            setting(call, CDS_OPT_LLM_RATE_CONCURRENT, together)};
    call_query(call, list_sql, 3, params, call_give);
}

void rate_self(struct call *call)
{
    char requests[24], tokens[24], together[24];
    const char *params[] = {call_who(call)->claims.user_id, setting(call, CDS_OPT_LLM_RATE_REQUESTS, requests),
                            setting(call, CDS_OPT_LLM_RATE_TOKENS, tokens), setting(call, CDS_OPT_LLM_RATE_CONCURRENT, together)};
    call_query(call, self_sql, 4, params, call_give);
}
