/* apps/api/renew.h: how long the credential of a socket lasts. One of a session ends with its token, and the page connects again; an API key is the
 * same tomorrow, so it is changed for another token when that of now ends, and the socket goes on.
 *
 * Threads: loop thread only.
 * Rules:   while cds-auth does not answer, a key's socket goes on for API_RENEW_PATIENCE_MS, with a try every API_RENEW_PAUSE_MS; what is known of
 * its rights in the database acts meanwhile as always (standing.h).
 */
#pragma once

#include "lib/credential/credential.h"

enum { API_RENEW_PAUSE_MS = 500, API_RENEW_PATIENCE_MS = 10000 };

/** Part of the socket's own record. */
struct renewal {
    struct cds_loop *loop;
    struct cds_credentials *creds;
    struct cds_timer *timer; /**< of the next question; on_expired may set it to be called again */
    struct cds_credential_wait *wait;
    struct cds_credential *who; /**< of the socket; renewed in place */
    const char *authorization;  /**< of the socket, as cds_credential_check takes it */
    bool over;                  /**< on_expired was called */
    void (*on_expired)(void *user);
    void (*on_refused)(void *user, const struct cds_err *err); /**< the key holds no longer */
    void *user;
};

/** Begins with a checked credential; all of it but timer and wait is set by the caller. @return CDS_OK; CDS_EXHAUSTED */
CDS_MUST_USE cds_rc renewal_begin(struct renewal *renewal, struct cds_err *reterr);
/** The credential is in doubt: a key is asked for now instead of at its end. */
void renewal_now(struct renewal *renewal);
/** Is err no more than that the token is too old to tell (rule "access.before")? A key's is changed for one of now then, with renewal_now. */
bool renewal_in_doubt(const struct renewal *renewal, const struct cds_err *err);
/** No call comes after it. Also before renewal_begin, and again. */
void renewal_end(struct renewal *renewal);
