/* sandbox/wasm_digest.c: see wasm_digest.h. */
#include "sandbox/wasm_digest.h"

#include <fcntl.h>
#include <openssl/crypto.h>
#include <openssl/evp.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <unistd.h>

#include "lib/base/cleanup.h"

enum { BLOCK = 64, PARTS_MAX = 8 };

void wasm_sha256(const struct wasm_part *parts, size_t count, uint8_t ret[static WASM_DIGEST])
{
    EVP_MD_CTX *ctx = EVP_MD_CTX_new();
    unsigned len = WASM_DIGEST;
    bool ok = ctx && EVP_DigestInit_ex(ctx, EVP_sha256(), NULL);
    for (size_t i = 0; ok && i < count; i++)
        ok = EVP_DigestUpdate(ctx, parts[i].data, parts[i].len);
    if (!ok || !EVP_DigestFinal_ex(ctx, ret, &len))
        abort();
    EVP_MD_CTX_free(ctx);
}

bool wasm_sha256_file(const char *path, uint8_t ret[static WASM_DIGEST])
{
    CDS_CLEANUP(cds_close_fd) int fd = open(path, O_RDONLY | O_CLOEXEC);
    struct stat st;
    if (fd < 0 || fstat(fd, &st) || !S_ISREG(st.st_mode) || st.st_size <= 0)
        return false;
    void *data = mmap(NULL, (size_t)st.st_size, PROT_READ, MAP_PRIVATE, fd, 0);
    if (data == MAP_FAILED)
        return false;
    wasm_sha256(&(struct wasm_part){data, (size_t)st.st_size}, 1, ret);
    munmap(data, (size_t)st.st_size);
    return true;
}

void wasm_hmac(const uint8_t key[static WASM_DIGEST], const struct wasm_part *parts, size_t count, uint8_t ret[static WASM_DIGEST])
{
    uint8_t inner_pad[BLOCK], outer_pad[BLOCK], inner[WASM_DIGEST];
    struct wasm_part all[PARTS_MAX + 1] = {{inner_pad, BLOCK}};
    if (count > PARTS_MAX)
        abort();
    memset(inner_pad, 0x36, BLOCK);
    memset(outer_pad, 0x5c, BLOCK);
    for (size_t i = 0; i < WASM_DIGEST; i++) {
        inner_pad[i] ^= key[i];
        outer_pad[i] ^= key[i];
    }
    memcpy(all + 1, parts, count * sizeof(*parts));
    wasm_sha256(all, count + 1, inner);
    wasm_sha256((const struct wasm_part[]){{outer_pad, BLOCK}, {inner, WASM_DIGEST}}, 2, ret);
    OPENSSL_cleanse(inner_pad, BLOCK);
    OPENSSL_cleanse(outer_pad, BLOCK);
}

bool wasm_digest_equal(const uint8_t *a, const uint8_t *b)
{
    return CRYPTO_memcmp(a, b, WASM_DIGEST) == 0;
}
