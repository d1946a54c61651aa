#include "apps/fetch/digest.h"

#include <errno.h>
#include <openssl/evp.h>
#include <stdlib.h>
#include <unistd.h>

#include "lib/base/cleanup.h"

enum { READ_BYTES = 1 << 20 };

/* A digest of memory fails for lack of memory alone, and going on without it would call a broken file whole. */
static EVP_MD_CTX *context(void)
{
    EVP_MD_CTX *ctx = EVP_MD_CTX_new();
    if (!ctx)
        abort();
    return ctx;
}

struct cds_digest *cds_digest_new(void)
{
    EVP_MD_CTX *ctx = context();
    if (EVP_DigestInit_ex(ctx, EVP_sha256(), NULL) != 1)
        abort();
    return (struct cds_digest *)(void *)ctx;
}

static EVP_MD_CTX *ctx_of(const struct cds_digest *digest)
{
    return (EVP_MD_CTX *)(uintptr_t)digest;
}

void cds_digest_free(struct cds_digest **digest)
{
    if (*digest)
        EVP_MD_CTX_free(ctx_of(*digest));
    *digest = NULL;
}

void cds_digest_add(struct cds_digest *digest, const void *data, size_t len)
{
    if (EVP_DigestUpdate(ctx_of(digest), data, len) != 1)
        abort();
}

void cds_digest_hex(const struct cds_digest *digest, char ret[static CDS_SHA256_HEX + 1])
{
    static const char hex[] = "0123456789abcdef";
    unsigned char hash[32];
    unsigned len = sizeof(hash);
    EVP_MD_CTX *copy = context();
    if (EVP_MD_CTX_copy_ex(copy, ctx_of(digest)) != 1 || EVP_DigestFinal_ex(copy, hash, &len) != 1)
        abort();
    EVP_MD_CTX_free(copy);
    for (size_t i = 0; i < sizeof(hash); i++) {
        ret[2 * i] = hex[hash[i] >> 4];
        ret[2 * i + 1] = hex[hash[i] & 15];
    }
    ret[CDS_SHA256_HEX] = '\0';
}

void cds_digest_of(const void *data, size_t len, char ret[static CDS_SHA256_HEX + 1])
{
    struct cds_digest *digest = cds_digest_new();
    cds_digest_add(digest, data, len);
    cds_digest_hex(digest, ret);
    cds_digest_free(&digest);
}

cds_rc cds_digest_file(int fd, char ret[static CDS_SHA256_HEX + 1], void (*on_bytes)(void *user, uint64_t bytes), void *user, struct cds_err *reterr)
{
    CDS_CLEANUP(cds_digest_free) struct cds_digest *digest = cds_digest_new();
    CDS_CLEANUP(cds_free_ptr) void *block = malloc(READ_BYTES);
    if (!block)
        return cds_fail(reterr, CDS_EXHAUSTED, __func__, "There is not enough memory to verify the file.");
    for (uint64_t at = 0;;) {
        ssize_t n = pread(fd, block, READ_BYTES, (off_t)at);
        if (n < 0 && errno == EINTR)
            continue;
        if (n < 0)
            return cds_fail_errno(reterr, errno, __func__, "The file could not be read.");
        if (n == 0)
            break;
        cds_digest_add(digest, block, (size_t)n);
        at += (uint64_t)n;
        if (on_bytes)
            on_bytes(user, at);
    }
    cds_digest_hex(digest, ret);
    return CDS_OK;
}
