/* lib/jwt/digest.c: hashes and constant-time helpers of jwt.h. */
#include <openssl/crypto.h>
#include <openssl/evp.h>
#include <stdlib.h>

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

void cds_sha256_hex(const void *data, size_t len, char out[static 65])
{
    static const char hex[] = "0123456789abcdef";
    unsigned char hash[32];
    cds_sha256(data, len, hash);
    for (size_t i = 0; i < sizeof(hash); i++) {
        out[2 * i] = hex[hash[i] >> 4];
        out[2 * i + 1] = hex[hash[i] & 15];
    }
    out[64] = '\0';
}

void cds_sha1_base64(const void *data, size_t len, char out[static 29])
{
    unsigned char hash[20];
    digest(EVP_sha1(), data, len, hash);
    cds_base64(hash, sizeof(hash), out);
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
