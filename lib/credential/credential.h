/* lib/credential/credential.h: who is calling? Checks access tokens against auth's key set, which it fetches and keeps fresh.
 *
 * Source:  lib/jwt/jwt.h; RFC 6750 (Bearer), RFC 7517 (JWKS); ARCHITECTURE.md section 2.
 * Threads: loop thread only.
 * Limits:  the key set is fetched every 60 s, and at once when a token names an unknown key, but at most once a second; a check waits at
 *          most CDS_CREDENTIAL_WAIT_MS for that, and at most CDS_CREDENTIAL_WAITERS checks wait. While auth is away the last good set
 *          stays in use. API keys that never worked here are asked for CDS_STRANGERS_MAX at a time (keys.h). What a token says is held against the
 * changes of rights (standing.h): a blocked user or an ended session is refused though the token is good, and the role is the one of now.
 */
#pragma once

#include "lib/base/loop.h"
#include "lib/http/client.h"
#include "lib/jwt/jwt.h"
#include "lib/rpc/rpc.h"

enum { CDS_CREDENTIAL_WAIT_MS = 2000, CDS_CREDENTIAL_WAITERS = 256, CDS_CREDENTIAL_AHEAD_S = 5 };

/** A checked caller. A plain value: copy it to keep it. */
struct cds_credential {
    struct cds_claims claims;
    enum cds_role role; /**< never CDS_ROLE_NONE */
};

struct cds_standing;
struct cds_credentials;
struct cds_credential_wait; /**< one check that waits for the key set */

/**
 * Starts fetching the key set at once.
 * @param client    borrowed, must outlive the result
 * @param auth_url  "http://127.0.0.1:6971", without a path; copied
 */
CDS_MUST_USE cds_rc cds_credentials_new(struct cds_loop *loop, struct cds_http_client *client, const char *auth_url, struct cds_credentials **ret,
                                        struct cds_err *reterr);
/** From now on each check is also held against the changes of rights. standing is borrowed and must outlive creds. */
void cds_credentials_follow(struct cds_credentials *creds, struct cds_standing *standing);
/** Waiting checks are answered with CDS_CANCELLED. Not from inside a done callback. */
void cds_credentials_free(struct cds_credentials **creds);
/** For /readyz. @return CDS_OK when a key set is there; CDS_UNAVAILABLE with the reason */
CDS_MUST_USE cds_rc cds_credentials_ready(const struct cds_credentials *creds, struct cds_err *reterr);

/** Outcome of one check: credential (borrowed for the call) or err. */
typedef void cds_credential_done_fn(void *user, const struct cds_credential *credential, const struct cds_err *err);

/**
 * Checks one credential. done is called exactly once: before this returns when the answer is known (the usual case; *ret_wait is NULL then),
 * or later on the loop when the key set has to be fetched first.
 *
 * @param text      value of an Authorization header ("Bearer <token>", scheme in any case), or the bare token (WebSocket subprotocol,
 *                  without its "cds.bearer." prefix); NULL or "" is an absent credential; borrowed
 * @param ret_wait  may be NULL if the caller's state outlives the check; else *ret_wait is NULL when done was called already, or a handle for
 *                  cds_credential_forget, which dies when done is called (so done sets the caller's copy to NULL)
 *
 * err is CDS_UNAUTHENTICATED with a sentence (absent, malformed, expired, signed by another key, void by now); CDS_DENIED (blocked);
 * CDS_UNAVAILABLE when no key set could be had from auth in time (rule "auth.unreachable") or the rights of now could not be confirmed (rule
 * "access.unknown"); CDS_BUSY when too many checks wait;
 * CDS_RATE_LIMITED, rule "key.flood": an API key that never worked here, while too many such are tried.
 */
void cds_credential_check(struct cds_credentials *creds, const char *text, cds_credential_done_fn *done, void *user,
                          struct cds_credential_wait **ret_wait);
/** The synchronous fast path: answers from the key set at hand.
 *  @return CDS_OK; CDS_UNAUTHENTICATED as above; CDS_DENIED; CDS_UNAVAILABLE with rule "auth.fetch_needed": only cds_credential_check can tell */
CDS_MUST_USE cds_rc cds_credential_check_now(struct cds_credentials *creds, const char *text, struct cds_credential *ret, struct cds_err *reterr);
/** An API key whose token ends within CDS_CREDENTIAL_AHEAD_S is changed for another by the next check; nothing for other credentials. */
void cds_credential_renew(struct cds_credentials *creds, const char *text);
/** The caller is gone: done will not be called. Sets *wait to NULL; accepts NULL inside. */
void cds_credential_forget(struct cds_credential_wait **wait);

/** CDS_OK unless it is an API key without that scope (a group of methods: "llm", "fs"); else CDS_DENIED, rule "key.scope". what: "fs.write". */
CDS_MUST_USE cds_rc cds_credential_may(const struct cds_credential *credential, const char *scope, const char *what, struct cds_err *reterr);
/** CDS_OK unless it is an API key for other models; else CDS_DENIED, rule "key.model". */
CDS_MUST_USE cds_rc cds_credential_model(const struct cds_credential *credential, const char *model, struct cds_err *reterr);
/** CDS_OK when the role is at least `least`; else CDS_DENIED, rule "role", with a sentence that names both. what: "fs.write". */
CDS_MUST_USE cds_rc cds_credential_need(const struct cds_credential *credential, enum cds_role least, const char *what, struct cds_err *reterr);
