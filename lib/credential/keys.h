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
    CDS_SEEN_SETS = 256,    /**< checked credentials remembered, so that a busy caller costs one hash instead of one signature check ... */
    CDS_SEEN_WAYS = 8,      /**< ... as many in each set */
    CDS_STRANGERS_MAX = 64, /**< API keys that never worked here and may be asked for at once; more are refused ... */
    CDS_STRANGER_MS = 100   /**< ... until this long has passed for each */
};

/** A credential that was good, found by the SHA-256 of its text. */
struct cds_seen_token {
    unsigned char hash[32];
    uint64_t era; /**< of the key set that vouched for it; 0: a free place */
    struct cds_credential credential;
};

struct cds_credential_wait {
    struct cds_credentials *creds;
    struct cds_credential_wait *next, **back;
    uint64_t deadline_ms;
    cds_credential_done_fn *done;
    void *user;
    struct cds_http_call *call; /**< an API key that is being changed for a token; else NULL */
    bool stranger;              /**< that key never worked here: it was counted */
    bool exchanged;             /**< found is what the key was changed for */
    struct cds_credential found;
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
    struct cds_seen_token *seen;           /**< CDS_SEEN_SETS * CDS_SEEN_WAYS of them, owned */
    uint64_t era;                          /**< of the present key set */
    uint64_t strangers_ms;                 /**< when the room for keys that never worked here is whole again */
};

/** Asks for a fetch as soon as the pause since the last one is over; nothing when one runs. */
void cds_keys_want(struct cds_credentials *creds);
/** A check was queued: arms its deadline. */
void cds_keys_waiting(struct cds_credentials *creds);

/* seen.c: credentials that were good. */
bool cds_seen_alloc(struct cds_credentials *creds);
/** What the present key set vouches for now; NULL: nothing is known. Borrowed until the next cds_seen_put. */
const struct cds_credential *cds_seen_find(const struct cds_credentials *creds, const unsigned char hash[static 32], int64_t now_s);
/** Did it work here before, under whatever key set? */
bool cds_seen_before(const struct cds_credentials *creds, const unsigned char hash[static 32]);
void cds_seen_put(struct cds_credentials *creds, const unsigned char hash[static 32], const struct cds_credential *credential);
/** It has to be asked for anew. */
void cds_seen_drop(struct cds_credentials *creds, const unsigned char hash[static 32]);

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
