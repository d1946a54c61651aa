/* lib/jwt/jws.c: see jws.h. Lengths and alphabet first, then the header, then the signature, and only then the payload. */
#include "lib/jwt/jws.h"

#include <openssl/core_names.h>
#include <openssl/ecdsa.h>
#include <openssl/err.h>
#include <openssl/evp.h>
#include <openssl/param_build.h>
#include <stdlib.h>
#include <string.h>

#include "lib/base/cleanup.h"
#include "lib/base/str.h"

enum { RSA_BYTES_MIN = 256, RSA_BYTES_MAX = 1024, EXPONENT_MAX = 8, P256 = 32, ES256_SIG = 2 * P256 };

enum alg { RS256, ES256, ALG_OTHER };

struct key {
    char kid[CDS_JWS_KID_MAX + 1]; /* "": it has none */
    enum alg alg;
    EVP_PKEY *pkey;
};

struct cds_jwks {
    size_t count;
    struct key keys[CDS_JWKS_KEYS];
};

static void free_ctx(EVP_PKEY_CTX **ctx)
{
    EVP_PKEY_CTX_free(*ctx);
}
static void free_md(EVP_MD_CTX **ctx)
{
    EVP_MD_CTX_free(*ctx);
}
static void free_bld(OSSL_PARAM_BLD **bld)
{
    OSSL_PARAM_BLD_free(*bld);
}
static void free_bn(BIGNUM **bn)
{
    BN_free(*bn);
}
static void free_sig(ECDSA_SIG **sig)
{
    ECDSA_SIG_free(*sig);
}

void cds_jwks_free(struct cds_jwks **keys)
{
    if (!*keys)
        return;
    for (size_t i = 0; i < (*keys)->count; i++)
        EVP_PKEY_free((*keys)->keys[i].pkey);
    free(*keys);
    *keys = NULL;
}

/* ---- keys ---- */
/* base64url without padding, as in lib/jwt/verify.c. Returns the length, 0: not decodable, or longer than max. */
static size_t decode(const char *text, size_t len, unsigned char *out, size_t max)
{
    size_t n = 0;
    if (!text || !len || len > (max * 4 + 2) / 3 || memchr(text, '=', len) || memchr(text, '+', len) || memchr(text, '/', len))
        return 0;
    return cds_base64_decode(text, len, out, &n) == CDS_OK && n <= max ? n : 0;
}

static size_t member(const cds_json *jwk, const char *name, unsigned char *out, size_t max)
{
    const cds_json *value = cds_json_get(jwk, name);
    return cds_json_str(value) ? decode(cds_json_str(value), cds_json_str_len(value), out, max) : 0;
}

static EVP_PKEY *make(const char *kind, OSSL_PARAM_BLD *bld)
{
    OSSL_PARAM *params = OSSL_PARAM_BLD_to_param(bld);
    CDS_CLEANUP(free_ctx) EVP_PKEY_CTX *ctx = EVP_PKEY_CTX_new_from_name(NULL, kind, NULL);
    EVP_PKEY *pkey = NULL;
    if (params && ctx && EVP_PKEY_fromdata_init(ctx) == 1 && EVP_PKEY_fromdata(ctx, &pkey, EVP_PKEY_PUBLIC_KEY, params) != 1)
        pkey = NULL;
    OSSL_PARAM_free(params);
    ERR_clear_error();
    return pkey;
}

static EVP_PKEY *rsa_of(const cds_json *jwk)
{
    unsigned char n[RSA_BYTES_MAX + 4], e[EXPONENT_MAX + 4];
    size_t n_len = member(jwk, "n", n, RSA_BYTES_MAX), e_len = member(jwk, "e", e, EXPONENT_MAX);
    /* A leading zero is no spelling of a number here (RFC 7518 section 2), and an even exponent is no key. */
    if (n_len < RSA_BYTES_MIN || !e_len || !n[0] || !e[0] || !(e[e_len - 1] & 1) || (e_len == 1 && e[0] < 3))
        return NULL;
    CDS_CLEANUP(free_bn) BIGNUM *bn_n = BN_bin2bn(n, (int)n_len, NULL);
    CDS_CLEANUP(free_bn) BIGNUM *bn_e = BN_bin2bn(e, (int)e_len, NULL);
    CDS_CLEANUP(free_bld) OSSL_PARAM_BLD *bld = OSSL_PARAM_BLD_new();
    if (!bn_n || !bn_e || !bld || BN_num_bits(bn_n) < RSA_BYTES_MIN * 8 || OSSL_PARAM_BLD_push_BN(bld, OSSL_PKEY_PARAM_RSA_N, bn_n) != 1 ||
        OSSL_PARAM_BLD_push_BN(bld, OSSL_PKEY_PARAM_RSA_E, bn_e) != 1)
        return NULL;
    return make("RSA", bld);
}

static EVP_PKEY *ec_of(const cds_json *jwk)
{
    unsigned char point[1 + 2 * P256 + 4] = {4};
    if (!cds_streq(cds_json_get_str(jwk, "crv"), "P-256") || member(jwk, "x", point + 1, P256) != P256 ||
        member(jwk, "y", point + 1 + P256, P256) != P256)
        return NULL;
    CDS_CLEANUP(free_bld) OSSL_PARAM_BLD *bld = OSSL_PARAM_BLD_new();
    if (!bld || OSSL_PARAM_BLD_push_utf8_string(bld, OSSL_PKEY_PARAM_GROUP_NAME, "prime256v1", 0) != 1 ||
        OSSL_PARAM_BLD_push_octet_string(bld, OSSL_PKEY_PARAM_PUB_KEY, point, 1 + 2 * P256) != 1)
        return NULL;
    return make("EC", bld); /* refuses a point that is not on the curve */
}

static bool absent_or(const cds_json *object, const char *name, const char *value)
{
    const cds_json *found = cds_json_get(object, name);
    return !found || cds_streq(cds_json_str(found), value);
}

static void add_key(struct cds_jwks *keys, const cds_json *jwk)
{
    const cds_json *kid = cds_json_get(jwk, "kid");
    struct key *key = &keys->keys[keys->count];
    bool rsa = cds_streq(cds_json_get_str(jwk, "kty"), "RSA"), ec = cds_streq(cds_json_get_str(jwk, "kty"), "EC");
    if (!(rsa || ec) || !absent_or(jwk, "use", "sig") || !absent_or(jwk, "alg", rsa ? "RS256" : "ES256") ||
        (kid && (!cds_json_str(kid) || cds_json_str_len(kid) > CDS_JWS_KID_MAX)))
        return;
    *key = (struct key){.alg = rsa ? RS256 : ES256, .pkey = rsa ? rsa_of(jwk) : ec_of(jwk)};
    if (!key->pkey)
        return;
    cds_strcpy(key->kid, sizeof(key->kid), kid ? cds_json_str(kid) : "");
    keys->count++;
}

cds_rc cds_jwks_parse(const cds_json *document, struct cds_jwks **ret, struct cds_err *reterr)
{
    const cds_json *list = cds_json_get(document, "keys");
    if (!cds_json_is(list, CDS_JSON_ARRAY))
        return cds_fail(reterr, CDS_BAD_PARAM, __func__, "The provider's key set has no list \"keys\".");
    CDS_CLEANUP(cds_jwks_free) struct cds_jwks *keys = calloc(1, sizeof(*keys));
    if (!keys)
        return cds_fail(reterr, CDS_EXHAUSTED, __func__, "Out of memory while loading the provider's key set.");
    for (size_t i = 0; i < cds_json_size(list) && keys->count < CDS_JWKS_KEYS; i++)
        add_key(keys, cds_json_at(list, i));
    if (!keys->count)
        // NOLINTNEXTLINE(clang-analyzer-unix.Malloc): freed at its declaration (CDS_CLEANUP)
        return cds_fail(reterr, CDS_BAD_PARAM, __func__, "The provider's key set holds no key for RS256 or ES256.");
    *ret = keys;
    keys = NULL;
    return CDS_OK;
}

/* ---- signatures ---- */
static cds_rc refuse(struct cds_err *reterr, const char *rule, const char *message)
{
    cds_fail(reterr, CDS_UNAUTHENTICATED, "cds_jws_verify", "%s", message);
    cds_err_rule(reterr, rule);
    return CDS_UNAUTHENTICATED;
}

static cds_rc malformed(struct cds_err *reterr)
{
    return refuse(reterr, "jws.malformed", "The ID token is not well-formed.");
}

static cds_json *object_of(const char *text, size_t len)
{
    CDS_CLEANUP(cds_free_ptr) unsigned char *plain = malloc(len + 1);
    cds_json *value = NULL;
    size_t n = plain ? decode(text, len, plain, len) : 0;
    if (!n || cds_json_parse((const char *)plain, n, &value, NULL))
        // NOLINTNEXTLINE(clang-analyzer-unix.Malloc): freed at its declaration (CDS_CLEANUP)
        return NULL;
    if (cds_json_is(value, CDS_JSON_OBJECT))
        return value;
    cds_json_unref(value);
    return NULL;
}

/* With a name it is the key of that name and kind; without one there must be only one of the kind. */
static const struct key *choose(const struct cds_jwks *keys, enum alg alg, const char *kid)
{
    const struct key *found = NULL;
    for (size_t i = 0; i < keys->count; i++) {
        const struct key *key = &keys->keys[i];
        if (key->alg != alg || (kid && strcmp(key->kid, kid) != 0))
            continue;
        if (found)
            return NULL;
        found = key;
    }
    return found;
}

static cds_rc read_header(const struct cds_jwks *keys, const char *text, size_t len, const struct key **ret, struct cds_err *reterr)
{
    CDS_JSON_AUTO header = object_of(text, len);
    if (!header)
        return malformed(reterr);
    const char *alg = cds_json_get_str(header, "alg");
    enum alg wanted = cds_streq(alg, "RS256") ? RS256 : cds_streq(alg, "ES256") ? ES256 : ALG_OTHER;
    if (wanted == ALG_OTHER)
        return refuse(reterr, "jws.alg", "The ID token names a signature algorithm other than RS256 and ES256.");
    const cds_json *kid = cds_json_get(header, "kid");
    if (cds_json_get(header, "crit") || (kid && (!cds_json_str(kid) || strlen(cds_json_str(kid)) != cds_json_str_len(kid))))
        return malformed(reterr);
    *ret = choose(keys, wanted, cds_json_str(kid));
    return *ret ? CDS_OK : refuse(reterr, "jws.unknown_kid", "The ID token was signed by a key that is not in the provider's key set.");
}

/* OpenSSL wants the two numbers of ES256 as DER. Returns its length, 0: no memory. */
static int der_of(const unsigned char *sig, unsigned char **ret)
{
    CDS_CLEANUP(free_sig) ECDSA_SIG *pair = ECDSA_SIG_new();
    BIGNUM *r = BN_bin2bn(sig, P256, NULL), *s = BN_bin2bn(sig + P256, P256, NULL);
    if (!pair || !r || !s || ECDSA_SIG_set0(pair, r, s) != 1) {
        BN_free(r);
        BN_free(s);
        return 0;
    }
    int len = i2d_ECDSA_SIG(pair, ret);
    return len > 0 ? len : 0;
}

static bool verify(const struct key *key, const char *data, size_t len, const unsigned char *sig, size_t sig_len)
{
    unsigned char *der = NULL;
    CDS_CLEANUP(free_md) EVP_MD_CTX *ctx = EVP_MD_CTX_new();
    if (key->alg == ES256) {
        if (sig_len != ES256_SIG)
            return false;
        sig_len = (size_t)der_of(sig, &der);
    }
    bool good = ctx && sig_len && EVP_DigestVerifyInit(ctx, NULL, EVP_sha256(), NULL, key->pkey) == 1 &&
                EVP_DigestVerify(ctx, der ? der : sig, sig_len, (const unsigned char *)data, len) == 1;
    OPENSSL_free(der);
    ERR_clear_error();
    return good;
}

cds_rc cds_jws_verify(const struct cds_jwks *keys, const char *text, size_t len, cds_json **ret_payload, struct cds_err *reterr)
{
    unsigned char sig[RSA_BYTES_MAX + 4];
    const char *dot1 = len <= CDS_JWS_MAX ? memchr(text, '.', len) : NULL;
    const char *dot2 = dot1 ? memchr(dot1 + 1, '.', (size_t)(text + len - dot1 - 1)) : NULL;
    if (!dot2)
        return malformed(reterr);
    const struct key *key = NULL;
    cds_rc rc = read_header(keys, text, (size_t)(dot1 - text), &key, reterr);
    if (rc)
        return rc;
    size_t sig_len = decode(dot2 + 1, (size_t)(text + len - dot2 - 1), sig, RSA_BYTES_MAX);
    if (!sig_len)
        return malformed(reterr);
    if (!verify(key, text, (size_t)(dot2 - text), sig, sig_len))
        return refuse(reterr, "jws.signature", "The signature of the ID token is wrong.");
    *ret_payload = object_of(dot1 + 1, (size_t)(dot2 - dot1 - 1));
    return *ret_payload ? CDS_OK : malformed(reterr);
}
