/* apps/auth/service.h: the state of the process, shared by its files.
 *
 * Threads: everything belongs to the loop thread, except what is marked "workers", which is read-only or locks itself.
 */
#pragma once

#include <stdatomic.h>

#include "apps/auth/input.h"
#include "apps/auth/origin.h"
#include "apps/auth/store.h"
#include "apps/auth/throttle.h"
#include "lib/base/loop.h"
#include "lib/base/pool.h"
#include "lib/config/config.h"
#include "lib/http/server.h"
#include "lib/jwt/jwt.h"

enum {
    CDS_AUTH_BODY_MAX = 8192,
    CDS_AUTH_HASH_QUEUE = 32, /**< sign-ins that may wait for a bcrypt thread; more is 503 */
    CDS_AUTH_SQL_THREADS = 2,
    CDS_AUTH_SQL_QUEUE = 256, /**< refreshes and sign-outs that may wait */
    CDS_AUTH_PING_MS = 2000,
    CDS_AUTH_SWEEP_MS = 600000,
    CDS_AUTH_DEAREST_MS = 10000, /**< how often it is looked for the dearest hash */
};

struct cds_oidc;

struct cds_auth {
    struct cds_config *config;
    struct cds_loop *loop;
    struct cds_pool *hash_pool; /**< bcrypt apart from SQL, so that a login flood does not stall refreshes */
    struct cds_pool *sql_pool;
    struct cds_throttle *throttle;
    struct cds_origins origins;
    struct cds_oidc *oidc; /**< NULL: no provider is configured */
    struct cds_timer *ping_timer;
    struct cds_err database; /**< outcome of the last look at the database; code CDS_OK when it works */
    bool pinging;
    uint64_t sweep_ms;   /**< when old sessions are removed next */
    uint64_t dearest_ms; /**< when it is looked for the dearest hash next */
    char key_path[512];
    struct cds_keyset *keyset; /**< of our own key: who calls /auth/rpc? */
    /* workers */
    char page[300]; /**< origin of the page, for links */
    struct cds_store *store;
    struct cds_signer *signer;
    unsigned char pepper[32]; /**< of API keys' hashes */
    unsigned bcrypt_cost;
    atomic_uint answer_cost; /**< what each wrong guess costs: that of new hashes, or of the dearest that is stored */
    uint64_t access_s, refresh_idle_s, refresh_max_s, month_tokens, invite_s;
};

/** Everything but the listener. config and loop are borrowed. */
CDS_MUST_USE cds_rc cds_auth_open(struct cds_config *config, struct cds_loop *loop, struct cds_auth **ret, struct cds_err *reterr);
void cds_auth_free(struct cds_auth **auth);
/** For /readyz: the database and the key file. */
cds_rc cds_auth_ready(void *user, struct cds_err *reterr);
/** The request handler; user is struct cds_auth. */
void cds_auth_handle(void *user, struct cds_http_req *req);

enum cds_auth_kind { CDS_AUTH_STATE, CDS_AUTH_SETUP, CDS_AUTH_LOGIN, CDS_AUTH_REFRESH, CDS_AUTH_LOGOUT, CDS_AUTH_INVITE_LOOK, CDS_AUTH_INVITE };

/** One request on its way through a worker thread. */
struct cds_auth_job {
    struct cds_auth *auth;
    struct cds_http_req *req; /**< NULL once the client left; loop thread only */
    enum cds_auth_kind kind;
    char ip[46]; /**< as the throttle counts it */
    char device[201];
    /* in */
    struct cds_sign_in in;
    char old_refresh[CDS_TOKEN_TEXT + 1];
    /* out */
    cds_rc rc;
    struct cds_err err;
    bool setup_needed;
    char link_kind[8]; /**< invite look: "invite", "reset" */
    struct cds_user user;
    char session_id[37];
    char refresh[CDS_TOKEN_TEXT + 1]; /**< "" when no new cookie is to be set */
    int64_t cookie_age_s;
    char *access; /**< owned */
};
/** Does the blocking part; worker thread. */
void cds_auth_work(void *job);
/** http.c: how an attempt to sign in ended, for the metric. */
const char *cds_auth_outcome(cds_rc rc, const struct cds_err *err);
/** http.c: what the browser calls itself: at most 200 characters, "" when it says nothing. */
void cds_auth_device(const struct cds_http_req *req, char out[static 201]);
/** work.c: a fresh token and its hash. Worker. */
void cds_auth_token(char token[static CDS_TOKEN_TEXT + 1], char hash[static 65]);
/** work.c: the user behind address and password, at the same cost whether there is one. Worker.
 *  @return CDS_OK; CDS_UNAUTHENTICATED, rule "login.wrong"; CDS_DENIED, rule "user.blocked" (told with the right password only) */
CDS_MUST_USE cds_rc cds_auth_check_password(const struct cds_auth *auth, const char *email, const char *password, size_t len, struct cds_user *ret,
                                            struct cds_err *reterr);
/** work.c: an access token of that session. Worker. */
CDS_MUST_USE cds_rc cds_auth_sign(const struct cds_auth *auth, const struct cds_user *user, const char *session_id, char **ret,
                                  struct cds_err *reterr);
/** service.c: the pepper of API keys, made when there is none. */
CDS_MUST_USE cds_rc cds_auth_open_pepper(const struct cds_config *config, unsigned char ret[static 32], struct cds_err *reterr);
/** `cds-auth key create|rotate`. Returns the exit status. */
int cds_auth_key_command(struct cds_config *config, int argc, char **argv);
/** A user straight into the database, for `cds-auth user add`. Returns the exit status. */
int cds_auth_user_command(struct cds_config *config, int argc, char **argv);
