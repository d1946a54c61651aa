/* apps/api/call.h: one JSON-RPC call on its way: guard, leaf, answer.
 *
 * Source:  schemas/rpc (role, leaf, deadline per method); ARCHITECTURE.md section 3.
 * Threads: loop thread only.
 * Life:    call_start makes it; it frees itself after its answer (exactly one) or in call_drop.
 */
#pragma once

#include "apps/api/api.h"
#include "lib/rpc/rpc.h"

struct call;
struct message;

/** A waiting step (a database statement) holds a ticket, so that a call that was dropped meanwhile is noticed. */
struct ticket {
    struct call *call; /**< NULL once the call is gone */
};

struct call {
    struct api *api;
    struct message *message;             /**< owner; borrowed */
    struct call *next;                   /**< in the message's list */
    const struct cds_rpc_method *method; /**< NULL when unknown */
    char method_name[64];                /**< as asked, cut; for the log */
    char request_id[37];
    cds_json *id;                     /**< owned; NULL for a notification */
    cds_json *params;                 /**< owned */
    uint64_t started_ms, deadline_ms; /**< on the clock of cds_now_ms */
    struct cds_timer *deadline;
    struct ticket *ticket;
    struct cds_standing_wait fresh; /**< while it waits until the rights of its caller are known again */
    uint64_t seq;                   /**< next sequence number of its notifications */
    bool audited;                   /**< its begin stands in the audit log, and its end follows */
    bool cancelled;
    bool ends_with_token;  /**< it has no end of its own: cancelled when the token of its socket expires */
    int64_t holds_until_s; /**< of preview.*: end of the caller's credential, seconds since 1970 */
    void *leaf;            /**< state of the leaf that works on it */
    /** Asks the leaf to end soon and tells whether it will; the call still gets its answer, perhaps before this returns. NULL while what runs
     *  cannot be ended early: a change to a file or to the database, a model that is being loaded. */
    bool (*leaf_cancel)(struct call *call);
    void (*leaf_drop)(struct call *call); /**< forgets the leaf's work at once; frees leaf */
};

/** Starts one call of a message. May answer before it returns. */
void call_start(struct message *message, const struct cds_rpc_request *request, const char *request_id);
/** Ends with a result (stolen). The call is freed. */
void call_succeed(struct call *call, cds_json *result);
/** Ends with an error (copied). The call is freed. */
void call_fail(struct call *call, const struct cds_err *err);
/** Sends a notification of this call to the client, params.id and params.seq filled in; steals params. False: the client cannot get it. */
bool call_notify(struct call *call, const char *method, cds_json *params);
/** The same for what a leaf has numbered itself: only params.id is filled in. */
bool call_pass_on(struct call *call, const char *method, cds_json *params);
/** True when notifications reach the client (WebSocket); false when the leaf collects its output into the result. */
bool call_streams(const struct call *call);
/** Who calls. Never NULL in a leaf whose method needs a role. */
const struct cds_credential *call_who(const struct call *call);
/** "Bearer ..." of the caller, to be passed on to another service. */
const char *call_authorization(const struct call *call);
/** rpc.cancel: true when the call ends soon, with an answer (which may have been given already: the call is not to be touched after it);
 *  false when it cannot be ended early and runs on. */
bool call_cancel(struct call *call);
/** Its work is ended and it is answered with err (copied). */
void call_abort(struct call *call, const struct cds_err *err);
/** The client is gone: no answer, all work is ended. */
void call_drop(struct call *call);
/** A new ticket of the call (one at a time). */
struct ticket *call_ticket(struct call *call);
/** Gives the ticket back: its call, or NULL when that is gone. Frees the ticket. */
struct call *ticket_take(struct ticket *ticket);

/** Runs one statement for the call; done gets the ticket as its user pointer. Fails the call when the queue is full. */
void call_query(struct call *call, const char *sql, int n, const char *const *params, cds_dbq_done_fn *done);
/** The call that this statement's ticket belongs to. NULL: it is gone, or has just failed with err. */
struct call *call_queried(void *ticket, const struct cds_err *err);
/** Ends with JSON that the database built: it is the result, or its one member of that name. */
void call_succeed_text(struct call *call, const char *name, const char *text);
/** A done of call_query: the first column of the one row is the result. */
void call_give(void *ticket, const struct cds_rows *rows, const struct cds_err *err);
/** Fails the call: more statements wait than the queue holds. */
void call_database_full(struct call *call);

/* audit.c */
/** Starts the call; one that the audit log gets starts when its line is there, and fails without it. */
void call_route_audited(struct call *call, void (*route)(struct call *call));
/** What came of an audited call; nothing for others. */
void call_audit_end(const struct call *call, cds_rc rc);

/* Leaves: each takes over the call. */
void local_start(struct call *call);   /**< local.c: rpc.discover, rpc.cancel, user.self and the calls of projects.c, usage.c */
void sandbox_start(struct call *call); /**< leaf_sandbox.c: fs.*, run.*, term.*, sandbox.probe */
void preview_start(struct call *call); /**< leaf_preview.c: preview.open, preview.close, preview.list */
void llm_start(struct call *call);     /**< leaf_llm.c: llm.* */
void auth_start(struct call *call);    /**< leaf_auth.c: what needs a password or makes a secret */
/** leaf_sandbox.c: tells the sandbox that the reader of this term.attach has taken in what came before seq. False: it is no such call. */
bool sandbox_ack(struct call *attach, int64_t seq);
void project_list(struct call *call);
void project_create(struct call *call);
void project_network_get(struct call *call);
void project_network_set(struct call *call);
/** project_network.c: goes on with next(call), what the project may reach beside the parameters. May be cancelled until then. */
void project_network_then(struct call *call, void (*next)(struct call *call));
/** project_create.c: makes one more project of the caller while there are fewer than most, and answers with it; a project.list call with the
 *  list as it is then. */
void project_make(struct call *call, const char *name, const char *template_name, int most);
void user_list(struct call *call);
void user_set_role(struct call *call);
void user_block(struct call *call);
void user_unblock(struct call *call);
void user_delete(struct call *call);
void session_list(struct call *call);
void session_revoke(struct call *call);
void session_revoke_others(struct call *call);
void key_list(struct call *call);
void key_revoke(struct call *call);
void key_self(struct call *call);
void usage_summary(struct call *call);
void usage_report(struct call *call);
void usage_export(struct call *call);
void usage_track(struct call *call);
void usage_forecast(struct call *call);
void usage_anomalies(struct call *call);
void budget_set(struct call *call);
void audit_list(struct call *call);
void audit_export(struct call *call);
void budget_remove(struct call *call);
void budget_list(struct call *call);
void budget_self(struct call *call);
void budget_grant(struct call *call);
void budget_grants(struct call *call);
void budget_check(struct call *call);
void price_list(struct call *call);
void price_set(struct call *call);
void rate_set(struct call *call);
void rate_list(struct call *call);
void rate_self(struct call *call);

/* leaf_sandbox.c: the connection to sandboxd. */
CDS_MUST_USE cds_rc sandbox_link_new(struct api *api, struct sandbox_link **ret, struct cds_err *reterr);
void sandbox_link_free(struct sandbox_link **link);
CDS_MUST_USE cds_rc sandbox_link_ready(const struct sandbox_link *link, struct cds_err *reterr);
struct cds_peer *sandbox_link_peer(struct sandbox_link *link, struct cds_err *reterr); /**< NULL with reterr when not connected */

/* leaf_preview.c: the connection to cds-preview, made when it is needed. */
CDS_MUST_USE cds_rc preview_link_new(struct api *api, struct preview_link **ret, struct cds_err *reterr);
void preview_link_free(struct preview_link **link);

/* projects.c: whose project is it? */
CDS_MUST_USE cds_rc projects_new(struct projects **ret, struct cds_err *reterr);
void projects_free(struct projects **projects);
/** Goes on with next(call) when the caller owns params.project; fails the call with NOT_FOUND otherwise. May be cancelled until then. */
void project_check(struct call *call, void (*next)(struct call *call));
