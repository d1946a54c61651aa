/* apps/auth/oidc_logout.c: POST /auth/oidc/logout: the provider says that somebody has signed out there. See oidc.h.
 *
 * Source: OpenID Connect Back-Channel Logout 1.0, sections 2.4 to 2.8. */
#include <stdlib.h>
#include <string.h>
#include <strings.h>

#include "apps/auth/oidc.h"
#include "apps/auth/store_oidc.h"
#include "lib/base/clock.h"
#include "lib/base/str.h"
#include "lib/http/reply.h"
#include "lib/log/log.h"

static void refuse(struct cds_oidc_login *login, const char *rule, const char *message)
{
    struct cds_err err;
    cds_fail(&err, CDS_UNAUTHENTICATED, "cds_oidc_logout", "%s", message);
    cds_err_rule(&err, rule);
    cds_oidc_fail(login, &err);
}

/* Section 2.8: 200, or 400 with the reason, whatever it was; no answer is stored. */
void cds_oidc_logout_answer(struct cds_oidc_login *login, const struct cds_err *err)
{
    struct cds_http_req *req = login->req;
    int status = err ? 400 : 200;
    CDS_JSON_AUTO answer = err ? cds_json_pack("{s:s,s:s}", "error", "invalid_request", "error_description", err->message)
                               : cds_json_pack("{s:I}", "sessions", (long long)login->ended);
    cds_log(err ? CDS_LOG_WARN : CDS_LOG_INFO, "oidc logout", CDS_LS("request_id", cds_http_request_id(req)), CDS_LI("status", status),
            CDS_LI("sessions", login->ended), CDS_LS("rule", err ? err->rule : NULL), CDS_LS("error", err ? err->message : NULL),
            CDS_LS("detail", err && *err->detail ? err->detail : NULL));
    cds_http_set_user(req, NULL, NULL, NULL);
    cds_http_add_header(req, "Cache-Control", "no-store");
    cds_http_reply_json(req, status, answer);
}

/* ---- the sessions ---- */
static void work(void *user)
{
    struct cds_oidc_login *login = user;
    login->rc = cds_store_oidc_logout(login->oidc->auth->store, login->oidc->settings.issuer, login->claims.subject, &login->ended, &login->err);
}

/* The provider may send the same token once more, so it is not used up. */
static void not_ended(struct cds_oidc_login *login)
{
    login->working = false;
    cds_oidc_again(login->oidc, login->jti);
    cds_oidc_fail(login, &login->err);
}

static void on_worked(void *user)
{
    struct cds_oidc_login *login = user;
    login->working = false;
    login->err.code = login->rc;
    if (login->rc)
        not_ended(login);
    else
        cds_oidc_done(login);
}

static void end_sessions(struct cds_oidc_login *login)
{
    login->working = true;
    if (!cds_pool_submit(login->oidc->auth->sql_pool, work, on_worked, login))
        return;
    cds_fail(&login->err, CDS_BUSY, __func__, "The studio has too much to do at this moment.");
    not_ended(login);
}

/* ---- the token ---- */
static void check_token(struct cds_oidc_login *login)
{
    struct cds_oidc *oidc = login->oidc;
    struct cds_err err = {0};
    CDS_JSON_AUTO payload = cds_oidc_signed(login, check_token);
    if (!payload)
        return;
    cds_rc rc = cds_oidc_logout_check(&oidc->settings, payload, (int64_t)(cds_wall_ms() / 1000), login->claims.subject, login->jti, &err);
    if (rc)
        cds_oidc_fail(login, &err);
    else if (!cds_oidc_first_time(oidc, login->jti))
        refuse(login, "oidc.replayed", "This logout token has come before.");
    else
        end_sessions(login);
}

static void need_keys(struct cds_oidc_login *login)
{
    cds_oidc_need_keys(login, false, check_token);
}

/* The one value of the form (section 2.5): a compact JWS needs no escapes in it. */
static char *token_of(const struct cds_http_req *req)
{
    static const char name[] = "logout_token=";
    size_t len;
    const char *body = cds_http_body(req, &len), *at = body;
    const char *type = cds_http_header(req, "Content-Type");
    if (!type || strncasecmp(type, "application/x-www-form-urlencoded", 33) != 0 || len > CDS_JWS_MAX + 1024 || strlen(body) != len)
        return NULL;
    while (at && strncmp(at, name, sizeof(name) - 1) != 0)
        at = (at = strchr(at, '&')) ? at + 1 : NULL;
    if (!at)
        return NULL;
    at += sizeof(name) - 1;
    size_t n = strspn(at, "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_.");
    return n && n <= CDS_JWS_MAX && (at[n] == '\0' || at[n] == '&') ? strndup(at, n) : NULL;
}

void cds_oidc_logout_begin(struct cds_oidc_login *login)
{
    struct cds_err err = {0};
    if (cds_throttle_begin(login->oidc->auth->throttle, login->ip, NULL, cds_now_ms(), &err)) {
        login->begins = true; /* nothing was counted */
        cds_oidc_fail(login, &err);
        return;
    }
    login->id_token = token_of(login->req);
    if (!login->id_token)
        refuse(login, "oidc.logout", "There is no logout token in the form.");
    else
        cds_oidc_need_metadata(login, need_keys);
}
