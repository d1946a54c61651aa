/* lib/credential/keys.h: the key set and its refresh. Internal to lib/credential.
 *
 * Threads: loop thread only.
 */
#pragma once

#include "lib/credential/credential.h"
#include "lib/credential/standing.h"
#include "lib/jwt/apikey.h"

enum {
    CDS_KEYS_REFRESH_MS = 60000, /**< a set is fetched again after this long */
    CDS_KEYS_RETRY_MS = 1000,    /**< least time between two fetches once a set is there */
    CDS_KEYS_FIRST_MS = 250,     /**< the same before the first set: a start should not wait */
    CDS_KEYS_FETCH_MS = 2000,    /**< deadline of one fetch */
    CDS_KEYS_BODY_MAX = 16384,
    CDS_SEEN_TOKENS = 256 /**< verified tokens remembered, so that a busy caller costs one hash instead of one signature check */
};

/** A token whose signature was checked with the present key set, found by its SHA-256. */
struct cds_seen_token {
    unsigned char hash[32];
    struct cds_credential credential;
};

struct cds_credential_wait {
    struct cds_credentials *creds;
    struct cds_credential_wait *next, **back;
    uint64_t deadline_ms;
    cds_credential_done_fn *done;
    void *user;
    struct cds_http_call *call; /**< an API key that is being changed for a token; else NULL */
    size_t len;
    char token[];
};

struct cds_credentials {
    struct cds_loop *loop;
    struct cds_http_client *client;
    char *url, *auth_url;
    struct cds_keyset *keyset;  /**< NULL until the first good answer */
    struct cds_http_call *call; /**< a fetch in flight */
    struct cds_timer *timer;    /**< next fetch */
    struct cds_timer *deadline; /**< end of the oldest wait */
    uint64_t started_ms;        /**< when the last fetch began, 0: never */
    struct cds_err trouble;     /**< why the last fetch failed; code CDS_OK when it did not */
    struct cds_credential_wait *waits, **tail;
    size_t waiting, exchanging;
    struct cds_credential_wait *exchanges; /**< API keys that are being changed for tokens */
    struct cds_standing *standing;         /**< borrowed; NULL: tokens are all there is */
    bool keys_wanted;                      /**< a check waits for another key set than this one */
    struct cds_standing_wait look;         /**< while checks wait for a look at the changes of rights */
    struct cds_seen_token seen[CDS_SEEN_TOKENS];
};

/** Asks for a fetch as soon as the pause since the last one is over; nothing when one runs. */
void cds_keys_want(struct cds_credentials *creds);
/** A check was queued: arms its deadline. */
void cds_keys_waiting(struct cds_credentials *creds);
struct cds_seen_token *cds_keys_slot(struct cds_credentials *creds, const unsigned char hash[static 32]);

/* exchange.c: API keys. */
/** Asks cds-auth; the wait is answered later, or goes on with cds_credential_resume. */
CDS_MUST_USE cds_rc cds_exchange_start(struct cds_credential_wait *wait, struct cds_err *reterr);
/** Frees it, unanswered. */
void cds_exchange_forget(struct cds_credential_wait *wait);
void cds_exchange_cancel_all(struct cds_credentials *creds);

/* Answered by credential.c. */
/** A key was changed for a token: the wait is answered, now or with the next look. */
void cds_credential_resume(struct cds_credential_wait *wait);
void cds_credential_settle_all(struct cds_credentials *creds);
void cds_credential_expire(struct cds_credentials *creds, uint64_t now_ms);
void cds_credential_cancel_all(struct cds_credentials *creds);
