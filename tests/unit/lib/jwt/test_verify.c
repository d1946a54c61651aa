/* Access tokens: what is accepted, and everything that is not. */
#include "lib/base/cleanup.h"
#include "lib/base/str.h"
#include "lib/jwt/ed25519.h"
#include "lib/jwt/token.h"
#include "tests/support/test.h"

enum { NOW_S = 1800000000 };

struct fixture {
    struct cds_edkey *key;
    char kid[CDS_KID_LEN + 1];
    struct cds_keyset *keyset;
};

static int setup(void **state)
{
    struct fixture *f = calloc(1, sizeof(*f));
    unsigned char seed[32], raw[32];
    char x[CDS_KID_LEN + 1];
    memset(seed, 7, sizeof(seed));
    assert_non_null(f);
    assert_int_equal(cds_edkey_from_seed(seed, &f->key, NULL), CDS_OK);
    assert_int_equal(cds_edkey_public(f->key, raw), CDS_OK);
    cds_edkey_x(raw, x);
    cds_edkey_kid(raw, f->kid);
    CDS_JSON_AUTO jwks = cds_json_pack("{s:[{s:s,s:s,s:s,s:s}]}", "keys", "kty", "OKP", "crv", "Ed25519", "x", x, "kid", f->kid);
    assert_int_equal(cds_keyset_parse(jwks, &f->keyset, NULL), CDS_OK);
    *state = f;
    return 0;
}

static int teardown(void **state)
{
    struct fixture *f = *state;
    cds_keyset_free(&f->keyset);
    cds_edkey_free(&f->key);
    free(f);
    return 0;
}

/* Any header and payload, well signed: only the checks behind the signature can refuse it. */
static char *forge(const struct fixture *f, const char *header, const char *payload)
{
    static char token[16384];
    unsigned char sig[64];
    char *p = token;
    p += cds_base64url(header, strlen(header), p);
    *p++ = '.';
    p += cds_base64url(payload, strlen(payload), p);
    assert_int_equal(cds_edkey_sign(f->key, token, (size_t)(p - token), sig), CDS_OK);
    *p++ = '.';
    cds_base64url(sig, sizeof(sig), p);
    return token;
}

static char *good_header(const struct fixture *f)
{
    static char text[256];
    snprintf(text, sizeof(text), "{\"alg\":\"EdDSA\",\"typ\":\"at+jwt\",\"kid\":\"%s\"}", f->kid);
    return text;
}

#define SUB "0190f5a0-0000-7000-8000-000000000001"
#define SID "0190f5a0-0000-7000-8000-000000000002"
#define WHO "\"sub\":\"" SUB "\",\"sid\":\"" SID "\",\"email\":\"ada@example.org\",\"role\":\"developer\",\"ver\":3"
#define PLACE "\"iss\":\"cyberdevstudio\",\"aud\":\"cyberdevstudio\""
#define TIMES "\"iat\":1799999900,\"exp\":1800000500"
#define GOOD "{" PLACE "," WHO "," TIMES "}"

static void refuses(const struct fixture *f, const char *token, size_t len, const char *rule)
{
    struct cds_claims claims, before;
    struct cds_err err = {0};
    memset(&claims, 0x5a, sizeof(claims));
    before = claims;
    assert_int_equal(cds_jwt_verify(f->keyset, token, len, NOW_S, &claims, &err), CDS_UNAUTHENTICATED);
    assert_string_equal(err.rule, rule);
    assert_true(*err.message && *err.hint);
    assert_memory_equal(&claims, &before, sizeof(claims));
}

static void refuses_payload(const struct fixture *f, const char *payload, const char *rule)
{
    char *token = forge(f, good_header(f), payload);
    refuses(f, token, strlen(token), rule);
}

static void refuses_header(const struct fixture *f, const char *header, const char *rule)
{
    char *token = forge(f, header, GOOD);
    refuses(f, token, strlen(token), rule);
}

static void verify_accepts_a_good_token_and_returns_every_claim(void **state)
{
    struct fixture *f = *state;
    struct cds_claims claims;
    char *token = forge(f, good_header(f), GOOD);
    assert_int_equal(cds_jwt_verify(f->keyset, token, strlen(token), NOW_S, &claims, NULL), CDS_OK);
    assert_string_equal(claims.user_id, SUB);
    assert_string_equal(claims.session_id, SID);
    assert_string_equal(claims.email, "ada@example.org");
    assert_string_equal(claims.role, "developer");
    assert_int_equal(claims.version, 3);
    assert_int_equal(claims.issued_s, 1799999900);
    assert_int_equal(claims.expires_s, 1800000500);
}

static void verify_refuses_alg_none(void **state)
{
    struct fixture *f = *state;
    char header[256], token[2048];
    snprintf(header, sizeof(header), "{\"alg\":\"none\",\"typ\":\"at+jwt\",\"kid\":\"%s\"}", f->kid);
    refuses_header(f, header, "jwt.alg");
    /* The classical form has no signature at all. */
    strcpy(token, forge(f, header, GOOD));
    *(strrchr(token, '.') + 1) = '\0';
    refuses(f, token, strlen(token), "jwt.alg");
}

static void verify_refuses_hs256_and_misspelled_algorithms(void **state)
{
    struct fixture *f = *state;
    static const char *const algs[] = {"HS256", "RS256", "ES256", "eddsa", "EdDSA ", "Ed25519", ""};
    for (size_t i = 0; i < CDS_ARRAY_LEN(algs); i++) {
        char header[256];
        snprintf(header, sizeof(header), "{\"alg\":\"%s\",\"typ\":\"at+jwt\",\"kid\":\"%s\"}", algs[i], f->kid);
        refuses_header(f, header, "jwt.alg");
    }
    refuses_header(f, "{\"typ\":\"at+jwt\",\"kid\":\"x\"}", "jwt.alg");
    refuses_header(f, "{\"alg\":7,\"typ\":\"at+jwt\",\"kid\":\"x\"}", "jwt.alg");
}

static void verify_refuses_a_key_that_is_not_in_the_set(void **state)
{
    struct fixture *f = *state, other = {0};
    unsigned char seed[32], raw[32];
    memset(seed, 8, sizeof(seed));
    assert_int_equal(cds_edkey_from_seed(seed, &other.key, NULL), CDS_OK);
    assert_int_equal(cds_edkey_public(other.key, raw), CDS_OK);
    cds_edkey_kid(raw, other.kid);
    char *token = forge(&other, good_header(&other), GOOD);
    refuses(f, token, strlen(token), "jwt.unknown_kid");
    /* The same signature under the name of our key. */
    token = forge(&other, good_header(f), GOOD);
    refuses(f, token, strlen(token), "jwt.signature");
    cds_edkey_free(&other.key);
}

static void verify_refuses_a_header_that_says_more_or_less(void **state)
{
    struct fixture *f = *state;
    static const char *const extra[] = {"\"crit\":[\"b64\"],\"b64\":false", "\"jku\":\"http://127.0.0.1/\"", "\"jwk\":{}", "\"cty\":\"JWT\""};
    char header[512];
    for (size_t i = 0; i < CDS_ARRAY_LEN(extra); i++) {
        snprintf(header, sizeof(header), "{\"alg\":\"EdDSA\",\"typ\":\"at+jwt\",\"kid\":\"%s\",%s}", f->kid, extra[i]);
        refuses_header(f, header, "jwt.malformed");
    }
    snprintf(header, sizeof(header), "{\"alg\":\"EdDSA\",\"kid\":\"%s\"}", f->kid);
    refuses_header(f, header, "jwt.malformed");
    snprintf(header, sizeof(header), "{\"alg\":\"EdDSA\",\"typ\":\"JWT\",\"kid\":\"%s\"}", f->kid);
    refuses_header(f, header, "jwt.malformed");
    refuses_header(f, "{\"alg\":\"EdDSA\",\"typ\":\"at+jwt\"}", "jwt.malformed");
    snprintf(header, sizeof(header), "{\"alg\":\"none\",\"alg\":\"EdDSA\",\"typ\":\"at+jwt\",\"kid\":\"%s\"}", f->kid);
    refuses_header(f, header, "jwt.malformed");
    refuses_header(f, "[]", "jwt.malformed");
    refuses_header(f, "{", "jwt.malformed");
}

static void verify_refuses_a_foreign_issuer_or_audience(void **state)
{
    struct fixture *f = *state;
    refuses_payload(f, "{\"iss\":\"other\",\"aud\":\"cyberdevstudio\"," WHO "," TIMES "}", "jwt.audience");
    refuses_payload(f, "{\"iss\":\"cyberdevstudio\",\"aud\":\"other\"," WHO "," TIMES "}", "jwt.audience");
    refuses_payload(f, "{\"iss\":\"cyberdevstudio\",\"aud\":[\"cyberdevstudio\"]," WHO "," TIMES "}", "jwt.audience");
    refuses_payload(f, "{\"aud\":\"cyberdevstudio\"," WHO "," TIMES "}", "jwt.audience");
    refuses_payload(f, "{\"iss\":\"cyberdevstudio\"," WHO "," TIMES "}", "jwt.audience");
}

static void verify_refuses_at_the_second_of_expiry_and_accepts_the_one_before(void **state)
{
    struct fixture *f = *state;
    struct cds_claims claims;
    char *token = forge(f, good_header(f), "{" PLACE "," WHO ",\"iat\":1799999900,\"exp\":1800000001}");
    assert_int_equal(cds_jwt_verify(f->keyset, token, strlen(token), NOW_S, &claims, NULL), CDS_OK);
    refuses_payload(f, "{" PLACE "," WHO ",\"iat\":1799999900,\"exp\":1800000000}", "jwt.expired");
    refuses_payload(f, "{" PLACE "," WHO ",\"iat\":1799999900,\"exp\":1}", "jwt.expired");
}

static void verify_allows_a_minute_of_clock_skew_for_iat_and_none_for_nbf(void **state)
{
    struct fixture *f = *state;
    struct cds_claims claims;
    char *token = forge(f, good_header(f), "{" PLACE "," WHO ",\"iat\":1800000060,\"exp\":1800000500}");
    assert_int_equal(cds_jwt_verify(f->keyset, token, strlen(token), NOW_S, &claims, NULL), CDS_OK);
    refuses_payload(f, "{" PLACE "," WHO ",\"iat\":1800000061,\"exp\":1800000500}", "jwt.early");
    token = forge(f, good_header(f), "{" PLACE "," WHO "," TIMES ",\"nbf\":1800000000}");
    assert_int_equal(cds_jwt_verify(f->keyset, token, strlen(token), NOW_S, &claims, NULL), CDS_OK);
    refuses_payload(f, "{" PLACE "," WHO "," TIMES ",\"nbf\":1800000001}", "jwt.early");
}

static void verify_refuses_missing_and_ill_typed_claims(void **state)
{
    struct fixture *f = *state;
    static const char *const payloads[] = {
        "{" PLACE "," TIMES "}",
        "{" PLACE "," WHO ",\"iat\":1799999900}",
        "{" PLACE "," WHO ",\"exp\":1800000500}",
        "{" PLACE "," WHO ",\"iat\":1799999900,\"exp\":\"1800000500\"}",
        "{" PLACE "," WHO ",\"iat\":1799999900,\"exp\":1.8e9}",
        "{" PLACE "," WHO ",\"iat\":-1,\"exp\":1800000500}",
        "{" PLACE "," WHO "," TIMES ",\"nbf\":\"now\"}",
        "{" PLACE ",\"sub\":\"admin\",\"sid\":\"" SID "\",\"email\":\"a@b\",\"role\":\"admin\",\"ver\":1," TIMES "}",
        "{" PLACE ",\"sub\":\"" SUB "\",\"sid\":\"session\",\"email\":\"a@b\",\"role\":\"admin\",\"ver\":1," TIMES "}",
        "{" PLACE ",\"sub\":\"" SUB "\",\"sid\":\"\",\"email\":\"a@b\",\"role\":\"admin\",\"ver\":1," TIMES "}",
        "{" PLACE ",\"sub\":\"" SUB "\",\"sid\":\"" SID "\",\"email\":\"a@b\",\"role\":\"a-role-name-too-long\",\"ver\":1," TIMES "}",
        "{" PLACE ",\"sub\":\"" SUB "\",\"sid\":\"" SID "\",\"email\":\"a@b\",\"role\":\"admin\"," TIMES "}",
        "{" PLACE "," WHO "," TIMES ",\"exp\":1900000000}",
        "[]",
        "null",
        "{}x",
        "",
    };
    for (size_t i = 0; i < CDS_ARRAY_LEN(payloads); i++) {
        struct cds_claims claims;
        char *token = forge(f, good_header(f), payloads[i]);
        assert_int_equal(cds_jwt_verify(f->keyset, token, strlen(token), NOW_S, &claims, NULL), CDS_UNAUTHENTICATED);
    }
}

static void verify_refuses_every_flipped_bit(void **state)
{
    struct fixture *f = *state;
    struct cds_claims claims;
    char *token = forge(f, good_header(f), GOOD);
    size_t len = strlen(token);
    for (size_t i = 0; i < len; i++) {
        for (int bit = 0; bit < 8; bit++) {
            token[i] = (char)(token[i] ^ 1 << bit);
            assert_int_equal(cds_jwt_verify(f->keyset, token, len, NOW_S, &claims, NULL), CDS_UNAUTHENTICATED);
            token[i] = (char)(token[i] ^ 1 << bit);
        }
    }
    assert_int_equal(cds_jwt_verify(f->keyset, token, len, NOW_S, &claims, NULL), CDS_OK);
}

static void verify_refuses_extra_dots_blanks_and_padding(void **state)
{
    struct fixture *f = *state;
    char text[4096];
    const char *token = forge(f, good_header(f), GOOD);
    static const char *const tails[] = {".", "..", ".e30", "=", "==", " ", "\n"};
    for (size_t i = 0; i < CDS_ARRAY_LEN(tails); i++) {
        snprintf(text, sizeof(text), "%s%s", token, tails[i]);
        refuses(f, text, strlen(text), "jwt.malformed");
    }
    snprintf(text, sizeof(text), ".%s", token);
    refuses(f, text, strlen(text), "jwt.malformed");
    snprintf(text, sizeof(text), " %s", token);
    refuses(f, text, strlen(text), "jwt.malformed");
    refuses(f, token, strlen(token) + 1, "jwt.malformed"); /* a NUL behind */
    for (const char *part = "."; *part; part++)
        refuses(f, "..", 2, "jwt.malformed");
    refuses(f, "", 0, "jwt.malformed");
    refuses(f, NULL, 0, "jwt.malformed");
}

static void verify_refuses_a_signature_of_another_length(void **state)
{
    struct fixture *f = *state;
    char *token = forge(f, good_header(f), GOOD);
    size_t len = strlen(token);
    refuses(f, token, len - 2, "jwt.malformed");
    memcpy(token + len, "AA", 3);
    refuses(f, token, len + 2, "jwt.malformed");
}

static void verify_refuses_the_other_spelling_of_the_last_character(void **state)
{
    struct fixture *f = *state;
    static const char alphabet[] = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_";
    char *token = forge(f, good_header(f), GOOD);
    char *last = token + strlen(token) - 1;
    char right = *last;
    /* 64 bytes leave four unused bits in the last character: 15 other characters carry the same two bits. */
    size_t place = (size_t)(strchr(alphabet, right) - alphabet);
    assert_int_equal(place % 16, 0);
    for (size_t k = 1; k < 16; k++) {
        *last = alphabet[place + k];
        refuses(f, token, strlen(token), "jwt.malformed");
    }
    /* The standard alphabet is another spelling as well. */
    *last = right;
    for (char *p = token; *p; p++) {
        if (*p != '-' && *p != '_')
            continue;
        char kept = *p;
        *p = kept == '-' ? '+' : '/';
        refuses(f, token, strlen(token), "jwt.malformed");
        *p = kept;
    }
}

static void verify_refuses_an_oversized_token(void **state)
{
    struct fixture *f = *state;
    struct cds_claims claims;
    char payload[8192];
    size_t longest = 0;
    for (int digits = 1000; digits < 1300; digits++) {
        snprintf(payload, sizeof(payload), "{" PLACE "," WHO "," TIMES ",\"x\":\"%0*d\"}", digits, 0);
        char *token = forge(f, good_header(f), payload);
        size_t len = strlen(token);
        cds_rc rc = cds_jwt_verify(f->keyset, token, len, NOW_S, &claims, NULL);
        assert_int_equal(rc, len <= CDS_JWT_MAX ? CDS_OK : CDS_UNAUTHENTICATED);
        if (rc == CDS_OK)
            longest = len;
    }
    assert_in_range(longest, CDS_JWT_MAX - 1, CDS_JWT_MAX);
}

/* RFC 8037 appendix A: key, thumbprint, signature. */
#define RFC_D "nWGxne_9WmC6hEr0kuwsxERJxWl7MmkZcDusAxyuf2A"
#define RFC_X "11qYAYKxCrfVS_7TyWQHOg7hcvPapiMlrwIaaPcHURo"
#define RFC_KID "kPrK_qmxVWaYVA9wwBF6Iuo3vVzz7TxHCTwXBygrS4k"
#define RFC_INPUT "eyJhbGciOiJFZERTQSJ9.RXhhbXBsZSBvZiBFZDI1NTE5IHNpZ25pbmc"
#define RFC_SIG "hgyY0il_MGCjP0JzlnLWG1PPOt7-09PGcvMg3AIbQR6dWbhijcNR4ki4iylGjg5BhVsPt9g7sVvpAr_MuM0KAg"

static void keys_agree_with_rfc_8037_appendix_a(void **state)
{
    unsigned char seed[44], raw[32], sig[64], expected[88];
    size_t len;
    char text[CDS_KID_LEN + 1];
    struct cds_edkey *key = NULL, *public_key = NULL;
    assert_int_equal(cds_base64_decode(RFC_D, strlen(RFC_D), seed, &len), CDS_OK);
    assert_int_equal(cds_edkey_from_seed(seed, &key, NULL), CDS_OK);
    assert_int_equal(cds_edkey_public(key, raw), CDS_OK);
    cds_edkey_x(raw, text);
    assert_string_equal(text, RFC_X);
    cds_edkey_kid(raw, text);
    assert_string_equal(text, RFC_KID);
    assert_int_equal(cds_edkey_sign(key, RFC_INPUT, strlen(RFC_INPUT), sig), CDS_OK);
    assert_int_equal(cds_base64_decode(RFC_SIG, strlen(RFC_SIG), expected, &len), CDS_OK);
    assert_int_equal(len, 64);
    assert_memory_equal(sig, expected, 64);
    assert_int_equal(cds_edkey_from_public(raw, &public_key, NULL), CDS_OK);
    assert_true(cds_edkey_verify(public_key, RFC_INPUT, strlen(RFC_INPUT), expected));
    expected[63] ^= 1;
    assert_false(cds_edkey_verify(public_key, RFC_INPUT, strlen(RFC_INPUT), expected));
    cds_edkey_free(&key);
    cds_edkey_free(&public_key);
}

static cds_rc parse_set(const char *text, struct cds_keyset **ret, struct cds_err *err)
{
    cds_json *jwks = NULL;
    assert_int_equal(cds_json_parse(text, strlen(text), &jwks, NULL), CDS_OK);
    cds_rc rc = cds_keyset_parse(jwks, ret, err);
    cds_json_unref(jwks);
    return rc;
}

#define RFC_JWK "{\"kty\":\"OKP\",\"crv\":\"Ed25519\",\"x\":\"" RFC_X "\",\"kid\":\"" RFC_KID "\"}"

static void keyset_takes_ed25519_keys_and_passes_over_others(void **state)
{
    struct cds_keyset *set = NULL;
    assert_int_equal(parse_set("{\"keys\":[{\"kty\":\"RSA\",\"n\":\"AQ\",\"e\":\"AQAB\"},{\"kty\":\"OKP\",\"crv\":\"X25519\"}," RFC_JWK "," RFC_JWK
                               ",7,null]}",
                               &set, NULL),
                     CDS_OK);
    cds_keyset_free(&set);
    assert_null(set);
}

static void keyset_refuses_sets_without_a_usable_key(void **state)
{
    static const char *const sets[] = {
        "{}",
        "[]",
        "{\"keys\":{}}",
        "{\"keys\":[]}",
        "{\"keys\":[{\"kty\":\"RSA\"}]}",
        "{\"keys\":[{\"kty\":\"OKP\",\"crv\":\"Ed25519\",\"x\":\"" RFC_X "\",\"kid\":\"" RFC_KID "\",\"alg\":\"ES256\"}]}",
        "{\"keys\":[{\"kty\":\"OKP\",\"crv\":\"Ed25519\",\"x\":\"" RFC_X "\",\"kid\":\"" RFC_KID "\",\"use\":\"enc\"}]}",
        "{\"keys\":[{\"kty\":\"OKP\",\"crv\":\"Ed25519\",\"x\":\"" RFC_X "\"}]}",
        "{\"keys\":[{\"kty\":\"OKP\",\"crv\":\"Ed25519\",\"x\":\"" RFC_X "\",\"kid\":\"another\"}]}",
        "{\"keys\":[{\"kty\":\"OKP\",\"crv\":\"Ed25519\",\"x\":\"AA\",\"kid\":\"" RFC_KID "\"}]}",
        "{\"keys\":[{\"kty\":\"OKP\",\"crv\":\"Ed25519\",\"x\":\"" RFC_X "\",\"kid\":\"" RFC_KID "\",\"d\":\"" RFC_D "\"}]}",
    };
    for (size_t i = 0; i < CDS_ARRAY_LEN(sets); i++) {
        struct cds_keyset *set = (struct cds_keyset *)&set;
        struct cds_err err = {0};
        assert_int_equal(parse_set(sets[i], &set, &err), CDS_BAD_PARAM);
        assert_ptr_equal(set, &set);
        assert_true(*err.message);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup_teardown(verify_accepts_a_good_token_and_returns_every_claim, setup, teardown),
        cmocka_unit_test_setup_teardown(verify_refuses_alg_none, setup, teardown),
        cmocka_unit_test_setup_teardown(verify_refuses_hs256_and_misspelled_algorithms, setup, teardown),
        cmocka_unit_test_setup_teardown(verify_refuses_a_key_that_is_not_in_the_set, setup, teardown),
        cmocka_unit_test_setup_teardown(verify_refuses_a_header_that_says_more_or_less, setup, teardown),
        cmocka_unit_test_setup_teardown(verify_refuses_a_foreign_issuer_or_audience, setup, teardown),
        cmocka_unit_test_setup_teardown(verify_refuses_at_the_second_of_expiry_and_accepts_the_one_before, setup, teardown),
        cmocka_unit_test_setup_teardown(verify_allows_a_minute_of_clock_skew_for_iat_and_none_for_nbf, setup, teardown),
        cmocka_unit_test_setup_teardown(verify_refuses_missing_and_ill_typed_claims, setup, teardown),
        cmocka_unit_test_setup_teardown(verify_refuses_every_flipped_bit, setup, teardown),
        cmocka_unit_test_setup_teardown(verify_refuses_extra_dots_blanks_and_padding, setup, teardown),
        cmocka_unit_test_setup_teardown(verify_refuses_a_signature_of_another_length, setup, teardown),
        cmocka_unit_test_setup_teardown(verify_refuses_the_other_spelling_of_the_last_character, setup, teardown),
        cmocka_unit_test_setup_teardown(verify_refuses_an_oversized_token, setup, teardown),
        cmocka_unit_test(keys_agree_with_rfc_8037_appendix_a),
        cmocka_unit_test(keyset_takes_ed25519_keys_and_passes_over_others),
        cmocka_unit_test(keyset_refuses_sets_without_a_usable_key),
    };
    return RUN_ALL(tests);
}
