/* apps/api/accounts.c: users and sessions as far as no secret is involved: user.list, user.set_role, user.block, user.unblock,
 * session.list, session.revoke, session.revoke_others. What touches a password or a token is cds-auth's (leaf_auth.c). The changes are SQL functions
 * of database/migrations/0010_access.sql, which also tell every process. */
#include <stdio.h>
#include <string.h>

#include "apps/api/message.h"
#include "apps/api/owned.h"
#include "lib/base/str.h"

#define TIME_OF(column) "to_char(" column " AT TIME ZONE 'UTC', 'YYYY-MM-DD\"T\"HH24:MI:SS\"Z\"')"

/* One more than a page is read, so that the last page knows that it is the last. */
static const char list_sql[] =
    "WITH u AS (SELECT id, email, display_name, role, status, created_at, last_login_at FROM users WHERE status <> 'deleted' AND "
    "($1::text IS NULL OR status = $1) AND ($2::text IS NULL OR role = $2)"
    "   AND ($3::text IS NULL OR position(lower($3) IN email) > 0 OR position(lower($3) IN lower(display_name)) > 0)"
    "   AND ($4::text IS NULL OR email > $4) ORDER BY email LIMIT $5::int + 1),"
    " p AS (SELECT * FROM u ORDER BY email LIMIT $5::int)"
    " SELECT json_build_object('users', coalesce((SELECT json_agg(json_build_object('user_id', id, 'email', email, 'display_name', display_name,"
    "   'role', role, 'status', status, 'asks', status = 'pending' AND user_asks(id), 'created_at', " TIME_OF(
        "created_at") ", 'last_login_at', " TIME_OF("last_login_at") ","
                                                                     "   'month_tokens_limit', (SELECT b.lim FROM budget_policies b WHERE b.subject "
                                                                     "= 'user ' || p.id AND b.unit = 1 AND b.span "
                                                                     "= 'month'"
                                                                     "     AND b.removed_at IS NULL),"
                                                                     "   'sessions', (SELECT count(*) FROM sessions s WHERE s.user_id = p.id AND "
                                                                     "s.revoked_at IS NULL AND s.expires_at > now()),"
                                                                     "   'link_expires_at', (SELECT " TIME_OF(
                                                                         "max(i.expires_at)") " FROM invites i WHERE i.user_id = p.id AND i.used_at "
                                                                                              "IS NULL AND i.expires_at > now()))"
                                                                                              "   ORDER BY email) FROM p), '[]'),"
                                                                                              "  'next_cursor', CASE WHEN (SELECT count(*) FROM u) > "
                                                                                              "$5::int THEN (SELECT max(email) FROM p) "
                                                                                              "END)";

static const char sessions_sql[] =
    "SELECT coalesce(json_agg(json_build_object('session_id', id, 'current', id = $2::uuid, 'device', device, 'address', address,"
    "  'created_at', " TIME_OF("created_at") ", 'last_used_at', " TIME_OF("last_used_at") ", 'expires_at', " TIME_OF(
        "expires_at") ")"
                      "  ORDER BY last_used_at DESC, id DESC), '[]')"
                      " FROM (SELECT * FROM sessions WHERE user_id = $1::uuid AND revoked_at IS NULL AND expires_at > now() ORDER BY last_used_at "
                      "DESC, id DESC LIMIT 200) s";

static const char *param(const struct call *call, const char *name)
{
    return cds_json_get_str(call->params, name);
}

static void fail(struct call *call, cds_rc code, const char *rule, const char *message, const char *hint)
{
    struct cds_err err;
    cds_fail(&err, code, "accounts", "%s", message);
    cds_err_rule(&err, rule);
    if (hint)
        cds_err_hint(&err, "%s", hint);
    call_fail(call, &err);
}

static void no_user(struct call *call)
{
    struct cds_err err;
    cds_fail(&err, CDS_NOT_FOUND, __func__, "There is no user with this id.");
    cds_err_pointer(&err, "/params/user_id");
    cds_err_hint(&err, "user.list names the users.");
    call_fail(call, &err);
}

/* ---- users ---- */
void user_list(struct call *call)
{
    char limit[16];
    snprintf(limit, sizeof(limit), "%lld", (long long)cds_json_get_i64(call->params, "limit", 50));
    const char *params[] = {param(call, "status"), param(call, "role"), param(call, "query"), param(call, "cursor"), limit};
    call_query(call, list_sql, 5, params, call_give);
}

/* Columns: verdict of the function, role and status as they are now. */
static void on_changed(void *user, const struct cds_rows *rows, const struct cds_err *err)
{
    struct call *call = call_queried(user, err);
    if (!call)
        return;
    const char *verdict = cds_rows_str(rows, 0, 0);
    if (cds_streq(verdict, "unknown"))
        no_user(call);
    else if (cds_streq(verdict, "last_admin"))
        fail(call, CDS_CONFLICT, "user.last_admin", "This is the last active admin: without one nobody could manage the studio.",
             "Give somebody else the role admin first.");
    else
        call_succeed(call, cds_json_pack("{s:s,s:s,s:s,s:b}", "user_id", param(call, "user_id"), "role", cds_rows_str(rows, 0, 1), "status",
                                         cds_rows_str(rows, 0, 2), "changed", (int)cds_streq(verdict, "ok")));
}

/* The function's work is not seen by the statement that calls it, so the present state is what it was asked for. */
static void change(struct call *call, const char *role, const char *status, const char *why)
{
    const char *params[] = {param(call, "user_id"), role, status, why};
    call_query(call,
               "SELECT c.verdict, coalesce($2::text, u.role), CASE WHEN $3::text = 'active' AND NOT user_has_password(u.id) THEN 'pending'"
               " ELSE coalesce($3::text, u.status) END"
               " FROM (SELECT user_change($1::uuid, $2::text, $3::text, $4::text) AS verdict) c LEFT JOIN users u ON u.id = $1::uuid",
               4, params, on_changed);
}

void user_set_role(struct call *call)
{
    change(call, param(call, "role"), NULL, "role");
}

void user_block(struct call *call)
{
    change(call, NULL, "blocked", "blocked");
}

void user_unblock(struct call *call)
{
    change(call, NULL, "active", "unblocked");
}

/* ---- sessions ---- */
static void on_sessions(void *user, const struct cds_rows *rows, const struct cds_err *err)
{
    struct call *call = call_queried(user, err);
    if (call)
        call_succeed_text(call, "sessions", cds_rows_str(rows, 0, 0));
}

void session_list(struct call *call)
{
    const char *mine = call_who(call)->claims.session_id;
    const char *params[] = {owned_whose(call, "sessions"), mine};
    if (params[0])
        call_query(call, sessions_sql, 2, params, on_sessions);
}

static void on_revoked(void *user, const struct cds_rows *rows, const struct cds_err *err)
{
    owned_ended(user, rows, err, "session_id", "session", "session.list");
}

void session_revoke(struct call *call)
{
    const char *params[] = {param(call, "session_id"), owned_limit(call)};
    call_query(call, "SELECT session_end($1::uuid, $2::uuid, 'revoked')", 2, params, on_revoked);
}

static void on_others(void *user, const struct cds_rows *rows, const struct cds_err *err)
{
    struct call *call = call_queried(user, err);
    if (call)
        call_succeed(call, cds_json_pack("{s:I}", "revoked", cds_rows_i64(rows, 0, 0, 0)));
}

void session_revoke_others(struct call *call)
{
    const struct cds_claims *claims = &call_who(call)->claims;
    const char *params[] = {claims->user_id, claims->session_id};
    call_query(call, "SELECT sessions_end($1::uuid, $2::uuid, 'revoked')", 2, params, on_others);
}
