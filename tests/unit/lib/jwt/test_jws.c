/* Signed texts of an OpenID provider (lib/jwt/jws.h): which keys of a set are taken, which texts they sign for, and everything that is refused. */
#include <openssl/core_names.h>
#include <openssl/ec.h>
#include <openssl/evp.h>
#include <openssl/rsa.h>
#include <stdlib.h>

#include "lib/base/cleanup.h"
#include "lib/base/str.h"
#include "lib/jwt/jws.h"
#include "lib/jwt/jwt.h"
#include "tests/support/test.h"

static EVP_PKEY *rsa, *small, *ec, *stranger; /* made once */

static int make(void **state)
{
    rsa = EVP_RSA_gen(2048);
    small = EVP_RSA_gen(1024);
    stranger = EVP_RSA_gen(2048);
    ec = EVP_EC_gen("P-256");
    return rsa && small && ec && stranger ? 0 : -1;
}

static int unmake(void **state)
{
    EVP_PKEY *const all[] = {rsa, small, ec, stranger};
    for (size_t i = 0; i < CDS_ARRAY_LEN(all); i++)
        EVP_PKEY_free(all[i]);
    return 0;
}

/* ---- key sets ---- */
static char *number(const EVP_PKEY *key, const char *name, char *out, int width)
{
    BIGNUM *bn = NULL;
    unsigned char bytes[512];
    assert_int_equal(EVP_PKEY_get_bn_param(key, name, &bn), 1);
    int len = width ? BN_bn2binpad(bn, bytes, width) : BN_bn2bin(bn, bytes);
    BN_free(bn);
    cds_base64url(bytes, (size_t)len, out);
    return out;
}

static cds_json *jwk_rsa(const EVP_PKEY *key, const char *kid)
{
    char n[700], e[16];
    return cds_json_pack("{s:s,s:s,s:s,s:s}", "kty", "RSA", "kid", kid, "n", number(key, OSSL_PKEY_PARAM_RSA_N, n, 0), "e",
                         number(key, OSSL_PKEY_PARAM_RSA_E, e, 0));
}

static cds_json *jwk_ec(const char *kid)
{
    char x[48], y[48];
    return cds_json_pack("{s:s,s:s,s:s,s:s,s:s}", "kty", "EC", "crv", "P-256", "kid", kid, "x", number(ec, OSSL_PKEY_PARAM_EC_PUB_X, x, 32), "y",
                         number(ec, OSSL_PKEY_PARAM_EC_PUB_Y, y, 32));
}

/* Takes the keys. */
static struct cds_jwks *set_of(cds_json *one, cds_json *two)
{
    struct cds_jwks *keys = NULL;
    CDS_JSON_AUTO list = cds_json_array();
    cds_json_append(list, one);
    if (two)
        cds_json_append(list, two);
    CDS_JSON_AUTO document = cds_json_pack("{s:O}", "keys", list);
    return cds_jwks_parse(document, &keys, NULL) == CDS_OK ? keys : NULL;
}

/* ---- texts ---- */
enum { TEXT_MAX = 4096 };

static void add(char *out, const void *bytes, size_t len)
{
    cds_base64url(bytes, len, out + strlen(out));
}

/* A compact JWS; key NULL: no signature. */
static char *sign(EVP_PKEY *key, const char *header, const char *payload, char out[static TEXT_MAX])
{
    unsigned char sig[512], *der = sig;
    size_t len = sizeof(sig);
    out[0] = '\0';
    add(out, header, strlen(header));
    cds_strcpy(out + strlen(out), 2, ".");
    add(out, payload, strlen(payload));
    EVP_MD_CTX *ctx = EVP_MD_CTX_new();
    if (key) {
        assert_int_equal(EVP_DigestSignInit(ctx, NULL, EVP_sha256(), NULL, key), 1);
        assert_int_equal(EVP_DigestSign(ctx, sig, &len, (const unsigned char *)out, strlen(out)), 1);
    }
    EVP_MD_CTX_free(ctx);
    cds_strcpy(out + strlen(out), 2, ".");
    if (key == ec) {
        const unsigned char *at = der;
        ECDSA_SIG *pair = d2i_ECDSA_SIG(NULL, &at, (long)len);
        unsigned char raw[64];
        BN_bn2binpad(ECDSA_SIG_get0_r(pair), raw, 32);
        BN_bn2binpad(ECDSA_SIG_get0_s(pair), raw + 32, 32);
        ECDSA_SIG_free(pair);
        add(out, raw, sizeof(raw));
    } else if (key) {
        add(out, sig, len);
    }
    return out;
}

/* rule "": it is taken. */
static void expects(const struct cds_jwks *keys, const char *text, const char *rule)
{
    struct cds_err err = {0};
    cds_json *payload = NULL;
    cds_rc rc = cds_jws_verify(keys, text, strlen(text), &payload, &err);
    if (!cds_streq(rc ? err.rule : "", rule))
        fail_msg("%s: %s, not %s", text, rc ? err.rule : "taken", rule);
    assert_true((rc == CDS_OK) == (payload != NULL));
    if (payload)
        assert_string_equal(cds_json_get_str(payload, "sub"), "me");
    cds_json_unref(payload);
}

#define PAYLOAD "{\"sub\":\"me\"}"
#define RS "{\"alg\":\"RS256\",\"kid\":\"r\"}"
#define ES "{\"alg\":\"ES256\",\"kid\":\"e\"}"

static void what_a_key_of_the_set_signed_is_taken_by_rs256_and_es256(void **state)
{
    char text[TEXT_MAX];
    CDS_CLEANUP(cds_jwks_free) struct cds_jwks *keys = set_of(jwk_rsa(rsa, "r"), jwk_ec("e"));
    assert_non_null(keys);
    expects(keys, sign(rsa, RS, PAYLOAD, text), "");
    expects(keys, sign(ec, ES, PAYLOAD, text), "");
    expects(keys, sign(rsa, "{\"alg\":\"RS256\"}", PAYLOAD, text), ""); /* one of its kind needs no name */
    expects(keys, sign(rsa, "{\"alg\":\"RS256\",\"kid\":\"r\",\"typ\":\"logout+jwt\"}", PAYLOAD, text), "");
}

static void the_key_decides_the_algorithm_and_no_header_does(void **state)
{
    static const char *const others[] = {"none", "None", "HS256", "RS384", "PS256", "EdDSA", ""};
    char text[TEXT_MAX], header[80];
    CDS_CLEANUP(cds_jwks_free) struct cds_jwks *keys = set_of(jwk_rsa(rsa, "r"), jwk_ec("e"));
    for (size_t i = 0; i < CDS_ARRAY_LEN(others); i++) {
        snprintf(header, sizeof(header), "{\"alg\":\"%s\",\"kid\":\"r\"}", others[i]);
        expects(keys, sign(rsa, header, PAYLOAD, text), "jws.alg");
    }
    expects(keys, sign(rsa, "{\"kid\":\"r\"}", PAYLOAD, text), "jws.alg");
    expects(keys, sign(rsa, "{\"alg\":[\"RS256\"]}", PAYLOAD, text), "jws.alg");
    expects(keys, sign(NULL, "{\"alg\":\"none\"}", PAYLOAD, text), "jws.alg");
    expects(keys, sign(rsa, "{\"alg\":\"ES256\",\"kid\":\"r\"}", PAYLOAD, text), "jws.unknown_kid"); /* the RSA key is none for ES256 */
    expects(keys, sign(ec, "{\"alg\":\"RS256\",\"kid\":\"r\"}", PAYLOAD, text), "jws.signature");
}

static void foreign_keys_changed_texts_and_wrong_lengths_are_refused(void **state)
{
    char text[TEXT_MAX], other[TEXT_MAX];
    CDS_CLEANUP(cds_jwks_free) struct cds_jwks *keys = set_of(jwk_rsa(rsa, "r"), jwk_ec("e"));
    expects(keys, sign(stranger, RS, PAYLOAD, text), "jws.signature");
    expects(keys, sign(rsa, "{\"alg\":\"RS256\",\"kid\":\"x\"}", PAYLOAD, text), "jws.unknown_kid");
    sign(rsa, RS, PAYLOAD, text);
    sign(rsa, RS, "{\"sub\":\"not me\"}", other);
    /* Head and payload of one, signature of the other. */
    char *sig = strrchr(text, '.'), *others = strrchr(other, '.');
    cds_strcpy(others, sizeof(other) - (size_t)(others - other), sig);
    expects(keys, other, "jws.signature");
    sign(ec, ES, PAYLOAD, text);
    text[strlen(text) - 2] = '\0'; /* one byte less */
    expects(keys, text, "jws.signature");
    sign(NULL, ES, PAYLOAD, text);
    char zeros[100] = "";
    unsigned char nothing[64] = {0};
    cds_base64url(nothing, sizeof(nothing), zeros);
    cds_strcpy(text + strlen(text), 100, zeros); /* r = s = 0 */
    expects(keys, text, "jws.signature");
}

static void what_is_no_compact_text_is_malformed_and_so_is_crit(void **state)
{
    static const char *const texts[] = {"", ".", "..", "a", "a.b", "...", "eyJhbGciOiJSUzI1NiJ9..", "!!.e30.AA"};
    char text[TEXT_MAX];
    CDS_CLEANUP(cds_jwks_free) struct cds_jwks *keys = set_of(jwk_rsa(rsa, "r"), NULL);
    for (size_t i = 0; i < CDS_ARRAY_LEN(texts); i++)
        expects(keys, texts[i], "jws.malformed");
    expects(keys, sign(rsa, "{\"alg\":\"RS256\",\"crit\":[\"exp\"]}", PAYLOAD, text), "jws.malformed");
    expects(keys, sign(rsa, "{\"alg\":\"RS256\",\"kid\":7}", PAYLOAD, text), "jws.malformed");
    expects(keys, sign(rsa, "[]", PAYLOAD, text), "jws.malformed");
    expects(keys, sign(rsa, RS, "[]", text), "jws.malformed"); /* signed, and no object */
    sign(rsa, RS, PAYLOAD, text);
    text[strlen(text)] = '=';
    expects(keys, text, "jws.malformed"); /* padding is none of it */
    CDS_CLEANUP(cds_free_ptr) char *long_text = malloc(CDS_JWS_MAX + 2);
    memset(long_text, 'a', CDS_JWS_MAX + 1);
    long_text[10] = long_text[20] = '.';
    long_text[CDS_JWS_MAX + 1] = '\0';
    expects(keys, long_text, "jws.malformed");
}

static void keys_that_are_short_for_something_else_or_no_point_are_passed_over(void **state)
{
    assert_null(set_of(jwk_rsa(small, "s"), NULL));
    cds_json *encrypts = jwk_rsa(rsa, "r"), *another = jwk_rsa(rsa, "r"), *even = jwk_rsa(rsa, "r"), *off = jwk_ec("e"), *curve = jwk_ec("e");
    cds_json_set(encrypts, "use", cds_json_string("enc"));
    cds_json_set(another, "alg", cds_json_string("RS512"));
    cds_json_set(even, "e", cds_json_string("Ag")); /* 2 */
    cds_json_set(off, "x", cds_json_string("AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAE"));
    cds_json_set(curve, "crv", cds_json_string("P-384"));
    assert_null(set_of(encrypts, another));
    assert_null(set_of(even, off));
    assert_null(set_of(curve, cds_json_pack("{s:s,s:s}", "kty", "oct", "k", "c2VjcmV0")));
    CDS_JSON_AUTO none = cds_json_pack("{s:[]}", "keys");
    CDS_JSON_AUTO no_list = cds_json_pack("{s:s}", "keys", "x");
    struct cds_jwks *keys = NULL;
    assert_int_equal(cds_jwks_parse(none, &keys, NULL), CDS_BAD_PARAM);
    assert_int_equal(cds_jwks_parse(no_list, &keys, NULL), CDS_BAD_PARAM);
}

/* Two keys of one kind: a text without a name could be of either, and is of none. */
static void text_without_a_name_is_not_tried_with_one_key_after_the_other(void **state)
{
    char text[TEXT_MAX];
    CDS_CLEANUP(cds_jwks_free) struct cds_jwks *keys = set_of(jwk_rsa(rsa, "r"), jwk_rsa(stranger, "t"));
    expects(keys, sign(rsa, "{\"alg\":\"RS256\"}", PAYLOAD, text), "jws.unknown_kid");
    expects(keys, sign(stranger, "{\"alg\":\"RS256\",\"kid\":\"t\"}", PAYLOAD, text), "");
    CDS_CLEANUP(cds_jwks_free) struct cds_jwks *doubled = set_of(jwk_rsa(rsa, "r"), jwk_rsa(stranger, "r"));
    expects(doubled, sign(rsa, RS, PAYLOAD, text), "jws.unknown_kid");
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(what_a_key_of_the_set_signed_is_taken_by_rs256_and_es256),
        cmocka_unit_test(the_key_decides_the_algorithm_and_no_header_does),
        cmocka_unit_test(foreign_keys_changed_texts_and_wrong_lengths_are_refused),
        cmocka_unit_test(what_is_no_compact_text_is_malformed_and_so_is_crit),
        cmocka_unit_test(keys_that_are_short_for_something_else_or_no_point_are_passed_over),
        cmocka_unit_test(text_without_a_name_is_not_tried_with_one_key_after_the_other),
    };
    return cmocka_run_group_tests(tests, make, unmake);
}
