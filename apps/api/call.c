/* apps/api/call.c: see call.h. */
#include "apps/api/call.h"

#include <stdlib.h>
#include <string.h>

#include "apps/api/message.h"
#include "lib/base/clock.h"
#include "lib/base/str.h"
#include "lib/log/log.h"
#include "lib/metrics/metrics.h"

static void leave(struct call *call)
{
    struct call **place = &call->message->calls;
    while (*place && *place != call)
        place = &(*place)->next;
    if (*place)
        *place = call->next;
}

static void call_free(struct call *call)
{
    leave(call);
    cds_timer_remove(&call->deadline);
    cds_standing_unwait(&call->fresh);
    if (call->ticket)
        call->ticket->call = NULL;
    cds_json_unref(call->id);
    cds_json_unref(call->params);
    free(call);
}

static void log_end(const struct call *call, cds_rc rc, const struct cds_err *err)
{
    const struct cds_credential *who = call_who(call);
    uint64_t ms = cds_now_ms() - call->started_ms;
    call_audit_end(call, rc);
    cds_metric_add(CDS_M_RPC_CALLS, call->method ? call->method->name : "unknown", 1);
    if (rc)
        cds_metric_add(CDS_M_RPC_ERRORS, cds_rc_name(rc), 1);
    /* The client's mistakes are news for the client; the log shouts only about ours, and whispers about each key of a terminal. */
    bool ours = cds_rc_http(rc) >= 500, key = !rc && (cds_streq(call->method_name, "term.input") || cds_streq(call->method_name, "term.ack"));
    cds_log(ours ? CDS_LOG_ERROR : (key ? CDS_LOG_DEBUG : CDS_LOG_INFO), "call", CDS_LS("request_id", call->request_id),
            CDS_LS("user_id", who ? who->claims.user_id : NULL), CDS_LS("method", call->method_name), CDS_LS("end", rc ? cds_rc_name(rc) : "OK"),
            CDS_LS("error", err ? err->message : NULL), CDS_LS("rule", err && err->rule[0] ? err->rule : NULL),
            CDS_LS("detail", err && err->detail[0] ? err->detail : NULL), CDS_LI("ms", (long long)ms));
}

/* Ends the call: answer may be NULL (notification). */
static void end(struct call *call, cds_json *answer, cds_rc rc)
{
    struct message *message = call->message;
    call_free(call);
    message_answer(message, answer, rc);
}

void call_succeed(struct call *call, cds_json *result)
{
    if (!result) {
        struct cds_err err;
        cds_fail(&err, CDS_EXHAUSTED, __func__, "Out of memory while building the answer.");
        call_fail(call, &err);
        return;
    }
    log_end(call, CDS_OK, NULL);
    cds_json *answer = NULL;
    if (call->id)
        answer = cds_rpc_result(call->id, result);
    else
        cds_json_unref(result);
    end(call, answer, CDS_OK);
}

void call_fail(struct call *call, const struct cds_err *err)
{
    log_end(call, err->code, err);
    end(call, call->id ? cds_rpc_error(call->id, err, call->request_id) : NULL, err->code);
}

bool call_streams(const struct call *call)
{
    return call->message->spec.on_notify && call->id;
}

bool call_notify(struct call *call, const char *method, cds_json *params)
{
    if (!call_streams(call)) {
        cds_json_unref(params);
        return false;
    }
    cds_json_set(params, "seq", cds_json_int((int64_t)call->seq++));
    return call_pass_on(call, method, params);
}

bool call_pass_on(struct call *call, const char *method, cds_json *params)
{
    if (!call_streams(call)) {
        cds_json_unref(params);
        return false;
    }
    cds_json_set(params, "id", cds_json_ref(call->id));
    CDS_JSON_AUTO note = cds_rpc_notification(method, params);
    return note && call->message->spec.on_notify(call->message->spec.user, note);
}

const struct cds_credential *call_who(const struct call *call)
{
    return call->message->known ? &call->message->who : NULL;
}

const char *call_authorization(const struct call *call)
{
    return call->message->spec.authorization;
}

struct ticket *call_ticket(struct call *call)
{
    struct ticket *ticket = malloc(sizeof(*ticket));
    if (!ticket)
        abort();
    ticket->call = call;
    call->ticket = ticket;
    return ticket;
}

struct call *ticket_take(struct ticket *ticket)
{
    struct call *call = ticket->call;
    if (call)
        call->ticket = NULL;
    free(ticket);
    return call;
}

void call_database_full(struct call *call)
{
    struct cds_err err;
    cds_fail(&err, CDS_BUSY, __func__, "The database has more waiting than it can take.");
    cds_err_hint(&err, "Try again in a moment.");
    err.retry_after_ms = 1000;
    call_fail(call, &err);
}

void call_query(struct call *call, const char *sql, int n, const char *const *params, cds_dbq_done_fn *done)
{
    struct ticket *ticket = call_ticket(call);
    if (cds_dbq_exec(call->api->db, sql, n, params, cds_now_ms() + API_DB_MS, done, ticket)) {
        ticket_take(ticket);
        call_database_full(call);
    }
}

struct call *call_queried(void *ticket, const struct cds_err *err)
{
    struct call *call = ticket_take(ticket);
    if (!call || !err)
        return call;
    call_fail(call, err);
    return NULL;
}

void call_succeed_text(struct call *call, const char *name, const char *text)
{
    cds_json *value = NULL;
    struct cds_err err;
    if (cds_json_parse(text, strlen(text), &value, &err))
        call_fail(call, &err);
    else
        call_succeed(call, name ? cds_json_pack("{s:o}", name, value) : value);
}

void call_give(void *ticket, const struct cds_rows *rows, const struct cds_err *err)
{
    struct call *call = call_queried(ticket, err);
    if (call)
        call_succeed_text(call, NULL, cds_rows_str(rows, 0, 0));
}

bool call_cancel(struct call *call)
{
    if (call->cancelled)
        return true;
    if (!call->leaf_cancel)
        return false;
    call->cancelled = true; /* before the leaf, which may answer and so free the call */
    if (call->leaf_cancel(call))
        return true;
    call->cancelled = false;
    return false;
}

void call_drop(struct call *call)
{
    struct cds_err err;
    cds_fail(&err, CDS_CANCELLED, __func__, "The client left.");
    log_end(call, CDS_CANCELLED, &err);
    if (call->leaf_drop)
        call->leaf_drop(call);
    call_free(call);
}

void call_abort(struct call *call, const struct cds_err *err)
{
    if (call->leaf_drop)
        call->leaf_drop(call);
    call_fail(call, err);
}

static void on_deadline(void *user)
{
    struct call *call = user;
    struct cds_err err;
    cds_fail(&err, CDS_TIMED_OUT, __func__, "%s did not answer within %llu ms.", call->method_name,
             (unsigned long long)(call->deadline_ms - call->started_ms));
    cds_err_hint(&err, "Try again; if it happens again, tell an admin the request id.");
    call_abort(call, &err);
}

/* The call itself is counted. One that ends others, or is answered at once, must get through a full socket. */
static cds_rc check_room(const struct call *call, struct cds_err *err)
{
    unsigned most = call->message->spec.calls_max;
    if (!most || cds_streq(call->method->name, "rpc.cancel") || message_open_calls(call->message) <= most)
        return CDS_OK;
    cds_fail(err, CDS_BUSY, __func__, "This connection has %u calls open, the most it may have.", most);
    err->retry_after_ms = 1000;
    return cds_err_hint(err, "Wait for answers before sending more.");
}

/* The caller's token may be good while its user or session is not any more. */
static cds_rc check_credential(const struct call *call, struct cds_err *err)
{
    struct message *message = call->message;
    if (!call_who(call)) {
        *err = message->auth_err;
        return err->code;
    }
    bool expired = message->who.claims.expires_s * 1000 <= (int64_t)cds_wall_ms();
    if (expired && *message->who.claims.key_id) { /* renew.c asks for it again and again */
        cds_fail(err, CDS_UNAVAILABLE, __func__, "The sign-in service did not answer, so the API key cannot be checked.");
        cds_err_rule(err, "auth.unreachable");
        err->retry_after_ms = 1000;
        return CDS_UNAVAILABLE;
    }
    if (expired) {
        cds_fail(err, CDS_UNAUTHENTICATED, __func__, "The access token of this connection has expired.");
        return cds_err_hint(err, "Sign in again or refresh the token, then connect again.");
    }
    cds_rc rc = cds_standing_check(call->api->standing, &message->who, err);
    if (!rc)
        rc = cds_credential_need(&message->who, call->method->least_role, call->method->name, err);
    if (rc)
        return rc;
    if (cds_streq(call->method->name, "key.self")) /* whatever a key may, it may ask what that is */
        return CDS_OK;
    char scope[32];
    cds_strcpy(scope, sizeof(scope), call->method->name);
    scope[strcspn(scope, ".")] = '\0';
    return cds_credential_may(&message->who, scope, call->method->name, err);
}

/* Credential, role, room and parameters, in this order. */
static cds_rc guard(const struct call *call, struct cds_err *err)
{
    const struct cds_rpc_method *method = call->method;
    cds_rc rc;
    if (!method) {
        cds_fail(err, CDS_NO_METHOD, __func__, "There is no method %s.", call->method_name);
        cds_err_hint(err, "rpc.discover lists all methods.");
        return CDS_NO_METHOD;
    }
    if (method->least_role != CDS_ROLE_NONE && (rc = check_credential(call, err)))
        return rc;
    if ((rc = check_room(call, err)))
        return rc;
    if (method->billable && !call->id) {
        cds_fail(err, CDS_BAD_REQUEST, __func__, "%s costs tokens and must be called with an id, so that its answer can be told.", method->name);
        return CDS_BAD_REQUEST;
    }
    return cds_rpc_check_params(method, call->params, err);
}

/* A generation may take what the studio allows it, and llmserver is the one to end it: its answer says what was generated and what it cost. */
static uint64_t allowed_ms(const struct call *call)
{
    const char *name = call->method->name;
    if (cds_streq(name, "llm.chat") || cds_streq(name, "llm.complete") || cds_streq(name, "llm.resume") || cds_streq(name, "llm.embed"))
        return cds_config_u64(call->api->config, CDS_OPT_LLM_REQUEST_MS) + API_LLM_GRACE_MS;
    return call->method->deadline_ms;
}

static void route(struct call *call)
{
    if (cds_streq(call->method->leaf, "sandboxd"))
        sandbox_start(call);
    else if (cds_streq(call->method->leaf, "preview"))
        preview_start(call);
    else if (cds_streq(call->method->leaf, "llmserver"))
        llm_start(call);
    else if (cds_streq(call->method->leaf, "auth"))
        auth_start(call);
    else
        local_start(call);
}

/* Guarded, timed, and off to its leaf. */
static void admit(struct call *call)
{
    struct cds_err err;
    if (guard(call, &err)) {
        call_fail(call, &err);
        return;
    }
    call->deadline_ms = call->started_ms + allowed_ms(call);
    if (cds_timer_add(call->api->loop, call->deadline_ms, on_deadline, call, &call->deadline)) {
        cds_fail(&err, CDS_EXHAUSTED, __func__, "Out of memory.");
        call_fail(call, &err);
        return;
    }
    call_route_audited(call, route);
}

static void on_fresh(void *user, const struct cds_err *err)
{
    struct call *call = user;
    if (err)
        call_fail(call, err);
    else
        admit(call);
}

void call_start(struct message *message, const struct cds_rpc_request *request, const char *request_id)
{
    struct cds_err err;
    struct call *call = calloc(1, sizeof(*call));
    if (!call)
        abort();
    call->api = message->spec.api;
    call->message = message;
    call->next = message->calls;
    message->calls = call;
    call->started_ms = cds_now_ms();
    cds_strcpy(call->method_name, sizeof(call->method_name), request->method);
    cds_strcpy(call->request_id, sizeof(call->request_id), request_id);
    call->method = cds_rpc_find(request->method);
    call->id = cds_json_ref(request->id);
    call->params = request->params ? cds_json_ref(request->params) : cds_json_object();
    /* Rights that were not confirmed a moment ago let nobody in: the call waits for the next look. */
    bool fresh = !call_who(call) || !call->method || call->method->least_role == CDS_ROLE_NONE || cds_standing_fresh(call->api->standing);
    if (fresh)
        admit(call);
    else if (cds_standing_wait(call->api->standing, &call->fresh, on_fresh, call)) {
        cds_rc rc = cds_standing_unknown(&err);
        (void)rc;
        call_fail(call, &err);
    }
}
