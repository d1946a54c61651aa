/* lib/http/server.h: HTTP/1.1 server on libmicrohttpd and our epoll loop.
 *
 * Source:  RFC 9110, 9112; docs/adr/0002-http-library.md. The only folder that includes microhttpd.h and wslay.
 * Threads: everything on the loop thread of the server's loop.
 * Limits:  body, header, connection count, read and idle deadlines from struct cds_http_limits. Requests with Transfer-Encoding are refused
 *          (411), no or doubled Host 400, body over the limit 413 before it is read.
 * Life:    a request lives from the handler call until it was answered completely or its client left; on_gone tells the latter.
 */
#pragma once

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "lib/base/err.h"
#include "lib/base/loop.h"

struct cds_http_server;
struct cds_http_req;

struct cds_http_limits {
    size_t body_max_bytes;
    uint32_t read_ms, idle_ms;
    unsigned connections, connections_per_ip;
};

/** Called once per request, when the body is complete. Must answer now, or keep req and answer later (the connection is suspended
 *  meanwhile). Exactly one cds_http_reply*, cds_http_stream_begin, cds_http_file or cds_http_upgrade per request. */
typedef void cds_http_handler_fn(void *user, struct cds_http_req *req);
/** Called when the headers are complete, before any body is read: return CDS_OK to go on; anything else is answered as problem+json
 *  (with *err). May be NULL. */
typedef cds_rc cds_http_header_fn(void *user, struct cds_http_req *req, struct cds_err *err);

CDS_MUST_USE cds_rc cds_http_server_new(struct cds_loop *loop, int listen_fd /* owned */, const struct cds_http_limits *limits,
                                        cds_http_header_fn *on_header, cds_http_handler_fn *on_request, void *user, struct cds_http_server **ret,
                                        struct cds_err *reterr);
/** Stops accepting; running requests go on. done is called when the last connection closed or drain_ms passed. */
void cds_http_server_drain(struct cds_http_server *server, uint32_t drain_ms, void (*done)(void *user), void *user);
void cds_http_server_free(struct cds_http_server **server);

/** Addresses that begin with prefix ("/v1/"; static text) speak OpenAI's API: every error of this library and of cds_http_reply_err has its
 *  shape there, also those made before the handler is called. */
void cds_http_openai_below(struct cds_http_server *server, const char *prefix);
/** The same for Anthropic's API. The longest prefix counts; four of both kinds together. */
void cds_http_anthropic_below(struct cds_http_server *server, const char *prefix);

/* The request; all texts borrowed for its life. */
const char *cds_http_method(const struct cds_http_req *req);
const char *cds_http_path(const struct cds_http_req *req);                     /**< decoded, without query */
const char *cds_http_target(const struct cds_http_req *req);                   /**< path and query as sent, starts with "/" */
const char *cds_http_query(const struct cds_http_req *req, const char *name);  /**< decoded argument or NULL */
const char *cds_http_header(const struct cds_http_req *req, const char *name); /**< NULL when absent or when it holds a NUL byte */
const char *cds_http_body(const struct cds_http_req *req, size_t *ret_len);    /**< "" and 0 without body; NUL-terminated */
/**
 * Call in on_header: this body is not collected. The handler is called as soon as its first piece is there and takes it with
 * cds_http_body_take; at most buffer_max bytes wait in memory, and a full buffer stops the reading. The time to read (read_ms) counts for each
 * piece. An answer that is given before the end goes out behind the rest, which is read and thrown away.
 */
void cds_http_stream_body(struct cds_http_req *req, size_t buffer_max);
/** Length of the whole body as its head says, 0 without one. */
uint64_t cds_http_body_length(const struct cds_http_req *req);
/** Takes up to max bytes of a streamed body. 0 is not its end: that is when cds_http_body_length bytes were taken. */
size_t cds_http_body_take(struct cds_http_req *req, void *to, size_t max);
/** fn is called when more of a streamed body is there to be taken. */
void cds_http_on_body(struct cds_http_req *req, void (*fn)(void *user), void *user);
/** Server-made UUIDv7, sent back as x-request-id on every answer. A sane x-request-id (UUID) from a trusted hop is adopted when the
 *  server was told to (cds_http_trust_request_id). */
const char *cds_http_request_id(const struct cds_http_req *req);
void cds_http_trust_request_id(struct cds_http_server *server, bool on);
const char *cds_http_peer_ip(const struct cds_http_req *req);
/** The address of the browser: the last entry of X-Forwarded-For when the peer is on this machine (our page server or a TLS proxy), else
 *  the peer. Returns buf. */
const char *cds_http_client_ip(const struct cds_http_req *req, char buf[static 46]);
/** Status of the answer, 0 before it was given; for the log line in on_done and on_gone. */
int cds_http_status(const struct cds_http_req *req);
uint64_t cds_http_started_ms(const struct cds_http_req *req);
/** A place for the handler's own state; on_gone is called on the loop when the client left before the answer was complete (for streams: at
 *  any time until finish). Inside on_gone and on_done the req may be read; after either it must not be touched. Exactly one of them is called:
 *  on_gone while the handler still owes something, on_done once the complete answer went out (or broke on its way). A handler that keeps req
 *  for later must set on_gone. cds_ws_accept ends both: the ops of the socket take over. A tunnelled request gets on_done when the tunnel ends. */
void cds_http_set_user(struct cds_http_req *req, void *user, void (*on_gone)(void *user), void (*on_done)(void *user));
void *cds_http_get_user(const struct cds_http_req *req);
/** fn is called once at the end of the request, whatever becomes of it and whoever owns it then (behind on_gone or on_done): for a record of what
 *  was answered. status: of the answer; 0: the client left before it was complete. req may not be used in it. */
void cds_http_on_end(struct cds_http_req *req, void (*fn)(void *user, int status), void *user);
/** What cds_http_on_end was given, NULL when that was another fn or none. */
void *cds_http_end_user(const struct cds_http_req *req, void (*fn)(void *user, int status));

/** Extra answer header; call before replying. */
void cds_http_add_header(struct cds_http_req *req, const char *name, const char *value);
/** Whole answer; body is copied. */
void cds_http_reply(struct cds_http_req *req, int status, const char *content_type, const void *body, size_t len);
/** JSON answer from a cds_json value is in lib/http/reply.h. Problem document (or OpenAI's error object, see cds_http_openai_below) with the
 *  right status, Retry-After, WWW-Authenticate for 401, x-should-retry: false for a used up budget. */
void cds_http_reply_err(struct cds_http_req *req, const struct cds_err *err);
/** OpenAI's error object (lib/json/problem.h), whatever the address; headers as above. */
void cds_http_reply_openai_err(struct cds_http_req *req, const struct cds_err *err);
/** Sends a file by descriptor (owned) with its size. */
void cds_http_file(struct cds_http_req *req, int status, const char *content_type, int fd, uint64_t size);

/** Starts a streamed answer (chunked). Then write and finish. */
void cds_http_stream_begin(struct cds_http_req *req, int status, const char *content_type, size_t buffer_max);
/** Queues bytes. @return CDS_OK; CDS_BUSY when buffer_max would be passed (nothing was queued: wait for on_drain); CDS_TOO_LARGE for a piece
 *  longer than buffer_max; CDS_CANCELLED when the client left */
CDS_MUST_USE cds_rc cds_http_stream_write(struct cds_http_req *req, const void *data, size_t len);
/** Called when the buffer fell below half after a CDS_BUSY. */
void cds_http_stream_on_drain(struct cds_http_req *req, void (*fn)(void *user), void *user);
/** Ends the stream; abort = true cuts the connection so that the client sees an error. */
void cds_http_stream_finish(struct cds_http_req *req, bool abort);
