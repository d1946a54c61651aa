/* apps/auth/store.h: users, sessions, refresh tokens and setup links in PostgreSQL.
 *
 * Source:  database/migrations/0001_users.sql. Refresh and setup tokens are stored as SHA-256 hex only.
 * Threads: any worker thread; each call borrows one of the store's connections. Never on the loop thread: calls block.
 */
#pragma once

#include <stdbool.h>
#include <stdint.h>

#include "lib/base/err.h"

enum { CDS_TOKEN_TEXT = 43, CDS_NAME_MAX = 100 };

struct cds_user {
    char id[37];
    char email[255];
    char display_name[CDS_NAME_MAX * 4 + 1];
    char role[16];
    char hash[128]; /**< bcrypt */
    bool blocked;
    int64_t token_version;
};

/** What a new user is made of; texts borrowed. */
struct cds_new_user {
    const char *email, *display_name, *hash, *role;
    uint64_t month_tokens;
};

/** How a session was continued. */
struct cds_refresh {
    struct cds_user user;
    char session_id[37];
    bool rotated;      /**< false: a parallel tab was faster, within the grace; no new refresh token */
    int64_t ends_in_s; /**< until the session's absolute end */
};

#define CDS_NO_PASSWORD "*" /* stored instead of a hash: nothing fits it */

struct cds_store;
/** @param connections  most connections open at once: the number of worker threads that use the store */
CDS_MUST_USE cds_rc cds_store_new(const char *conninfo, unsigned connections, struct cds_store **ret, struct cds_err *reterr);
void cds_store_free(struct cds_store **store);
CDS_MUST_USE cds_rc cds_store_ping(struct cds_store *store, struct cds_err *reterr);
/** True while no admin exists. */
CDS_MUST_USE cds_rc cds_store_setup_needed(struct cds_store *store, bool *ret, struct cds_err *reterr);
/** @return CDS_OK, CDS_NOT_FOUND */
CDS_MUST_USE cds_rc cds_store_user(struct cds_store *store, const char *email, struct cds_user *ret, struct cds_err *reterr);
/** @return CDS_OK; CDS_CONFLICT, rule "user.exists" */
CDS_MUST_USE cds_rc cds_store_user_add(struct cds_store *store, const struct cds_new_user *fresh, struct cds_user *ret, struct cds_err *reterr);
/** The highest bcrypt cost of a stored hash, at most 15; 0: there is none. */
CDS_MUST_USE cds_rc cds_store_dearest(struct cds_store *store, unsigned *ret, struct cds_err *reterr);
/** Replaces old_hash by new_hash, unless the password was changed meanwhile. */
CDS_MUST_USE cds_rc cds_store_rehash(struct cds_store *store, const char *user_id, const char *old_hash, const char *new_hash,
                                     struct cds_err *reterr);
/** Is the link good at this moment? @return CDS_OK; CDS_DENIED, rule "setup.unknown", "setup.used" or "setup.expired" */
CDS_MUST_USE cds_rc cds_store_setup_check(struct cds_store *store, const char *token_hash, struct cds_err *reterr);
/** Uses the link up and makes the first admin, both or neither; of parallel callers exactly one succeeds. @return as cds_store_setup_check */
CDS_MUST_USE cds_rc cds_store_setup_redeem(struct cds_store *store, const char *token_hash, const struct cds_new_user *fresh, struct cds_user *ret,
                                           struct cds_err *reterr);
enum { CDS_SESSIONS_MAX = 100 /**< open at once of one user; the one that was idle longest ends when another begins */ };
/** What a session begins with; texts borrowed. */
struct cds_new_session {
    const char *refresh_hash, *device, *address;
    uint64_t max_s;
};
/** What a sign-in answers when address or password is wrong, also when they became wrong while it was made. @return CDS_UNAUTHENTICATED */
cds_rc cds_login_wrong(struct cds_err *reterr);
/** Opens a session and notes the sign-in, provided that user->hash is still the stored one and the account active.
 *  @return CDS_OK; CDS_UNAUTHENTICATED, rule "login.wrong" */
CDS_MUST_USE cds_rc cds_store_session_open(struct cds_store *store, const struct cds_user *user, const struct cds_new_session *fresh,
                                           char ret_session_id[static 37], struct cds_err *reterr);
/** How a session is continued; texts borrowed. */
struct cds_continuation {
    const char *old_hash, *new_hash;
    const char *device; /**< as the browser calls itself now */
    uint64_t idle_s;
    uint64_t lost_s; /**< for so long the last token that was used up may come again when the one that followed it was never shown */
};
/**
 * Continues a session: the old token is used up, the new one takes its place. One that comes again ends the whole session, unless it is the same
 * browser's and either a parallel tab's (10 s: no new token), or the answer that carried its successor was lost: then that successor is void, and
 * whoever shows it ends the session.
 * @return CDS_OK; CDS_UNAUTHENTICATED, rule "refresh.unknown", "refresh.reused", "session.ended", "session.expired" or "session.stale";
 *         CDS_DENIED, rule "user.blocked"
 */
CDS_MUST_USE cds_rc cds_store_refresh(struct cds_store *store, const struct cds_continuation *how, struct cds_refresh *ret, struct cds_err *reterr);
/** Ends the session of a refresh token. ret_user_id is "" when there was none. */
CDS_MUST_USE cds_rc cds_store_session_close(struct cds_store *store, const char *refresh_hash, char ret_user_id[static 37], struct cds_err *reterr);
/** Ends a session; one that has ended stays as it is. */
CDS_MUST_USE cds_rc cds_store_session_end(struct cds_store *store, const char *session_id, const char *reason, struct cds_err *reterr);
/** Removes sessions that ended over a day ago, and changes of rights that are as old, at most 1000 of each at once. */
CDS_MUST_USE cds_rc cds_store_sweep(struct cds_store *store, struct cds_err *reterr);
