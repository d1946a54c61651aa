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

/* Cancels the caller's own open call with that id on the same socket. */
static void rpc_cancel(struct call *call)
{
    const cds_json *id = cds_json_get(call->params, "id");
    struct message **siblings = call->message->spec.siblings;
    struct call *found = NULL;
    bool hit = false;
    for (struct message *m = siblings ? *siblings : NULL; m && !found; m = m->next)
        for (struct call *c = m->calls; c && !found; c = c->next)
            if (c != call && c->id && cds_json_equal(c->id, id))
                found = c;
    if (found)
        hit = call_cancel(found);
    call_succeed(call, cds_json_pack("{s:b}", "cancelled", hit));
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
        {"rpc.discover", rpc_discover},     {"rpc.cancel", rpc_cancel},       {"user.self", user_self},   {"project.list", project_list},
        {"project.create", project_create}, {"usage.summary", usage_summary}, {"budget.set", budget_set}, {"run.history", run_history},
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
