/* lib/credential/standing.h: does a credential still hold? Follows the changes of rights, so that a block, a role or the end of a session acts at
 * once and not when a token expires.
 *
 * Source:  database/migrations/0010_access.sql; docs/adr/0063-rights-end-within-a-second.md.
 * Threads: loop thread only.
 * Rules:   a notification makes it look at once. It looks every CDS_STANDING_LOOK_MS all the same, so a lost one costs no more than that. What was
 * not confirmed for CDS_STANDING_FRESH_MS lets nobody in: a check waits for the next look, CDS_STANDING_WAIT_MS at most. After CDS_STANDING_LIMIT_MS
 * everything that runs under a credential has to end (on_change with change NULL); a process that itself stood still looks once more first. Limits:
 * CDS_STANDING_MAX changes are kept; when the oldest makes room, tokens from before it no longer count (they are renewed by themselves).
 */
#pragma once

#include "lib/credential/credential.h"

enum {
    CDS_STANDING_LOOK_MS = 400,
    CDS_STANDING_FRESH_MS = 1000,
    CDS_STANDING_WAIT_MS = 2000,
    CDS_STANDING_LIMIT_MS = 10000,
    CDS_STANDING_MAX = 16384,
    CDS_STANDING_WAITERS = 1024 /**< checks that wait for a look; more are refused at once */
};

enum cds_standing_kind { CDS_STANDING_USER, CDS_STANDING_SESSION, CDS_STANDING_KEY };

/** One change of rights; a plain value. */
struct cds_standing_change {
    enum cds_standing_kind kind;
    char user_id[37];
    char subject[37];   /**< the user, session or key */
    enum cds_role role; /**< of the user, after the change */
    bool active;        /**< false: blocked or deleted */
    bool deleted;
    int64_t version; /**< of the user: access tokens with a lower one are void */
    char why[16];    /**< "blocked", "role", "revoked", "logout" ... */
    int64_t at_s;    /**< seconds since 1970, clock of the database */
};

/** Called after a change was taken over, once for each. When the process starts (or the database was put back) the last day is read
 *  first, and then the last change of each subject is told, in no order: what was undone since ends nothing. change NULL: nothing has been
 *  confirmed for CDS_STANDING_LIMIT_MS; whatever runs under a credential has to end. */
typedef void cds_standing_fn(void *user, const struct cds_standing_change *change);

struct cds_standing;
/** on_change may be NULL. conninfo is copied; it gets a connection of its own. */
CDS_MUST_USE cds_rc cds_standing_new(struct cds_loop *loop, const char *conninfo, cds_standing_fn *on_change, void *user, struct cds_standing **ret,
                                     struct cds_err *reterr);
/** Waits are forgotten, not called. */
void cds_standing_free(struct cds_standing **standing);
/** For /readyz. */
CDS_MUST_USE cds_rc cds_standing_ready(const struct cds_standing *standing, struct cds_err *reterr);
/** True when the last confirmed look is recent enough to let somebody in. */
bool cds_standing_fresh(const struct cds_standing *standing);

/**
 * Holds a checked credential against what is known now, and gives it the role its user has now. Does not ask how old that knowledge is: a caller that
 * lets somebody in asks cds_standing_fresh, one that ends what runs does not.
 * @return CDS_OK; CDS_DENIED, rule "user.blocked"; CDS_UNAUTHENTICATED, rule "user.gone", "session.stale", "session.ended", "key.revoked" or
 *         "access.before"
 */
CDS_MUST_USE cds_rc cds_standing_check(const struct cds_standing *standing, struct cds_credential *credential, struct cds_err *reterr);
/** CDS_UNAVAILABLE, rule "access.unknown": what a caller says when a look did not come in time. */
CDS_MUST_USE cds_rc cds_standing_unknown(struct cds_err *reterr);
/** The last change of each subject, in no order; none until the first look is confirmed: on_change tells them then. */
void cds_standing_each(const struct cds_standing *standing, cds_standing_fn *fn, void *user);

/** A place in the line for the next look; part of the caller's own record, zero before use. */
struct cds_standing_wait {
    struct cds_standing *standing; /**< NULL: does not wait */
    struct cds_standing_wait *next, **back;
    uint64_t deadline_ms;
    void (*fn)(void *user, const struct cds_err *err);
    void *user;
};
/** fn is called once: with err NULL after the next confirmed look, or with err in CDS_STANDING_WAIT_MS. @return CDS_OK; CDS_BUSY */
CDS_MUST_USE cds_rc cds_standing_wait(struct cds_standing *standing, struct cds_standing_wait *wait,
                                      void (*fn)(void *user, const struct cds_err *err), void *user);
void cds_standing_unwait(struct cds_standing_wait *wait);
