/* apps/auth/store_account.h: invitations, passwords, and who a caller is now.
 *
 * Source:  database/migrations/0010_access.sql, 0011_accounts.sql. Tokens of links are stored as SHA-256 hex only.
 * Threads: any worker thread, as store.h.
 */
#pragma once

#include "apps/auth/store.h"

/** The role of a signed-in caller as it is now. @return CDS_OK; CDS_UNAUTHENTICATED, rule "session.ended", "session.stale" or "user.gone";
 *  CDS_DENIED, rule "user.blocked" */
CDS_MUST_USE cds_rc cds_store_caller(struct cds_store *store, const char *user_id, const char *session_id, int64_t version, char ret_role[static 16],
                                     struct cds_err *reterr);
/** A user by id. @return CDS_OK; CDS_NOT_FOUND */
CDS_MUST_USE cds_rc cds_store_user_by_id(struct cds_store *store, const char *user_id, struct cds_user *ret, struct cds_err *reterr);

/** What a link is for. */
struct cds_invite {
    struct cds_user user;
    char kind[8];        /**< "invite", "reset" */
    char expires_at[32]; /**< RFC 3339 */
};
/** A pending user with a link, both or neither. fresh->hash is not read. created_by may be NULL. @return CDS_OK; CDS_CONFLICT, rule "user.exists" */
CDS_MUST_USE cds_rc cds_store_invite(struct cds_store *store, const struct cds_new_user *fresh, const char *token_hash, uint64_t life_s,
                                     const char *created_by, struct cds_invite *ret, struct cds_err *reterr);
/** A new link for a user; unused ones that were made before are void. @return CDS_OK; CDS_NOT_FOUND; CDS_CONFLICT, rule "user.blocked" */
CDS_MUST_USE cds_rc cds_store_link(struct cds_store *store, const char *user_id, const char *token_hash, uint64_t life_s, const char *created_by,
                                   struct cds_invite *ret, struct cds_err *reterr);
/** Is the link good at this moment, and whose is it? @return CDS_OK; CDS_DENIED, rule "invite.unknown", "invite.used", "invite.expired" */
CDS_MUST_USE cds_rc cds_store_invite_look(struct cds_store *store, const char *token_hash, struct cds_invite *ret, struct cds_err *reterr);
/** Uses the link up: the password is set, a pending user becomes active, sessions of before end; of parallel callers exactly one succeeds.
 *  @param display_name  "" keeps what there is  @return as cds_store_invite_look */
CDS_MUST_USE cds_rc cds_store_invite_redeem(struct cds_store *store, const char *token_hash, const char *hash, const char *display_name,
                                            struct cds_user *ret, struct cds_err *reterr);
/** Another password, if the present one is still old_hash; all sessions but keep_session end. @return CDS_OK; CDS_CONFLICT */
CDS_MUST_USE cds_rc cds_store_password(struct cds_store *store, const char *user_id, const char *old_hash, const char *new_hash,
                                       const char *keep_session, int64_t *ret_ended, struct cds_err *reterr);
/** One line of the audit log; texts borrowed. */
struct cds_audit_line {
    const char *phase;                        /**< "begin" or "end" */
    const char *user_id;                      /**< who acts */
    const char *action, *request_id, *detail; /**< detail: a JSON object */
};
/** store_audit.c: committed when this returns CDS_OK. */
CDS_MUST_USE cds_rc cds_store_audit(struct cds_store *store, const struct cds_audit_line *line, struct cds_err *reterr);
/** Seals the oldest day of the ledger that is over and not sealed, if there is one. */
CDS_MUST_USE cds_rc cds_store_seal(struct cds_store *store, struct cds_err *reterr);
/** A session that cannot be renewed, for a program. @param life_s until it ends */
CDS_MUST_USE cds_rc cds_store_session_plain(struct cds_store *store, const struct cds_user *user, uint64_t life_s, const char *device,
                                            const char *address, char ret_session_id[static 37], struct cds_err *reterr);
