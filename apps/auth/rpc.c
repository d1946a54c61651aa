/* apps/auth/rpc.c: see rpc.h. Read, checked and answered here, on the loop thread; the work is in rpc_user.c. */
#include "apps/auth/rpc.h"

#include <stdlib.h>
#include <string.h>
#include <strings.h>

#include "apps/auth/store_account.h"
#include "lib/base/cleanup.h"
#include "lib/base/clock.h"
#include "lib/base/str.h"
#include "lib/http/reply.h"
#include "lib/jwt/apikey.h"
#include "lib/log/log.h"
#include "lib/metrics/metrics.h"

static const struct cds_auth_method methods[] = {
    {"key.create", cds_auth_rpc_key_create, .makes = true},
    {"key.rotate", cds_auth_rpc_key_rotate, .makes = true},
    {"key.set_rates", cds_auth_rpc_key_set_rates, .makes = false},
    {"user.invite", cds_auth_rpc_invite, .makes = false},
    {"user.link", cds_auth_rpc_link, .makes = false},
    {"user.login", cds_auth_rpc_login, .guesses = true},
    {"user.password.change", cds_auth_rpc_password, .guesses = true},
};

static const struct cds_auth_method *find(const char *name)
{
    for (size_t i = 0; i < CDS_ARRAY_LEN(methods); i++)
        if (cds_streq(methods[i].name, name))
            return &methods[i];
    return NULL;
}

/* ---- the answer ---- */
static void log_call(const struct cds_auth_rpc *call)
{
    bool ours = call->rc && cds_rc_http(call->rc) >= 500;
    cds_log(ours ? CDS_LOG_ERROR : CDS_LOG_INFO, "call", CDS_LS("request_id", cds_http_request_id(call->req)),
            CDS_LS("user_id", *call->who.user_id ? call->who.user_id : NULL), CDS_LS("method", call->method ? call->method->name : NULL),
            CDS_LS("end", call->rc ? cds_rc_name(call->rc) : "OK"), CDS_LI("ms", cds_now_ms() - cds_http_started_ms(call->req)),
            CDS_LS("rule", call->rc && *call->err.rule ? call->err.rule : NULL), CDS_LS("error", ours ? call->err.message : NULL),
            CDS_LS("detail", ours && *call->err.detail ? call->err.detail : NULL));
}

static void reply(struct cds_auth_rpc *call)
{
    struct cds_http_req *req = call->req;
    call->err.code = call->rc;
    cds_json *result = call->result;
    call->result = NULL;
    CDS_JSON_AUTO answer = call->rc ? cds_rpc_error(call->id, &call->err, cds_http_request_id(req)) : cds_rpc_result(call->id, result);
    log_call(call);
    cds_http_add_header(req, "Cache-Control", "no-store");
    cds_http_reply_json(req, cds_rc_http(call->rc), answer);
}

static void call_free(struct cds_auth_rpc *call)
{
    cds_json_unref(call->id);
    cds_json_unref(call->params);
    cds_json_unref(call->result);
    free(call);
}

/* A wrong guess counts; what was none is given back. */
static void settle_throttle(const struct cds_auth_rpc *call)
{
    struct cds_throttle *throttle = call->auth->throttle;
    if (!call->method->guesses)
        return;
    if (call->rc == CDS_OK)
        cds_throttle_succeeded(throttle, call->ip, call->account, cds_now_ms());
    else if (call->rc != CDS_UNAUTHENTICATED && !cds_streq(call->err.rule, "password.wrong") && !cds_streq(call->err.rule, "user.blocked"))
        cds_throttle_undo(throttle, call->ip, call->account, cds_now_ms());
}

static void on_done(void *user)
{
    struct cds_auth_rpc *call = user;
    settle_throttle(call);
    if (call->method->run == cds_auth_rpc_login)
        cds_metric_add(CDS_M_LOGINS, cds_auth_outcome(call->rc, &call->err), 1);
    if (call->req) {
        cds_http_set_user(call->req, NULL, NULL, NULL);
        reply(call);
    }
    call_free(call);
}

static void on_gone(void *user)
{
    ((struct cds_auth_rpc *)user)->req = NULL;
}

/* ---- the worker ---- */
/* The signature says who it is; whether that still holds, and with which role, only the database knows. */
static cds_rc check_caller(struct cds_auth_rpc *call, enum cds_role least, struct cds_err *reterr)
{
    if (least == CDS_ROLE_NONE)
        return CDS_OK;
    char role[16];
    cds_rc rc = cds_store_caller(call->auth->store, call->who.user_id, call->who.session_id, call->who.version, role, reterr);
    if (rc)
        return rc;
    call->role = cds_role_parse(role);
    if (call->role >= least)
        return CDS_OK;
    cds_fail(reterr, CDS_DENIED, __func__, "%s needs the role %s; yours is %s.", call->method->name, cds_role_name(least), cds_role_name(call->role));
    cds_err_rule(reterr, "role");
    cds_err_hint(reterr, "Ask an admin of this studio for that role.");
    return CDS_DENIED;
}

/* An act of an admin stands in the audit log before it is done; what came of it follows. */
static cds_rc audit(struct cds_auth_rpc *call, const struct cds_rpc_method *row, const char *phase, cds_json *detail, struct cds_err *reterr)
{
    CDS_JSON_AUTO mine = detail;
    CDS_CLEANUP(cds_free_ptr) char *text = cds_json_dumps(mine, NULL);
    if (!text)
        return cds_fail(reterr, CDS_EXHAUSTED, __func__, "Out of memory.");
    const struct cds_audit_line line = {phase, call->who.user_id, row->name, call->request_id, text};
    cds_rc rc = cds_store_audit(call->auth->store, &line, reterr);
    if (rc) {
        cds_fail(reterr, CDS_UNAVAILABLE, __func__, "Nothing was done: the audit log could not be written.");
        cds_err_rule(reterr, "audit.unwritten");
        cds_err_hint(reterr, "Try again in a moment.");
        reterr->retry_after_ms = 1000;
    }
    return rc ? CDS_UNAVAILABLE : CDS_OK;
}

static cds_rc run_audited(struct cds_auth_rpc *call, const struct cds_rpc_method *row)
{
    cds_rc rc = audit(call, row, "begin",
                      cds_json_pack("{s:o,s:s}", "params", cds_rpc_audit_params(row, call->params), "role", cds_role_name(call->role)), &call->err);
    if (rc)
        return rc;
    struct cds_err ignored;
    rc = call->method->run(call, &call->err);
    if (audit(call, row, "end", cds_json_pack("{s:s}", "end", rc ? cds_rc_name(rc) : "OK"), &ignored))
        cds_log(CDS_LOG_ERROR, "audit", CDS_LS("error", "The end of an act could not be written into the audit log; its begin stands there."),
                CDS_LS("request_id", call->request_id));
    return rc;
}

static void work(void *user)
{
    struct cds_auth_rpc *call = user;
    const struct cds_rpc_method *row = cds_rpc_find(call->method->name);
    /* In the gateway's order: credential, role, parameters. */
    call->rc = check_caller(call, row->least_role, &call->err);
    if (!call->rc)
        call->rc = cds_rpc_check_params(row, call->params, &call->err);
    if (!call->rc)
        call->rc = *call->who.user_id && cds_rpc_audited(row, call->role) ? run_audited(call, row) : call->method->run(call, &call->err);
    if (!call->rc && !call->result)
        call->rc = cds_fail(&call->err, CDS_EXHAUSTED, __func__, "Out of memory while building the answer.");
}

/* ---- the request ---- */
static cds_rc read_token(struct cds_auth_rpc *call, struct cds_err *reterr)
{
    const char *text = cds_http_header(call->req, "Authorization");
    if (!text || strncasecmp(text, "Bearer ", 7) != 0) {
        cds_fail(reterr, CDS_UNAUTHENTICATED, __func__, "This call needs a credential and none was sent.");
        cds_err_rule(reterr, "auth.absent");
        cds_err_hint(reterr, "Sign in, then send the header \"Authorization: Bearer <access token>\".");
        return CDS_UNAUTHENTICATED;
    }
    size_t len = strlen(text + 7);
    cds_rc rc = cds_apikey_is(text + 7, len) ? CDS_OK
                                             : cds_jwt_verify(call->auth->keyset, text + 7, len, (int64_t)(cds_wall_ms() / 1000), &call->who, reterr);
    if (rc || (!cds_apikey_is(text + 7, len) && !*call->who.key_id))
        return rc;
    cds_fail(reterr, CDS_DENIED, __func__, "An API key makes no keys, users or passwords.");
    cds_err_rule(reterr, "key.session");
    cds_err_hint(reterr, "Sign in for that.");
    return CDS_DENIED;
}

static cds_rc read_call(struct cds_auth_rpc *call, struct cds_err *reterr)
{
    size_t len = 0;
    const char *body = cds_http_body(call->req, &len);
    cds_json *parsed = NULL;
    struct cds_rpc_request request = {.method = ""};
    cds_rc rc = cds_json_parse(body, len, &parsed, reterr);
    if (rc)
        return rc;
    CDS_JSON_AUTO value = parsed;
    rc = cds_rpc_parse_request(value, &request, reterr);
    if (rc)
        return rc;
    call->id = cds_json_ref(request.id);
    call->params = request.params ? cds_json_copy(request.params) : cds_json_object();
    call->method = find(request.method);
    const struct cds_rpc_method *row = call->method ? cds_rpc_find(request.method) : NULL;
    if (!row)
        return cds_fail(reterr, CDS_NO_METHOD, __func__, "The sign-in service has no method %.64s.", request.method);
    if (row->least_role != CDS_ROLE_NONE && (rc = read_token(call, reterr)))
        return rc;
    return CDS_OK;
}

/* A guess counts against the address and the account it is made at: the address that was typed, or the caller's own. */
static cds_rc begin_guess(struct cds_auth_rpc *call, struct cds_err *reterr)
{
    if (call->method->makes)
        return cds_throttle_make(call->auth->throttle, call->who.user_id, cds_now_ms(), reterr);
    if (!call->method->guesses)
        return CDS_OK;
    const char *email = cds_json_get_str(call->params, "email");
    cds_rc rc = email ? cds_email_fold(email, call->account, reterr) : CDS_OK;
    if (rc) {
        cds_err_pointer(reterr, "/params/email");
        return rc;
    }
    if (!email) {
        /* Only a session of the account comes here, so nobody else can make its owner wait: it counts wherever it comes from. */
        cds_strcpy(call->account, sizeof(call->account), call->who.user_id);
        cds_strcpy(call->ip, sizeof(call->ip), call->who.user_id);
    }
    return cds_throttle_begin(call->auth->throttle, call->ip, call->account, cds_now_ms(), reterr);
}

/* A program elsewhere sends no Origin; a page of ours does, and no other page's is taken. */
static cds_rc check_request(struct cds_auth_rpc *call, struct cds_err *reterr)
{
    const struct cds_http_req *req = call->req;
    cds_rc rc = cds_origins_check(&call->auth->origins, cds_http_header(req, "Origin"), cds_http_header(req, "Sec-Fetch-Site"), reterr);
    if (!rc && !cds_is_json_type(cds_http_header(req, "Content-Type")))
        rc = cds_fail(reterr, CDS_BAD_REQUEST, __func__, "The body of a call is JSON; send Content-Type: application/json.");
    if (!rc)
        rc = read_call(call, reterr);
    return rc ? rc : begin_guess(call, reterr);
}

void cds_auth_rpc_handle(struct cds_auth *auth, struct cds_http_req *req)
{
    struct cds_auth_rpc *call = calloc(1, sizeof(*call));
    struct cds_err err;
    if (!call) {
        cds_fail(&err, CDS_EXHAUSTED, __func__, "Out of memory.");
        cds_http_reply_err(req, &err);
        return;
    }
    call->auth = auth;
    call->req = req;
    cds_http_client_ip(req, call->ip);
    cds_strcpy(call->request_id, sizeof(call->request_id), cds_http_request_id(req));
    cds_auth_device(req, call->device);
    call->rc = check_request(call, &call->err);
    if (!call->rc) {
        cds_http_set_user(req, call, on_gone, NULL);
        if (!cds_pool_submit(call->method->guesses ? auth->hash_pool : auth->sql_pool, work, on_done, call))
            return;
        cds_http_set_user(req, NULL, NULL, NULL);
        call->rc = cds_fail(&call->err, CDS_BUSY, __func__, "Too many people are signing in at this moment.");
        cds_err_rule(&call->err, "login.busy");
        cds_err_hint(&call->err, "Try again in a few seconds.");
        call->err.retry_after_ms = 2000;
        settle_throttle(call);
    }
    reply(call);
    call_free(call);
}
