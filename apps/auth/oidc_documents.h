/* apps/auth/oidc_documents.h: what a provider says: its metadata, its answer at the token endpoint, and what an ID token claims. Pure; all of it is
 * hostile.
 *
 * Source:  OpenID Connect Discovery 1.0 section 4, Core 1.0 sections 3.1.3.3, 3.1.3.7 and 5.1; RFC 9207 (iss in the callback); Back-Channel
 * Logout 1.0 section 2.6. Threads: any.
 */
#pragma once

#include <stdint.h>

#include "apps/auth/oidc_settings.h"
#include "lib/json/json.h"

enum { CDS_OIDC_SKEW_S = 60, CDS_OIDC_TOKEN_AGE_S = 600 /**< an ID token was made for this very sign-in */ };

struct cds_oidc_metadata {
    char authorization[CDS_OIDC_URL_MAX], token[CDS_OIDC_URL_MAX], jwks[CDS_OIDC_URL_MAX];
    char userinfo[CDS_OIDC_URL_MAX]; /**< "": there is none */
    bool post;                       /**< the client's secret goes into the form, not into the Authorization header */
    bool names_itself;               /**< the callback carries iss */
};
/** @return CDS_OK; CDS_BAD_PARAM, rule "oidc.metadata" (not this issuer's, no S256, no code), "oidc.host", "oidc.address" */
CDS_MUST_USE cds_rc cds_oidc_metadata_parse(const struct cds_oidc_settings *settings, const char *text, size_t len, struct cds_oidc_metadata *ret,
                                            struct cds_err *reterr);

/** The ID token and the access token of an answer; owned by the caller. @return CDS_OK; CDS_UNAUTHENTICATED, rule "oidc.code" */
CDS_MUST_USE cds_rc cds_oidc_token_answer(int status, const char *text, size_t len, char **ret_id_token, char **ret_access_token,
                                          struct cds_err *reterr);

/** Who somebody is, as the provider says. */
struct cds_oidc_claims {
    char subject[CDS_OIDC_CLAIM_MAX + 1];
    char email[255]; /**< folded; "": it said none */
    bool verified;
    char name[401]; /**< "" or at most 100 characters */
    char role[16];  /**< what oidc.role_map gives; "": roles are the studio's own affair */
};
/** Holds a payload whose signature was checked against what this sign-in expects.
 *  @return CDS_OK; CDS_UNAUTHENTICATED, rule "oidc.issuer", "oidc.audience", "oidc.expired", "oidc.early", "oidc.nonce", "oidc.subject" */
CDS_MUST_USE cds_rc cds_oidc_claims_check(const struct cds_oidc_settings *settings, const cds_json *payload, const char *nonce, int64_t now_s,
                                          struct cds_oidc_claims *ret, struct cds_err *reterr);
/** Mail and name from the userinfo endpoint, when the ID token had none. @return CDS_OK; CDS_UNAUTHENTICATED, rule "oidc.subject": of somebody else
 */
CDS_MUST_USE cds_rc cds_oidc_userinfo(int status, const char *text, size_t len, struct cds_oidc_claims *claims, struct cds_err *reterr);
/** Holds the payload of a logout token whose signature was checked against what such a token is.
 *  @param ret_subject  whose sessions end, ret_jti: the token's own name; each CDS_OIDC_CLAIM_MAX + 1 bytes
 *  @return CDS_OK; CDS_UNAUTHENTICATED, rule "oidc.issuer", "oidc.audience", "oidc.expired", "oidc.early", "oidc.logout" (no logout token: no such
 *  event, a nonce, no name of its own), "oidc.subject" (of a session only: this studio does not keep what a provider calls its sessions) */
CDS_MUST_USE cds_rc cds_oidc_logout_check(const struct cds_oidc_settings *settings, const cds_json *payload, int64_t now_s, char *ret_subject,
                                          char *ret_jti, struct cds_err *reterr);
