/* apps/auth/oidc_documents.c: see oidc_documents.h. */
#include "apps/auth/oidc_documents.h"

#include <stdlib.h>
#include <string.h>

#include "apps/auth/input.h"
#include "lib/base/str.h"
#include "lib/jwt/jwt.h"

static cds_rc refuse(struct cds_err *reterr, cds_rc code, const char *rule, const char *message)
{
    cds_fail(reterr, code, "cds_oidc", "%s", message);
    cds_err_rule(reterr, rule);
    return code;
}

/* A text without a NUL inside, shorter than size; absent: "" and true. */
static bool read_text(const cds_json *object, const char *name, char *out, size_t size)
{
    const cds_json *value = cds_json_get(object, name);
    out[0] = '\0';
    if (!value || cds_json_is(value, CDS_JSON_NULL))
        return true;
    if (!cds_json_str(value) || cds_json_str_len(value) >= size || strlen(cds_json_str(value)) != cds_json_str_len(value))
        return false;
    cds_strcpy(out, size, cds_json_str(value));
    return true;
}

/* ---- metadata ---- */
static bool lists(const cds_json *object, const char *name, const char *word, bool otherwise)
{
    const cds_json *list = cds_json_get(object, name);
    if (!list)
        return otherwise;
    for (size_t i = 0; i < cds_json_size(list); i++)
        if (cds_streq(cds_json_str(cds_json_at(list, i)), word))
            return true;
    return false;
}

static cds_rc read_address(const struct cds_oidc_settings *settings, const cds_json *object, const char *name, char out[static CDS_OIDC_URL_MAX],
                           struct cds_err *reterr)
{
    if (!read_text(object, name, out, CDS_OIDC_URL_MAX))
        out[0] = '\0';
    return cds_oidc_check_url(settings, out, name, reterr);
}

static cds_rc read_metadata(const struct cds_oidc_settings *settings, const cds_json *document, struct cds_oidc_metadata *out, struct cds_err *reterr)
{
    if (!cds_streq(cds_json_get_str(document, "issuer"), settings->issuer))
        return refuse(reterr, CDS_BAD_PARAM, "oidc.metadata",
                      "The OpenID provider calls itself otherwise than oidc.issuer does; both have to be the same text.");
    if (!lists(document, "response_types_supported", "code", true) || !lists(document, "code_challenge_methods_supported", "S256", true))
        return refuse(reterr, CDS_BAD_PARAM, "oidc.metadata", "The OpenID provider knows no sign-in by code with a challenge (PKCE, S256).");
    cds_rc rc = read_address(settings, document, "authorization_endpoint", out->authorization, reterr);
    if (!rc)
        rc = read_address(settings, document, "token_endpoint", out->token, reterr);
    if (!rc)
        rc = read_address(settings, document, "jwks_uri", out->jwks, reterr);
    if (!rc && cds_json_get(document, "userinfo_endpoint"))
        rc = read_address(settings, document, "userinfo_endpoint", out->userinfo, reterr);
    out->post = !lists(document, "token_endpoint_auth_methods_supported", "client_secret_basic", true) &&
                lists(document, "token_endpoint_auth_methods_supported", "client_secret_post", false);
    out->names_itself = cds_json_true(cds_json_get(document, "authorization_response_iss_parameter_supported"), false);
    return rc;
}

cds_rc cds_oidc_metadata_parse(const struct cds_oidc_settings *settings, const char *text, size_t len, struct cds_oidc_metadata *ret,
                               struct cds_err *reterr)
{
    cds_json *parsed = NULL;
    struct cds_oidc_metadata out = {.token = ""};
    if (cds_json_parse(text, len, &parsed, NULL))
        return refuse(reterr, CDS_BAD_PARAM, "oidc.metadata", "The OpenID provider's description of itself is no JSON.");
    CDS_JSON_AUTO document = parsed;
    cds_rc rc = read_metadata(settings, document, &out, reterr);
    if (!rc)
        *ret = out;
    return rc;
}

/* ---- the token endpoint ---- */
cds_rc cds_oidc_token_answer(int status, const char *text, size_t len, char **ret_id_token, char **ret_access_token, struct cds_err *reterr)
{
    cds_json *parsed = NULL;
    if (cds_json_parse(text, len, &parsed, NULL))
        return refuse(reterr, CDS_UNAUTHENTICATED, "oidc.code", "The OpenID provider's answer to the code is no JSON.");
    CDS_JSON_AUTO answer = parsed;
    const char *id_token = cds_json_get_str(answer, "id_token"), *access = cds_json_get_str(answer, "access_token");
    if (status != 200 || !id_token) {
        refuse(reterr, CDS_UNAUTHENTICATED, "oidc.code", "The OpenID provider did not take the code.");
        const char *why = cds_json_get_str(answer, "error");
        cds_err_detail(reterr, "status %d %.64s", status, why ? why : "");
        return CDS_UNAUTHENTICATED;
    }
    *ret_id_token = strdup(id_token);
    *ret_access_token = access ? strdup(access) : NULL;
    return *ret_id_token ? CDS_OK : cds_fail(reterr, CDS_EXHAUSTED, __func__, "Out of memory.");
}

/* ---- claims ---- */
/* The client is the audience; where there are several, it is the one that the token was made for (Core 3.1.3.7, 3 to 5). */
static bool is_for(const cds_json *payload, const char *client_id)
{
    const cds_json *aud = cds_json_get(payload, "aud"), *azp = cds_json_get(payload, "azp");
    bool named = cds_streq(cds_json_str(aud), client_id), several = false;
    if (cds_json_is(aud, CDS_JSON_ARRAY)) {
        several = cds_json_size(aud) > 1;
        for (size_t i = 0; i < cds_json_size(aud); i++)
            named = named || cds_streq(cds_json_str(cds_json_at(aud, i)), client_id);
    }
    return named && (azp || !several) && (!azp || cds_streq(cds_json_str(azp), client_id));
}

static bool read_time(const cds_json *payload, const char *name, bool needed, int64_t otherwise, int64_t *ret)
{
    const cds_json *value = cds_json_get(payload, name);
    *ret = cds_json_i64(value, -1);
    if (!value)
        *ret = otherwise;
    return value ? *ret >= 0 : !needed;
}

static cds_rc check_times(const cds_json *payload, int64_t now_s, struct cds_err *reterr)
{
    int64_t expires_s, issued_s, not_before_s;
    if (!read_time(payload, "exp", true, 0, &expires_s) || !read_time(payload, "iat", true, 0, &issued_s) ||
        !read_time(payload, "nbf", false, 0, &not_before_s))
        return refuse(reterr, CDS_UNAUTHENTICATED, "oidc.expired", "The ID token does not say from when to when it is good.");
    if (expires_s <= now_s - CDS_OIDC_SKEW_S || issued_s < now_s - CDS_OIDC_TOKEN_AGE_S - CDS_OIDC_SKEW_S)
        return refuse(reterr, CDS_UNAUTHENTICATED, "oidc.expired", "The ID token has expired, or was made for an earlier sign-in.");
    if (issued_s > now_s + CDS_OIDC_SKEW_S || not_before_s > now_s + CDS_OIDC_SKEW_S)
        return refuse(reterr, CDS_UNAUTHENTICATED, "oidc.early", "The ID token is not good yet; the clocks of studio and provider differ.");
    return CDS_OK;
}

/* The strongest role that a group gives: the map's words are looked through for each. */
static int role_of(const char *map, const char *group)
{
    static const char *const roles[] = {"viewer", "developer", "admin"};
    size_t len = strlen(group);
    int best = -1;
    for (const char *p = map; *p; p += strspn(p, " ")) {
        size_t n = strcspn(p, " ");
        if (len && n > len && !strncmp(p, group, len) && p[len] == '=' && !memchr(p + len + 1, '=', n - len - 1))
            for (int i = 0; i < 3; i++)
                if (strlen(roles[i]) == n - len - 1 && !strncmp(p + len + 1, roles[i], n - len - 1) && i > best)
                    best = i;
        p += n;
    }
    return best;
}

static void map_role(const struct cds_oidc_settings *settings, const cds_json *payload, struct cds_oidc_claims *out)
{
    static const char *const roles[] = {"viewer", "developer", "admin"};
    if (!*settings->role_claim)
        return;
    const cds_json *groups = cds_json_get(payload, settings->role_claim);
    int best = cds_json_str(groups) ? role_of(settings->role_map, cds_json_str(groups)) : -1;
    for (size_t i = 0; cds_json_is(groups, CDS_JSON_ARRAY) && i < cds_json_size(groups); i++) {
        const char *group = cds_json_str(cds_json_at(groups, i));
        int one = group ? role_of(settings->role_map, group) : -1;
        best = one > best ? one : best;
    }
    cds_strcpy(out->role, sizeof(out->role), best < 0 ? settings->role : roles[best]);
}

/* What cannot be an address or a name here is left out: it is not what lets anybody in. */
static void read_person(const cds_json *from, struct cds_oidc_claims *out)
{
    char text[512];
    if (read_text(from, "email", text, sizeof(text)) && *text && cds_email_fold(text, out->email, NULL))
        out->email[0] = '\0';
    out->verified = *out->email && cds_json_is(cds_json_get(from, "email_verified"), CDS_JSON_TRUE);
    if (read_text(from, "name", text, sizeof(text)) && cds_name_check(text, NULL) == CDS_OK)
        cds_strcpy(out->name, sizeof(out->name), text);
}

cds_rc cds_oidc_claims_check(const struct cds_oidc_settings *settings, const cds_json *payload, const char *nonce, int64_t now_s,
                             struct cds_oidc_claims *ret, struct cds_err *reterr)
{
    struct cds_oidc_claims out = {.verified = false};
    const char *said = cds_json_get_str(payload, "nonce");
    if (!cds_streq(cds_json_get_str(payload, "iss"), settings->issuer))
        return refuse(reterr, CDS_UNAUTHENTICATED, "oidc.issuer", "The ID token is of another provider.");
    if (!is_for(payload, settings->client_id))
        return refuse(reterr, CDS_UNAUTHENTICATED, "oidc.audience", "The ID token was made for another program.");
    cds_rc rc = check_times(payload, now_s, reterr);
    if (rc)
        return rc;
    if (!said || strlen(said) != strlen(nonce) || !cds_equal_ct(said, nonce, strlen(nonce)))
        return refuse(reterr, CDS_UNAUTHENTICATED, "oidc.nonce", "The ID token was made for another sign-in.");
    if (!read_text(payload, "sub", out.subject, sizeof(out.subject)) || !*out.subject)
        return refuse(reterr, CDS_UNAUTHENTICATED, "oidc.subject", "The ID token does not say whom it is about.");
    read_person(payload, &out);
    map_role(settings, payload, &out);
    *ret = out;
    return CDS_OK;
}

/* What tells a logout token from an ID token of the same provider, which is signed with the same key (Back-Channel Logout 1.0 section 2.4). */
static bool is_logout(const cds_json *payload)
{
    const cds_json *events = cds_json_get(payload, "events");
    return cds_json_is(cds_json_get(events, "http://schemas.openid.net/event/backchannel-logout"), CDS_JSON_OBJECT) &&
           !cds_json_get(payload, "nonce");
}

cds_rc cds_oidc_logout_check(const struct cds_oidc_settings *settings, const cds_json *payload, int64_t now_s, char *ret_subject, char *ret_jti,
                             struct cds_err *reterr)
{
    if (!cds_streq(cds_json_get_str(payload, "iss"), settings->issuer))
        return refuse(reterr, CDS_UNAUTHENTICATED, "oidc.issuer", "The logout token is of another provider.");
    if (!is_for(payload, settings->client_id))
        return refuse(reterr, CDS_UNAUTHENTICATED, "oidc.audience", "The logout token was made for another program.");
    cds_rc rc = check_times(payload, now_s, reterr);
    if (rc)
        return rc;
    if (!is_logout(payload) || !read_text(payload, "jti", ret_jti, CDS_OIDC_CLAIM_MAX + 1) || !*ret_jti)
        return refuse(reterr, CDS_UNAUTHENTICATED, "oidc.logout", "This is no logout token.");
    if (!read_text(payload, "sub", ret_subject, CDS_OIDC_CLAIM_MAX + 1) || !*ret_subject)
        return refuse(reterr, CDS_UNAUTHENTICATED, "oidc.subject", "The logout token does not say who has signed out; this studio needs \"sub\".");
    return CDS_OK;
}

cds_rc cds_oidc_userinfo(int status, const char *text, size_t len, struct cds_oidc_claims *claims, struct cds_err *reterr)
{
    cds_json *parsed = NULL;
    char subject[CDS_OIDC_CLAIM_MAX + 1];
    if (status != 200 || cds_json_parse(text, len, &parsed, NULL))
        return CDS_OK; /* then it says nothing of the mail */
    CDS_JSON_AUTO answer = parsed;
    if (!read_text(answer, "sub", subject, sizeof(subject)) || !cds_streq(subject, claims->subject))
        return refuse(reterr, CDS_UNAUTHENTICATED, "oidc.subject", "The OpenID provider told of somebody else than the ID token.");
    read_person(answer, claims);
    return CDS_OK;
}
