/* apps/auth/store_account.c: see store_account.h. */
#include "apps/auth/store_account.h"

#include <inttypes.h>
#include <stdio.h>
#include <string.h>

#include "apps/auth/store_priv.h"
#include "lib/base/cleanup.h"
#include "lib/base/random.h"
#include "lib/base/str.h"

#define TIME_OF(column) "to_char(" column " AT TIME ZONE 'UTC', 'YYYY-MM-DD\"T\"HH24:MI:SS\"Z\"')"

static cds_rc no_user(struct cds_err *reterr)
{
    cds_fail(reterr, CDS_NOT_FOUND, __func__, "There is no user with this id.");
    cds_err_pointer(reterr, "/params/user_id");
    cds_err_hint(reterr, "user.list names the users.");
    return CDS_NOT_FOUND;
}

cds_rc cds_store_caller(struct cds_store *store, const char *user_id, const char *session_id, int64_t version, char ret_role[static 16],
                        struct cds_err *reterr)
{
    const char *const params[] = {user_id, session_id};
    const struct cds_statement st = {"SELECT u.role, u.status, u.token_version, s.revoked_at IS NULL AND s.expires_at > now() "
                                     "FROM users u LEFT JOIN sessions s ON s.id = $2::uuid AND s.user_id = u.id WHERE u.id = $1::uuid",
                                     2, params, true};
    CDS_CLEANUP(cds_rows_free) struct cds_rows *rows = NULL;
    cds_rc rc = cds_store_run(store, &st, &rows, reterr);
    if (rc)
        return rc;
    const char *status = cds_rows_count(rows) ? cds_rows_str(rows, 0, 1) : "deleted";
    if (cds_streq(status, "deleted"))
        return cds_store_refuse(reterr, CDS_UNAUTHENTICATED, "user.gone", "This account does not exist any more.", "Sign in with another one.");
    if (!cds_streq(status, "active"))
        return cds_store_refuse(reterr, CDS_DENIED, "user.blocked", "This account is blocked.", "Ask an admin of this studio.");
    if (version < cds_rows_i64(rows, 0, 2, 0))
        return cds_store_refuse(reterr, CDS_UNAUTHENTICATED, "session.stale", "The account changed since this session began.", "Sign in again.");
    if (!cds_rows_bool(rows, 0, 3))
        return cds_store_refuse(reterr, CDS_UNAUTHENTICATED, "session.ended", "This session was ended.", "Sign in again.");
    cds_strcpy(ret_role, 16, cds_rows_str(rows, 0, 0));
    return CDS_OK;
}

cds_rc cds_store_user_by_id(struct cds_store *store, const char *user_id, struct cds_user *ret, struct cds_err *reterr)
{
    const char *const params[] = {user_id};
    const struct cds_statement st = {"SELECT " CDS_USER_COLUMNS " FROM users u WHERE u.id = $1::uuid AND u.status <> 'deleted'", 1, params, true};
    CDS_CLEANUP(cds_rows_free) struct cds_rows *rows = NULL;
    cds_rc rc = cds_store_run(store, &st, &rows, reterr);
    if (rc)
        return rc;
    if (!cds_rows_count(rows))
        return no_user(reterr);
    cds_store_read_user(rows, 0, ret);
    return CDS_OK;
}

/* ---- links ---- */
struct making {
    const struct cds_new_user *fresh; /* NULL: for the user of that id */
    const char *user_id, *token_hash, *created_by;
    uint64_t life_s;
    struct cds_invite out;
};

static cds_rc add_link(struct cds_db *db, struct making *making, struct cds_err *reterr)
{
    char life[24];
    snprintf(life, sizeof(life), "%" PRIu64, making->life_s);
    const char *const params[] = {making->token_hash, making->out.user.id, making->out.kind, making->created_by, life};
    CDS_CLEANUP(cds_rows_free) struct cds_rows *rows = NULL;
    cds_rc rc =
        cds_db_exec(db,
                    "INSERT INTO invites AS i (token_hash, user_id, kind, created_by, expires_at) "
                    "VALUES ($1, $2::uuid, $3, $4::uuid, now() + make_interval(secs => $5::double precision)) RETURNING " TIME_OF("i.expires_at"),
                    5, params, false, &rows, reterr);
    if (!rc)
        cds_strcpy(making->out.expires_at, sizeof(making->out.expires_at), cds_rows_str(rows, 0, 0));
    return rc;
}

static cds_rc make_invite(struct cds_db *db, void *user, struct cds_err *reterr)
{
    struct making *making = user;
    struct cds_new_user fresh = *making->fresh;
    fresh.hash = CDS_NO_PASSWORD;
    cds_rc rc = cds_store_insert_user(db, &fresh, &making->out.user, reterr);
    if (rc)
        return rc;
    const char *const params[] = {making->out.user.id};
    cds_strcpy(making->out.kind, sizeof(making->out.kind), "invite");
    rc = cds_db_exec(db, "UPDATE users SET status = 'pending' WHERE id = $1::uuid", 1, params, false, NULL, reterr);
    return rc ? rc : add_link(db, making, reterr);
}

cds_rc cds_store_invite(struct cds_store *store, const struct cds_new_user *fresh, const char *token_hash, uint64_t life_s, const char *created_by,
                        struct cds_invite *ret, struct cds_err *reterr)
{
    struct making making = {.fresh = fresh, .token_hash = token_hash, .created_by = created_by, .life_s = life_s};
    cds_rc rc = cds_store_tx(store, make_invite, &making, reterr);
    if (!rc)
        *ret = making.out;
    return rc;
}

static cds_rc make_link(struct cds_db *db, void *user, struct cds_err *reterr)
{
    struct making *making = user;
    const char *const params[] = {making->user_id};
    CDS_CLEANUP(cds_rows_free) struct cds_rows *rows = NULL;
    /* The clock's row first, as everybody who touches links and users: a redemption takes them in the other order. */
    cds_rc rc = cds_db_exec(db, "SELECT FROM access_clock FOR UPDATE", 0, NULL, false, NULL, reterr);
    if (!rc)
        rc = cds_db_exec(db, "SELECT " CDS_USER_COLUMNS ", u.status FROM users u WHERE u.id = $1::uuid AND u.status <> 'deleted' FOR UPDATE", 1,
                         params, false, &rows, reterr);
    if (rc)
        return rc;
    if (!cds_rows_count(rows))
        return no_user(reterr);
    cds_store_read_user(rows, 0, &making->out.user);
    if (making->out.user.blocked)
        return cds_store_refuse(reterr, CDS_CONFLICT, "user.blocked", "This account is blocked, so it gets no link.", "Unblock it first.");
    cds_strcpy(making->out.kind, sizeof(making->out.kind), cds_streq(cds_rows_str(rows, 0, CDS_USER_COLUMN_COUNT), "pending") ? "invite" : "reset");
    rc = cds_db_exec(db, "DELETE FROM invites WHERE user_id = $1::uuid AND used_at IS NULL", 1, params, false, NULL, reterr);
    return rc ? rc : add_link(db, making, reterr);
}

cds_rc cds_store_link(struct cds_store *store, const char *user_id, const char *token_hash, uint64_t life_s, const char *created_by,
                      struct cds_invite *ret, struct cds_err *reterr)
{
    struct making making = {.user_id = user_id, .token_hash = token_hash, .created_by = created_by, .life_s = life_s};
    cds_rc rc = cds_store_tx(store, make_link, &making, reterr);
    if (!rc)
        *ret = making.out;
    return rc;
}

static const char find_sql[] =
    "SELECT " CDS_USER_COLUMNS ", i.kind, " TIME_OF("i.expires_at") ", i.used_at IS NOT NULL, i.expires_at <= now() "
                                                                    "FROM invites i JOIN users u ON u.id = i.user_id WHERE i.token_hash = $1";
enum { COL_KIND = CDS_USER_COLUMN_COUNT, COL_EXPIRES, COL_USED, COL_LATE };

static const char ask[] = "Ask an admin of this studio for a new one.";

static cds_rc unknown_link(struct cds_err *reterr)
{
    return cds_store_refuse(reterr, CDS_DENIED, "invite.unknown", "This link is not valid.", ask);
}

static cds_rc read_link(const struct cds_rows *rows, struct cds_invite *ret, struct cds_err *reterr)
{
    if (!cds_rows_count(rows))
        return unknown_link(reterr);
    if (cds_rows_bool(rows, 0, COL_USED))
        return cds_store_refuse(reterr, CDS_DENIED, "invite.used", "This link has been used.", "Sign in with the password that was set with it.");
    if (cds_rows_bool(rows, 0, COL_LATE))
        return cds_store_refuse(reterr, CDS_DENIED, "invite.expired", "This link has expired.", ask);
    cds_store_read_user(rows, 0, &ret->user);
    if (ret->user.blocked)
        return cds_store_refuse(reterr, CDS_DENIED, "user.blocked", "This account is blocked.", "Ask an admin of this studio.");
    cds_strcpy(ret->kind, sizeof(ret->kind), cds_rows_str(rows, 0, COL_KIND));
    cds_strcpy(ret->expires_at, sizeof(ret->expires_at), cds_rows_str(rows, 0, COL_EXPIRES));
    return CDS_OK;
}

cds_rc cds_store_invite_look(struct cds_store *store, const char *token_hash, struct cds_invite *ret, struct cds_err *reterr)
{
    const char *const params[] = {token_hash};
    const struct cds_statement st = {find_sql, 1, params, true};
    CDS_CLEANUP(cds_rows_free) struct cds_rows *rows = NULL;
    cds_rc rc = cds_store_run(store, &st, &rows, reterr);
    return rc ? rc : read_link(rows, ret, reterr);
}

struct redeeming {
    const char *token_hash, *hash, *display_name;
    struct cds_user user;
};

/* The clock's row first, as everybody who changes rights: it also lets one of two parallel redemptions wait for the other. */
static cds_rc redeem(struct cds_db *db, void *user, struct cds_err *reterr)
{
    struct redeeming *r = user;
    struct cds_invite invite;
    const char *const params[] = {r->token_hash};
    CDS_CLEANUP(cds_rows_free) struct cds_rows *rows = NULL;
    cds_rc rc = cds_db_exec(db, "SELECT FROM access_clock FOR UPDATE", 0, NULL, false, NULL, reterr);
    if (!rc)
        rc = cds_db_exec(db, find_sql, 1, params, false, &rows, reterr);
    if (!rc)
        rc = read_link(rows, &invite, reterr);
    if (rc)
        return rc;
    const char *const change[] = {invite.user.id, r->hash, r->display_name};
    /* A newer link voids this one under the user's row, not the clock's: it may be gone since the look above. */
    CDS_CLEANUP(cds_rows_free) struct cds_rows *used = NULL;
    rc = cds_db_exec(db, "UPDATE invites SET used_at = now() WHERE token_hash = $1 AND used_at IS NULL RETURNING 1", 1, params, false, &used, reterr);
    if (!rc && !cds_rows_count(used))
        rc = unknown_link(reterr);
    if (!rc)
        rc =
            cds_db_exec(db, "UPDATE users SET password_hash = $2, display_name = CASE WHEN $3 = '' THEN display_name ELSE $3 END WHERE id = $1::uuid",
                        3, change, false, NULL, reterr);
    if (!rc)
        rc = cds_db_exec(db, "SELECT user_change($1::uuid, NULL, 'active', 'invite'), sessions_end($1::uuid, NULL, 'password')", 1, change, false,
                         NULL, reterr);
    /* Who needs a new password may have lost more than it: what was made under the old one ends too. */
    if (!rc && cds_streq(invite.kind, "reset"))
        rc = cds_db_exec(db,
                         "SELECT key_end(k.id, k.user_id, 'password') FROM api_keys k WHERE k.user_id = $1::uuid AND k.revoked_at IS NULL "
                         "AND (k.expires_at IS NULL OR k.expires_at > now())",
                         1, change, false, NULL, reterr);
    CDS_CLEANUP(cds_rows_free) struct cds_rows *now = NULL;
    if (!rc)
        rc = cds_db_exec(db, "SELECT " CDS_USER_COLUMNS " FROM users u WHERE u.id = $1::uuid", 1, change, false, &now, reterr);
    if (!rc)
        cds_store_read_user(now, 0, &r->user);
    return rc;
}

cds_rc cds_store_invite_redeem(struct cds_store *store, const char *token_hash, const char *hash, const char *display_name, struct cds_user *ret,
                               struct cds_err *reterr)
{
    struct redeeming r = {.token_hash = token_hash, .hash = hash, .display_name = display_name};
    cds_rc rc = cds_store_tx(store, redeem, &r, reterr);
    if (!rc)
        *ret = r.user;
    return rc;
}

/* ---- password ---- */
struct changing {
    const char *user_id, *old_hash, *new_hash, *keep_session;
    int64_t ended;
};

static cds_rc change_password(struct cds_db *db, void *user, struct cds_err *reterr)
{
    struct changing *c = user;
    const char *const params[] = {c->user_id, c->old_hash, c->new_hash}, *const ends[] = {c->user_id, c->keep_session};
    CDS_CLEANUP(cds_rows_free) struct cds_rows *rows = NULL;
    CDS_CLEANUP(cds_rows_free) struct cds_rows *ended = NULL;
    cds_rc rc = cds_db_exec(db, "SELECT FROM access_clock FOR UPDATE", 0, NULL, false, NULL, reterr);
    if (!rc)
        rc = cds_db_exec(db, "UPDATE users SET password_hash = $3 WHERE id = $1::uuid AND password_hash = $2 AND status = 'active' RETURNING 1", 3,
                         params, false, &rows, reterr);
    if (rc)
        return rc;
    if (!cds_rows_count(rows))
        return cds_store_refuse(reterr, CDS_CONFLICT, "password.changed", "The password was changed by somebody else meanwhile.",
                                "Sign in with the new one.");
    rc = cds_db_exec(db, "SELECT sessions_end($1::uuid, $2::uuid, 'password')", 2, ends, false, &ended, reterr);
    if (!rc)
        c->ended = cds_rows_i64(ended, 0, 0, 0);
    /* A link that somebody else may still hold would undo it. */
    return rc ? rc : cds_db_exec(db, "DELETE FROM invites WHERE user_id = $1::uuid AND used_at IS NULL", 1, params, false, NULL, reterr);
}

cds_rc cds_store_password(struct cds_store *store, const char *user_id, const char *old_hash, const char *new_hash, const char *keep_session,
                          int64_t *ret_ended, struct cds_err *reterr)
{
    struct changing c = {.user_id = user_id, .old_hash = old_hash, .new_hash = new_hash, .keep_session = keep_session};
    cds_rc rc = cds_store_tx(store, change_password, &c, reterr);
    if (!rc)
        *ret_ended = c.ended;
    return rc;
}

cds_rc cds_store_session_plain(struct cds_store *store, const struct cds_user *user, uint64_t life_s, const char *device, const char *address,
                               char ret_session_id[static 37], struct cds_err *reterr)
{
    char id[CDS_UUID_LEN + 1], seconds[24], version[24];
    cds_uuid7(id);
    snprintf(seconds, sizeof(seconds), "%" PRIu64, life_s);
    snprintf(version, sizeof(version), "%" PRId64, user->token_version);
    const char *const params[] = {id, user->id, version, seconds, device, address, user->hash};
    const struct cds_statement st = {"WITH u AS (UPDATE users SET last_login_at = now() WHERE id = $2::uuid AND password_hash = $7 "
                                     "AND status = 'active' RETURNING id) "
                                     "INSERT INTO sessions (id, user_id, token_version, expires_at, device, address) "
                                     "SELECT $1::uuid, u.id, $3::bigint, now() + make_interval(secs => $4::double precision), $5, $6 "
                                     "FROM u RETURNING 1",
                                     7, params, false};
    CDS_CLEANUP(cds_rows_free) struct cds_rows *rows = NULL;
    cds_rc rc = cds_store_run(store, &st, &rows, reterr);
    if (!rc && !cds_rows_count(rows))
        rc = cds_login_wrong(reterr);
    if (!rc)
        rc = cds_store_sessions_limit(store, user->id, reterr);
    if (!rc)
        memcpy(ret_session_id, id, sizeof(id));
    return rc;
}
