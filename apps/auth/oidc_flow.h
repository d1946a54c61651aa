/* apps/auth/oidc_flow.h: one sign-in at a provider on its way, kept by the browser that began it: a cookie that only we can make.
 *
 * Source:  OpenID Connect Core 1.0 sections 3.1.2.1 and 15.5.2 (state and nonce bound to the browser), RFC 7636 (PKCE).
 * Rules:   state, nonce and verifier are derived from the cookie's random seed under a key of this process, so nothing is stored for who never comes
 *          back, and none of them can be had from another. The cookie lives CDS_OIDC_FLOW_S, and not past a restart.
 * Threads: pure functions.
 */
#pragma once

#include <stdbool.h>
#include <stdint.h>

enum {
    CDS_OIDC_FLOW_S = 600,
    CDS_OIDC_FLOW_TEXT = 96, /**< characters of the cookie: seed (32 bytes), time (8), HMAC (32) in base64url */
    CDS_OIDC_WORD = 43       /**< characters of state, nonce, verifier and challenge */
};

struct cds_oidc_flow {
    char state[CDS_OIDC_WORD + 1], nonce[CDS_OIDC_WORD + 1], verifier[CDS_OIDC_WORD + 1], challenge[CDS_OIDC_WORD + 1];
};

/** A new one. */
void cds_oidc_flow_begin(const unsigned char key[static 32], int64_t now_s, char ret_cookie[static CDS_OIDC_FLOW_TEXT + 1],
                         struct cds_oidc_flow *ret);
/** The one of a cookie. cookie need not be well-formed. False: not ours, or too old. */
bool cds_oidc_flow_open(const unsigned char key[static 32], int64_t now_s, const char *cookie, struct cds_oidc_flow *ret);
/** Finds the flow's cookie in a Cookie header (NULL: none). */
bool cds_oidc_flow_find(const char *header, char ret_cookie[static CDS_OIDC_FLOW_TEXT + 1]);
