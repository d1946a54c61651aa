/* apps/auth/http.c: the routes. A request is checked here, on the loop thread, worked on in work.c, and answered here. */
#include <stdlib.h>
#include <string.h>

#include "apps/auth/oidc.h"
#include "apps/auth/rpc.h"
#include "lib/base/clock.h"
#include "lib/base/str.h"
#include "lib/http/reply.h"
#include "lib/log/log.h"
#include "lib/metrics/metrics.h"

static const struct route {
    const char *method, *path;
    enum cds_auth_kind kind;
} routes[] = {
    {"GET", "/auth/state", CDS_AUTH_STATE},
    {"POST", "/auth/setup", CDS_AUTH_SETUP},
    {"POST", "/auth/login", CDS_AUTH_LOGIN},
    {"POST", "/auth/refresh", CDS_AUTH_REFRESH},
    {"POST", "/auth/logout", CDS_AUTH_LOGOUT},
    {"POST", "/auth/invite", CDS_AUTH_INVITE},
    {"POST", "/auth/invite/look", CDS_AUTH_INVITE_LOOK},
};

/* The one line of a request. No mail, no address: the user is named by id only. */
static void log_request(struct cds_http_req *req, int status, const char *user_id, const struct cds_err *err)
{
    cds_log(status >= 500 ? CDS_LOG_ERROR : CDS_LOG_INFO, "request", CDS_LS("request_id", cds_http_request_id(req)),
            CDS_LS("user_id", user_id && *user_id ? user_id : NULL), CDS_LS("method", cds_http_method(req)), CDS_LS("path", cds_http_path(req)),
            CDS_LI("status", status), CDS_LI("ms", cds_now_ms() - cds_http_started_ms(req)), CDS_LS("rule", err && *err->rule ? err->rule : NULL),
            CDS_LS("where", err && status >= 500 ? err->where : NULL), CDS_LS("error", err && status >= 500 ? err->message : NULL),
            CDS_LS("detail", err && status >= 500 && *err->detail ? err->detail : NULL));
}

static void reply_err(struct cds_http_req *req, const char *user_id, const struct cds_err *err)
{
    log_request(req, cds_rc_http(err->code), user_id, err);
    cds_http_add_header(req, "Cache-Control", "no-store");
    cds_http_reply_err(req, err);
}

static void reply_keys(struct cds_auth *auth, struct cds_http_req *req)
{
    CDS_JSON_AUTO jwks = cds_signer_jwks(auth->signer);
    log_request(req, 200, NULL, NULL);
    cds_http_add_header(req, "Cache-Control", "public, max-age=60");
    cds_http_reply_json(req, 200, jwks);
}

/* ---- answers ---- */

const char *cds_auth_outcome(cds_rc rc, const struct cds_err *err)
{
    switch (rc) {
    case CDS_OK:
        return "ok";
    case CDS_UNAUTHENTICATED:
        return "wrong";
    case CDS_DENIED:
        return cds_streq(err->rule, "user.blocked") ? "blocked" : "refused";
    case CDS_RATE_LIMITED:
        return "throttled";
    case CDS_BUSY:
        return "busy";
    case CDS_BAD_PARAM:
    case CDS_CONFLICT:
        return "refused";
    default:
        return "failed";
    }
}

void cds_auth_device(const struct cds_http_req *req, char out[static 201])
{
    const char *text = cds_http_header(req, "User-Agent");
    size_t n = 0;
    for (; text && *text && n < 200; text++)
        if (*text >= ' ' && *text < 0x7f) /* what is shown to people is plain */
            out[n++] = *text;
    out[n] = '\0';
}

static bool has_link(enum cds_auth_kind kind)
{
    return kind == CDS_AUTH_SETUP || kind == CDS_AUTH_INVITE || kind == CDS_AUTH_INVITE_LOOK;
}

/* An attempt that was no guess does not count against the address. */
static void settle_throttle(struct cds_auth_job *job)
{
    struct cds_auth *auth = job->auth;
    const char *account = job->kind == CDS_AUTH_LOGIN ? job->in.email : NULL;
    if (job->kind != CDS_AUTH_LOGIN && !has_link(job->kind))
        return;
    if (job->rc == CDS_OK)
        cds_throttle_succeeded(auth->throttle, job->ip, account, cds_now_ms());
    else if (job->rc != CDS_UNAUTHENTICATED && job->rc != CDS_DENIED)
        cds_throttle_undo(auth->throttle, job->ip, account, cds_now_ms());
}

static void set_cookie(struct cds_auth_job *job, const char *token)
{
    char cookie[CDS_COOKIE_TEXT];
    cds_http_add_header(job->req, "Set-Cookie", cds_cookie_make(token, job->cookie_age_s, job->auth->origins.https, cookie));
    cds_wipe(cookie, sizeof(cookie));
}

static void reply_session(struct cds_auth_job *job, int status)
{
    CDS_JSON_AUTO answer = cds_json_pack("{s:s,s:s,s:I,s:{s:s,s:s,s:s,s:s}}", "access_token", job->access, "token_type", "Bearer", "expires_in",
                                         (long long)job->auth->access_s, "user", "id", job->user.id, "email", job->user.email, "role", job->user.role,
                                         "display_name", job->user.display_name);
    if (*job->refresh)
        set_cookie(job, job->refresh);
    cds_metric_add(CDS_M_TOKENS_ISSUED, NULL, 1);
    log_request(job->req, status, job->user.id, NULL);
    cds_http_add_header(job->req, "Cache-Control", "no-store");
    cds_http_reply_json(job->req, status, answer);
}

static void reply_state(struct cds_auth_job *job)
{
    const struct cds_oidc *oidc = job->auth->oidc;
    CDS_JSON_AUTO answer =
        cds_json_pack("{s:b,s:s,s:s?}", "setup_needed", job->setup_needed, "version", CDS_VERSION, "oidc", oidc ? oidc->settings.name : NULL);
    log_request(job->req, 200, NULL, NULL);
    cds_http_add_header(job->req, "Cache-Control", "no-store");
    cds_http_reply_json(job->req, 200, answer);
}

static void reply_look(struct cds_auth_job *job)
{
    CDS_JSON_AUTO answer = cds_json_pack("{s:s,s:s,s:s,s:s}", "kind", job->link_kind, "email", job->user.email, "role", job->user.role,
                                         "display_name", job->user.display_name);
    log_request(job->req, 200, job->user.id, NULL);
    cds_http_add_header(job->req, "Cache-Control", "no-store");
    cds_http_reply_json(job->req, 200, answer);
}

static void reply_logout(struct cds_auth_job *job)
{
    set_cookie(job, "");
    log_request(job->req, 204, job->user.id, NULL);
    cds_http_add_header(job->req, "Cache-Control", "no-store");
    cds_http_reply(job->req, 204, NULL, "", 0);
}

static void reply_job(struct cds_auth_job *job)
{
    if (job->rc != CDS_OK) {
        /* A session that is over takes its cookie along, so that the page does not try again for ever. */
        if (job->kind == CDS_AUTH_REFRESH && (job->rc == CDS_UNAUTHENTICATED || job->rc == CDS_DENIED))
            set_cookie(job, "");
        job->err.code = job->rc;
        reply_err(job->req, job->user.id, &job->err);
    } else if (job->kind == CDS_AUTH_STATE) {
        reply_state(job);
    } else if (job->kind == CDS_AUTH_LOGOUT) {
        reply_logout(job);
    } else if (job->kind == CDS_AUTH_INVITE_LOOK) {
        reply_look(job);
    } else {
        reply_session(job, job->kind == CDS_AUTH_SETUP ? 201 : 200);
    }
}

static void free_job(struct cds_auth_job *job)
{
    if (job->access)
        cds_wipe(job->access, strlen(job->access));
    free(job->access);
    cds_wipe(job, sizeof(*job));
    free(job);
}

/* Back on the loop thread. */
static void on_done(void *user)
{
    struct cds_auth_job *job = user;
    struct cds_http_req *req = job->req;
    if (job->rc == CDS_UNAVAILABLE)
        job->auth->database = job->err;
    settle_throttle(job);
    if (job->kind == CDS_AUTH_LOGIN || job->kind == CDS_AUTH_SETUP)
        cds_metric_add(CDS_M_LOGINS, cds_auth_outcome(job->rc, &job->err), 1);
    if (req) {
        /* From here on the request lives on its own: a client that leaves while the answer is sent must not find the job. */
        cds_http_set_user(req, NULL, NULL, NULL);
        reply_job(job);
    }
    free_job(job);
}

static void on_gone(void *user)
{
    struct cds_auth_job *job = user;
    job->req = NULL;
}

/* ---- requests ---- */

static cds_rc check_post(const struct cds_auth *auth, const struct cds_http_req *req, struct cds_err *reterr)
{
    cds_rc rc = cds_origins_check(&auth->origins, cds_http_header(req, "Origin"), cds_http_header(req, "Sec-Fetch-Site"), reterr);
    if (rc)
        return rc;
    /* A form of a foreign page cannot send this type without asking first (Fetch, "CORS-safelisted request-header"). */
    if (cds_is_json_type(cds_http_header(req, "Content-Type")))
        return CDS_OK;
    cds_fail(reterr, CDS_BAD_REQUEST, __func__, "The request body is not declared as JSON.");
    cds_err_rule(reterr, "http.content_type");
    cds_err_hint(reterr, "Send the header Content-Type: application/json");
    return CDS_BAD_REQUEST;
}

/* Fills the job from the request. */
static cds_rc read_request(struct cds_auth_job *job, struct cds_http_req *req)
{
    struct cds_auth *auth = job->auth;
    size_t len = 0;
    const char *body = cds_http_body(req, &len);
    cds_http_client_ip(req, job->ip);
    cds_auth_device(req, job->device);
    if (job->kind == CDS_AUTH_STATE)
        return CDS_OK;
    cds_rc rc = check_post(auth, req, &job->err);
    if (rc)
        return rc;
    if (job->kind == CDS_AUTH_REFRESH || job->kind == CDS_AUTH_LOGOUT) {
        bool found = cds_cookie_find(cds_http_header(req, "Cookie"), "cds_refresh", job->old_refresh);
        if (found || job->kind == CDS_AUTH_LOGOUT)
            return CDS_OK;
        cds_fail(&job->err, CDS_UNAUTHENTICATED, __func__, "There is no session for this browser.");
        cds_err_rule(&job->err, "refresh.absent");
        cds_err_hint(&job->err, "Sign in.");
        return CDS_UNAUTHENTICATED;
    }
    static const enum cds_sign_in_shape shapes[] = {
        [CDS_AUTH_LOGIN] = CDS_SIGN_IN, [CDS_AUTH_SETUP] = CDS_SIGN_UP, [CDS_AUTH_INVITE] = CDS_TAKE_LINK, [CDS_AUTH_INVITE_LOOK] = CDS_LOOK_AT_LINK};
    rc = cds_sign_in_parse(body, len, shapes[job->kind], &job->in, &job->err);
    if (rc)
        return rc;
    rc = cds_throttle_begin(auth->throttle, job->ip, job->kind == CDS_AUTH_LOGIN ? job->in.email : NULL, cds_now_ms(), &job->err);
    if (rc)
        cds_metric_add(CDS_M_LOGINS, "throttled", 1);
    return rc;
}

static void submit(struct cds_auth_job *job)
{
    struct cds_auth *auth = job->auth;
    bool hashes = job->kind == CDS_AUTH_LOGIN || job->kind == CDS_AUTH_SETUP || job->kind == CDS_AUTH_INVITE;
    cds_http_set_user(job->req, job, on_gone, NULL);
    if (cds_pool_submit(hashes ? auth->hash_pool : auth->sql_pool, cds_auth_work, on_done, job) == CDS_OK)
        return;
    job->rc = cds_fail(&job->err, CDS_BUSY, __func__, "Too many people are signing in at this moment.");
    cds_err_rule(&job->err, "login.busy");
    cds_err_hint(&job->err, "Try again in a few seconds.");
    job->err.retry_after_ms = 2000;
    on_done(job);
}

static void start(struct cds_auth *auth, struct cds_http_req *req, enum cds_auth_kind kind)
{
    struct cds_auth_job *job = calloc(1, sizeof(*job));
    struct cds_err err;
    if (!job) {
        cds_fail(&err, CDS_EXHAUSTED, __func__, "Out of memory.");
        reply_err(req, NULL, &err);
        return;
    }
    job->auth = auth;
    job->req = req;
    job->kind = kind;
    job->rc = read_request(job, req);
    if (job->rc == CDS_OK && kind == CDS_AUTH_LOGOUT && !*job->old_refresh)
        reply_logout(job); /* nothing to end, but the cookie goes all the same */
    else if (job->rc == CDS_OK) {
        submit(job);
        return;
    } else {
        job->err.code = job->rc;
        reply_err(req, NULL, &job->err);
    }
    free_job(job);
}

static const enum cds_metric shown_metrics[] = {CDS_M_LOGINS, CDS_M_TOKENS_ISSUED, CDS_M_COUNT};

void cds_auth_handle(void *user, struct cds_http_req *req)
{
    struct cds_auth *auth = user;
    const char *method = cds_http_method(req), *path = cds_http_path(req);
    struct cds_err err;
    if (cds_http_ops(req, shown_metrics, cds_auth_ready, auth))
        return;
    if (cds_streq(path, "/.well-known/jwks.json") && cds_streq(method, "GET")) {
        reply_keys(auth, req);
        return;
    }
    if (cds_streq(path, "/auth/rpc") && cds_streq(method, "POST")) {
        cds_auth_rpc_handle(auth, req);
        return;
    }
    if (cds_streq(path, "/auth/key") && cds_streq(method, "POST")) {
        cds_auth_key_handle(auth, req);
        return;
    }
    if (cds_oidc_handle(auth, req))
        return;
    for (size_t i = 0; i < CDS_ARRAY_LEN(routes); i++) {
        if (cds_streq(path, routes[i].path) && cds_streq(method, routes[i].method)) {
            start(auth, req, routes[i].kind);
            return;
        }
    }
    cds_fail(&err, CDS_NOT_FOUND, __func__, "The sign-in service has no %s %.100s.", method, path);
    reply_err(req, NULL, &err);
}
