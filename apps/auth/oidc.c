/* apps/auth/oidc.c: see oidc.h. A login is made by its request, asks (oidc_ask.c), is looked up by a worker, and is answered with a redirect to our
 * own page: to the session that its cookie opens, or to the sign-in with the rule that refused. Nothing of the request chooses where it goes. */
#include "apps/auth/oidc.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "apps/auth/store_oidc.h"
#include "lib/base/clock.h"
#include "lib/base/random.h"
#include "lib/base/str.h"
#include "lib/http/reply.h"
#include "lib/log/log.h"
#include "lib/metrics/metrics.h"

static int64_t now_s(void)
{
    return (int64_t)(cds_wall_ms() / 1000);
}

/* ---- the answer ---- */
static void forget_secret(char **text)
{
    if (*text)
        cds_wipe(*text, strlen(*text));
    free(*text);
    *text = NULL;
}

static void login_free(struct cds_oidc_login *login)
{
    cds_http_call_cancel(&login->call);
    if ((*login->back = login->next))
        login->next->back = login->back;
    login->oidc->open_count--;
    forget_secret(&login->id_token);
    forget_secret(&login->access_token);
    cds_wipe(login, sizeof(*login));
    free(login);
}

static void log_login(const struct cds_oidc_login *login, const struct cds_err *err)
{
    cds_log(err && err->code == CDS_UNAVAILABLE ? CDS_LOG_WARN : CDS_LOG_INFO, "oidc", CDS_LS("request_id", cds_http_request_id(login->req)),
            CDS_LS("user_id", *login->user.id ? login->user.id : NULL), CDS_LS("path", cds_http_path(login->req)),
            CDS_LI("ms", cds_now_ms() - cds_http_started_ms(login->req)), CDS_LS("rule", err ? err->rule : NULL),
            CDS_LS("error", err ? err->message : NULL), CDS_LS("detail", err && *err->detail ? err->detail : NULL));
}

/* Back from the provider the flow is over, however it ended. */
static void reply(struct cds_oidc_login *login, const char *location)
{
    char cookie[64 + CDS_OIDC_FLOW_TEXT];
    struct cds_http_req *req = login->req;
    if (!login->begins) {
        snprintf(cookie, sizeof(cookie), "cds_oidc=; Path=/auth/oidc; HttpOnly; SameSite=Lax; Max-Age=0%s",
                 login->oidc->auth->origins.https ? "; Secure" : "");
        cds_http_add_header(req, "Set-Cookie", cookie);
    }
    cds_http_set_user(req, NULL, NULL, NULL);
    cds_http_add_header(req, "Location", location);
    cds_http_add_header(req, "Cache-Control", "no-store");
    cds_http_add_header(req, "Referrer-Policy", "no-referrer");
    cds_http_reply(req, 303, NULL, "", 0);
}

/* A wrong answer of the provider is a guess of whoever brought it; a provider that is away is nobody's. */
static void settle(const struct cds_oidc_login *login, const struct cds_err *err)
{
    struct cds_throttle *throttle = login->oidc->auth->throttle;
    if (login->begins)
        return;
    if (!login->logout)
        cds_metric_add(CDS_M_LOGINS, cds_auth_outcome(err ? err->code : CDS_OK, err), 1);
    if (!err)
        cds_throttle_succeeded(throttle, login->ip, NULL, cds_now_ms());
    else if (err->code != CDS_UNAUTHENTICATED)
        cds_throttle_undo(throttle, login->ip, NULL, cds_now_ms());
}

void cds_oidc_fail(struct cds_oidc_login *login, const struct cds_err *err)
{
    char location[80];
    settle(login, err);
    if (login->req && login->logout) {
        cds_oidc_logout_answer(login, err);
    } else if (login->req) {
        log_login(login, err);
        snprintf(location, sizeof(location), "/login?oidc=%.40s", *err->rule ? err->rule : "oidc.failed");
        reply(login, location);
    }
    login_free(login);
}

void cds_oidc_done(struct cds_oidc_login *login)
{
    settle(login, NULL);
    if (login->req)
        cds_oidc_logout_answer(login, NULL);
    login_free(login);
}

static void refuse(struct cds_oidc_login *login, cds_rc code, const char *rule, const char *message)
{
    struct cds_err err;
    cds_fail(&err, code, "cds_oidc", "%s", message);
    cds_err_rule(&err, rule);
    cds_oidc_fail(login, &err);
}

/* ---- the account ---- */
static void work(void *user)
{
    struct cds_oidc_login *login = user;
    const struct cds_auth *auth = login->oidc->auth;
    char hash[65], session[37];
    login->rc = cds_store_oidc_user(auth->store, &login->oidc->settings, &login->claims, auth->month_tokens, &login->user, &login->err);
    if (login->rc)
        return;
    cds_auth_token(login->refresh, hash);
    const struct cds_new_session fresh = {.refresh_hash = hash, .device = login->device, .address = login->ip, .max_s = auth->refresh_max_s};
    login->rc = cds_store_session_open(auth->store, &login->user, &fresh, session, &login->err);
}

static void on_worked(void *user)
{
    struct cds_oidc_login *login = user;
    const struct cds_auth *auth = login->oidc->auth;
    char cookie[CDS_COOKIE_TEXT];
    login->working = false;
    login->err.code = login->rc;
    if (login->rc) {
        if (!*login->err.rule)
            cds_err_rule(&login->err, "oidc.failed");
        cds_oidc_fail(login, &login->err);
        return;
    }
    settle(login, NULL);
    if (login->req) {
        int64_t age_s = (int64_t)(auth->refresh_idle_s < auth->refresh_max_s ? auth->refresh_idle_s : auth->refresh_max_s);
        cds_http_add_header(login->req, "Set-Cookie", cds_cookie_make(login->refresh, age_s, auth->origins.https, cookie));
        cds_wipe(cookie, sizeof(cookie));
        log_login(login, NULL);
        reply(login, "/?oidc=ok"); /* so that the page looks for the session */
    }
    login_free(login);
}

static void look_up(struct cds_oidc_login *login)
{
    login->working = true;
    if (!cds_pool_submit(login->oidc->auth->sql_pool, work, on_worked, login))
        return;
    login->working = false;
    refuse(login, CDS_BUSY, "login.busy", "Too many people are signing in at this moment.");
}

/* ---- back from the provider ---- */
static void check_token(struct cds_oidc_login *login)
{
    struct cds_oidc *oidc = login->oidc;
    struct cds_err err = {0};
    CDS_JSON_AUTO payload = cds_oidc_signed(login, check_token);
    if (!payload)
        return;
    cds_rc rc = cds_oidc_claims_check(&oidc->settings, payload, login->flow.nonce, now_s(), &login->claims, &err);
    if (rc)
        cds_oidc_fail(login, &err);
    else
        cds_oidc_ask_userinfo(login, look_up);
}

static void on_tokens(struct cds_oidc_login *login)
{
    cds_oidc_need_keys(login, false, check_token);
}

/* One flow ends once: its state is remembered for as long as its cookie could be shown again. A logout token counts once, too. */
static unsigned char *used_place(struct cds_oidc *oidc, const unsigned char hash[static 32])
{
    for (size_t i = 0; i < CDS_OIDC_USED; i++)
        if (!memcmp(oidc->used[i], hash, 32))
            return oidc->used[i];
    return NULL;
}

bool cds_oidc_first_time(struct cds_oidc *oidc, const char *word)
{
    unsigned char hash[32];
    cds_sha256(word, strlen(word), hash);
    if (used_place(oidc, hash))
        return false;
    memcpy(oidc->used[oidc->used_at], hash, sizeof(hash));
    oidc->used_at = (oidc->used_at + 1) % CDS_OIDC_USED;
    return true;
}

void cds_oidc_again(struct cds_oidc *oidc, const char *word)
{
    unsigned char hash[32], *place;
    cds_sha256(word, strlen(word), hash);
    if ((place = used_place(oidc, hash)))
        memset(place, 0, sizeof(hash));
}

/* RFC 9207: an answer that names another provider was meant for one whose code somebody wants to have from us. */
static bool is_ours(const struct cds_oidc_login *login, const char *iss)
{
    return iss ? cds_streq(iss, login->oidc->settings.issuer) : !login->oidc->metadata.names_itself;
}

static void take_answer(struct cds_oidc_login *login)
{
    const struct cds_http_req *req = login->req;
    const char *code = cds_http_query(req, "code");
    if (!is_ours(login, cds_http_query(req, "iss")))
        refuse(login, CDS_UNAUTHENTICATED, "oidc.issuer", "The answer is of another provider.");
    else if (cds_http_query(req, "error") || !code || !*code || strlen(code) > CDS_OIDC_CODE_MAX)
        refuse(login, CDS_DENIED, "oidc.denied", "The OpenID provider let nobody in.");
    else if (!cds_oidc_first_time(login->oidc, login->flow.state))
        refuse(login, CDS_UNAUTHENTICATED, "oidc.state", "This sign-in has come to its end already.");
    else {
        cds_strcpy(login->code, sizeof(login->code), code);
        cds_oidc_ask_tokens(login, on_tokens);
    }
}

static void come_back(struct cds_oidc_login *login)
{
    char cookie[CDS_OIDC_FLOW_TEXT + 1];
    struct cds_err err = {0};
    const struct cds_http_req *req = login->req;
    const char *state = cds_http_query(req, "state");
    if (cds_throttle_begin(login->oidc->auth->throttle, login->ip, NULL, cds_now_ms(), &err)) {
        login->begins = true; /* nothing was counted, and the flow goes on later */
        cds_oidc_fail(login, &err);
        return;
    }
    bool ours =
        cds_oidc_flow_find(cds_http_header(req, "Cookie"), cookie) && cds_oidc_flow_open(login->oidc->flow_key, now_s(), cookie, &login->flow);
    if (!ours || !state || strlen(state) != CDS_OIDC_WORD || !cds_equal_ct(state, login->flow.state, CDS_OIDC_WORD))
        refuse(login, CDS_UNAUTHENTICATED, "oidc.state", "This sign-in was not begun by this browser, or too long ago.");
    else
        cds_oidc_need_metadata(login, take_answer);
}

/* ---- to the provider ---- */
static void add_argument(struct cds_buf *buf, const char *name, const char *value)
{
    cds_buf_addf(buf, "%s=", name);
    for (const unsigned char *c = (const unsigned char *)value; *c; c++)
        cds_buf_addf(buf, (*c >= 'a' && *c <= 'z') || (*c >= 'A' && *c <= 'Z') || (*c >= '0' && *c <= '9') || strchr("-._~", *c) ? "%c" : "%%%02X",
                     *c);
    cds_buf_add_str(buf, "&");
}

static void send_away(struct cds_oidc_login *login)
{
    struct cds_oidc *oidc = login->oidc;
    const struct cds_oidc_settings *settings = &oidc->settings;
    char sealed[CDS_OIDC_FLOW_TEXT + 1], cookie[sizeof(sealed) + 96];
    CDS_CLEANUP(cds_buf_free) struct cds_buf url = cds_buf_init(8192);
    cds_oidc_flow_begin(oidc->flow_key, now_s(), sealed, &login->flow);
    cds_buf_addf(&url, "%s%s", oidc->metadata.authorization, strchr(oidc->metadata.authorization, '?') ? "&" : "?");
    add_argument(&url, "client_id", settings->client_id);
    add_argument(&url, "redirect_uri", settings->redirect_uri);
    add_argument(&url, "scope", settings->scopes);
    add_argument(&url, "state", login->flow.state);
    add_argument(&url, "nonce", login->flow.nonce);
    add_argument(&url, "code_challenge", login->flow.challenge);
    cds_buf_add_str(&url, "code_challenge_method=S256&response_type=code");
    if (url.failed) {
        refuse(login, CDS_EXHAUSTED, "oidc.failed", "Out of memory.");
        return;
    }
    /* Lax: the provider sends the browser back from its own site. */
    snprintf(cookie, sizeof(cookie), "cds_oidc=%s; Path=/auth/oidc; HttpOnly; SameSite=Lax; Max-Age=%d%s", sealed, CDS_OIDC_FLOW_S,
             oidc->auth->origins.https ? "; Secure" : "");
    cds_http_add_header(login->req, "Set-Cookie", cookie);
    log_login(login, NULL);
    reply(login, url.data);
    login_free(login);
}

/* ---- requests ---- */
static void on_gone(void *user)
{
    struct cds_oidc_login *login = user;
    login->req = NULL;
    if (!login->working)
        login_free(login);
}

enum way { THERE, BACK, LOGOUT };

static void begin(struct cds_oidc *oidc, struct cds_http_req *req, enum way way)
{
    struct cds_oidc_login *login = calloc(1, sizeof(*login));
    struct cds_err err;
    if (!login) {
        cds_fail(&err, CDS_EXHAUSTED, __func__, "Out of memory.");
        cds_http_reply_err(req, &err);
        return;
    }
    login->oidc = oidc;
    login->req = req;
    login->begins = way == THERE;
    login->logout = way == LOGOUT;
    if ((login->next = oidc->open))
        login->next->back = &login->next;
    login->back = &oidc->open;
    oidc->open = login;
    oidc->open_count++;
    cds_http_client_ip(req, login->ip);
    cds_auth_device(req, login->device);
    cds_http_set_user(req, login, on_gone, NULL);
    if (oidc->open_count > CDS_OIDC_OPEN_MAX) {
        login->begins = true; /* nothing was counted */
        refuse(login, CDS_BUSY, "login.busy", "Too many people are signing in at this moment.");
    } else if (way == THERE) {
        cds_oidc_need_metadata(login, send_away);
    } else if (way == BACK) {
        come_back(login);
    } else {
        cds_oidc_logout_begin(login);
    }
}

bool cds_oidc_handle(struct cds_auth *auth, struct cds_http_req *req)
{
    static const struct {
        const char *method, *path;
    } ways[] = {[THERE] = {"GET", "/auth/oidc/start"}, [BACK] = {"GET", "/auth/oidc/callback"}, [LOGOUT] = {"POST", "/auth/oidc/logout"}};
    enum way way = THERE;
    while (way <= LOGOUT && !(cds_streq(cds_http_method(req), ways[way].method) && cds_streq(cds_http_path(req), ways[way].path)))
        way++;
    if (!auth->oidc || way > LOGOUT)
        return false;
    begin(auth->oidc, req, way);
    return true;
}

/* ---- life ---- */
cds_rc cds_oidc_open(struct cds_auth *auth, struct cds_oidc **ret, struct cds_err *reterr)
{
    struct cds_oidc_settings settings;
    cds_rc rc = cds_oidc_settings_read(auth->config, auth->page, &settings, reterr);
    if (rc || !settings.on)
        return rc;
    struct cds_oidc *oidc = calloc(1, sizeof(*oidc));
    if (!oidc)
        return cds_fail(reterr, CDS_EXHAUSTED, __func__, "Out of memory.");
    oidc->auth = auth;
    oidc->settings = settings;
    cds_random(oidc->flow_key, sizeof(oidc->flow_key));
    rc = cds_http_client_new(auth->loop, &oidc->client, reterr);
    if (rc)
        cds_oidc_free(&oidc);
    *ret = oidc;
    return rc;
}

void cds_oidc_free(struct cds_oidc **place)
{
    struct cds_oidc *oidc = *place;
    *place = NULL;
    if (!oidc)
        return;
    while (oidc->open) {
        // NOLINTNEXTLINE(clang-analyzer-unix.Malloc): login_free takes what it frees out of the list
        oidc->open->req = NULL; /* the server is gone before us */
        login_free(oidc->open);
    }
    if (oidc->client)
        cds_http_client_free(&oidc->client);
    cds_jwks_free(&oidc->keys);
    cds_wipe(oidc, sizeof(*oidc));
    free(oidc);
}
