/* lib/http/proxy.h: reverse proxy of one request (streams, bounded memory, client gone -> upstream cancelled) and tunnel for WebSockets.
 *
 * Threads: loop thread only.
 */
#pragma once

#include "lib/http/client.h"
#include "lib/http/server.h"

/**
 * Sends req to upstream_base ("http://127.0.0.1:6813") + path and query, body included, and streams the answer back. Passes
 * Authorization, Content-Type, Accept, Cookie, Origin, x-request-id (ours) and X-Forwarded-For; passes back status, Content-Type, Set-Cookie,
 * Cache-Control, Retry-After, WWW-Authenticate, Location, x-should-retry. Unreachable: 503 problem that names the part.
 * @param part  name for the error text ("the API gateway")
 */
void cds_http_proxy(struct cds_http_req *req, struct cds_http_client *client, const char *upstream_base, const char *part, uint64_t deadline_ms);
/** Tunnels a WebSocket upgrade to a TCP port: forwards the handshake with its Origin and protocols, then bytes both ways, at most buffer_max
 *  waiting each way. */
void cds_http_tunnel(struct cds_http_req *req, struct cds_loop *loop, const char *address, uint16_t port, const char *part, size_t buffer_max);
