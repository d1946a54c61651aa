/* apps/auth/store_key.h: API keys.
 *
 * Source:  database/migrations/0012_keys.sql. A key is stored as its HMAC under the pepper only.
 * Threads: any worker thread, as store.h.
 */
#pragma once

#include "apps/auth/store.h"

/** What a key is made of; texts borrowed. Lists as PostgreSQL array literals. */
struct cds_new_key {
    const char *user_id, *id, *hash, *name, *role, *scopes, *models;
    const char *expires_in_s;                                                  /**< decimal; NULL: it does not expire */
    const char *requests_per_minute, *tokens_per_minute, *concurrent_requests; /**< decimal; NULL: no limit of its own */
    const char *month_tokens;                                                  /**< its monthly budget, decimal; NULL: none */
    const char *rotated_from;                                                  /**< NULL: it is no successor */
};
/** Adds one. @param ret_expires_at RFC 3339, "" when it does not expire @return CDS_OK; CDS_CONFLICT, rule "key.count": the user has CDS_KEYS_MAX */
enum { CDS_KEYS_MAX = 100 /**< live keys of one user */ };
CDS_MUST_USE cds_rc cds_store_key_add(struct cds_store *store, const struct cds_new_key *fresh, char ret_expires_at[static 32],
                                      struct cds_err *reterr);

/** Whose key it is. @return CDS_OK; CDS_NOT_FOUND */
CDS_MUST_USE cds_rc cds_store_key_owner(struct cds_store *store, const char *id, char ret_user_id[static 37], struct cds_err *reterr);

/** A key that was presented. */
struct cds_key {
    struct cds_user user;
    char id[37];
    char role[16];                                     /**< the lesser of the key's and the user's */
    char scopes[256];                                  /**< separated by blanks; "" all */
    char models[600];                                  /**< separated by blanks; "" all */
    int64_t expires_s;                                 /**< seconds since 1970; INT64_MAX: it does not expire */
    uint32_t requests_per_minute, concurrent_requests; /**< 0: no limit of its own */
    uint64_t tokens_per_minute;                        /**< the same */
};
/** The key of that hash, if it holds now; its use is noted to the minute.
 *  @return CDS_OK; CDS_UNAUTHENTICATED, rule "key.unknown", "key.revoked", "key.expired" or "user.gone"; CDS_DENIED, rule "user.blocked" */
CDS_MUST_USE cds_rc cds_store_key_use(struct cds_store *store, const char *id, const char *hash, struct cds_key *ret, struct cds_err *reterr);
/** Another key with the same rights takes the place of a live one of that user; the old one goes on for overlap_s, no longer than it would have.
 *  fresh: id and hash only are read. @param ret_old_until RFC 3339 @return CDS_OK; CDS_NOT_FOUND */
CDS_MUST_USE cds_rc cds_store_key_rotate(struct cds_store *store, const char *user_id, const char *old_id, const struct cds_new_key *fresh,
                                         const char *overlap_s, char ret_old_until[static 32], char ret_expires_at[static 32],
                                         struct cds_err *reterr);
/** How fast a key may ask; decimal, NULL: any number. Borrowed. */
struct cds_key_rates {
    const char *requests_per_minute, *tokens_per_minute, *concurrent_requests;
};
/** Sets all three of a live key; its next token tells them. @param owner  whose key it must be; NULL: anybody's
 *  @return CDS_OK; CDS_NOT_FOUND, rule "key.unknown" */
CDS_MUST_USE cds_rc cds_store_key_set_rates(struct cds_store *store, const char *id, const char *owner, const struct cds_key_rates *rates,
                                            struct cds_err *reterr);
