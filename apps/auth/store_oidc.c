/* apps/auth/store_oidc.c: see store_oidc.h. The clock's row is taken first, as by everybody who changes rights: first sign-ins run one after the
 * other. */
#include "apps/auth/store_oidc.h"

#include <stdio.h>
#include <string.h>

#include "apps/auth/store_priv.h"
#include "lib/base/cleanup.h"
#include "lib/base/str.h"

struct finding {
    const struct cds_oidc_settings *settings;
    const struct cds_oidc_claims *claims;
    uint64_t month_tokens;
    struct cds_user user;
    bool pending; /* an admin has to activate it; it is kept all the same */
};

static const char ask[] = "Ask an admin of this studio.";

static cds_rc deny(struct cds_err *reterr, const char *rule, const char *message, const char *hint)
{
    return cds_store_refuse(reterr, CDS_DENIED, rule, message, hint);
}

enum { COL_STATUS = CDS_USER_COLUMN_COUNT, COL_JOINED };

static cds_rc check_status(struct finding *f, const struct cds_rows *rows, struct cds_err *reterr)
{
    const char *status = cds_rows_str(rows, 0, COL_STATUS);
    if (f->user.blocked)
        return deny(reterr, "user.blocked", "This account is blocked.", ask);
    f->pending = !cds_streq(status, "active");
    return CDS_OK;
}

/* Somebody who was here before is known by the provider's own name for them: a mail address may change hands. */
static cds_rc find_known(struct cds_db *db, struct finding *f, bool *ret_found, struct cds_err *reterr)
{
    const char *const params[] = {f->settings->issuer, f->claims->subject};
    CDS_CLEANUP(cds_rows_free) struct cds_rows *rows = NULL;
    cds_rc rc = cds_db_exec(db,
                            "WITH i AS (UPDATE oidc_identities SET last_used_at = now() WHERE issuer = $1 AND subject = $2 RETURNING user_id) "
                            "SELECT " CDS_USER_COLUMNS ", u.status FROM i JOIN users u ON u.id = i.user_id WHERE u.status <> 'deleted'",
                            2, params, false, &rows, reterr);
    *ret_found = !rc && cds_rows_count(rows) > 0;
    if (!*ret_found)
        return rc;
    cds_store_read_user(rows, 0, &f->user);
    return check_status(f, rows, reterr);
}

static cds_rc add_identity(struct cds_db *db, const struct finding *f, struct cds_err *reterr)
{
    const char *const params[] = {f->settings->issuer, f->claims->subject, f->user.id};
    return cds_db_exec(db, "INSERT INTO oidc_identities (issuer, subject, user_id, last_used_at) VALUES ($1, $2, $3::uuid, now())", 3, params, false,
                       NULL, reterr);
}

/* An invited person has come; links that were made for them are void. */
static cds_rc take_up(struct cds_db *db, struct finding *f, struct cds_err *reterr)
{
    const char *const params[] = {f->user.id};
    cds_rc rc =
        cds_db_exec(db, "UPDATE users SET password_hash = '" CDS_OIDC_NO_PASSWORD "' WHERE id = $1::uuid AND password_hash = '" CDS_NO_PASSWORD "'",
                    1, params, false, NULL, reterr);
    if (!rc)
        rc = cds_db_exec(db, "SELECT user_change($1::uuid, NULL, 'active', 'oidc')", 1, params, false, NULL, reterr);
    if (!rc)
        rc = cds_db_exec(db, "DELETE FROM invites WHERE user_id = $1::uuid AND used_at IS NULL", 1, params, false, NULL, reterr);
    cds_strcpy(f->user.hash, sizeof(f->user.hash), CDS_OIDC_NO_PASSWORD);
    f->pending = false;
    return rc;
}

/* An account of this very mail: joined only where the admin said that the provider may speak for such addresses, and never an admin's. */
static cds_rc join(struct cds_db *db, struct finding *f, const struct cds_rows *rows, struct cds_err *reterr)
{
    cds_store_read_user(rows, 0, &f->user);
    cds_rc rc = check_status(f, rows, reterr);
    if (rc)
        return rc;
    if (!f->settings->link || !cds_oidc_domain_allowed(f->settings, f->claims->email) || cds_streq(f->user.role, "admin"))
        return deny(reterr, "oidc.unlinked", "There is an account with this mail address already, and it is not joined to the provider by it.",
                    "Sign in with your password.");
    if (cds_rows_bool(rows, 0, COL_JOINED))
        return deny(reterr, "oidc.taken", "The account of this mail address belongs to somebody else at the provider.", ask);
    rc = add_identity(db, f, reterr);
    /* Somebody who waits for an admin already stays waiting. */
    return rc || !f->pending || cds_streq(f->user.hash, CDS_OIDC_NO_PASSWORD) ? rc : take_up(db, f, reterr);
}

static cds_rc make(struct cds_db *db, struct finding *f, struct cds_err *reterr)
{
    const struct cds_oidc_settings *settings = f->settings;
    const char *role = *f->claims->role ? f->claims->role : settings->role;
    const struct cds_new_user fresh = {f->claims->email, f->claims->name, CDS_OIDC_NO_PASSWORD, role, f->month_tokens};
    f->pending = settings->provision != CDS_OIDC_ALLOW || !cds_oidc_domain_allowed(settings, f->claims->email);
    if (settings->provision == CDS_OIDC_REFUSE)
        return deny(reterr, "oidc.unknown", "There is no account for you in this studio.", "Ask an admin for an invitation.");
    cds_rc rc = cds_store_insert_user(db, &fresh, &f->user, reterr);
    const char *const params[] = {f->user.id};
    if (!rc && f->pending)
        rc = cds_db_exec(db, "UPDATE users SET status = 'pending' WHERE id = $1::uuid", 1, params, false, NULL, reterr);
    return rc ? rc : add_identity(db, f, reterr);
}

static cds_rc join_or_make(struct cds_db *db, struct finding *f, struct cds_err *reterr)
{
    const struct cds_oidc_claims *claims = f->claims;
    const char *const params[] = {claims->email, f->settings->issuer};
    CDS_CLEANUP(cds_rows_free) struct cds_rows *rows = NULL;
    if (!claims->verified)
        return deny(reterr, "oidc.unverified", "The provider does not say that this mail address is yours.", "Verify it there, then try again.");
    if (*f->settings->domains && !cds_oidc_domain_allowed(f->settings, claims->email))
        return deny(reterr, "oidc.domain", "Mail addresses of this domain are not let in.", ask);
    cds_rc rc = cds_db_exec(db,
                            "SELECT " CDS_USER_COLUMNS ", u.status, EXISTS (SELECT FROM oidc_identities i WHERE i.user_id = u.id AND i.issuer = $2) "
                            "FROM users u WHERE u.email = $1 AND u.status <> 'deleted'",
                            2, params, false, &rows, reterr);
    if (rc)
        return rc;
    return cds_rows_count(rows) ? join(db, f, rows, reterr) : make(db, f, reterr);
}

/* The last admin keeps the role: the studio must not lock itself out over a group. */
static cds_rc follow_role(struct cds_db *db, struct finding *f, struct cds_err *reterr)
{
    const char *const params[] = {f->user.id, f->claims->role};
    CDS_CLEANUP(cds_rows_free) struct cds_rows *rows = NULL;
    if (!*f->claims->role || cds_streq(f->claims->role, f->user.role))
        return CDS_OK;
    cds_rc rc = cds_db_exec(db, "SELECT user_change($1::uuid, $2, NULL, 'role')", 2, params, false, &rows, reterr);
    if (!rc && cds_streq(cds_rows_str(rows, 0, 0), "ok"))
        cds_strcpy(f->user.role, sizeof(f->user.role), f->claims->role);
    return rc;
}

static cds_rc find(struct cds_db *db, void *user, struct cds_err *reterr)
{
    struct finding *f = user;
    bool found = false;
    cds_rc rc = cds_db_exec(db, "SELECT FROM access_clock FOR UPDATE", 0, NULL, false, NULL, reterr);
    if (!rc)
        rc = find_known(db, f, &found, reterr);
    if (!rc && !found)
        rc = join_or_make(db, f, reterr);
    return rc ? rc : follow_role(db, f, reterr);
}

cds_rc cds_store_oidc_user(struct cds_store *store, const struct cds_oidc_settings *settings, const struct cds_oidc_claims *claims,
                           uint64_t month_tokens, struct cds_user *ret, struct cds_err *reterr)
{
    struct finding f = {.settings = settings, .claims = claims, .month_tokens = month_tokens};
    cds_rc rc = cds_store_tx(store, find, &f, reterr);
    if (!rc && f.pending)
        rc = deny(reterr, "oidc.pending", "Your account waits for an admin of this studio to activate it.", "Try again when that was done.");
    if (!rc)
        *ret = f.user;
    return rc;
}

cds_rc cds_store_oidc_logout(struct cds_store *store, const char *issuer, const char *subject, int64_t *ret_ended, struct cds_err *reterr)
{
    const char *const params[] = {issuer, subject};
    const struct cds_statement st = {
        "SELECT coalesce(sum(sessions_end(user_id, NULL, 'provider')), 0) FROM oidc_identities WHERE issuer = $1 AND subject = $2", 2, params, true};
    CDS_CLEANUP(cds_rows_free) struct cds_rows *rows = NULL;
    cds_rc rc = cds_store_run(store, &st, &rows, reterr);
    if (!rc)
        *ret_ended = cds_rows_i64(rows, 0, 0, 0);
    return rc;
}
