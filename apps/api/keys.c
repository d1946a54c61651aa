/* apps/api/keys.c: key.list, key.revoke. Keys are made by cds-auth. */
#include "apps/api/message.h"
#include "lib/base/str.h"

#define TIME_OF(column) "to_char(" column " AT TIME ZONE 'UTC', 'YYYY-MM-DD\"T\"HH24:MI:SS\"Z\"')"

static const char list_sql[] =
    "SELECT coalesce(json_agg(json_build_object('key_id', k.id, 'name', k.name, 'role', k.role, 'scopes', k.scopes, 'models', k.models,"
    "  'state', CASE WHEN k.revoked_at IS NOT NULL THEN 'revoked' WHEN k.expires_at <= now() THEN 'expired' ELSE 'active' END,"
    "  'created_at', " TIME_OF("k.created_at") ", 'expires_at', " TIME_OF("k.expires_at") ", 'last_used_at', " TIME_OF(
        "k.last_used_at") ","
                          "  'requests_per_minute', k.requests_per_minute, 'tokens_per_minute', k.tokens_per_minute, 'rotated_from', k.rotated_from)"
                          "  ORDER BY k.live DESC, k.created_at DESC, k.id DESC), '[]')"
                          " FROM (SELECT *, revoked_at IS NULL AND (expires_at IS NULL OR expires_at > now()) AS live FROM api_keys"
                          "  WHERE user_id = $1::uuid ORDER BY live DESC, created_at DESC, id DESC LIMIT 200) k";

static void on_list(void *user, const struct cds_rows *rows, const struct cds_err *err)
{
    struct call *call = call_queried(user, err);
    if (call)
        call_succeed_text(call, "keys", cds_rows_str(rows, 0, 0));
}

void key_list(struct call *call)
{
    const struct cds_credential *who = call_who(call);
    const char *wanted = cds_json_get_str(call->params, "user_id");
    struct cds_err err;
    if (wanted && !cds_streq(wanted, who->claims.user_id) && cds_credential_need(who, CDS_ROLE_ADMIN, "the list of somebody else's keys", &err)) {
        call_fail(call, &err);
        return;
    }
    const char *params[] = {wanted ? wanted : who->claims.user_id};
    call_query(call, list_sql, 1, params, on_list);
}

static void on_revoked(void *user, const struct cds_rows *rows, const struct cds_err *err)
{
    struct call *call = call_queried(user, err);
    struct cds_err gone;
    if (!call)
        return;
    if (cds_streq(cds_rows_str(rows, 0, 0), "ok")) {
        call_succeed(call, cds_json_pack("{s:s,s:b}", "key_id", cds_json_get_str(call->params, "key_id"), "revoked", 1));
        return;
    }
    cds_fail(&gone, CDS_NOT_FOUND, __func__, "There is no such API key, or it was revoked already, or it belongs to someone else.");
    cds_err_pointer(&gone, "/params/key_id");
    cds_err_hint(&gone, "key.list names your keys.");
    call_fail(call, &gone);
}

void key_revoke(struct call *call)
{
    const struct cds_credential *who = call_who(call);
    const char *params[] = {cds_json_get_str(call->params, "key_id"), who->role == CDS_ROLE_ADMIN ? NULL : who->claims.user_id};
    call_query(call, "SELECT key_end($1::uuid, $2::uuid, 'revoked')", 2, params, on_revoked);
}
