/* apps/auth/oidc_ask.c: the questions to the provider, and what is kept of its answers. */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "apps/auth/oidc.h"
#include "lib/base/clock.h"
#include "lib/base/str.h"
#include "lib/log/log.h"

typedef void answered(void *login, int status, const char *body, size_t len, const struct cds_err *err);

static void unreachable(struct cds_oidc_login *login, const char *what, int status, const struct cds_err *why)
{
    struct cds_err err;
    cds_fail(&err, CDS_UNAVAILABLE, "cds_oidc", "The OpenID provider does not answer, or not as it should.");
    cds_err_rule(&err, "oidc.unreachable");
    cds_err_detail(&err, "%s: status %d %.300s", what, status, why ? *why->detail ? why->detail : why->message : "");
    login->oidc->failed_ms = cds_now_ms();
    cds_oidc_fail(login, &err);
}

static void ask(struct cds_oidc_login *login, const char *method, const char *url, const char *const *headers, const char *body, size_t most,
                answered *done)
{
    struct cds_err err;
    const struct cds_http_call_spec spec = {.method = method,
                                            .url = url,
                                            .headers = headers,
                                            .body = body,
                                            .body_len = body ? strlen(body) : 0,
                                            .deadline_ms = cds_now_ms() + CDS_OIDC_ASK_MS,
                                            .body_max_bytes = most,
                                            .on_done = done,
                                            .user = login};
    if (cds_http_call_start(login->oidc->client, &spec, &login->call, &err))
        unreachable(login, "start", 0, &err);
}

/* A provider that failed a moment ago is left alone: everybody who clicks would wait for it in turn. */
static bool is_resting(struct cds_oidc_login *login, const char *what)
{
    const struct cds_oidc *oidc = login->oidc;
    uint64_t failed_ms = oidc->failed_ms;
    if (!failed_ms || cds_now_ms() - failed_ms >= CDS_OIDC_PAUSE_MS)
        return false;
    unreachable(login, what, 0, NULL);
    login->oidc->failed_ms = failed_ms;
    return true;
}

static bool is_young(uint64_t at_ms, uint64_t most_ms)
{
    return at_ms && cds_now_ms() - at_ms < most_ms;
}

/* ---- metadata ---- */
static void on_metadata(void *user, int status, const char *body, size_t len, const struct cds_err *http_err)
{
    struct cds_oidc_login *login = user;
    struct cds_oidc *oidc = login->oidc;
    struct cds_err err = {0};
    login->call = NULL;
    if (http_err || status != 200) {
        unreachable(login, "metadata", status, http_err);
    } else if (cds_oidc_metadata_parse(&oidc->settings, body, len, &oidc->metadata, &err)) {
        oidc->failed_ms = cds_now_ms();
        cds_oidc_fail(login, &err);
    } else {
        oidc->metadata_ms = cds_now_ms();
        oidc->failed_ms = 0;
        login->then(login);
    }
}

void cds_oidc_need_metadata(struct cds_oidc_login *login, void (*then)(struct cds_oidc_login *login))
{
    const struct cds_oidc *oidc = login->oidc;
    char url[CDS_OIDC_URL_MAX + 48];
    size_t len = strlen(oidc->settings.issuer);
    login->then = then;
    if (is_young(oidc->metadata_ms, CDS_OIDC_KEEP_MS)) {
        then(login);
        return;
    }
    if (is_resting(login, "metadata"))
        return;
    /* Discovery 1.0 section 4: behind the issuer without its last "/". */
    len -= oidc->settings.issuer[len - 1] == '/';
    snprintf(url, sizeof(url), "%.*s/.well-known/openid-configuration", (int)len, oidc->settings.issuer);
    static const char *const headers[] = {"Accept: application/json", NULL};
    ask(login, "GET", url, headers, NULL, CDS_OIDC_METADATA_MAX, on_metadata);
}

/* ---- keys ---- */
static void on_keys(void *user, int status, const char *body, size_t len, const struct cds_err *http_err)
{
    struct cds_oidc_login *login = user;
    struct cds_oidc *oidc = login->oidc;
    struct cds_jwks *fresh = NULL;
    cds_json *document = NULL;
    struct cds_err err = {0};
    login->call = NULL;
    cds_rc rc = http_err || status != 200 ? CDS_UNAVAILABLE : cds_json_parse(body, len, &document, &err);
    if (!rc)
        rc = cds_jwks_parse(document, &fresh, &err);
    cds_json_unref(document);
    if (rc) {
        unreachable(login, "keys", status, http_err ? http_err : *err.message ? &err : NULL);
        return;
    }
    cds_jwks_free(&oidc->keys);
    oidc->keys = fresh;
    oidc->keys_ms = cds_now_ms();
    login->then(login);
}

void cds_oidc_need_keys(struct cds_oidc_login *login, bool anew, void (*then)(struct cds_oidc_login *login))
{
    const struct cds_oidc *oidc = login->oidc;
    static const char *const headers[] = {"Accept: application/json", NULL};
    login->then = then;
    if (oidc->keys && is_young(oidc->keys_ms, anew ? CDS_OIDC_KEYS_PAUSE_MS : CDS_OIDC_KEEP_MS))
        then(login);
    else if (!is_resting(login, "keys"))
        ask(login, "GET", oidc->metadata.jwks, headers, NULL, CDS_OIDC_KEYS_MAX, on_keys);
}

cds_json *cds_oidc_signed(struct cds_oidc_login *login, void (*again)(struct cds_oidc_login *login))
{
    cds_json *payload = NULL;
    struct cds_err err = {0};
    if (cds_jws_verify(login->oidc->keys, login->id_token, strlen(login->id_token), &payload, &err) == CDS_OK)
        return payload;
    if (cds_streq(err.rule, "jws.unknown_kid") && !login->refetched) {
        login->refetched = true; /* the provider may have new keys */
        cds_oidc_need_keys(login, true, again);
    } else {
        cds_oidc_fail(login, &err);
    }
    return NULL;
}

/* ---- tokens ---- */
/* As a form's value (WHATWG URL, "application/x-www-form-urlencoded"): all but letters, digits and "-._" as %XX. */
static void add_encoded(struct cds_buf *buf, const char *text)
{
    for (const unsigned char *c = (const unsigned char *)text; *c; c++)
        if ((*c >= 'a' && *c <= 'z') || (*c >= 'A' && *c <= 'Z') || (*c >= '0' && *c <= '9') || strchr("-._", *c))
            cds_buf_addf(buf, "%c", *c);
        else
            cds_buf_addf(buf, "%%%02X", *c);
}

static void add_field(struct cds_buf *buf, const char *name, const char *value)
{
    cds_buf_addf(buf, "%s%s=", buf->len ? "&" : "", name);
    add_encoded(buf, value);
}

/* RFC 6749 section 2.3.1: name and secret are form-encoded before they become Basic. */
static void basic_of(const struct cds_oidc_settings *settings, char *out, size_t size)
{
    CDS_CLEANUP(cds_buf_free) struct cds_buf pair = cds_buf_init(4096);
    add_encoded(&pair, settings->client_id);
    cds_buf_add_str(&pair, ":");
    add_encoded(&pair, settings->secret);
    size_t n = (size_t)snprintf(out, size, "Authorization: Basic ");
    if (!pair.failed && n + cds_base64_len(pair.len) < size)
        cds_base64(pair.data, pair.len, out + n);
    cds_wipe(pair.data, pair.len);
}

static void on_tokens(void *user, int status, const char *body, size_t len, const struct cds_err *http_err)
{
    struct cds_oidc_login *login = user;
    struct cds_err err = {0};
    login->call = NULL;
    if (http_err || status >= 500)
        unreachable(login, "tokens", status, http_err);
    else if (cds_oidc_token_answer(status, body, len, &login->id_token, &login->access_token, &err))
        cds_oidc_fail(login, &err);
    else
        login->then(login);
}

void cds_oidc_ask_tokens(struct cds_oidc_login *login, void (*then)(struct cds_oidc_login *login))
{
    const struct cds_oidc_settings *settings = &login->oidc->settings;
    const struct cds_oidc_metadata *metadata = &login->oidc->metadata;
    CDS_CLEANUP(cds_buf_free) struct cds_buf form = cds_buf_init(16384);
    char basic[4096];
    const char *headers[] = {"Content-Type: application/x-www-form-urlencoded", "Accept: application/json", NULL, NULL};
    bool in_header = *settings->secret && !metadata->post;
    login->then = then;
    add_field(&form, "grant_type", "authorization_code");
    add_field(&form, "code", login->code);
    add_field(&form, "redirect_uri", settings->redirect_uri);
    add_field(&form, "code_verifier", login->flow.verifier);
    if (!in_header)
        add_field(&form, "client_id", settings->client_id);
    if (*settings->secret && !in_header)
        add_field(&form, "client_secret", settings->secret);
    basic_of(settings, basic, sizeof(basic));
    if (in_header)
        headers[2] = basic;
    if (form.failed)
        unreachable(login, "tokens", 0, NULL);
    else
        ask(login, "POST", metadata->token, headers, form.data, CDS_OIDC_ANSWER_MAX, on_tokens);
    cds_wipe(form.data, form.len);
    cds_wipe(basic, sizeof(basic));
}

/* ---- userinfo ---- */
static void on_userinfo(void *user, int status, const char *body, size_t len, const struct cds_err *http_err)
{
    struct cds_oidc_login *login = user;
    struct cds_err err = {0};
    login->call = NULL;
    if (!http_err && cds_oidc_userinfo(status, body, len, &login->claims, &err))
        cds_oidc_fail(login, &err);
    else
        login->then(login); /* without an answer the mail stays unknown, which is said then */
}

void cds_oidc_ask_userinfo(struct cds_oidc_login *login, void (*then)(struct cds_oidc_login *login))
{
    char bearer[CDS_OIDC_ANSWER_MAX / 8];
    const char *headers[] = {bearer, "Accept: application/json", NULL}, *url = login->oidc->metadata.userinfo;
    login->then = then;
    if (*login->claims.email || !*url || !login->access_token || strlen(login->access_token) > sizeof(bearer) - 32 ||
        strpbrk(login->access_token, "\r\n")) {
        then(login);
        return;
    }
    snprintf(bearer, sizeof(bearer), "Authorization: Bearer %s", login->access_token);
    ask(login, "GET", url, headers, NULL, CDS_OIDC_ANSWER_MAX, on_userinfo);
    cds_wipe(bearer, sizeof(bearer));
}
