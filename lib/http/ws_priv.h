/* lib/http/ws_priv.h: between the handshake (ws_accept.c) and the open socket (ws.c).
 *
 * Threads: loop thread only.
 */
#pragma once

#include "lib/http/server_priv.h"
#include "lib/http/ws.h"

enum { WS_ACCEPT_LEN = 28 };

/** Milliseconds between pings, and the time a pong may take; a test shortens it. */
extern uint32_t http_ws_ping_ms;
/** A socket that is not open yet; hooks itself to req, so that it ends if the upgrade never happens. */
cds_rc http_ws_new(struct cds_http_req *req, size_t message_max, size_t out_max, const struct cds_ws_ops *ops, void *user, struct cds_ws **ret);
http_upgrade_fn http_ws_opened;
/** Sec-WebSocket-Accept for a sound key. */
void http_ws_accept_key(const char *key, char out[static WS_ACCEPT_LEN + 1]);
