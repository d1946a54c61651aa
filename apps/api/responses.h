/* apps/api/responses.h: OpenAI's WebSocket mode of /v1/responses: what its socket and its turns share.
 *
 * Source:  OpenAI "WebSocket mode" guide; types ResponsesClientEvent and ResponsesServerEvent of openai-node;
 * docs/adr/0062-responses-over-a-socket.md. Threads: loop thread only. Life:    a socket owns its turns and what it kept; both end with it. A turn is
 * one "response.create": it waits until those before it in its lane (stream_id) are over, is one streamed POST /v1/responses of llmserver, and is
 * freed behind its last event.
 */
#pragma once

#include "apps/api/api.h"
#include "apps/api/renew.h"
#include "apps/api/sse.h"
#include "lib/http/ws.h"

enum {
    RESPONSES_TURNS_MAX = 32,                         /**< running and waiting turns of a socket */
    RESPONSES_WAITING_BYTES = 2 * API_WS_MESSAGE_MAX, /**< of the messages of those that wait, together */
    RESPONSES_RUNNING_BYTES = 8 << 20,                /**< of what the running turns of a socket ask, with what they go on with */
    RESPONSES_USER_BYTES = 16 << 20,                  /**< the same of all sockets of a user */
    RESPONSES_LANE_MAX = 64,                          /**< bytes of a stream_id */
    RESPONSES_KEPT_MAX = 16,                          /**< responses of a socket that can be gone on with */
    RESPONSES_KEPT_BYTES = API_WS_MESSAGE_MAX         /**< of all of them together, as JSON */
};

/** A response that the next turn may go on with. */
struct responses_kept {
    struct responses_kept *next; /**< older ones behind newer ones */
    char id[64];                 /**< "resp_..." */
    cds_json *items;             /**< owned: input and output of all turns up to it */
    size_t bytes;
};

struct responses_turn;

struct responses_socket {
    struct responses_socket *next, **back; /**< of the open ones, in api->responses */
    struct api *api;
    struct cds_http_req *req; /**< until it was upgraded */
    struct cds_credential_wait *wait;
    struct cds_ws *ws;
    struct cds_credential who;
    struct renewal renewal;
    bool ended; /**< its credential no longer holds; it is being closed */
    bool expired;
    struct responses_turn *turns; /**< in the order they came */
    struct responses_kept *kept;  /**< the newest first */
    char authorization[CDS_JWT_MAX + 8];
};

/** http.c: GET /v1/responses with an upgrade. */
void api_responses_ws(struct api *api, struct cds_http_req *req);

/* responses_socket.c, for turns: */
/** One event for the client, with its lane (NULL: it has none). A reader that is too slow is closed with 1013. */
void responses_send(struct responses_socket *s, cds_json *event, const char *lane);
/** An error event: {"type": "error", "status", "error": {...}}. code: another one than that of err; NULL: its own. */
void responses_fail(struct responses_socket *s, const struct cds_err *err, const char *code, const char *lane);

/* responses_turn.c: */
/** A turn for the event (stolen); it is begun as soon as its lane is free. @return CDS_OK; what is wrong with the event or the ceilings */
CDS_MUST_USE cds_rc responses_turn_add(struct responses_socket *s, cds_json *event, size_t bytes, struct cds_err *err);
/** Ends the oldest turn that the event "response.cancel" means. @return CDS_OK; CDS_NOT_FOUND */
CDS_MUST_USE cds_rc responses_turn_cancel(struct responses_socket *s, const cds_json *event, struct cds_err *err);
/** The lane an event names, NULL for none. @return CDS_OK; CDS_BAD_PARAM */
CDS_MUST_USE cds_rc responses_lane(const cds_json *event, const char **ret, struct cds_err *err);
/** Bytes that the running turns of a socket ask. */
size_t responses_turns_bytes(const struct responses_socket *s);
/** The socket has room again: streams that waited go on. */
void responses_turns_resume(struct responses_socket *s);
/** The socket is gone: llmserver sees the streams close and stops within one step. */
void responses_turns_drop(struct responses_socket *s);

/* responses_kept.c: */
/** The items behind which a turn with this id goes on, and their bytes as JSON; NULL: none of that id is kept. */
const cds_json *responses_kept_find(const struct responses_socket *s, const char *id, size_t *ret_bytes);
/** Keeps a response: its input (list of items, or the text of a user) and its output. The oldest go when the ceilings are reached. */
void responses_kept_add(struct responses_socket *s, const cds_json *input, const cds_json *response);
void responses_kept_free(struct responses_socket *s);
/** A list of input items: a text becomes a message of the user; anything else that is no list stays as it is. Owned by the caller. */
cds_json *responses_items(const cds_json *input);
