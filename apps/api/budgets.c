/* apps/api/budgets.c: budget.set, budget.remove, budget.list, budget.self: the limits that admins set, and how far they are used. The changes are SQL
 * functions of database/migrations/0014_budget_admin.sql; docs/adr/0069-budget-policies-and-prices.md. */
#include <stdio.h>

#include "apps/api/message.h"
#include "apps/api/owned.h"
#include "lib/base/str.h"

#define TIME_OF(column) "to_char(" column " AT TIME ZONE 'UTC', 'YYYY-MM-DD\"T\"HH24:MI:SS\"Z\"')"
/* The window of now may not have been used yet: then it has no row, and nothing counts in it. */
#define POLICY                                                                                                                                       \
    "json_build_object('policy_id', p.id, 'scope', p.scope, 'user_id', p.user_id, 'email', (SELECT email FROM users o WHERE o.id = p.user_id),"      \
    " 'key_id', p.key_id, 'key_name', (SELECT name FROM api_keys o WHERE o.id = p.key_id), 'model', p.model,"                                        \
    " 'unit', (ARRAY['tokens', 'microcredits', 'requests'])[p.unit], 'window', p.span, 'zone', p.zone, 'limit', p.lim, 'soft', p.soft,"              \
    " 'granted', coalesce(b.granted, 0), 'used', coalesce(b.used, 0), 'held', coalesce(b.held, 0),"                                                  \
    " 'remaining', greatest(p.lim + coalesce(b.granted - b.used - b.held, 0), 0),"                                                                   \
    " 'passed', (SELECT coalesce(max(s), 0) FROM unnest(p.soft) s WHERE b.used > 0 AND b.used::numeric * 100 >= (b.lim + b.granted)::numeric * s),"  \
    " 'starts_at', CASE WHEN p.span <> 'lifetime' THEN " TIME_OF("p.start") " END, 'ends_at', CASE WHEN p.span <> 'lifetime' THEN " TIME_OF(         \
        "budget_end(p.span, p.zone, p.old_zone, p.zone_from, p.start)") " END)"
#define PLACE "(p.subject || ' ' || p.unit || ' ' || p.span)"
#define NOW "(SELECT p.*, budget_start(p.span, p.zone, p.old_zone, p.zone_from, now()) AS start FROM budget_policies p WHERE p.removed_at IS NULL"

/* One more than a page is read, so that the last page knows that it is the last. */
static const char list_sql[] =
    "WITH f AS " NOW " AND ($1::text IS NULL OR p.scope = $1) AND ($2::uuid IS NULL OR p.user_id = $2::uuid)"
    "   AND ($3::text IS NULL OR p.model = $3) AND ($4::text IS NULL OR " PLACE " > $4) ORDER BY " PLACE " LIMIT $5::int + 1),"
    " g AS (SELECT * FROM f p ORDER BY " PLACE " LIMIT $5::int)"
    " SELECT json_build_object('policies', (SELECT coalesce(json_agg(" POLICY " ORDER BY " PLACE "), '[]')"
    "   FROM g p LEFT JOIN budget_windows b ON b.policy = p.id AND b.starts_at = p.start),"
    "  'next_cursor', CASE WHEN (SELECT count(*) FROM f) > $5::int THEN (SELECT max(" PLACE ") FROM g p) END)";

static const char self_sql[] = "SELECT coalesce(json_agg(" POLICY " ORDER BY " PLACE "), '[]') FROM (SELECT * FROM " NOW
                               " AND p.user_id = $1::uuid) p ORDER BY " PLACE " LIMIT 200) p"
                               " LEFT JOIN budget_windows b ON b.policy = p.id AND b.starts_at = p.start";

static const char set_sql[] =
    "SELECT verdict, policy, (SELECT concat_ws(' ', span, lim) FROM budget_policies p WHERE p.id = r.policy)"
    " FROM budget_put($1::uuid, $2, coalesce($3::uuid, (SELECT id FROM users WHERE email = lower($4) AND status <> 'deleted')), $5::uuid, $6,"
    " budget_unit($7), $8, $9, $10::bigint, $11::smallint[]) r";

static const char *param(const struct call *call, const char *name)
{
    return cds_json_get_str(call->params, name);
}

static void refuse(struct call *call, cds_rc code, const char *rule, const char *pointer, const char *message, const char *hint)
{
    struct cds_err err;
    cds_fail(&err, code, "budgets", "%s", message);
    cds_err_rule(&err, rule);
    cds_err_pointer(&err, "%s", pointer);
    cds_err_hint(&err, "%s", hint);
    call_fail(call, &err);
}

static void on_set(void *user, const struct cds_rows *rows, const struct cds_err *err)
{
    struct call *call = call_queried(user, err);
    if (!call)
        return;
    const char *verdict = cds_rows_str(rows, 0, 0), *scope = param(call, "scope");
    bool of_key = cds_starts_with(scope, "key");
    if (cds_streq(verdict, "unknown")) {
        refuse(call, CDS_NOT_FOUND, of_key ? "budget.no_key" : "budget.no_user", of_key ? "/params/key_id" : "/params/user_id",
               of_key ? "There is no API key with this id." : "There is no user with this id or address.",
               of_key ? "key.list names the keys of a user." : "user.list names the users.");
    } else if (cds_streq(verdict, "zone")) {
        refuse(call, CDS_NOT_FOUND, "budget.zone", "/params/zone", "There is no time zone with this name.", "Use a name like Europe/Berlin, or UTC.");
    } else if (cds_streq(verdict, "order")) {
        char message[200];
        snprintf(message, sizeof(message), "A shorter window may not allow more than a longer one, and there is a limit for another window: %s.",
                 cds_rows_str(rows, 0, 2));
        refuse(call, CDS_CONFLICT, "budget.order", "/params/limit", message, "Change the other limit first, or choose another number.");
    } else {
        call_succeed(call, cds_json_pack("{s:s,s:b}", "policy_id", cds_rows_str(rows, 0, 1), "created", (int)cds_streq(verdict, "created")));
    }
}

/* What a scope names, and nothing else. */
static bool names_what_its_scope_needs(struct call *call)
{
    const char *scope = param(call, "scope");
    bool user = param(call, "user_id") || param(call, "email"), key = param(call, "key_id"), model = param(call, "model");
    bool of_user = cds_starts_with(scope, "user"), of_key = cds_starts_with(scope, "key");
    bool of_model = cds_streq(scope, "model") || cds_streq(scope, "user_model") || cds_streq(scope, "key_model");
    if (user == of_user && key == of_key && model == of_model && !(param(call, "user_id") && param(call, "email")))
        return true;
    refuse(call, CDS_BAD_PARAM, "budget.scope", "/params/scope",
           "The scope and the names beside it do not fit: user needs user_id or email, key needs key_id, model needs model, global needs none.",
           "Name what the scope is about, and nothing else.");
    return false;
}

static char *numbers_of(const cds_json *list, char *out, size_t size)
{
    size_t n = (size_t)snprintf(out, size, "{");
    for (size_t i = 0; i < cds_json_size(list) && n < size; i++)
        n += (size_t)snprintf(out + n, size - n, "%s%lld", i ? "," : "", (long long)cds_json_i64(cds_json_at(list, i), 0));
    if (n < size)
        snprintf(out + n, size - n, "}");
    return out;
}

void budget_set(struct call *call)
{
    char limit[32], soft[64];
    const cds_json *percents = cds_json_get(call->params, "soft");
    const char *zone = param(call, "zone");
    snprintf(limit, sizeof(limit), "%lld", (long long)cds_json_get_i64(call->params, "limit", 0));
    const char *params[] = {call_who(call)->claims.user_id,
                            param(call, "scope"),
                            param(call, "user_id"),
                            param(call, "email"),
                            param(call, "key_id"),
                            param(call, "model"),
                            param(call, "unit"),
                            param(call, "window"),
                            zone ? zone : "UTC",
                            limit,
                            percents ? numbers_of(percents, soft, sizeof(soft)) : "{50,80,95}"};
    if (names_what_its_scope_needs(call))
        call_query(call, set_sql, 11, params, on_set);
}

static void on_removed(void *user, const struct cds_rows *rows, const struct cds_err *err)
{
    struct call *call = call_queried(user, err);
    if (!call)
        return;
    if (cds_streq(cds_rows_str(rows, 0, 0), "ok"))
        call_succeed(call, cds_json_pack("{s:s,s:b}", "policy_id", param(call, "policy_id"), "removed", 1));
    else
        refuse(call, CDS_NOT_FOUND, "budget.no_policy", "/params/policy_id", "There is no such limit, or it was removed already.",
               "budget.list names them.");
}

void budget_remove(struct call *call)
{
    const char *params[] = {param(call, "policy_id")};
    call_query(call, "SELECT budget_remove($1::uuid)", 1, params, on_removed);
}

void budget_list(struct call *call)
{
    char limit[16];
    snprintf(limit, sizeof(limit), "%lld", (long long)cds_json_get_i64(call->params, "limit", 50));
    const char *params[] = {param(call, "scope"), param(call, "user_id"), param(call, "model"), param(call, "cursor"), limit};
    call_query(call, list_sql, 5, params, call_give);
}

static void on_self(void *user, const struct cds_rows *rows, const struct cds_err *err)
{
    struct call *call = call_queried(user, err);
    if (call)
        call_succeed_text(call, "policies", cds_rows_str(rows, 0, 0));
}

void budget_self(struct call *call)
{
    const char *params[] = {call_who(call)->claims.user_id};
    call_query(call, self_sql, 1, params, on_self);
}
