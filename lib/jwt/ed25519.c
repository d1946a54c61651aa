/* lib/jwt/ed25519.c: see ed25519.h. struct cds_edkey is a name for EVP_PKEY, so that no other file needs OpenSSL's headers. */
#include "lib/jwt/ed25519.h"

#include <openssl/bio.h>
#include <openssl/err.h>
#include <openssl/evp.h>
#include <openssl/pem.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "lib/base/cleanup.h"
#include "lib/base/str.h"

static void free_md(EVP_MD_CTX **ctx)
{
    EVP_MD_CTX_free(*ctx);
}

static void free_pkey(EVP_PKEY **pkey)
{
    EVP_PKEY_free(*pkey);
}

static void free_bio(BIO **bio)
{
    BIO_free(*bio);
}

static EVP_PKEY *pkey_of(const struct cds_edkey *key)
{
    return (EVP_PKEY *)key;
}

/* OpenSSL keeps a queue of errors per thread; the newest one goes to the log, the rest is dropped so that it cannot confuse a later call. */
static cds_rc openssl_failed(struct cds_err *reterr, const char *where)
{
    char text[160] = "";
    ERR_error_string_n(ERR_peek_last_error(), text, sizeof(text));
    ERR_clear_error();
    cds_rc rc = cds_fail(reterr, CDS_INTERNAL, where, "The cryptography library failed.");
    cds_err_detail(reterr, "%s", text);
    return rc;
}

cds_rc cds_edkey_from_public(const unsigned char raw[static CDS_ED25519_KEY], struct cds_edkey **ret, struct cds_err *reterr)
{
    EVP_PKEY *pkey = EVP_PKEY_new_raw_public_key(EVP_PKEY_ED25519, NULL, raw, CDS_ED25519_KEY);
    if (!pkey)
        return openssl_failed(reterr, __func__);
    *ret = (struct cds_edkey *)pkey;
    return CDS_OK;
}

cds_rc cds_edkey_from_seed(const unsigned char seed[static CDS_ED25519_KEY], struct cds_edkey **ret, struct cds_err *reterr)
{
    EVP_PKEY *pkey = EVP_PKEY_new_raw_private_key(EVP_PKEY_ED25519, NULL, seed, CDS_ED25519_KEY);
    if (!pkey)
        return openssl_failed(reterr, __func__);
    *ret = (struct cds_edkey *)pkey;
    return CDS_OK;
}

/* Without this OpenSSL would ask on the terminal for the pass phrase of an encrypted file. */
static int no_passphrase(char *buf, int size, int rwflag, void *user)
{
    return -1;
}

cds_rc cds_edkey_from_pem(const char *pem, size_t len, struct cds_edkey **ret, struct cds_err *reterr)
{
    CDS_CLEANUP(free_bio) BIO *bio = BIO_new_mem_buf(pem, (int)len);
    if (!bio)
        return openssl_failed(reterr, __func__);
    CDS_CLEANUP(free_pkey) EVP_PKEY *pkey = PEM_read_bio_PrivateKey(bio, NULL, no_passphrase, NULL);
    ERR_clear_error();
    if (!pkey || EVP_PKEY_get_id(pkey) != EVP_PKEY_ED25519)
        return cds_fail(reterr, CDS_BAD_PARAM, __func__, "The text holds no unencrypted Ed25519 private key in PEM form.");
    *ret = (struct cds_edkey *)pkey;
    pkey = NULL;
    return CDS_OK;
}

cds_rc cds_edkey_make_pem(char **ret, size_t *ret_len, struct cds_err *reterr)
{
    CDS_CLEANUP(free_pkey) EVP_PKEY *pkey = EVP_PKEY_Q_keygen(NULL, NULL, "ED25519");
    CDS_CLEANUP(free_bio) BIO *bio = BIO_new(BIO_s_secmem());
    if (!pkey || !bio || PEM_write_bio_PKCS8PrivateKey(bio, pkey, NULL, NULL, 0, NULL, NULL) != 1)
        return openssl_failed(reterr, __func__);
    char *data = NULL;
    long len = BIO_get_mem_data(bio, &data);
    char *copy = len > 0 ? malloc((size_t)len + 1) : NULL;
    if (!copy)
        return cds_fail(reterr, CDS_EXHAUSTED, __func__, "Out of memory while making the signing key.");
    memcpy(copy, data, (size_t)len);
    copy[len] = '\0';
    *ret = copy;
    *ret_len = (size_t)len;
    return CDS_OK;
}

void cds_edkey_free(struct cds_edkey **key)
{
    if (*key)
        EVP_PKEY_free(pkey_of(*key));
    *key = NULL;
}

cds_rc cds_edkey_public(const struct cds_edkey *key, unsigned char out[static CDS_ED25519_KEY])
{
    size_t len = CDS_ED25519_KEY;
    return EVP_PKEY_get_raw_public_key(pkey_of(key), out, &len) == 1 && len == CDS_ED25519_KEY ? CDS_OK : CDS_INTERNAL;
}

cds_rc cds_edkey_sign(const struct cds_edkey *key, const void *data, size_t len, unsigned char out[static CDS_ED25519_SIG])
{
    CDS_CLEANUP(free_md) EVP_MD_CTX *ctx = EVP_MD_CTX_new();
    size_t sig_len = CDS_ED25519_SIG;
    bool ok = ctx && EVP_DigestSignInit(ctx, NULL, NULL, NULL, pkey_of(key)) == 1 && EVP_DigestSign(ctx, out, &sig_len, data, len) == 1 &&
              sig_len == CDS_ED25519_SIG;
    ERR_clear_error();
    return ok ? CDS_OK : CDS_INTERNAL;
}

bool cds_edkey_verify(const struct cds_edkey *key, const void *data, size_t len, const unsigned char sig[static CDS_ED25519_SIG])
{
    CDS_CLEANUP(free_md) EVP_MD_CTX *ctx = EVP_MD_CTX_new();
    /* EVP_DigestVerify answers 1 for a good signature, 0 for a bad one and below 0 for trouble: only 1 counts. */
    bool ok = ctx && EVP_DigestVerifyInit(ctx, NULL, NULL, NULL, pkey_of(key)) == 1 && EVP_DigestVerify(ctx, sig, CDS_ED25519_SIG, data, len) == 1;
    ERR_clear_error();
    return ok;
}

void cds_edkey_x(const unsigned char raw[static CDS_ED25519_KEY], char out[static CDS_KID_LEN + 1])
{
    cds_base64url(raw, CDS_ED25519_KEY, out);
}

void cds_edkey_kid(const unsigned char raw[static CDS_ED25519_KEY], char out[static CDS_KID_LEN + 1])
{
    char x[CDS_KID_LEN + 1], text[128];
    unsigned char hash[32];
    cds_edkey_x(raw, x);
    /* RFC 7638 section 3.2 with RFC 8037 section 2: the required members in lexical order, no blanks. */
    int len = snprintf(text, sizeof(text), "{\"crv\":\"Ed25519\",\"kty\":\"OKP\",\"x\":\"%s\"}", x);
    cds_sha256(text, (size_t)len, hash);
    cds_base64url(hash, sizeof(hash), out);
}
