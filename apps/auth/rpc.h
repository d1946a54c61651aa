/* apps/auth/rpc.h: the JSON-RPC methods that need a password or make a secret: POST /auth/rpc, sent by the gateway with its caller's credential.
 *
 * Source:  the files of schemas/rpc with leaf "auth"; they are checked here again, since the page's server lets anybody come here.
 * Threads: loop thread, except what is marked "worker".
 */
#pragma once

#include "apps/auth/service.h"
#include "lib/base/random.h"
#include "lib/rpc/rpc.h"

/** One call on its way through a worker thread. */
struct cds_auth_rpc {
    struct cds_auth *auth;
    struct cds_http_req *req; /**< NULL once the client left; loop thread only */
    const struct cds_auth_method *method;
    cds_json *id, *params; /**< owned; params are the worker's alone while it works */
    char request_id[CDS_UUID_LEN + 1];
    struct cds_claims who;                                /**< checked signature; "" when nobody signed in */
    enum cds_role role;                                   /**< of the caller now, from the database; worker */
    char ip[46], device[201], account[CDS_EMAIL_MAX + 1]; /**< account: what the throttle counts beside the address; "" for methods without guesses */
    cds_rc rc;
    struct cds_err err;
    cds_json *result; /**< owned */
};

/** Does the blocking part; worker. Writes call->result, or err. */
typedef cds_rc cds_auth_method_fn(struct cds_auth_rpc *call, struct cds_err *reterr);
struct cds_auth_method {
    const char *name;
    cds_auth_method_fn *run;
    bool guesses; /**< takes a password: throttled, and on the threads for bcrypt */
    bool makes;   /**< makes a key: throttled too */
};

/** POST /auth/rpc */
void cds_auth_rpc_handle(struct cds_auth *auth, struct cds_http_req *req);

/** POST /auth/key (key_exchange.c) */
void cds_auth_key_handle(struct cds_auth *auth, struct cds_http_req *req);

/* rpc_key.c; worker */
cds_auth_method_fn cds_auth_rpc_key_create, cds_auth_rpc_key_rotate, cds_auth_rpc_key_set_rates;
/* rpc_user.c; worker */
cds_auth_method_fn cds_auth_rpc_invite, cds_auth_rpc_link, cds_auth_rpc_login, cds_auth_rpc_password;
