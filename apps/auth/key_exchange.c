/* apps/auth/key_exchange.c: POST /auth/key {key}: an access token of a minute for an API key. api and llmserver ask it; the pepper stays here. */
#include <stdlib.h>
#include <string.h>

#include "apps/auth/rpc.h"
#include "apps/auth/store_key.h"
#include "lib/base/clock.h"
#include "lib/base/str.h"
#include "lib/http/reply.h"
#include "lib/jwt/apikey.h"
#include "lib/log/log.h"

enum { TOKEN_S = 60 }; /* and no longer than that of a session */

struct exchange {
    struct cds_auth *auth;
    struct cds_http_req *req; /* NULL once the client left; loop thread only */
    char key[CDS_APIKEY_LEN + 1], id[37], ip[46];
    bool guess; /* counts against that address until it turns out to be none */
    cds_rc rc;
    struct cds_err err;
    char *token; /* owned */
};

static void work(void *user)
{
    struct exchange *x = user;
    struct cds_key key;
    char hash[65];
    cds_apikey_hash(x->auth->pepper, x->key, hash);
    x->rc = cds_store_key_use(x->auth->store, x->id, hash, &key, &x->err);
    if (x->rc)
        return;
    struct cds_claims claims = {.version = key.user.token_version};
    claims.issued_s = (int64_t)(cds_wall_ms() / 1000);
    int64_t life_s = x->auth->access_s < TOKEN_S ? (int64_t)x->auth->access_s : TOKEN_S;
    claims.expires_s = claims.issued_s + life_s < key.expires_s ? claims.issued_s + life_s : key.expires_s;
    cds_strcpy(claims.user_id, sizeof(claims.user_id), key.user.id);
    cds_strcpy(claims.session_id, sizeof(claims.session_id), key.id);
    cds_strcpy(claims.key_id, sizeof(claims.key_id), key.id);
    cds_strcpy(claims.email, sizeof(claims.email), key.user.email);
    cds_strcpy(claims.role, sizeof(claims.role), key.role);
    cds_strcpy(claims.scopes, sizeof(claims.scopes), key.scopes);
    cds_strcpy(claims.models, sizeof(claims.models), key.models);
    claims.requests_per_minute = key.requests_per_minute;
    claims.tokens_per_minute = key.tokens_per_minute;
    claims.concurrent_requests = key.concurrent_requests;
    x->rc = cds_jwt_sign(x->auth->signer, &claims, &x->token, &x->err);
}

static void reply(struct exchange *x)
{
    struct cds_http_req *req = x->req;
    x->err.code = x->rc;
    CDS_JSON_AUTO answer = x->rc ? cds_rpc_error(NULL, &x->err, cds_http_request_id(req)) : cds_json_pack("{s:s}", "access_token", x->token);
    cds_log(x->rc && cds_rc_http(x->rc) >= 500 ? CDS_LOG_ERROR : CDS_LOG_INFO, "key", CDS_LS("request_id", cds_http_request_id(req)),
            CDS_LS("key_id", *x->id ? x->id : NULL), CDS_LS("end", x->rc ? cds_rc_name(x->rc) : "OK"),
            CDS_LS("rule", x->rc && *x->err.rule ? x->err.rule : NULL));
    cds_http_add_header(req, "Cache-Control", "no-store");
    cds_http_reply_json(req, cds_rc_http(x->rc), answer);
}

static void exchange_free(struct exchange *x)
{
    if (x->token)
        cds_wipe(x->token, strlen(x->token));
    free(x->token);
    cds_wipe(x, sizeof(*x));
    free(x);
}

static void on_done(void *user)
{
    struct exchange *x = user;
    if (x->guess && x->rc != CDS_UNAUTHENTICATED && x->rc != CDS_DENIED)
        cds_throttle_undo(x->auth->throttle, x->ip, NULL, cds_now_ms());
    if (x->req) {
        cds_http_set_user(x->req, NULL, NULL, NULL);
        reply(x);
    }
    exchange_free(x);
}

static void on_gone(void *user)
{
    ((struct exchange *)user)->req = NULL;
}

static cds_rc read_key(struct exchange *x, struct cds_err *reterr)
{
    size_t len = 0;
    const char *body = cds_http_body(x->req, &len);
    cds_json *parsed = NULL;
    cds_rc rc = cds_json_parse(body, len, &parsed, reterr);
    if (rc)
        return rc;
    CDS_JSON_AUTO value = parsed;
    const cds_json *key = cds_json_get(value, "key");
    rc = cds_apikey_parse(cds_json_str(key) ? cds_json_str(key) : "", cds_json_str_len(key), x->id, reterr);
    if (!rc)
        cds_strcpy(x->key, sizeof(x->key), cds_json_str(key));
    return rc;
}

/* The services of this machine ask for their callers, and keep to a measure of their own (lib/credential/exchange.c). Whoever else comes here,
 * through the page's proxy too, tries keys: like passwords. */
static cds_rc check_asker(struct exchange *x, struct cds_err *reterr)
{
    cds_http_client_ip(x->req, x->ip);
    x->guess = cds_http_header(x->req, "X-Forwarded-For") || !(cds_starts_with(x->ip, "127.") || cds_streq(x->ip, "::1"));
    return x->guess ? cds_throttle_begin(x->auth->throttle, x->ip, NULL, cds_now_ms(), reterr) : CDS_OK;
}

void cds_auth_key_handle(struct cds_auth *auth, struct cds_http_req *req)
{
    struct exchange *x = calloc(1, sizeof(*x));
    struct cds_err err;
    if (!x) {
        cds_fail(&err, CDS_EXHAUSTED, __func__, "Out of memory.");
        cds_http_reply_err(req, &err);
        return;
    }
    x->auth = auth;
    x->req = req;
    x->rc = read_key(x, &x->err);
    if (!x->rc)
        x->rc = check_asker(x, &x->err);
    if (!x->rc) {
        cds_http_set_user(req, x, on_gone, NULL);
        if (!cds_pool_submit(auth->sql_pool, work, on_done, x))
            return;
        cds_http_set_user(req, NULL, NULL, NULL);
        if (x->guess)
            cds_throttle_undo(auth->throttle, x->ip, NULL, cds_now_ms());
        x->rc = cds_fail(&x->err, CDS_BUSY, __func__, "Too many calls wait for the sign-in service.");
        x->err.retry_after_ms = 1000;
    }
    reply(x);
    exchange_free(x);
}
