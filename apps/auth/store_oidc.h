/* apps/auth/store_oidc.h: which account somebody whom the provider vouches for has.
 *
 * Source:  database/migrations/0018_oidc.sql; docs/adr/0076-openid-connect.md (the rules, and why).
 * Threads: any worker thread, as store.h.
 */
#pragma once

#include "apps/auth/oidc_documents.h"
#include "apps/auth/store.h"

#define CDS_OIDC_NO_PASSWORD "-" /* stored instead of a hash: the account came from a provider */

/** Finds, joins or makes the account, all or nothing, and gives it the role that the provider's groups give.
 *  @return CDS_OK: an active account; CDS_DENIED, rule "oidc.unverified", "oidc.domain", "oidc.unlinked" (there is an account of this mail, which is
 * not joined by it), "oidc.taken" (it is joined to somebody else of this provider), "oidc.unknown", "oidc.pending", "user.blocked" */
CDS_MUST_USE cds_rc cds_store_oidc_user(struct cds_store *store, const struct cds_oidc_settings *settings, const struct cds_oidc_claims *claims,
                                        uint64_t month_tokens, struct cds_user *ret, struct cds_err *reterr);
/** Ends all sessions of the account of this person, if there is one. *ret_ended: how many */
CDS_MUST_USE cds_rc cds_store_oidc_logout(struct cds_store *store, const char *issuer, const char *subject, int64_t *ret_ended,
                                          struct cds_err *reterr);
