/* apps/auth/store_session.c: sessions and their chain of refresh tokens. */
#include <inttypes.h>
#include <stdio.h>
#include <string.h>

#include "apps/auth/store_priv.h"
#include "lib/base/cleanup.h"
#include "lib/base/random.h"
#include "lib/base/str.h"

cds_rc cds_store_session_open(struct cds_store *store, const struct cds_user *user, const char *refresh_hash, uint64_t max_s,
                              char ret_session_id[static 37], struct cds_err *reterr)
{
    char id[CDS_UUID_LEN + 1], seconds[24], version[24];
    cds_uuid7(id);
    snprintf(seconds, sizeof(seconds), "%" PRIu64, max_s);
    snprintf(version, sizeof(version), "%" PRId64, user->token_version);
    const char *const params[] = {id, user->id, version, seconds, refresh_hash};
    const struct cds_statement st = {"WITH s AS (INSERT INTO sessions (id, user_id, token_version, expires_at) "
                                     "VALUES ($1, $2, $3, now() + make_interval(secs => $4::double precision)) RETURNING id), "
                                     "u AS (UPDATE users SET last_login_at = now() WHERE id = $2) "
                                     "INSERT INTO refresh_tokens (token_hash, session_id) SELECT $5, s.id FROM s",
                                     5, params, false};
    cds_rc rc = cds_store_run(store, &st, NULL, reterr);
    if (!rc)
        memcpy(ret_session_id, id, sizeof(id));
    return rc;
}

struct refresh {
    const char *old_hash, *new_hash;
    uint64_t idle_s;
    struct cds_refresh out;
    bool keep; /* the refusal itself changes the database (a session is ended) */
};

static cds_rc refuse(struct cds_err *reterr, cds_rc code, const char *rule, const char *message)
{
    cds_fail(reterr, code, "cds_store_refresh", "%s", message);
    cds_err_rule(reterr, rule);
    cds_err_hint(reterr, code == CDS_DENIED ? "Ask an admin of this studio." : "Sign in again.");
    return code;
}

static cds_rc end_session(struct cds_db *db, struct refresh *r, const char *reason, struct cds_err *reterr)
{
    const char *const params[] = {r->out.session_id, reason};
    r->keep = true;
    return cds_db_exec(db, "UPDATE sessions SET revoked_at = now(), revoked_reason = $2 WHERE id = $1 AND revoked_at IS NULL", 2, params, false, NULL,
                       reterr);
}

static cds_rc rotate(struct cds_db *db, struct refresh *r, struct cds_err *reterr)
{
    const char *const params[] = {r->old_hash, r->new_hash, r->out.session_id};
    r->out.rotated = true;
    return cds_db_exec(db,
                       "WITH old AS (UPDATE refresh_tokens SET used_at = now() WHERE token_hash = $1), "
                       "s AS (UPDATE sessions SET last_used_at = now() WHERE id = $3) "
                       "INSERT INTO refresh_tokens (token_hash, session_id) VALUES ($2, $3)",
                       3, params, false, NULL, reterr);
}

enum { COL_SESSION = CDS_USER_COLUMN_COUNT, COL_REVOKED, COL_EXPIRED, COL_STALE, COL_USED, COL_GRACE, COL_LEFT };

/* In the order of the answer: what the session is, then who the user is, then what the token is. */
static cds_rc decide(struct cds_db *db, struct refresh *r, const struct cds_rows *rows, struct cds_err *reterr)
{
    cds_rc rc = CDS_OK;
    if (cds_rows_bool(rows, 0, COL_REVOKED))
        return refuse(reterr, CDS_UNAUTHENTICATED, "session.ended", "This session was ended.");
    if (cds_rows_bool(rows, 0, COL_EXPIRED))
        return refuse(reterr, CDS_UNAUTHENTICATED, "session.expired", "This session has expired.");
    if (r->out.user.blocked) {
        rc = end_session(db, r, "blocked", reterr);
        return rc ? rc : refuse(reterr, CDS_DENIED, "user.blocked", "This account is blocked.");
    }
    if (cds_rows_bool(rows, 0, COL_STALE)) {
        rc = end_session(db, r, "stale", reterr);
        return rc ? rc : refuse(reterr, CDS_UNAUTHENTICATED, "session.stale", "The account changed since this session began.");
    }
    if (!cds_rows_bool(rows, 0, COL_USED))
        return rotate(db, r, reterr);
    if (cds_rows_bool(rows, 0, COL_GRACE))
        return CDS_OK;
    /* Somebody holds a copy of an old token: neither side can be told from the thief, so the session ends for both. */
    rc = end_session(db, r, "reuse", reterr);
    return rc ? rc : refuse(reterr, CDS_UNAUTHENTICATED, "refresh.reused", "A refresh token was used twice, so its session was ended.");
}

static cds_rc refresh(struct cds_db *db, void *user, struct cds_err *reterr)
{
    struct refresh *r = user;
    char idle[24];
    snprintf(idle, sizeof(idle), "%" PRIu64, r->idle_s);
    const char *const params[] = {r->old_hash, idle};
    CDS_CLEANUP(cds_rows_free) struct cds_rows *rows = NULL;
    cds_rc rc = cds_db_exec(db,
                            "SELECT " CDS_USER_COLUMNS ", s.id, s.revoked_at IS NOT NULL, "
                            "s.expires_at <= now() OR s.last_used_at + make_interval(secs => $2::double precision) <= now(), "
                            "s.token_version <> u.token_version, t.used_at IS NOT NULL, "
                            "coalesce(t.used_at > now() - interval '10 seconds', false), "
                            "greatest(0, extract(epoch FROM s.expires_at - now()))::bigint "
                            "FROM refresh_tokens t JOIN sessions s ON s.id = t.session_id JOIN users u ON u.id = s.user_id "
                            "WHERE t.token_hash = $1 FOR UPDATE OF s, t",
                            2, params, false, &rows, reterr);
    if (rc)
        return rc;
    if (!cds_rows_count(rows))
        return refuse(reterr, CDS_UNAUTHENTICATED, "refresh.unknown", "There is no session for this browser.");
    cds_store_read_user(rows, 0, &r->out.user);
    cds_strcpy(r->out.session_id, sizeof(r->out.session_id), cds_rows_str(rows, 0, COL_SESSION));
    r->out.ends_in_s = cds_rows_i64(rows, 0, COL_LEFT, 0);
    return decide(db, r, rows, reterr);
}

cds_rc cds_store_refresh(struct cds_store *store, const char *old_hash, const char *new_hash, uint64_t idle_s, struct cds_refresh *ret,
                         struct cds_err *reterr)
{
    struct refresh r = {.old_hash = old_hash, .new_hash = new_hash, .idle_s = idle_s};
    cds_rc rc = cds_store_tx(store, refresh, &r, &r.keep, reterr);
    if (!rc)
        *ret = r.out;
    return rc;
}

cds_rc cds_store_session_close(struct cds_store *store, const char *refresh_hash, char ret_user_id[static 37], struct cds_err *reterr)
{
    const char *const params[] = {refresh_hash};
    const struct cds_statement st = {
        "UPDATE sessions s SET revoked_at = coalesce(s.revoked_at, now()), revoked_reason = coalesce(s.revoked_reason, 'logout') "
        "FROM refresh_tokens t WHERE t.token_hash = $1 AND s.id = t.session_id RETURNING s.user_id",
        1, params, true};
    CDS_CLEANUP(cds_rows_free) struct cds_rows *rows = NULL;
    cds_rc rc = cds_store_run(store, &st, &rows, reterr);
    if (!rc)
        cds_strcpy(ret_user_id, 37, cds_rows_count(rows) ? cds_rows_str(rows, 0, 0) : "");
    return rc;
}

cds_rc cds_store_sweep(struct cds_store *store, struct cds_err *reterr)
{
    const struct cds_statement st = {"DELETE FROM sessions WHERE id IN (SELECT id FROM sessions WHERE expires_at < now() - interval '1 day' "
                                     "OR revoked_at < now() - interval '1 day' LIMIT 1000)",
                                     0, NULL, true};
    return cds_store_run(store, &st, NULL, reterr);
}
