/* apps/api/message.h: one JSON-RPC message (a call or a batch), whatever transport brought it.
 *
 * Threads: loop thread only.
 * Life:    from message_start until on_done was called, or message_drop. on_done may come before message_start returns.
 */
#pragma once

#include "apps/api/call.h"

struct message_spec {
    struct api *api;
    const struct cds_credential *who; /**< NULL: no valid credential, then auth_err says why; copied */
    const struct cds_err *auth_err;   /**< copied */
    const char *authorization;        /**< borrowed for the life of the message */
    const char *client_ip;            /**< of the browser or program; borrowed for the life of the message */
    const char *request_id;           /**< of the HTTP request; NULL: each call gets its own */
    const char *method;               /**< from the path /rpc/<method>, or NULL */
    struct message **siblings;        /**< list of the socket's open messages, or NULL */
    unsigned calls_max;               /**< calls that may be open in all siblings; the ones beyond are answered with BUSY. 0: no ceiling */
    /** The end: the answer (borrowed; NULL: nothing to send) and the HTTP status. The message is freed after it. */
    void (*on_done)(void *user, cds_json *answer, int status);
    /** A notification for the client; NULL: this transport has none. */
    bool (*on_notify)(void *user, const cds_json *notification);
    /** Bytes that wait for a slow client; NULL: not known. */
    size_t (*pending)(void *user);
    void *user;
};

struct message {
    struct message_spec spec;
    struct cds_credential who;
    bool known;
    struct cds_err auth_err;
    bool batch;
    cds_json *answers; /**< array, in the order of the ends */
    int status;
    unsigned pending;
    struct call *calls;
    struct message *next, **prev; /**< in *spec.siblings */
};

void message_start(const struct message_spec *spec, const char *body, size_t len);
/** The client is gone: drops all calls and frees the message, on_done is not called. */
void message_drop(struct message *message);
/** Calls of this message and its siblings that have not been answered. */
unsigned message_open_calls(const struct message *message);
/** The token of its socket has expired: calls without an end of their own are cancelled. */
void message_expire(struct message *message);
/** The caller of all its calls no longer holds: each is ended and answered with err; the message ends with them. */
void message_abort(struct message *message, const struct cds_err *err);
/** The caller has another role now: calls that need more are ended. The message may end with them. */
void message_set_role(struct message *message, enum cds_role role);
/** For call.c: an answer (stolen, NULL for a notification). The call has left the list already. */
void message_answer(struct message *message, cds_json *answer, cds_rc rc);
