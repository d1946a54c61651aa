/* apps/api/grants.c: budget.grant, budget.grants, budget.check, price.set, price.list: what admins give and take, the dry run, and the price list. */
#include <stdio.h>

#include "apps/api/message.h"
#include "apps/api/owned.h"
#include "lib/base/str.h"

#define TIME_OF(column) "to_char(" column " AT TIME ZONE 'UTC', 'YYYY-MM-DD\"T\"HH24:MI:SS.MS\"Z\"')"

static const char grants_sql[] =
    "WITH g AS (SELECT g.*, p.unit, p.scope, p.span FROM budget_grants g JOIN budget_policies p ON p.id = g.policy"
    "   WHERE ($1::uuid IS NULL OR g.policy = $1::uuid) AND ($2::uuid IS NULL OR (g.created_at, g.id) < (SELECT o.created_at, o.id FROM "
    "budget_grants o"
    "   WHERE o.id = $2::uuid)) ORDER BY g.created_at DESC, g.id DESC LIMIT $3::int + 1),"
    " f AS (SELECT * FROM g ORDER BY created_at DESC, id DESC LIMIT $3::int)"
    " SELECT json_build_object('grants', (SELECT coalesce(json_agg(json_build_object('grant_id', id, 'policy_id', policy, 'scope', scope, 'window', "
    "span,"
    "   'unit', (ARRAY['tokens', 'microcredits', 'requests'])[unit], 'amount', amount, 'reason', reason, 'actor_id', actor,"
    "   'actor', (SELECT email FROM users u WHERE u.id = actor), 'at', " TIME_OF(
        "created_at") ") ORDER BY created_at DESC, id DESC), '[]') FROM f),"
                      "  'next_cursor', CASE WHEN (SELECT count(*) FROM g) > $3::int THEN (SELECT id FROM f ORDER BY created_at, id LIMIT 1) END)";

static const char prices_sql[] =
    "WITH p AS (SELECT *, lead(valid_from) OVER (PARTITION BY model ORDER BY valid_from) AS valid_to FROM model_prices"
    "   WHERE $1::text IS NULL OR model = $1)"
    " SELECT coalesce(json_agg(json_build_object('model', model, 'input', price_input, 'cached', price_cached, 'output', price_output,"
    "   'valid_from', CASE WHEN valid_from > '-infinity' THEN " TIME_OF("valid_from") " END, 'valid_to', " TIME_OF(
        "valid_to") ","
                    "   'state', CASE WHEN valid_to <= now() THEN 'past' WHEN valid_from > now() THEN 'future' ELSE 'now' END,"
                    "   'set_by', (SELECT email FROM users u WHERE u.id = set_by)) ORDER BY model, valid_from DESC), '[]')"
                    " FROM (SELECT * FROM p ORDER BY valid_to DESC NULLS FIRST, model LIMIT 500) p";

/* The key of somebody else, or none: nothing is told about it. */
static const char check_sql[] =
    "SELECT budget_check($1::uuid, coalesce($2::uuid, '00000000-0000-0000-0000-000000000000'), $3, $4::bigint, $5::bigint, 256),"
    " $2::uuid IS NULL OR EXISTS (SELECT FROM api_keys WHERE id = $2::uuid AND user_id = $1::uuid)";

static const char *param(const struct call *call, const char *name)
{
    return cds_json_get_str(call->params, name);
}

static void refuse(struct call *call, cds_rc code, const char *rule, const char *pointer, const char *message, const char *hint)
{
    struct cds_err err;
    cds_fail(&err, code, "grants", "%s", message);
    cds_err_rule(&err, rule);
    cds_err_pointer(&err, "%s", pointer);
    cds_err_hint(&err, "%s", hint);
    call_fail(call, &err);
}

static char *number(const struct call *call, const char *name, int64_t otherwise, char out[static 24])
{
    snprintf(out, 24, "%lld", (long long)cds_json_get_i64(call->params, name, otherwise));
    return out;
}

/* Columns: verdict, limit with its grants, used, held. */
static void on_grant(void *user, const struct cds_rows *rows, const struct cds_err *err)
{
    struct call *call = call_queried(user, err);
    if (!call)
        return;
    const char *verdict = cds_rows_str(rows, 0, 0);
    if (cds_streq(verdict, "ok") || cds_streq(verdict, "again"))
        call_succeed(call, cds_json_pack("{s:s,s:s,s:O,s:I,s:I,s:I,s:b}", "grant_id", param(call, "grant_id"), "policy_id", param(call, "policy_id"),
                                         "amount", cds_json_get(call->params, "amount"), "limit", (long long)cds_rows_i64(rows, 0, 1, 0), "used",
                                         (long long)cds_rows_i64(rows, 0, 2, 0), "held", (long long)cds_rows_i64(rows, 0, 3, 0), "again",
                                         (int)cds_streq(verdict, "again")));
    else if (cds_streq(verdict, "taken"))
        refuse(call, CDS_CONFLICT, "budget.grant_taken", "/params/grant_id", "Another grant has this id already; nothing was changed.",
               "Make a new id for each grant.");
    else if (cds_streq(verdict, "below"))
        refuse(call, CDS_CONFLICT, "budget.grant_below", "/params/amount",
               "That is more than there is to take: the limit and its grants would fall below 0.", "Take less, or set the limit to 0.");
    else
        refuse(call, CDS_NOT_FOUND, "budget.no_policy", "/params/policy_id", "There is no such limit, or it was removed already.",
               "budget.list names them.");
}

void budget_grant(struct call *call)
{
    char amount[24];
    const char *params[] = {param(call, "grant_id"), param(call, "policy_id"), number(call, "amount", 0, amount), call_who(call)->claims.user_id,
                            param(call, "reason")};
    if (cds_json_get_i64(call->params, "amount", 0) == 0)
        refuse(call, CDS_BAD_PARAM, "budget.grant_nothing", "/params/amount", "A grant of 0 changes nothing.",
               "Name a number above 0 to give, below 0 to take.");
    else
        call_query(call, "SELECT verdict, lim, used, held FROM budget_grant($1::uuid, $2::uuid, $3::bigint, $4::uuid, $5)", 5, params, on_grant);
}

void budget_grants(struct call *call)
{
    char limit[24];
    const char *params[] = {param(call, "policy_id"), param(call, "cursor"), number(call, "limit", 50, limit)};
    call_query(call, grants_sql, 3, params, call_give);
}

static void on_check(void *user, const struct cds_rows *rows, const struct cds_err *err)
{
    struct call *call = call_queried(user, err);
    if (!call)
        return;
    if (!cds_rows_bool(rows, 0, 1))
        refuse(call, CDS_NOT_FOUND, "budget.no_key", "/params/key_id", "There is no such API key.", "key.list names yours.");
    else if (!cds_rows_str(rows, 0, 0))
        refuse(call, CDS_NOT_FOUND, "budget.no_price", "/params/model", "There is no price for a model of this name yet.",
               "llm.list_models names the models; one gets its price when it is loaded for the first time.");
    else
        call_succeed_text(call, NULL, cds_rows_str(rows, 0, 0));
}

void budget_check(struct call *call)
{
    char prompt[24], most[24];
    const char *whose = owned_whose(call, "budgets");
    if (!whose)
        return;
    const char *key = param(call, "key_id"), *own_key = call_who(call)->claims.key_id;
    const char *params[] = {whose, !key && *own_key ? own_key : key, param(call, "model"), number(call, "prompt_tokens", 0, prompt),
                            number(call, "max_tokens", 256, most)};
    call_query(call, check_sql, 5, params, on_check);
}

static void on_prices(void *user, const struct cds_rows *rows, const struct cds_err *err)
{
    struct call *call = call_queried(user, err);
    if (call)
        call_succeed_text(call, "prices", cds_rows_str(rows, 0, 0));
}

void price_list(struct call *call)
{
    const char *params[] = {param(call, "model")};
    call_query(call, prices_sql, 1, params, on_prices);
}

static void on_price(void *user, const struct cds_rows *rows, const struct cds_err *err)
{
    struct call *call = call_queried(user, err);
    if (!call)
        return;
    if (cds_streq(cds_rows_str(rows, 0, 0), "ok"))
        call_succeed(call, cds_json_pack("{s:s,s:b}", "model", param(call, "model"), "set", 1));
    else
        refuse(call, CDS_BAD_PARAM, "price.past", "/params/valid_from",
               "A price cannot hold from a moment in the past: requests were admitted at the old one.",
               "Leave valid_from out for now, or name a moment to come.");
}

void price_set(struct call *call)
{
    char input[24], cached[24], output[24];
    number(call, "input", 0, input);
    const char *params[] = {call_who(call)->claims.user_id,
                            param(call, "model"),
                            param(call, "valid_from"),
                            input,
                            cds_json_get(call->params, "cached") ? number(call, "cached", 0, cached) : input,
                            number(call, "output", 0, output)};
    call_query(call, "SELECT price_put($1::uuid, $2, $3::timestamptz, $4::bigint, $5::bigint, $6::bigint)", 6, params, on_price);
}
