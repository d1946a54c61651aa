/* apps/auth/service.c: opens and closes the parts of the process, and watches the database. */
#include "apps/auth/service.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "apps/auth/oidc.h"
#include "apps/auth/password.h"
#include "apps/auth/store_account.h"
#include "lib/base/buf.h"
#include "lib/base/clock.h"
#include "lib/base/fd.h"
#include "lib/base/random.h"
#include "lib/db/db.h"
#include "lib/log/log.h"
#include "lib/rpc/rpc.h"
#include "lib/service/service.h"

struct ping {
    struct cds_auth *auth;
    bool sweep, dearest;
    struct cds_err err;
};

/* A hash of a machine that is quicker, or was told so, takes longer to compare than ours: all answers take as long then. */
static cds_rc look_for_dearest(struct cds_auth *auth, struct cds_err *reterr)
{
    unsigned dearest = 0;
    cds_rc rc = cds_store_dearest(auth->store, &dearest, reterr);
    if (!rc)
        atomic_store(&auth->answer_cost, dearest > auth->bcrypt_cost ? dearest : auth->bcrypt_cost);
    return rc;
}

static void run_ping(void *user)
{
    struct ping *ping = user;
    cds_rc rc = cds_store_ping(ping->auth->store, &ping->err);
    if (!rc && ping->sweep)
        rc = cds_store_sweep(ping->auth->store, &ping->err);
    if (!rc && ping->dearest)
        rc = look_for_dearest(ping->auth, &ping->err);
    ping->err.code = rc;
    struct cds_err err;
    if (!rc && ping->sweep && cds_store_seal(ping->auth->store, &err))
        cds_log(CDS_LOG_WARN, "audit", CDS_LS("error", "A day of the ledger could not be sealed; the next try is in ten minutes."),
                CDS_LS("detail", err.message));
}

static void ping_done(void *user)
{
    struct ping *ping = user;
    struct cds_auth *auth = ping->auth;
    auth->pinging = false;
    auth->database = ping->err;
    if (ping->sweep && !ping->err.code)
        auth->sweep_ms = cds_now_ms() + CDS_AUTH_SWEEP_MS;
    if (ping->dearest && !ping->err.code)
        auth->dearest_ms = cds_now_ms() + CDS_AUTH_DEAREST_MS;
    free(ping);
}

static void on_ping_timer(void *user)
{
    struct cds_auth *auth = user;
    uint64_t now_ms = cds_now_ms();
    cds_timer_set(auth->ping_timer, now_ms + CDS_AUTH_PING_MS);
    struct ping *ping = auth->pinging ? NULL : calloc(1, sizeof(*ping));
    if (!ping)
        return;
    ping->auth = auth;
    ping->sweep = now_ms >= auth->sweep_ms;
    ping->dearest = now_ms >= auth->dearest_ms;
    auth->pinging = cds_pool_submit(auth->sql_pool, run_ping, ping_done, ping) == CDS_OK;
    if (!auth->pinging)
        free(ping);
}

/* Sign-ins take at most half of the cores: streams and runs share the machine. */
static unsigned hash_threads(void)
{
    long cores = sysconf(_SC_NPROCESSORS_ONLN);
    return cores < 4 ? 1 : cores > 8 ? 4 : (unsigned)(cores / 2);
}

static cds_rc own_keyset(struct cds_auth *auth, struct cds_err *reterr)
{
    CDS_JSON_AUTO jwks = cds_signer_jwks(auth->signer);
    return cds_keyset_parse(jwks, &auth->keyset, reterr);
}

/* 32 random bytes in a file of their own, made when they are first needed: a stolen database alone makes no key guessable. */
cds_rc cds_auth_open_pepper(const struct cds_config *config, unsigned char ret[static 32], struct cds_err *reterr)
{
    enum { SIZE = 32 };
    char path[512];
    cds_config_path(config, "keys/pepper", path, sizeof(path));
    CDS_CLEANUP(cds_buf_free) struct cds_buf text = cds_buf_init(64);
    cds_rc rc = cds_read_file(path, &text, reterr);
    if (rc == CDS_NOT_FOUND) {
        cds_random(ret, SIZE);
        return cds_write_file_atomic(path, ret, SIZE, 0600, reterr);
    }
    if (!rc && text.len != SIZE) {
        cds_fail(reterr, CDS_BAD_PARAM, __func__, "The pepper of API keys in %s is not 32 bytes long.", path);
        return cds_err_hint(reterr, "Restore it from a backup, or move it away: all API keys are void then.");
    }
    if (!rc)
        memcpy(ret, text.data, SIZE);
    cds_wipe(text.data, text.len);
    return rc;
}

static cds_rc open_parts(struct cds_auth *auth, struct cds_err *reterr)
{
    struct cds_config *config = auth->config;
    char conninfo[CDS_DB_CONNINFO_MAX];
    unsigned threads = hash_threads();
    cds_config_path(config, "keys/jwt.pem", auth->key_path, sizeof(auth->key_path));
    cds_rc rc = cds_origins_init(&auth->origins, cds_config_str(config, CDS_OPT_PUBLIC_URL), cds_config_str(config, CDS_OPT_BIND),
                                 (uint16_t)cds_config_u64(config, CDS_OPT_UI_PORT), reterr);
    if (!rc)
        rc = cds_signer_open(auth->key_path, &auth->signer, reterr);
    if (!rc)
        rc = own_keyset(auth, reterr);
    if (!rc)
        rc = cds_auth_open_pepper(auth->config, auth->pepper, reterr);
    if (!rc)
        rc = cds_rpc_table_init(reterr);
    if (!rc)
        rc = cds_password_set_cost(cds_config_u64(config, CDS_OPT_BCRYPT_COST), &auth->bcrypt_cost, reterr);
    atomic_init(&auth->answer_cost, auth->bcrypt_cost);
    if (!rc)
        rc = cds_throttle_new(&auth->throttle, reterr);
    if (!rc)
        rc = cds_db_conninfo_as(config, CDS_DB_AUTH, conninfo, reterr);
    if (!rc)
        rc = cds_store_new(conninfo, threads + CDS_AUTH_SQL_THREADS, &auth->store, reterr);
    if (!rc)
        rc = cds_pool_new(auth->loop, threads, CDS_AUTH_HASH_QUEUE, &auth->hash_pool, reterr);
    if (!rc)
        rc = cds_pool_new(auth->loop, CDS_AUTH_SQL_THREADS, CDS_AUTH_SQL_QUEUE, &auth->sql_pool, reterr);
    if (!rc)
        rc = cds_oidc_open(auth, &auth->oidc, reterr);
    if (!rc && cds_timer_add(auth->loop, cds_now_ms(), on_ping_timer, auth, &auth->ping_timer))
        rc = cds_fail(reterr, CDS_EXHAUSTED, __func__, "No timer could be made.");
    return rc;
}

cds_rc cds_auth_open(struct cds_config *config, struct cds_loop *loop, struct cds_auth **ret, struct cds_err *reterr)
{
    struct cds_auth *auth = calloc(1, sizeof(*auth));
    if (!auth)
        return cds_fail(reterr, CDS_EXHAUSTED, __func__, "Out of memory.");
    auth->config = config;
    auth->loop = loop;
    auth->access_s = cds_config_u64(config, CDS_OPT_AUTH_ACCESS_S);
    auth->refresh_idle_s = cds_config_u64(config, CDS_OPT_AUTH_REFRESH_IDLE_S);
    auth->refresh_max_s = cds_config_u64(config, CDS_OPT_AUTH_REFRESH_MAX_S);
    auth->invite_s = cds_config_u64(config, CDS_OPT_AUTH_INVITE_S);
    cds_service_origin(config, auth->page, sizeof(auth->page));
    auth->month_tokens = cds_config_u64(config, CDS_OPT_BUDGET_TOKENS);
    cds_fail(&auth->database, CDS_UNAVAILABLE, __func__, "The database has not answered yet.");
    cds_rc rc = open_parts(auth, reterr);
    if (rc)
        cds_auth_free(&auth);
    else
        *ret = auth;
    return rc;
}

void cds_auth_free(struct cds_auth **auth)
{
    struct cds_auth *a = *auth;
    *auth = NULL;
    if (!a)
        return;
    if (a->ping_timer)
        cds_timer_remove(&a->ping_timer);
    if (a->hash_pool)
        cds_pool_free(&a->hash_pool);
    if (a->sql_pool)
        cds_pool_free(&a->sql_pool);
    cds_oidc_free(&a->oidc);
    cds_store_free(&a->store);
    cds_throttle_free(&a->throttle);
    cds_keyset_free(&a->keyset);
    cds_signer_free(&a->signer);
    free(a);
}

cds_rc cds_auth_ready(void *user, struct cds_err *reterr)
{
    const struct cds_auth *auth = user;
    if (auth->database.code) {
        if (reterr)
            *reterr = auth->database;
        return auth->database.code;
    }
    if (access(auth->key_path, R_OK))
        return cds_fail_errno(reterr, errno, __func__, "The signing key file %s cannot be read any more.", auth->key_path);
    return CDS_OK;
}
