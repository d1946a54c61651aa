/* apps/auth/oidc.h: sign-in with an OpenID provider: GET /auth/oidc/start sends the browser there, GET /auth/oidc/callback takes it back; POST
 * /auth/oidc/logout hears from the provider itself that somebody has signed out there.
 *
 * Source:  OpenID Connect Core 1.0 (authorization code flow), RFC 7636 (PKCE), RFC 9207 (iss), RFC 9700 (best practice), Back-Channel Logout 1.0.
 * Rules:   each question to the provider has CDS_OIDC_ASK_MS and a ceiling for its answer; CDS_OIDC_OPEN_MAX sign-ins are on their way at once, more
 * is refused. Redirects of the provider are not followed. Its metadata and keys are kept for an hour; an unknown key is asked for at once, but at
 * most every CDS_OIDC_KEYS_PAUSE_MS; after a failure it is not asked again for CDS_OIDC_PAUSE_MS. What goes wrong is told on the sign-in page, by
 * rule only; codes and tokens stand in no log and in no address of ours but the one the provider calls. Threads: loop thread, except what is marked
 * "worker".
 */
#pragma once

#include "apps/auth/oidc_documents.h"
#include "apps/auth/oidc_flow.h"
#include "apps/auth/service.h"
#include "lib/http/client.h"
#include "lib/jwt/jws.h"

enum {
    CDS_OIDC_ASK_MS = 5000,
    CDS_OIDC_OPEN_MAX = 64,
    CDS_OIDC_KEEP_MS = 3600000,
    CDS_OIDC_KEYS_PAUSE_MS = 10000,
    CDS_OIDC_PAUSE_MS = 2000,
    CDS_OIDC_METADATA_MAX = 65536,
    CDS_OIDC_KEYS_MAX = 131072,
    CDS_OIDC_ANSWER_MAX = 65536,
    CDS_OIDC_CODE_MAX = 2048,
    CDS_OIDC_USED = 1024 /**< flows that came to their end and are remembered, so that none comes twice */
};

struct cds_oidc_login;

struct cds_oidc {
    struct cds_auth *auth;
    struct cds_oidc_settings settings;
    struct cds_http_client *client;
    unsigned char flow_key[32];
    struct cds_oidc_metadata metadata;
    struct cds_jwks *keys;                    /**< NULL: not fetched */
    uint64_t metadata_ms, keys_ms, failed_ms; /**< when they were fetched, and when a question failed; 0: never */
    struct cds_oidc_login *open;              /**< on their way */
    size_t open_count, used_at;
    unsigned char used[CDS_OIDC_USED][32]; /**< SHA-256 of states */
};

/** NULL in *ret when no provider is configured. */
CDS_MUST_USE cds_rc cds_oidc_open(struct cds_auth *auth, struct cds_oidc **ret, struct cds_err *reterr);
/** Ends what is on its way. After the server and the pools, before the throttle. */
void cds_oidc_free(struct cds_oidc **oidc);
/** True when it took the request: one of the three addresses. */
bool cds_oidc_handle(struct cds_auth *auth, struct cds_http_req *req);

/* ---- between the files of it ---- */
/** One sign-in between its request and its answer. */
struct cds_oidc_login {
    struct cds_oidc *oidc;
    struct cds_oidc_login *next, **back;
    struct cds_http_req *req; /**< NULL once the client left */
    struct cds_http_call *call;
    bool working;                     /**< a worker has it */
    bool refetched;                   /**< the keys were fetched for it */
    bool begins;                      /**< it is on its way to the provider, not back */
    bool logout;                      /**< it is no sign-in: the provider itself asks; id_token is its logout token */
    int64_t ended;                    /**< of a logout: sessions */
    char jti[CDS_OIDC_CLAIM_MAX + 1]; /**< of a logout token */
    char ip[46], device[201];
    struct cds_oidc_flow flow;
    char code[CDS_OIDC_CODE_MAX + 1];
    char *id_token, *access_token; /**< owned, wiped */
    struct cds_oidc_claims claims;
    void (*then)(struct cds_oidc_login *login); /**< what comes behind the question that is asked */
    /* of the worker */
    cds_rc rc;
    struct cds_err err;
    struct cds_user user;
    char refresh[CDS_TOKEN_TEXT + 1];
};
/** oidc_ask.c: goes on with then when the metadata, or the keys, are there; ends the login otherwise. */
void cds_oidc_need_metadata(struct cds_oidc_login *login, void (*then)(struct cds_oidc_login *login));
void cds_oidc_need_keys(struct cds_oidc_login *login, bool anew, void (*then)(struct cds_oidc_login *login));
/** oidc_ask.c: what login->id_token says, when one of the provider's keys has signed it. Owned by the caller.
 *  @return NULL: the keys are fetched anew and again is called then, or the login has ended */
cds_json *cds_oidc_signed(struct cds_oidc_login *login, void (*again)(struct cds_oidc_login *login));
/** oidc_ask.c: changes the code for tokens. */
void cds_oidc_ask_tokens(struct cds_oidc_login *login, void (*then)(struct cds_oidc_login *login));
/** oidc_ask.c: mail and name, where the ID token had none. */
void cds_oidc_ask_userinfo(struct cds_oidc_login *login, void (*then)(struct cds_oidc_login *login));
/** oidc.c: back to the sign-in page, which says why; a logout is answered with the reason. */
void cds_oidc_fail(struct cds_oidc_login *login, const struct cds_err *err);
/** oidc.c: a logout is done. */
void cds_oidc_done(struct cds_oidc_login *login);
/** oidc.c: false when this word has come before, among the last CDS_OIDC_USED. */
bool cds_oidc_first_time(struct cds_oidc *oidc, const char *word);
/** oidc.c: nothing came of it, so it may come once more. */
void cds_oidc_again(struct cds_oidc *oidc, const char *word);
/** oidc_logout.c: takes a logout from its request on. */
void cds_oidc_logout_begin(struct cds_oidc_login *login);
/** oidc_logout.c: answers it; err NULL: done. login stays the caller's. */
void cds_oidc_logout_answer(struct cds_oidc_login *login, const struct cds_err *err);
