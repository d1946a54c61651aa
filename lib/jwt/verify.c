/* lib/jwt/verify.c: key sets and the check of an access token.
 *
 * The order matters: lengths and alphabet first, then the header, then the signature, and only then is anything of the payload looked at.
 */
#include <stdlib.h>
#include <string.h>

#include "lib/base/cleanup.h"
#include "lib/base/random.h"
#include "lib/base/str.h"
#include "lib/jwt/ed25519.h"
#include "lib/jwt/token.h"

struct keyset_key {
    char kid[CDS_KID_LEN + 1];
    struct cds_edkey *key;
};

struct cds_keyset {
    size_t count;
    struct keyset_key keys[CDS_KEYSET_MAX];
};

void cds_keyset_free(struct cds_keyset **keyset)
{
    if (!*keyset)
        return;
    for (size_t i = 0; i < (*keyset)->count; i++)
        cds_edkey_free(&(*keyset)->keys[i].key);
    free(*keyset);
    *keyset = NULL;
}

/* base64url without padding has one spelling per value (RFC 7515 section 2); "+", "/" and "=" are other alphabets. */
static bool decode_part(const char *text, size_t len, unsigned char *out, size_t *ret_len)
{
    for (size_t i = 0; i < len; i++)
        if (text[i] == '+' || text[i] == '/' || text[i] == '=')
            return false;
    return len && cds_base64_decode(text, len, out, ret_len) == CDS_OK;
}

static const struct keyset_key *find_key(const struct cds_keyset *keyset, const char *kid)
{
    for (size_t i = 0; i < keyset->count; i++)
        if (!strcmp(keyset->keys[i].kid, kid))
            return &keyset->keys[i];
    return NULL;
}

/* Member absent or equal. */
static bool absent_or(const cds_json *object, const char *name, const char *value)
{
    const cds_json *member = cds_json_get(object, name);
    return !member || cds_streq(cds_json_str(member), value);
}

static cds_rc add_key(struct cds_keyset *keyset, const cds_json *jwk, struct cds_err *reterr)
{
    const char *x = cds_json_get_str(jwk, "x"), *kid = cds_json_get_str(jwk, "kid");
    unsigned char raw[CDS_KID_LEN + 1];
    size_t len = 0;
    char thumbprint[CDS_KID_LEN + 1];
    if (cds_json_get(jwk, "d"))
        return cds_fail(reterr, CDS_BAD_PARAM, __func__, "The key set publishes a private key.");
    if (!x || !kid || strlen(x) != CDS_KID_LEN || !decode_part(x, CDS_KID_LEN, raw, &len) || len != CDS_ED25519_KEY)
        return cds_fail(reterr, CDS_BAD_PARAM, __func__, "The key set holds an Ed25519 key without a well-formed x and kid.");
    /* The id is the key's own thumbprint, so no set can give one key the name of another. */
    cds_edkey_kid(raw, thumbprint);
    if (strcmp(thumbprint, kid) != 0)
        return cds_fail(reterr, CDS_BAD_PARAM, __func__, "The key set holds a key whose kid is not its thumbprint.");
    if (find_key(keyset, kid))
        return CDS_OK;
    struct keyset_key *slot = &keyset->keys[keyset->count];
    cds_rc rc = cds_edkey_from_public(raw, &slot->key, reterr);
    if (rc)
        return rc;
    cds_strcpy(slot->kid, sizeof(slot->kid), kid);
    keyset->count++;
    return CDS_OK;
}

cds_rc cds_keyset_parse(const cds_json *jwks, struct cds_keyset **ret, struct cds_err *reterr)
{
    const cds_json *keys = cds_json_get(jwks, "keys");
    if (!cds_json_is(keys, CDS_JSON_ARRAY))
        return cds_fail(reterr, CDS_BAD_PARAM, __func__, "The key set has no list \"keys\".");
    CDS_CLEANUP(cds_keyset_free) struct cds_keyset *keyset = calloc(1, sizeof(*keyset));
    if (!keyset)
        return cds_fail(reterr, CDS_EXHAUSTED, __func__, "Out of memory while loading the key set.");
    for (size_t i = 0; i < cds_json_size(keys) && keyset->count < CDS_KEYSET_MAX; i++) {
        const cds_json *jwk = cds_json_at(keys, i);
        if (!cds_streq(cds_json_get_str(jwk, "kty"), "OKP") || !cds_streq(cds_json_get_str(jwk, "crv"), "Ed25519") ||
            !absent_or(jwk, "alg", "EdDSA") || !absent_or(jwk, "use", "sig"))
            continue;
        cds_rc rc = add_key(keyset, jwk, reterr);
        if (rc)
            return rc;
    }
    if (!keyset->count)
        // NOLINTNEXTLINE(clang-analyzer-unix.Malloc): freed at its declaration (CDS_CLEANUP)
        return cds_fail(reterr, CDS_BAD_PARAM, __func__, "The key set holds no Ed25519 key.");
    *ret = keyset;
    keyset = NULL;
    return CDS_OK;
}

/* One refusal: the sentence for the user, the rule for programs and tests. */
static cds_rc refuse(struct cds_err *reterr, const char *rule, const char *message)
{
    cds_fail(reterr, CDS_UNAUTHENTICATED, "cds_jwt_verify", "%s", message);
    cds_err_rule(reterr, rule);
    cds_err_hint(reterr, "Sign in again.");
    return CDS_UNAUTHENTICATED;
}

static cds_rc malformed(struct cds_err *reterr)
{
    return refuse(reterr, "jwt.malformed", "The access token is not well-formed.");
}

static cds_rc parse_part(const char *text, size_t len, cds_json **ret)
{
    unsigned char plain[CDS_JWT_MAX];
    size_t plain_len = 0;
    if (!decode_part(text, len, plain, &plain_len))
        return CDS_BAD_PARAM;
    cds_rc rc = cds_json_parse((const char *)plain, plain_len, ret, NULL);
    if (!rc && !cds_json_is(*ret, CDS_JSON_OBJECT)) {
        cds_json_unref(*ret);
        return CDS_BAD_PARAM;
    }
    return rc;
}

/* The header may say nothing but alg, typ and kid: no embedded key (jwk, jku, x5u) and no extension (crit) is ever looked at. */
static cds_rc check_header(const struct cds_keyset *keyset, const char *text, size_t len, const struct cds_edkey **ret_key, struct cds_err *reterr)
{
    cds_json *parsed = NULL;
    if (parse_part(text, len, &parsed))
        return malformed(reterr);
    CDS_JSON_AUTO header = parsed;
    if (!cds_streq(cds_json_get_str(header, "alg"), "EdDSA"))
        return refuse(reterr, "jwt.alg", "The access token names a signature algorithm other than EdDSA.");
    const char *kid = cds_json_get_str(header, "kid");
    if (!cds_streq(cds_json_get_str(header, "typ"), CDS_JWT_TYP) || !kid || cds_json_size(header) != 3)
        return malformed(reterr);
    const struct keyset_key *found = find_key(keyset, kid);
    if (!found)
        return refuse(reterr, "jwt.unknown_kid", "The access token was signed by a key that this studio does not know.");
    *ret_key = found->key;
    return CDS_OK;
}

static bool copy_text(const cds_json *payload, const char *name, char *out, size_t size)
{
    const char *text = cds_json_get_str(payload, name);
    if (!text || !*text || strlen(text) >= size)
        return false;
    cds_strcpy(out, size, text);
    return true;
}

/* Absent, or a text that fits. */
static bool copy_optional(const cds_json *payload, const char *name, char *out, size_t size)
{
    const cds_json *member = cds_json_get(payload, name);
    if (!member)
        return true;
    if (!cds_json_str(member) || cds_json_str_len(member) >= size || strlen(cds_json_str(member)) != cds_json_str_len(member))
        return false;
    cds_strcpy(out, size, cds_json_str(member));
    return true;
}

static bool copy_int(const cds_json *payload, const char *name, int64_t *out)
{
    const cds_json *value = cds_json_get(payload, name);
    if (!cds_json_is(value, CDS_JSON_INTEGER))
        return false;
    *out = cds_json_i64(value, 0);
    return *out >= 0;
}

/* Absent, or a whole number up to most. */
static bool copy_count(const cds_json *payload, const char *name, int64_t most, int64_t *out)
{
    *out = 0;
    return !cds_json_get(payload, name) || (copy_int(payload, name, out) && *out <= most);
}

static cds_rc check_payload(const cds_json *payload, int64_t now_s, struct cds_claims *ret, struct cds_err *reterr)
{
    struct cds_claims claims = {0};
    int64_t not_before_s = 0, rpm, tpm, cnc;
    bool has_nbf = cds_json_get(payload, "nbf") != NULL;
    if (!cds_streq(cds_json_get_str(payload, "iss"), CDS_JWT_ISSUER) || !cds_streq(cds_json_get_str(payload, "aud"), CDS_JWT_AUDIENCE))
        return refuse(reterr, "jwt.audience", "The access token was issued by or for another service.");
    if (!copy_text(payload, "sub", claims.user_id, sizeof(claims.user_id)) || !cds_uuid_valid(claims.user_id) ||
        !copy_text(payload, "sid", claims.session_id, sizeof(claims.session_id)) || !cds_uuid_valid(claims.session_id) ||
        !copy_text(payload, "email", claims.email, sizeof(claims.email)) || !copy_text(payload, "role", claims.role, sizeof(claims.role)) ||
        !copy_int(payload, "iat", &claims.issued_s) || !copy_int(payload, "exp", &claims.expires_s) || !copy_int(payload, "ver", &claims.version) ||
        (has_nbf && !copy_int(payload, "nbf", &not_before_s)) || !copy_optional(payload, "key", claims.key_id, sizeof(claims.key_id)) ||
        !copy_optional(payload, "scp", claims.scopes, sizeof(claims.scopes)) ||
        !copy_optional(payload, "mdl", claims.models, sizeof(claims.models)) || !copy_count(payload, "rpm", UINT32_MAX, &rpm) ||
        !copy_count(payload, "tpm", INT64_C(1) << 53, &tpm) || !copy_count(payload, "cnc", UINT32_MAX, &cnc) ||
        (*claims.key_id && !cds_uuid_valid(claims.key_id)))
        return malformed(reterr);
    claims.requests_per_minute = (uint32_t)rpm;
    claims.tokens_per_minute = (uint64_t)tpm;
    claims.concurrent_requests = (uint32_t)cnc;
    if (claims.expires_s <= now_s)
        return refuse(reterr, "jwt.expired", "The access token has expired.");
    if (claims.issued_s > now_s + CDS_JWT_SKEW_S || not_before_s > now_s)
        return refuse(reterr, "jwt.early", "The access token is not valid yet; the clocks of the servers differ.");
    *ret = claims;
    return CDS_OK;
}

cds_rc cds_jwt_verify(const struct cds_keyset *keyset, const char *token, size_t len, int64_t now_s, struct cds_claims *ret, struct cds_err *reterr)
{
    unsigned char sig[CDS_JWT_MAX];
    size_t sig_len = 0;
    if (!token || len > CDS_JWT_MAX)
        return malformed(reterr);
    const char *dot1 = memchr(token, '.', len);
    const char *dot2 = dot1 ? memchr(dot1 + 1, '.', (size_t)(token + len - dot1 - 1)) : NULL;
    if (!dot2)
        return malformed(reterr);
    size_t sig_text = (size_t)(token + len - dot2 - 1);
    const struct cds_edkey *key = NULL;
    cds_rc rc = check_header(keyset, token, (size_t)(dot1 - token), &key, reterr);
    if (rc)
        return rc;
    if (!decode_part(dot2 + 1, sig_text, sig, &sig_len) || sig_len != CDS_ED25519_SIG)
        return malformed(reterr);
    if (!cds_edkey_verify(key, token, (size_t)(dot2 - token), sig))
        return refuse(reterr, "jwt.signature", "The signature of the access token is wrong.");
    cds_json *parsed = NULL;
    if (parse_part(dot1 + 1, (size_t)(dot2 - dot1 - 1), &parsed))
        return malformed(reterr);
    CDS_JSON_AUTO payload = parsed;
    return check_payload(payload, now_s, ret, reterr);
}
