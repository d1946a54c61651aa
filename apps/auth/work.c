/* apps/auth/work.c: what happens on a worker thread: passwords, sessions, tokens. */
#include <stdlib.h>
#include <string.h>

#include "apps/auth/password.h"
#include "apps/auth/service.h"
#include "apps/auth/store_account.h"
#include "lib/base/clock.h"
#include "lib/base/random.h"
#include "lib/base/str.h"

/* A browser whose answer was lost tries again at once, and with the token it gets then lives until the next refresh. */
enum { LOST_SPARE_S = 60 };

static void hash_token(const char *token, char out[static 65])
{
    cds_sha256_hex(token, strlen(token), out);
}

void cds_auth_token(char token[static CDS_TOKEN_TEXT + 1], char hash[static 65])
{
    unsigned char raw[32];
    cds_random(raw, sizeof(raw));
    cds_base64url(raw, sizeof(raw), token);
    cds_wipe(raw, sizeof(raw));
    hash_token(token, hash);
}

cds_rc cds_auth_sign(const struct cds_auth *auth, const struct cds_user *user, const char *session_id, char **ret, struct cds_err *reterr)
{
    struct cds_claims claims = {.version = user->token_version};
    claims.issued_s = (int64_t)(cds_wall_ms() / 1000);
    claims.expires_s = claims.issued_s + (int64_t)auth->access_s;
    cds_strcpy(claims.user_id, sizeof(claims.user_id), user->id);
    cds_strcpy(claims.session_id, sizeof(claims.session_id), session_id);
    cds_strcpy(claims.email, sizeof(claims.email), user->email);
    cds_strcpy(claims.role, sizeof(claims.role), user->role);
    return cds_jwt_sign(auth->signer, &claims, ret, reterr);
}

static cds_rc open_session(struct cds_auth_job *job)
{
    const struct cds_auth *auth = job->auth;
    char hash[65];
    cds_auth_token(job->refresh, hash);
    const struct cds_new_session fresh = {.refresh_hash = hash, .device = job->device, .address = job->ip, .max_s = auth->refresh_max_s};
    cds_rc rc = cds_store_session_open(auth->store, &job->user, &fresh, job->session_id, &job->err);
    job->cookie_age_s = (int64_t)(auth->refresh_idle_s < auth->refresh_max_s ? auth->refresh_idle_s : auth->refresh_max_s);
    return rc ? rc : cds_auth_sign(auth, &job->user, job->session_id, &job->access, &job->err);
}

/* The stored hash follows the configured cost; failing to follow is no reason to refuse the sign-in. */
static void renew_hash(const struct cds_auth *auth, const char *password, size_t len, struct cds_user *user)
{
    char fresh[CDS_HASH_SIZE];
    if (!cds_password_stale(user->hash, auth->bcrypt_cost))
        return;
    if (cds_password_hash(password, len, auth->bcrypt_cost, fresh, NULL) == CDS_OK &&
        cds_store_rehash(auth->store, user->id, user->hash, fresh, NULL) == CDS_OK)
        cds_strcpy(user->hash, sizeof(user->hash), fresh);
}

cds_rc cds_auth_check_password(const struct cds_auth *auth, const char *email, const char *password, size_t len, struct cds_user *ret,
                               struct cds_err *reterr)
{
    struct cds_user user = {.id = ""};
    cds_rc rc = cds_store_user(auth->store, email, &user, reterr);
    if (rc && rc != CDS_NOT_FOUND)
        return rc;
    /* An account without a password (invited, gone, or of a provider) is as unknown as one that never was. */
    bool known = rc == CDS_OK && cds_password_cost(user.hash) > 0;
    /* Unknown mail and wrong password cost the same work and read the same: that of the dearest hash there is. */
    unsigned cost = atomic_load(&auth->answer_cost);
    char dummy[CDS_HASH_SIZE] = "";
    if (!known && (rc = cds_password_dummy(cost, dummy, reterr)))
        return rc;
    bool right = cds_password_verify(password, len, known ? user.hash : dummy);
    if (known && !right)
        cds_password_pad(user.hash, cost);
    if (!known || !right)
        return cds_login_wrong(reterr);
    if (user.blocked) {
        cds_fail(reterr, CDS_DENIED, __func__, "This account is blocked.");
        cds_err_rule(reterr, "user.blocked");
        cds_err_hint(reterr, "Ask an admin of this studio.");
        return CDS_DENIED;
    }
    renew_hash(auth, password, len, &user);
    *ret = user;
    return CDS_OK;
}

static cds_rc login(struct cds_auth_job *job)
{
    cds_rc rc = cds_auth_check_password(job->auth, job->in.email, job->in.password, job->in.password_len, &job->user, &job->err);
    return rc ? rc : open_session(job);
}

static cds_rc invite_look(struct cds_auth_job *job)
{
    char hash[65];
    struct cds_invite invite;
    hash_token(job->in.token, hash);
    cds_rc rc = cds_store_invite_look(job->auth->store, hash, &invite, &job->err);
    if (rc)
        return rc;
    job->user = invite.user;
    cds_strcpy(job->link_kind, sizeof(job->link_kind), invite.kind);
    return CDS_OK;
}

static cds_rc invite(struct cds_auth_job *job)
{
    struct cds_auth *auth = job->auth;
    char token_hash[65], hash[CDS_HASH_SIZE];
    hash_token(job->in.token, token_hash);
    /* First a cheap look, so that a dead link costs no bcrypt; the decision falls in the transaction. */
    cds_rc rc = invite_look(job);
    if (!rc)
        rc = cds_password_policy(job->in.password, job->in.password_len, job->user.email, &job->err);
    if (!rc)
        rc = cds_password_hash(job->in.password, job->in.password_len, auth->bcrypt_cost, hash, &job->err);
    if (!rc)
        rc = cds_store_invite_redeem(auth->store, token_hash, hash, job->in.display_name, &job->user, &job->err);
    return rc ? rc : open_session(job);
}

static cds_rc setup(struct cds_auth_job *job)
{
    struct cds_auth *auth = job->auth;
    char token_hash[65], hash[CDS_HASH_SIZE];
    hash_token(job->in.token, token_hash);
    /* First a cheap look, so that a dead link costs no bcrypt; the decision falls in the transaction. */
    cds_rc rc = cds_store_setup_check(auth->store, token_hash, &job->err);
    if (!rc)
        rc = cds_password_policy(job->in.password, job->in.password_len, job->in.email, &job->err);
    if (!rc)
        rc = cds_password_hash(job->in.password, job->in.password_len, auth->bcrypt_cost, hash, &job->err);
    if (rc)
        return rc;
    const struct cds_new_user fresh = {job->in.email, job->in.display_name, hash, "admin", auth->month_tokens};
    rc = cds_store_setup_redeem(auth->store, token_hash, &fresh, &job->user, &job->err);
    return rc ? rc : open_session(job);
}

static cds_rc refresh(struct cds_auth_job *job)
{
    struct cds_refresh out;
    char old_hash[65], new_hash[65];
    hash_token(job->old_refresh, old_hash);
    cds_auth_token(job->refresh, new_hash);
    const struct cds_continuation how = {.old_hash = old_hash,
                                         .new_hash = new_hash,
                                         .device = job->device,
                                         .idle_s = job->auth->refresh_idle_s,
                                         .lost_s = job->auth->access_s + LOST_SPARE_S};
    cds_rc rc = cds_store_refresh(job->auth->store, &how, &out, &job->err);
    if (rc || !out.rotated)
        job->refresh[0] = '\0';
    if (rc)
        return rc;
    job->user = out.user;
    memcpy(job->session_id, out.session_id, sizeof(job->session_id));
    job->cookie_age_s = (int64_t)job->auth->refresh_idle_s < out.ends_in_s ? (int64_t)job->auth->refresh_idle_s : out.ends_in_s;
    return cds_auth_sign(job->auth, &job->user, job->session_id, &job->access, &job->err);
}

static cds_rc logout(struct cds_auth_job *job)
{
    char hash[65];
    hash_token(job->old_refresh, hash);
    return cds_store_session_close(job->auth->store, hash, job->user.id, &job->err);
}

void cds_auth_work(void *user)
{
    struct cds_auth_job *job = user;
    switch (job->kind) {
    case CDS_AUTH_STATE:
        job->rc = cds_store_setup_needed(job->auth->store, &job->setup_needed, &job->err);
        break;
    case CDS_AUTH_SETUP:
        job->rc = setup(job);
        break;
    case CDS_AUTH_LOGIN:
        job->rc = login(job);
        break;
    case CDS_AUTH_REFRESH:
        job->rc = refresh(job);
        break;
    case CDS_AUTH_LOGOUT:
        job->rc = logout(job);
        break;
    case CDS_AUTH_INVITE_LOOK:
        job->rc = invite_look(job);
        break;
    case CDS_AUTH_INVITE:
        job->rc = invite(job);
        break;
    }
    cds_wipe(job->in.password, sizeof(job->in.password));
}
