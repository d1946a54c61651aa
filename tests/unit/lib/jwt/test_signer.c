/* The key file of auth, and the round trip of a signed token. */
#include <dirent.h>
#include <pthread.h>
#include <sys/stat.h>
#include <unistd.h>

#include "lib/base/cleanup.h"
#include "lib/base/fd.h"
#include "lib/base/str.h"
#include "lib/jwt/ed25519.h"
#include "lib/jwt/token.h"
#include "tests/support/test.h"

static char folder[64], path[128];

static int setup(void **state)
{
    strcpy(folder, "/tmp/cds-signer-XXXXXX");
    assert_non_null(mkdtemp(folder));
    snprintf(path, sizeof(path), "%s/jwt.pem", folder);
    return 0;
}

static int teardown(void **state)
{
    unlink(path);
    return rmdir(folder); /* fails when a temporary file was left behind */
}

static const struct cds_claims sample = {
    .user_id = "0190f5a0-0000-7000-8000-000000000001",
    .session_id = "0190f5a0-0000-7000-8000-000000000002",
    .email = "ada@example.org",
    .role = "admin",
    .issued_s = 1800000000,
    .expires_s = 1800000600,
    .version = 4,
};

static void signer_makes_the_key_file_once_for_its_owner_only(void **state)
{
    struct cds_signer *first = NULL, *second = NULL;
    struct stat st;
    assert_int_equal(cds_signer_open(path, &first, NULL), CDS_OK);
    assert_int_equal(stat(path, &st), 0);
    assert_int_equal(st.st_mode & 07777, 0600);
    assert_int_equal(cds_signer_open(path, &second, NULL), CDS_OK);
    assert_string_equal(cds_signer_kid(first), cds_signer_kid(second));
    assert_int_equal(strlen(cds_signer_kid(first)), CDS_KID_LEN);
    cds_signer_free(&first);
    cds_signer_free(&second);
}

static void *open_signer(void *user)
{
    struct cds_signer *signer = NULL;
    return cds_signer_open(path, &signer, NULL) == CDS_OK ? signer : NULL;
}

static void signers_that_start_at_once_share_one_key(void **state)
{
    pthread_t threads[8];
    struct cds_signer *signers[8];
    for (int i = 0; i < 8; i++)
        assert_int_equal(pthread_create(&threads[i], NULL, open_signer, NULL), 0);
    for (int i = 0; i < 8; i++) {
        pthread_join(threads[i], (void **)&signers[i]);
        assert_non_null(signers[i]);
    }
    for (int i = 1; i < 8; i++)
        assert_string_equal(cds_signer_kid(signers[i]), cds_signer_kid(signers[0]));
    for (int i = 0; i < 8; i++)
        cds_signer_free(&signers[i]);
}

static void refuses_file(const char *text, mode_t mode, cds_rc code, const char *words)
{
    struct cds_signer *signer = NULL;
    struct cds_err err = {0};
    assert_int_equal(cds_write_file_atomic(path, text, strlen(text), mode, NULL), CDS_OK);
    assert_int_equal(cds_signer_open(path, &signer, &err), code);
    assert_null(signer);
    assert_non_null(strstr(err.message, words));
    assert_non_null(strstr(err.message, path));
    assert_true(*err.hint);
}

static void signer_refuses_a_file_that_others_may_read(void **state)
{
    char *pem = NULL;
    size_t len;
    assert_int_equal(cds_edkey_make_pem(&pem, &len, NULL), CDS_OK);
    refuses_file(pem, 0640, CDS_DENIED, "Other users");
    refuses_file(pem, 0604, CDS_DENIED, "Other users");
    free(pem);
}

static void signer_refuses_files_without_an_ed25519_key(void **state)
{
    /* A key of another kind: X25519 from RFC 8410 style PKCS #8. */
    static const char x25519[] = "-----BEGIN PRIVATE KEY-----\n"
                                 "MC4CAQAwBQYDK2VuBCIEIAECAwQFBgcICQoLDA0ODxAREhMUFRYXGBkaGxwdHh8g\n"
                                 "-----END PRIVATE KEY-----\n";
    refuses_file("", 0600, CDS_BAD_PARAM, "holds no Ed25519");
    refuses_file("hello\n", 0600, CDS_BAD_PARAM, "holds no Ed25519");
    refuses_file(x25519, 0600, CDS_BAD_PARAM, "holds no Ed25519");
}

static void signer_names_the_folder_that_is_missing(void **state)
{
    struct cds_signer *signer = NULL;
    struct cds_err err = {0};
    assert_int_equal(cds_signer_open("/nonexistent/keys/jwt.pem", &signer, &err), CDS_SYSTEM);
    assert_non_null(strstr(err.message, "/nonexistent/keys/jwt.pem"));
    assert_null(signer);
}

static void a_signed_token_is_verified_by_the_published_set(void **state)
{
    struct cds_signer *signer = NULL;
    struct cds_keyset *set = NULL;
    struct cds_claims claims;
    CDS_CLEANUP(cds_free_ptr) char *token = NULL;
    assert_int_equal(cds_signer_open(path, &signer, NULL), CDS_OK);
    CDS_JSON_AUTO jwks = cds_signer_jwks(signer);
    const cds_json *jwk = cds_json_at(cds_json_get(jwks, "keys"), 0);
    assert_int_equal(cds_json_size(jwk), 6);
    assert_string_equal(cds_json_get_str(jwk, "alg"), "EdDSA");
    assert_string_equal(cds_json_get_str(jwk, "use"), "sig");
    assert_string_equal(cds_json_get_str(jwk, "kid"), cds_signer_kid(signer));
    assert_int_equal(cds_keyset_parse(jwks, &set, NULL), CDS_OK);
    assert_int_equal(cds_jwt_sign(signer, &sample, &token, NULL), CDS_OK);
    assert_int_equal(cds_jwt_verify(set, token, strlen(token), sample.issued_s, &claims, NULL), CDS_OK);
    assert_memory_equal(&claims, &sample, sizeof(claims));
    cds_keyset_free(&set);
    cds_signer_free(&signer);
}

static void the_longest_mail_still_fits_into_a_token(void **state)
{
    struct cds_signer *signer = NULL;
    struct cds_claims claims = sample;
    CDS_CLEANUP(cds_free_ptr) char *token = NULL;
    memset(claims.email, '"', sizeof(claims.email) - 1); /* each becomes two bytes of JSON */
    assert_int_equal(cds_signer_open(path, &signer, NULL), CDS_OK);
    assert_int_equal(cds_jwt_sign(signer, &claims, &token, NULL), CDS_OK);
    assert_true(strlen(token) <= CDS_JWT_MAX);
    cds_signer_free(&signer);
}

static void sign_refuses_claims_that_are_not_text(void **state)
{
    struct cds_signer *signer = NULL;
    struct cds_claims claims = sample;
    char *token = NULL;
    strcpy(claims.email, "\xff@example.org");
    assert_int_equal(cds_signer_open(path, &signer, NULL), CDS_OK);
    assert_int_equal(cds_jwt_sign(signer, &claims, &token, NULL), CDS_BAD_PARAM);
    assert_null(token);
    cds_signer_free(&signer);
}

static void digests_agree_with_published_values(void **state)
{
    char hex[65], text[29];
    cds_sha256_hex("abc", 3, hex); /* FIPS 180-4 example */
    assert_string_equal(hex, "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad");
    static const char key[] = "dGhlIHNhbXBsZSBub25jZQ==258EAFA5-E914-47DA-95CA-C5AB0DC85B11"; /* RFC 6455 section 1.3 */
    cds_sha1_base64(key, strlen(key), text);
    assert_string_equal(text, "s3pPLMBiTxaQ9kYGzzhZRbK+xOo=");
    assert_true(cds_equal_ct("same", "same", 4));
    assert_false(cds_equal_ct("same", "sama", 4));
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup_teardown(signer_makes_the_key_file_once_for_its_owner_only, setup, teardown),
        cmocka_unit_test_setup_teardown(signers_that_start_at_once_share_one_key, setup, teardown),
        cmocka_unit_test_setup_teardown(signer_refuses_a_file_that_others_may_read, setup, teardown),
        cmocka_unit_test_setup_teardown(signer_refuses_files_without_an_ed25519_key, setup, teardown),
        cmocka_unit_test(signer_names_the_folder_that_is_missing),
        cmocka_unit_test_setup_teardown(a_signed_token_is_verified_by_the_published_set, setup, teardown),
        cmocka_unit_test_setup_teardown(the_longest_mail_still_fits_into_a_token, setup, teardown),
        cmocka_unit_test_setup_teardown(sign_refuses_claims_that_are_not_text, setup, teardown),
        cmocka_unit_test(digests_agree_with_published_values),
    };
    return RUN_ALL(tests);
}
