/* apps/api/local.c: the methods that the gateway answers itself. */
#include "apps/api/message.h"
#include "apps/api/runs.h"
#include "lib/base/str.h"

static void user_self(struct call *call)
{
    const struct cds_credential *who = call_who(call);
    call_succeed(call, cds_json_pack("{s:s,s:s,s:s,s:I}", "user_id", who->claims.user_id, "email", who->claims.email, "role",
                                     cds_role_name(who->role), "expires_at", (int64_t)who->claims.expires_s));
}

/* The caller's own open call with the id that the parameters name, on the same socket. */
static struct call *sibling(const struct call *call)
{
    const cds_json *id = cds_json_get(call->params, "id");
    struct message **siblings = call->message->spec.siblings;
    struct call *found = NULL;
    for (struct message *m = siblings ? *siblings : NULL; m && !found; m = m->next)
        for (struct call *c = m->calls; c && !found; c = c->next)
            if (c != call && c->id && cds_json_equal(c->id, id))
                found = c;
    return found;
}

static void rpc_cancel(struct call *call)
{
    struct call *found = sibling(call);
    bool hit = found && call_cancel(found);
    call_succeed(call, cds_json_pack("{s:b}", "cancelled", hit));
}

static void term_ack(struct call *call)
{
    struct call *attach = sibling(call);
    bool acked = attach && sandbox_ack(attach, cds_json_get_i64(call->params, "seq", 0));
    call_succeed(call, cds_json_pack("{s:b}", "acked", (int)acked));
}

static void rpc_discover(struct call *call)
{
    call_succeed(call, cds_rpc_discover());
}

void local_start(struct call *call)
{
    static const struct {
        const char *name;
        void (*start)(struct call *call);
    } methods[] = {
        {"rpc.discover", rpc_discover},
        {"rpc.cancel", rpc_cancel},
        {"user.self", user_self},
        {"user.list", user_list},
        {"user.set_role", user_set_role},
        {"user.block", user_block},
        {"user.unblock", user_unblock},
        {"user.delete", user_delete},
        {"session.list", session_list},
        {"session.revoke", session_revoke},
        {"session.revoke_others", session_revoke_others},
        {"key.list", key_list},
        {"key.revoke", key_revoke},
        {"key.self", key_self},
        {"project.list", project_list},
        {"project.create", project_create},
        {"usage.summary", usage_summary},
        {"usage.report", usage_report},
        {"usage.export", usage_export},
        {"usage.track", usage_track},
        {"usage.forecast", usage_forecast},
        {"usage.anomalies", usage_anomalies},
        {"project.network.get", project_network_get},
        {"project.network.set", project_network_set},
        {"budget.set", budget_set},
        {"audit.list", audit_list},
        {"audit.export", audit_export},
        {"budget.remove", budget_remove},
        {"budget.list", budget_list},
        {"budget.self", budget_self},
        {"budget.grant", budget_grant},
        {"budget.grants", budget_grants},
        {"budget.check", budget_check},
        {"price.list", price_list},
        {"price.set", price_set},
        {"rate.set", rate_set},
        {"rate.list", rate_list},
        {"rate.self", rate_self},
        {"run.history", run_history},
        {"term.ack", term_ack},
    };
    for (size_t i = 0; i < CDS_ARRAY_LEN(methods); i++)
        if (cds_streq(methods[i].name, call->method->name)) {
            methods[i].start(call);
            return;
        }
    struct cds_err err;
    cds_fail(&err, CDS_NO_METHOD, __func__, "There is no method %s.", call->method->name);
    call_fail(call, &err);
}
