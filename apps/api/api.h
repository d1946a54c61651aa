/* apps/api/api.h: what the parts of the gateway share.
 *
 * Threads: one loop thread for everything.
 * Life:    one struct api per process, made by main.c.
 */
#pragma once

#include "lib/config/config.h"
#include "lib/credential/credential.h"
#include "lib/credential/standing.h"
#include "lib/db/db.h"
#include "lib/http/client.h"
#include "lib/http/server.h"

struct exchange;
struct preview_link;
struct responses_socket;
struct socket;
struct sandbox_link;
struct logs;
struct projects;

enum {
    API_WS_MESSAGE_MAX = 2 * 1024 * 1024,  /**< bytes of one WebSocket message */
    API_WS_OUT_MAX = 4 * 1024 * 1024,      /**< bytes waiting for a slow reader before it is closed with 1013 */
    API_WS_HOLD = 1024 * 1024,             /**< a terminal waits while more than this waits for its reader */
    API_CLOSE_ENDED = 4003,                /**< close code of a socket whose credential no longer holds */
    API_OPEN_PER_SOCKET = 100,             /**< calls being worked on per socket; a whole batch fits (CDS_RPC_BATCH_MAX) */
    API_FRAME_MAX = 4 * 1024 * 1024,       /**< bytes of one frame to or from the sandbox */
    API_DB_QUEUE = 256,                    /**< statements waiting for the database */
    API_DB_MS = 5000,                      /**< deadline of one statement, milliseconds */
    API_LLM_GRACE_MS = 10000,              /**< what llm.chat gets beyond llm.request_ms: llmserver's own last word, milliseconds */
    API_V1_MS = 3600000 + API_LLM_GRACE_MS /**< longest proxied /v1 call, milliseconds: the most that llm.request_ms can be, and the same */
};

struct api {
    struct cds_loop *loop;
    struct cds_config *config;
    struct cds_http_client *client;
    struct cds_credentials *creds;
    struct cds_standing *standing;
    struct socket *sockets;             /**< socket.c: the open ones */
    struct responses_socket *responses; /**< responses_socket.c: the open ones */
    struct exchange *exchanges;         /**< http.c: calls over HTTP that are being worked on */
    struct cds_dbq *db;
    struct sandbox_link *sandbox;
    struct preview_link *previews;
    struct projects *projects;
    struct logs *logs;
    char auth_url[128];    /**< "http://127.0.0.1:6971" */
    char llm_url[128];     /**< "http://127.0.0.1:6988" */
    char origin[256];      /**< origin of the page, for upgrades */
    char origin_local[64]; /**< the same by the name localhost, or "" */
};

/** http.c: every route of the gateway. */
void api_on_request(void *user, struct cds_http_req *req);
/** http.c: the origin that this upgrade may come from: ours by name or by address. Static or api memory. */
const char *api_allowed_origin(const struct api *api, const struct cds_http_req *req);
/** http.c: value of the subprotocol "cds.bearer.<token>" copied to buf, "" when absent; *ret_has is whether `wanted` was offered too. */
void api_ws_bearer(const struct cds_http_req *req, const char *wanted, char *buf, size_t size, bool *ret_has);
/** socket.c: GET /ws. */
void api_ws(struct api *api, struct cds_http_req *req);
/** logs.c: GET /stream/logs. */
void api_logs_ws(struct api *api, struct cds_http_req *req);
CDS_MUST_USE cds_rc api_logs_new(struct api *api, struct logs **ret, struct cds_err *reterr);
void api_logs_free(struct logs **logs);

/* access.c: what ends when a credential no longer holds. */
void api_access_changed(void *api, const struct cds_standing_change *change);
/** The connection to the sandbox is there again: it is told what it may have missed. */
void api_access_tell_sandbox(struct api *api);
/** Does this caller still hold? Gives it the role of now. unknown: nothing could be confirmed for too long, so nobody holds. */
CDS_MUST_USE cds_rc api_access_check(const struct api *api, struct cds_credential *who, bool unknown, struct cds_err *reterr);
/** socket.c, http.c, responses_socket.c, logs.c: look at who is there, end what no longer holds. */
void api_sockets_recheck(struct api *api, bool unknown);
void api_exchanges_recheck(struct api *api, bool unknown);
void api_responses_recheck(struct api *api, bool unknown);
void api_logs_recheck(struct logs *logs, bool unknown);
/** leaf_sandbox.c, leaf_preview.c: terminals and previews of that user, or only those of one session or key (NULL: of all), end.
 *  preview_end_all without a user: what API keys have opened. */
void sandbox_end_all(struct api *api, const char *user_id, const char *session_id);
void preview_end_all(struct api *api, const char *user_id, const char *session_id);
