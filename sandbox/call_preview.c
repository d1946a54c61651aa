/* sandbox/call_preview.c: preview.ports and preview.grant: from parameters to the job of a terminal or run. The gateway has checked that the
 * project is the caller's and names the user; a foreign terminal is not found. preview.grant is the gateway's own method. */
#include <string.h>

#include "lib/base/str.h"
#include "sandbox/preview.h"
#include "sandbox/term.h"

struct target {
    const struct cds_engine_ops *ops;
    struct cds_job *job;
};

static cds_rc find(const struct client *client, const cds_json *params, struct target *ret, struct cds_err *err)
{
    const char *project = cds_json_get_str(params, "project"), *user = cds_json_get_str(params, "user");
    const char *term_id = cds_json_get_str(params, "term_id"), *run_id = cds_json_get_str(params, "run_id");
    if (!term_id == !run_id) {
        cds_fail(err, CDS_BAD_PARAM, __func__, "Name either a terminal (term_id) or a run (run_id).");
        cds_err_pointer(err, term_id ? "/params/run_id" : "/params/term_id");
        return CDS_BAD_PARAM;
    }
    struct term *term = term_id && user ? term_find(client->broker, project ? project : "", user, term_id) : NULL;
    *ret = (struct target){.job = NULL};
    if (term)
        *ret = (struct target){term->ops, term->job};
    else if (run_id)
        ret->job = run_job(client->broker, project ? project : "", run_id, &ret->ops);
    if (ret->job)
        return CDS_OK;
    cds_fail(err, CDS_NOT_FOUND, __func__, "There is no such %s in this project, or it has ended.", term_id ? "terminal" : "run");
    cds_err_hint(err, "Ports exist while their program runs.");
    cds_err_pointer(err, term_id ? "/params/term_id" : "/params/run_id");
    return CDS_NOT_FOUND;
}

static cds_rc call_ports(struct client *client, const struct cds_rpc_request *request, struct cds_err *err)
{
    struct target target;
    struct proc_tcp_ports ports;
    cds_rc rc = find(client, request->params, &target, err);
    if (rc || (rc = preview_ports(target.ops, target.job, &ports, err)))
        return rc;
    cds_json *list = cds_json_array();
    for (size_t i = 0; i < ports.count; i++)
        cds_json_append(list, cds_json_int(ports.port[i]));
    client_result(client, request->id, cds_json_pack("{s:o}", "ports", list));
    return CDS_OK;
}

static cds_rc check_port(const struct target *target, int64_t port, struct cds_err *err)
{
    struct proc_tcp_ports ports;
    if (!target->ops->doors) {
        cds_fail(err, CDS_CONFLICT, __func__, "Programs of the engine %s have no network that a preview could reach.", target->ops->name);
        cds_err_rule(err, "preview.engine");
        return cds_err_hint(err, "Start it in a terminal, or with the engine run.");
    }
    if (!target->ops->doors(target->job)) {
        cds_fail(err, CDS_CONFLICT, __func__, "The network of this program is not there: it is being made, or this machine refused it.");
        cds_err_rule(err, "preview.network");
        return cds_err_hint(err, "Try again in a moment; the log names the step that was refused.");
    }
    cds_rc rc = preview_ports(target->ops, target->job, &ports, err);
    if (rc || proc_tcp_has(&ports, (unsigned)port))
        return rc;
    cds_fail(err, CDS_CONFLICT, __func__, "No program listens on port %lld here, at 127.0.0.1 or at every address.", (long long)port);
    cds_err_rule(err, "preview.port");
    cds_err_pointer(err, "/params/port");
    return cds_err_hint(err, "preview.ports lists the ports that can be opened.");
}

static cds_rc call_grant(struct client *client, const struct cds_rpc_request *request, struct cds_err *err)
{
    struct target target;
    const char *key = NULL;
    cds_rc rc = find(client, request->params, &target, err);
    if (rc || (rc = check_port(&target, cds_json_get_i64(request->params, "port", 0), err)) ||
        (rc = preview_grant(client->broker, target.ops, target.job, &key, err)))
        return rc;
    client_result(client, request->id, cds_json_pack("{s:s}", "grant", key));
    return CDS_OK;
}

void preview_call(struct client *client, const struct cds_rpc_request *request)
{
    struct cds_err err;
    cds_rc rc;
    if (cds_streq(request->method, "preview.ports"))
        rc = call_ports(client, request, &err);
    else if (cds_streq(request->method, "preview.grant"))
        rc = call_grant(client, request, &err);
    else
        rc = cds_fail(&err, CDS_NO_METHOD, __func__, "The sandbox has no method %.64s.", request->method);
    if (rc)
        client_error(client, request->id, &err);
}
