/* sandbox/wasm_digest.h: SHA-256 and HMAC-SHA-256 for the keys and marks of compiled code. The one place of the sandbox that uses libcrypto.
 *
 * Source:  FIPS 180-4, RFC 2104.
 * Threads: safe.
 */
#pragma once

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

enum { WASM_DIGEST = 32 };

struct wasm_part {
    const void *data;
    size_t len;
};
/** Digest of the parts behind each other. Aborts when out of memory: there is no safe way on. */
void wasm_sha256(const struct wasm_part *parts, size_t count, uint8_t ret[static WASM_DIGEST]);
/** Digest of a whole file. @return false: it cannot be read */
bool wasm_sha256_file(const char *path, uint8_t ret[static WASM_DIGEST]);
void wasm_hmac(const uint8_t key[static WASM_DIGEST], const struct wasm_part *parts, size_t count, uint8_t ret[static WASM_DIGEST]);
/** Compares without telling by its time where they differ. */
bool wasm_digest_equal(const uint8_t *a, const uint8_t *b);
