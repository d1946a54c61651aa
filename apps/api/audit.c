/* apps/api/audit.c: acts of admins stand in the audit log before they are done (docs/adr/0073-audit-chain.md). Which methods are such acts is
 * derived from their schemas (cds_rpc_audited); those of cds-auth it writes itself, since they can be called there too. */
#include <stdlib.h>
#include <string.h>

#include "apps/api/message.h"
#include "lib/base/cleanup.h"
#include "lib/base/clock.h"
#include "lib/base/str.h"
#include "lib/log/log.h"

static const char add_sql[] = "SELECT audit_add($1::text, 'api', $2::uuid, nullif($3::text, '')::uuid, $4::text, $5::uuid, $6::jsonb)";
enum { ADD_PARAMS = 6 };

static bool wanted(const struct call *call)
{
    const struct cds_credential *who = call_who(call);
    return who && !cds_streq(call->method->leaf, "auth") && cds_rpc_audited(call->method, who->role);
}

static cds_json *begin_of(const struct call *call)
{
    return cds_json_pack("{s:o,s:s}", "params", cds_rpc_audit_params(call->method, call->params), "role", cds_role_name(call_who(call)->role));
}

/** What of an audited call waits for its line. */
struct pending {
    struct ticket *ticket;
    void (*route)(struct call *call);
};

static void on_begun(void *user, const struct cds_rows *rows, const struct cds_err *err)
{
    struct pending *pending = user;
    void (*route)(struct call * call) = pending->route;
    struct call *call = ticket_take(pending->ticket);
    free(pending);
    if (!call)
        return;
    if (err) {
        struct cds_err told;
        cds_fail(&told, CDS_UNAVAILABLE, __func__, "Nothing was done: the audit log could not be written.");
        cds_err_rule(&told, "audit.unwritten");
        cds_err_hint(&told, "Try again in a moment.");
        cds_err_detail(&told, "%s %s", err->message, err->detail);
        told.retry_after_ms = 1000;
        call_fail(call, &told);
        return;
    }
    call->audited = true;
    route(call);
}

/* Fills params for add_sql; text is owned by the caller. */
static void fill(const struct call *call, const char *phase, const char *text, const char *params[static ADD_PARAMS])
{
    const struct cds_claims *claims = &call_who(call)->claims;
    const char *const values[ADD_PARAMS] = {phase, claims->user_id, claims->key_id, call->method->name, call->request_id, text};
    memcpy(params, values, sizeof(values));
}

void call_route_audited(struct call *call, void (*route)(struct call *call))
{
    if (!wanted(call)) {
        route(call);
        return;
    }
    const char *params[ADD_PARAMS];
    CDS_JSON_AUTO begin = begin_of(call);
    CDS_CLEANUP(cds_free_ptr) char *text = begin ? cds_json_dumps(begin, NULL) : NULL;
    struct pending *pending = calloc(1, sizeof(*pending));
    if (!text || !pending)
        abort(); /* as call_ticket: an act without its line is worse than a restart */
    *pending = (struct pending){call_ticket(call), route};
    fill(call, "begin", text, params);
    if (cds_dbq_exec(call->api->db, add_sql, ADD_PARAMS, params, cds_now_ms() + API_DB_MS, on_begun, pending)) {
        ticket_take(pending->ticket);
        free(pending);
        call_database_full(call);
    }
}

static void on_ended(void *user, const struct cds_rows *rows, const struct cds_err *err)
{
    if (err)
        cds_log(CDS_LOG_ERROR, "audit", CDS_LS("error", "The end of an act could not be written into the audit log; its begin stands there."),
                CDS_LS("detail", err->message));
}

void call_audit_end(const struct call *call, cds_rc rc)
{
    if (!call->audited)
        return;
    const char *params[ADD_PARAMS];
    CDS_JSON_AUTO end = cds_json_pack("{s:s}", "end", rc ? cds_rc_name(rc) : "OK");
    CDS_CLEANUP(cds_free_ptr) char *text = end ? cds_json_dumps(end, NULL) : NULL;
    if (!text)
        abort();
    fill(call, "end", text, params);
    struct cds_err err;
    cds_fail(&err, CDS_BUSY, __func__, "The queue of statements is full.");
    if (cds_dbq_exec(call->api->db, add_sql, ADD_PARAMS, params, cds_now_ms() + API_DB_MS, on_ended, NULL))
        on_ended(NULL, NULL, &err);
}
