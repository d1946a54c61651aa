/* lib/jwt/digest.c: hashes and constant-time helpers of jwt.h. */
#include <errno.h>
#include <openssl/core_names.h>
#include <openssl/crypto.h>
#include <openssl/evp.h>
#include <openssl/params.h>
#include <stdlib.h>
#include <unistd.h>

#include "lib/base/str.h"
#include "lib/jwt/jwt.h"

/* A digest of memory cannot fail but for lack of memory; going on with an unset hash would be worse than to stop. */
static void digest(const EVP_MD *md, const void *data, size_t len, unsigned char *out)
{
    if (EVP_Digest(data, len, out, NULL, md, NULL) != 1)
        abort();
}

void cds_sha256(const void *data, size_t len, unsigned char out[static 32])
{
    digest(EVP_sha256(), data, len, out);
}

static void to_hex(const unsigned char hash[static 32], char out[static 65])
{
    static const char hex[] = "0123456789abcdef";
    for (size_t i = 0; i < 32; i++) {
        out[2 * i] = hex[hash[i] >> 4];
        out[2 * i + 1] = hex[hash[i] & 15];
    }
    out[64] = '\0';
}

void cds_sha256_hex(const void *data, size_t len, char out[static 65])
{
    unsigned char hash[32];
    cds_sha256(data, len, hash);
    to_hex(hash, out);
}

bool cds_sha256_file_hex(int fd, char out[static 65])
{
    enum { BLOCK = 1 << 18 };
    unsigned char hash[32], *block = malloc(BLOCK);
    EVP_MD_CTX *context = EVP_MD_CTX_new();
    ssize_t n = -1;
    if (!block || !context || EVP_DigestInit_ex(context, EVP_sha256(), NULL) != 1)
        abort();
    for (off_t at = 0; (n = pread(fd, block, BLOCK, at)) > 0 || (n < 0 && errno == EINTR);) {
        if (n > 0 && EVP_DigestUpdate(context, block, (size_t)n) != 1)
            abort();
        at += n > 0 ? n : 0;
    }
    if (EVP_DigestFinal_ex(context, hash, NULL) != 1)
        abort();
    EVP_MD_CTX_free(context);
    free(block);
    to_hex(hash, out);
    return n == 0;
}

void cds_sha1_base64(const void *data, size_t len, char out[static 29])
{
    unsigned char hash[20];
    digest(EVP_sha1(), data, len, hash);
    cds_base64(hash, sizeof(hash), out);
}

struct cds_hmac {
    EVP_MAC_CTX *context;
};

struct cds_hmac *cds_hmac_new(const unsigned char key[static 32])
{
    char name[] = "SHA256";
    OSSL_PARAM params[] = {OSSL_PARAM_construct_utf8_string(OSSL_MAC_PARAM_DIGEST, name, 0), OSSL_PARAM_construct_end()};
    struct cds_hmac *hmac = calloc(1, sizeof(*hmac));
    EVP_MAC *mac = EVP_MAC_fetch(NULL, "HMAC", NULL);
    if (hmac)
        hmac->context = mac ? EVP_MAC_CTX_new(mac) : NULL;
    EVP_MAC_free(mac);
    if (hmac && hmac->context && EVP_MAC_init(hmac->context, key, 32, params) == 1)
        return hmac;
    cds_hmac_end(&hmac, NULL);
    return NULL;
}

void cds_hmac_add(struct cds_hmac *hmac, const void *data, size_t len)
{
    if (EVP_MAC_update(hmac->context, data, len) != 1)
        abort();
}

void cds_hmac_end(struct cds_hmac **hmac, unsigned char out[32])
{
    size_t len = 0;
    if (!*hmac)
        return;
    if (out && (EVP_MAC_final((*hmac)->context, out, &len, 32) != 1 || len != 32))
        abort();
    EVP_MAC_CTX_free((*hmac)->context);
    free(*hmac);
    *hmac = NULL;
}

bool cds_equal_ct(const void *a, const void *b, size_t len)
{
    return CRYPTO_memcmp(a, b, len) == 0;
}

void cds_wipe(void *data, size_t len)
{
    if (data && len)
        OPENSSL_cleanse(data, len);
}
