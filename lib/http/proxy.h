/* lib/http/proxy.h: reverse proxy of one request (streams, bounded memory, client gone -> upstream cancelled) and tunnel for WebSockets.
 *
 * Threads: loop thread only.
 */
#pragma once

#include "lib/base/buf.h"
#include "lib/http/client.h"
#include "lib/http/server.h"

/** What is behind a proxy or tunnel. part and address are copied; rules and user are borrowed until the request ends. */
struct cds_http_behind {
    const char *part;    /**< name for the error text ("the API gateway") */
    const char *address; /**< "127.0.0.1"; "::1" is written in brackets */
    uint16_t port;
    uint64_t deadline_ms; /**< absolute, of a whole request; a tunnel has none */
    uint32_t idle_ms;     /**< a tunnel ends when nothing went through it for so long */
    size_t buffer_max;    /**< of a tunnel, each way */
    const struct cds_http_behind_rules *rules;
    void *user;
    void *socket_user; /**< for socket_open and socket_close: a connection may end a moment after its request */
};

/** How a part is treated that is not one of ours. */
struct cds_http_behind_rules {
    /** May this header of the request pass? What is appended to changed is sent instead of its value. Host, Content-Length, hop-by-hop headers
     *  (RFC 9110 section 7.6.1) and what a handshake says itself never pass. */
    bool (*pass_in)(void *user, const char *name, const char *value, struct cds_buf *changed);
    /** Adds headers to the request, by add. Host among them replaces "<address>:<port>". Required. */
    void (*more)(void *user, void (*add)(void *list, const char *name, const char *value), void *list);
    /** May this header of the answer pass? Content-Type, Content-Length and hop-by-hop headers are not asked about. */
    bool (*pass_back)(void *user, const char *name, const char *value, struct cds_buf *changed);
    /** Answers a request for which the part had no answer: UNAVAILABLE, TIMED_OUT, TOO_LARGE ... */
    void (*fail)(void *user, struct cds_http_req *req, const struct cds_err *err);
    /** See struct cds_http_call_spec: a connected socket. A tunnel asks at once. NULL: sockets of our own. */
    int (*socket_open)(void *socket_user);
    int (*socket_close)(void *socket_user, int fd);
};

/**
 * Sends req to the part, body included, and streams the answer back. Passes Authorization, Content-Type, Accept, Cookie, Origin, x-request-id (ours)
 * and X-Forwarded-For; passes back status, Content-Type, Set-Cookie, Cache-Control, Retry-After, WWW-Authenticate, Location, x-should-retry,
 * RateLimit,
 * RateLimit-Policy, x-ratelimit-*, Idempotency-Replayed. Unreachable: 503 problem that names the part.
 * @param upstream_base  "http://127.0.0.1:6813"
 */
void cds_http_proxy(struct cds_http_req *req, struct cds_http_client *client, const char *upstream_base, const char *part, uint64_t deadline_ms);
/** The same by rules of the caller; the body may be a streamed one. */
void cds_http_proxy_behind(struct cds_http_req *req, struct cds_http_client *client, const struct cds_http_behind *behind);
/** Tunnels a WebSocket upgrade to a TCP port: forwards the handshake with its Origin and protocols, then bytes both ways, at most buffer_max
 *  waiting each way. */
void cds_http_tunnel(struct cds_http_req *req, struct cds_loop *loop, const char *address, uint16_t port, const char *part, size_t buffer_max);
void cds_http_tunnel_behind(struct cds_http_req *req, struct cds_loop *loop, const struct cds_http_behind *behind);
