/* apps/preview/preview.h: previews: what is open, for whom, and through which sockets.
 *
 * A preview is one listening port of one running job, at an origin of its own: <label>.<host>. Who has its cookie sees the program; the cookie is
 * given for a one-time ticket, the ticket to the owner by the gateway.
 * Source:  docs/adr/0035-preview.md; schemas/rpc/preview.*.json; sandbox/preview.h (the loan of the sockets).
 * Threads: loop thread only.
 */
#pragma once

#include "lib/config/config.h"
#include "lib/http/client.h"
#include "lib/http/proxy.h"
#include "lib/http/server.h"

enum {
    LABEL_LEN = 32,  /**< hex digits of 128 bits: the name of a preview, not a secret */
    SECRET_LEN = 64, /**< hex digits of 256 bits: cookie and ticket */
    TICKETS = 4,     /**< of one preview at once; the oldest makes room */
    ENDED_KEPT = 256 /**< ended previews whose visitors are told why */
};

/** Why a preview ended; the words are those of its page. */
enum preview_end { END_JOB, END_CLOSED, END_IDLE, END_SESSION, END_COUNT };

struct door;
struct forward;

struct ticket {
    char text[SECRET_LEN + 1]; /**< "": none */
    uint64_t until_ms;
};

struct preview {
    struct preview *next, **prev;
    struct previews *all;
    struct door *door;        /**< counted */
    struct forward *forwards; /**< its requests that are being worked on */
    char label[LABEL_LEN + 1], cookie[SECRET_LEN + 1];
    struct ticket tickets[TICKETS];
    char user[40], session[40], project[40], term_id[40], run_id[40];
    unsigned port;
    uint64_t opened_ms, used_ms;
    int64_t until_s; /**< end of the newest access token of its session that the gateway has shown; of one of a key: end of the key */
    bool keyed;      /**< an API key has opened it */
};

struct ended {
    char label[LABEL_LEN + 1];
    enum preview_end why;
};

struct previews {
    struct cds_loop *loop;
    const struct cds_config *config;
    struct cds_http_client *client;
    struct preview *list;
    struct door *doors;
    unsigned count;
    struct ended ended[ENDED_KEPT];
    size_t ended_at;
    struct cds_timer *tick;
    bool https;
    char scheme[8]; /**< "http" or "https" */
    char tail[256]; /**< behind the label of a Host header: ".localhost:6733" */
    char doors_path[600];
};

/** Who asks, as the gateway says. Borrowed. */
struct preview_wish {
    const char *user, *session, *project, *term_id, *run_id; /**< term_id or run_id is "" */
    const char *grant;                                       /**< key for the sockets of the job */
    unsigned port;
    int64_t until_s;
    bool keyed;
};

/* table.c */
CDS_MUST_USE cds_rc previews_open(struct previews *all, struct cds_err *reterr);
void previews_close(struct previews *all);
/** The preview of that wish if it is open. */
struct preview *preview_of(const struct previews *all, const struct preview_wish *wish);
/** @param door  counted for it on success @return CDS_OK; CDS_BUSY: too many */
CDS_MUST_USE cds_rc preview_new(struct previews *all, const struct preview_wish *wish, struct door *door, struct preview **ret,
                                struct cds_err *reterr);
/** May this user have one more? */
CDS_MUST_USE cds_rc preview_room(const struct previews *all, const char *user, struct cds_err *reterr);
/** Ends it: who looks at it is cut off. It is freed. */
void preview_end(struct preview *preview, enum preview_end why);
/** A session has shown a token that ends then. */
void previews_renew(const struct previews *all, const char *user, const char *session, int64_t until_s);
/** The gateway is gone, and with it who would tell that a key was revoked: what keys have opened ends when the token of a key would have. */
void previews_unwatched(const struct previews *all);
/** By its label; NULL: there is none. */
struct preview *preview_find(const struct previews *all, const char *label);
/** Did it exist? *ret_why tells what became of it. */
bool preview_was(const struct previews *all, const char *label, enum preview_end *ret_why);
/** A new one-time ticket; borrowed until the next. */
const char *preview_ticket(struct preview *preview);
/** Uses a ticket up. @return false: unknown, used or expired */
bool preview_enter(struct preview *preview, const char *text, size_t len);
/** Name of its cookie. Static. */
const char *preview_cookie_name(const struct previews *all);
/** Compares without telling by time where they differ; both SECRET_LEN long. */
bool preview_same_secret(const char *a, const char *b);
/** "http://<label>.localhost:6733" */
char *preview_origin(const struct preview *preview, char *buf, size_t size);

/* visit.c: requests of browsers */
/** Before the body: who may not is refused. */
cds_rc visit_header(void *user, struct cds_http_req *req, struct cds_err *err);
void visit(void *user, struct cds_http_req *req);
/** The preview ends: its requests do, too. */
void visits_end(struct preview *preview);
