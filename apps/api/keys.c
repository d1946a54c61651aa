/* apps/api/keys.c: key.list, key.revoke. Keys are made by cds-auth. */
#include "apps/api/message.h"
#include "apps/api/owned.h"

#define TIME_OF(column) "to_char(" column " AT TIME ZONE 'UTC', 'YYYY-MM-DD\"T\"HH24:MI:SS\"Z\"')"

static const char list_sql[] =
    "SELECT coalesce(json_agg(json_build_object('key_id', k.id, 'name', k.name, 'role', k.role, 'scopes', k.scopes, 'models', k.models,"
    "  'state', CASE WHEN k.revoked_at IS NOT NULL THEN 'revoked' WHEN k.expires_at <= now() THEN 'expired' ELSE 'active' END,"
    "  'created_at', " TIME_OF("k.created_at") ", 'expires_at', " TIME_OF("k.expires_at") ", 'last_used_at', " TIME_OF(
        "k.last_used_at") ","
                          "  'requests_per_minute', k.requests_per_minute, 'tokens_per_minute', k.tokens_per_minute,"
                          "  'concurrent_requests', k.concurrent_requests, 'rotated_from', k.rotated_from)"
                          "  ORDER BY k.live DESC, k.created_at DESC, k.id DESC), '[]')"
                          " FROM (SELECT id, name, role, scopes, models, revoked_at, expires_at, created_at, last_used_at, requests_per_minute, "
                          "tokens_per_minute, concurrent_requests,"
                          "  rotated_from, revoked_at IS NULL AND (expires_at IS NULL OR expires_at > now()) AS live FROM api_keys"
                          "  WHERE user_id = $1::uuid ORDER BY live DESC, created_at DESC, id DESC LIMIT 200) k";

static void on_list(void *user, const struct cds_rows *rows, const struct cds_err *err)
{
    struct call *call = call_queried(user, err);
    if (call)
        call_succeed_text(call, "keys", cds_rows_str(rows, 0, 0));
}

void key_list(struct call *call)
{
    const char *params[] = {owned_whose(call, "keys")};
    if (params[0])
        call_query(call, list_sql, 1, params, on_list);
}

static void on_revoked(void *user, const struct cds_rows *rows, const struct cds_err *err)
{
    owned_ended(user, rows, err, "key_id", "API key", "key.list");
}

void key_revoke(struct call *call)
{
    const char *params[] = {cds_json_get_str(call->params, "key_id"), owned_limit(call)};
    call_query(call, "SELECT key_end($1::uuid, $2::uuid, 'revoked')", 2, params, on_revoked);
}
