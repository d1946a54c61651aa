/* apps/auth/oidc_settings.h: what the admin says of the OpenID provider, and which addresses of it are asked.
 *
 * Source:  OpenID Connect Core 1.0, Discovery 1.0; docs/adr/0076-openid-connect.md.
 * Rules:   the issuer is https, or http on this machine itself. Every address that the provider names has the issuer's host or one of oidc.hosts, and
 *          its scheme: nothing that a provider says leads into another network.
 * Threads: read-only once read.
 */
#pragma once

#include <stdbool.h>

#include "lib/config/config.h"

enum { CDS_OIDC_URL_MAX = 1024, CDS_OIDC_LIST_MAX = 1024, CDS_OIDC_SECRET_MAX = 512, CDS_OIDC_CLAIM_MAX = 255 };

/** What becomes of somebody who has no account. */
enum cds_oidc_provision { CDS_OIDC_REFUSE, CDS_OIDC_PENDING, CDS_OIDC_ALLOW };

struct cds_oidc_settings {
    bool on;
    bool plain; /**< the issuer is http on this machine */
    char issuer[CDS_OIDC_URL_MAX], client_id[CDS_OIDC_CLAIM_MAX + 1], secret[CDS_OIDC_SECRET_MAX + 1];
    char scopes[256], name[65], redirect_uri[CDS_OIDC_URL_MAX];
    char hosts[CDS_OIDC_LIST_MAX], domains[CDS_OIDC_LIST_MAX]; /**< words with single blanks between them, small letters */
    enum cds_oidc_provision provision;
    bool link; /**< existing accounts are joined by their mail address */
    char role[16];
    char role_claim[65], role_map[CDS_OIDC_LIST_MAX]; /**< "group=role" words; both "": roles are the studio's own affair */
};

/** From the options; on is false without an issuer. page: origin of the page. @return CDS_OK; CDS_BAD_PARAM with the option's name */
CDS_MUST_USE cds_rc cds_oidc_settings_read(const struct cds_config *config, const char *page, struct cds_oidc_settings *ret, struct cds_err *reterr);
/** Is this an address that may be asked? what: "token_endpoint" ... @return CDS_OK; CDS_BAD_PARAM, rule "oidc.host" or "oidc.address" */
CDS_MUST_USE cds_rc cds_oidc_check_url(const struct cds_oidc_settings *settings, const char *url, const char *what, struct cds_err *reterr);
/** True for a mail address (folded) of one of the domains. */
bool cds_oidc_domain_allowed(const struct cds_oidc_settings *settings, const char *email);
