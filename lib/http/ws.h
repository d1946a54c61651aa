/* lib/http/ws.h: WebSocket server side (RFC 6455) on an upgraded request, frames by libwslay.
 *
 * Threads: loop thread only. Text messages only; a binary message closes with 1003.
 * Limits:  message size and output queue are ceilings: a slow reader is closed with 1013. Ping every 20 s, no pong within 20 s closes.
 */
#pragma once

#include "lib/http/server.h"

struct cds_ws;
struct cds_ws_ops {
    void (*on_text)(void *user, struct cds_ws *ws, const char *data, size_t len);
    void (*on_close)(void *user, struct cds_ws *ws); /**< last call; ws is freed after it */
};
/** True if the request asks for a WebSocket. */
bool cds_http_wants_ws(const struct cds_http_req *req);
/**
 * Answers the upgrade. Checks method, version 13, key, and Origin (must equal allowed_origin when an Origin header is present).
 * @param protocol  subprotocol to confirm, or NULL
 * On refusal the request has been answered with 400/403/426 and *ret is NULL.
 */
CDS_MUST_USE cds_rc cds_ws_accept(struct cds_http_req *req, const char *allowed_origin, const char *protocol, size_t message_max, size_t out_max,
                                  const struct cds_ws_ops *ops, void *user, struct cds_ws **ret);
/** @return CDS_OK; CDS_BUSY: the queue is full and the socket is being closed with 1013; CDS_CANCELLED: closed */
CDS_MUST_USE cds_rc cds_ws_send(struct cds_ws *ws, const char *text, size_t len);
size_t cds_ws_pending(const struct cds_ws *ws);
/** Bytes waiting to be sent fell below half of out_max: called once after each time they were above. */
void cds_ws_on_drain(struct cds_ws *ws, void (*fn)(void *user), void *user);
void cds_ws_close(struct cds_ws *ws, uint16_t code, const char *reason);
/** Asks every open socket of the server to close (drain on SIGTERM). */
void cds_ws_close_all(struct cds_http_server *server, uint16_t code);
