/* lib/http/handshake.h: the client's half of the WebSocket handshake that a tunnel speaks to the part behind it. No sockets: text only.
 *
 * Source:  RFC 6455 section 4.1, RFC 9112.
 * Threads: safe.
 */
#pragma once

#include "lib/http/proxy.h"
#include "lib/http/server_priv.h"

enum { HTTP_HANDSHAKE_MAX = 64 * 1024 /**< longest answer, refusal body included */ };

struct http_handshake {
    int status;
    size_t head_len, body_len; /**< body_len: bytes behind the head that belong to a refusal */
    char accept[64], protocol[128], type[128], challenge[256], retry_after[32], version[32];
};

/** Parses an answer. @return 1: complete (a refusal with its whole body); 0: more bytes are needed; -1: malformed */
int http_handshake_parse(const char *data, size_t len, struct http_handshake *ret);
/** Appends the request for the part: same target, key, version and protocols; no extensions (we only pass bytes); the other headers by its rules. */
CDS_MUST_USE cds_rc http_handshake_request(const struct cds_http_req *req, const struct cds_http_behind *behind, struct cds_buf *out);
