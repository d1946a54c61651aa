/* lib/http/sha1.h: SHA-1 for the WebSocket handshake only, where RFC 6455 demands it and nothing secret depends on it.
 *
 * Source: RFC 3174. Threads: safe.
 */
#pragma once

#include <stddef.h>
#include <stdint.h>

enum { SHA1_LEN = 20, SHA1_TEXT_MAX = 119 /**< two blocks */ };

/** Digest of at most SHA1_TEXT_MAX bytes. */
void http_sha1(const void *data, size_t len, uint8_t out[static SHA1_LEN]);
