/* apps/auth/store_session.c: sessions and their chain of refresh tokens. */
#include <inttypes.h>
#include <stdio.h>
#include <string.h>

#include "apps/auth/store_priv.h"
#include "lib/base/cleanup.h"
#include "lib/base/random.h"
#include "lib/base/str.h"

cds_rc cds_store_refuse(struct cds_err *reterr, cds_rc code, const char *rule, const char *message, const char *hint)
{
    cds_fail(reterr, code, "cds_store", "%s", message);
    cds_err_rule(reterr, rule);
    cds_err_hint(reterr, "%s", hint);
    return code;
}

cds_rc cds_login_wrong(struct cds_err *reterr)
{
    return cds_store_refuse(reterr, CDS_UNAUTHENTICATED, "login.wrong", "Mail address or password is wrong.",
                            "Check both; an admin can set a new password.");
}

cds_rc cds_store_sessions_limit(struct cds_store *store, const char *user_id, struct cds_err *reterr)
{
    char most[16];
    snprintf(most, sizeof(most), "%d", CDS_SESSIONS_MAX);
    const char *const params[] = {user_id, most};
    const struct cds_statement st = {
        "SELECT session_end(x.id, NULL, 'limit') FROM (SELECT id FROM sessions WHERE user_id = $1::uuid AND revoked_at IS NULL "
        "AND expires_at > now() ORDER BY last_used_at DESC, id DESC OFFSET $2::int) x",
        2, params, true};
    return cds_store_run(store, &st, NULL, reterr);
}

cds_rc cds_store_session_open(struct cds_store *store, const struct cds_user *user, const struct cds_new_session *fresh,
                              char ret_session_id[static 37], struct cds_err *reterr)
{
    char id[CDS_UUID_LEN + 1], seconds[24], version[24];
    cds_uuid7(id);
    snprintf(seconds, sizeof(seconds), "%" PRIu64, fresh->max_s);
    snprintf(version, sizeof(version), "%" PRId64, user->token_version);
    const char *const params[] = {id, user->id, version, seconds, fresh->refresh_hash, fresh->device, fresh->address, user->hash};
    /* The update waits for a change of the password that is about to commit, and then looks at the row again. */
    const struct cds_statement open = {
        "WITH u AS (UPDATE users SET last_login_at = now() WHERE id = $2::uuid AND password_hash = $8 AND status = 'active' RETURNING id), "
        "s AS (INSERT INTO sessions (id, user_id, token_version, expires_at, device, address) "
        "SELECT $1::uuid, u.id, $3::bigint, now() + make_interval(secs => $4::double precision), $6, $7 FROM u RETURNING id) "
        "INSERT INTO refresh_tokens (token_hash, session_id) SELECT $5, s.id FROM s RETURNING 1",
        8, params, false};
    CDS_CLEANUP(cds_rows_free) struct cds_rows *rows = NULL;
    cds_rc rc = cds_store_run(store, &open, &rows, reterr);
    if (!rc && !cds_rows_count(rows))
        rc = cds_login_wrong(reterr);
    if (!rc)
        rc = cds_store_sessions_limit(store, user->id, reterr);
    if (!rc)
        memcpy(ret_session_id, id, sizeof(id));
    return rc;
}

struct refresh {
    const struct cds_continuation *how;
    struct cds_refresh out;
    const char *end_reason; /* the session is over for this reason, which is written down behind the transaction; NULL: it is not */
};

static cds_rc refuse(struct cds_err *reterr, cds_rc code, const char *rule, const char *message)
{
    cds_fail(reterr, code, "cds_store_refresh", "%s", message);
    cds_err_rule(reterr, rule);
    cds_err_hint(reterr, code == CDS_DENIED ? "Ask an admin of this studio." : "Sign in again.");
    return code;
}

static cds_rc rotate(struct cds_db *db, struct refresh *r, struct cds_err *reterr)
{
    const char *const params[] = {r->how->old_hash, r->how->new_hash, r->out.session_id};
    r->out.rotated = true;
    return cds_db_exec(db,
                       "WITH old AS (UPDATE refresh_tokens SET used_at = now() WHERE token_hash = $1), "
                       "s AS (UPDATE sessions SET last_used_at = now() WHERE id = $3) "
                       "INSERT INTO refresh_tokens (token_hash, session_id) VALUES ($2, $3)",
                       3, params, false, NULL, reterr);
}

/* The successor never arrived, it seems. It is marked as one that was used up before all times: should somebody have it after all, it is taken for a
 * copy, and there is one good token at any time. */
static cds_rc rotate_again(struct cds_db *db, struct refresh *r, struct cds_err *reterr)
{
    const char *const params[] = {r->out.session_id, r->how->new_hash};
    r->out.rotated = true;
    return cds_db_exec(db,
                       "WITH lost AS (UPDATE refresh_tokens SET used_at = '-infinity' WHERE session_id = $1::uuid AND used_at IS NULL), "
                       "s AS (UPDATE sessions SET last_used_at = now() WHERE id = $1::uuid) "
                       "INSERT INTO refresh_tokens (token_hash, session_id) VALUES ($2, $1::uuid)",
                       2, params, false, NULL, reterr);
}

enum { COL_SESSION = CDS_USER_COLUMN_COUNT, COL_REVOKED, COL_EXPIRED, COL_STALE, COL_USED, COL_GRACE, COL_LOST, COL_LEFT };

/* In the order of the answer: who the user is (a block ends the sessions, and it is the block that people need to hear of), then what the session is,
 * then what the token is. */
static cds_rc decide(struct cds_db *db, struct refresh *r, const struct cds_rows *rows, struct cds_err *reterr)
{
    if (r->out.user.blocked) {
        r->end_reason = "blocked";
        return refuse(reterr, CDS_DENIED, "user.blocked", "This account is blocked.");
    }
    if (cds_rows_bool(rows, 0, COL_REVOKED))
        return refuse(reterr, CDS_UNAUTHENTICATED, "session.ended", "This session was ended.");
    if (cds_rows_bool(rows, 0, COL_EXPIRED))
        return refuse(reterr, CDS_UNAUTHENTICATED, "session.expired", "This session has expired.");
    if (cds_rows_bool(rows, 0, COL_STALE)) {
        r->end_reason = "stale";
        return refuse(reterr, CDS_UNAUTHENTICATED, "session.stale", "The account changed since this session began.");
    }
    if (!cds_rows_bool(rows, 0, COL_USED))
        return rotate(db, r, reterr);
    if (cds_rows_bool(rows, 0, COL_GRACE))
        return CDS_OK;
    if (cds_rows_bool(rows, 0, COL_LOST))
        return rotate_again(db, r, reterr);
    /* Somebody holds a copy of an old token: neither side can be told from the thief, so the session ends for both. */
    r->end_reason = "reuse";
    return refuse(reterr, CDS_UNAUTHENTICATED, "refresh.reused", "A refresh token was used twice, so its session was ended.");
}

static cds_rc refresh(struct cds_db *db, void *user, struct cds_err *reterr)
{
    struct refresh *r = user;
    char idle[24], lost[24];
    snprintf(idle, sizeof(idle), "%" PRIu64, r->how->idle_s);
    snprintf(lost, sizeof(lost), "%" PRIu64, r->how->lost_s);
    const char *const params[] = {r->how->old_hash, idle, lost, r->how->device};
    CDS_CLEANUP(cds_rows_free) struct cds_rows *rows = NULL;
    cds_rc rc = cds_db_exec(db,
                            "SELECT " CDS_USER_COLUMNS ", s.id, s.revoked_at IS NOT NULL, "
                            "s.expires_at <= now() OR s.last_used_at + make_interval(secs => $2::double precision) <= now(), "
                            "s.token_version <> u.token_version, t.used_at IS NOT NULL, "
                            "coalesce(t.used_at > now() - interval '10 seconds', false) AND s.device = $4, "
                            /* The last one that was shown: nothing has come since from who got its successor. */
                            "coalesce(t.used_at > now() - make_interval(secs => $3::double precision), false) AND s.device = $4 "
                            "AND t.used_at = (SELECT max(x.used_at) FROM refresh_tokens x WHERE x.session_id = s.id), "
                            "greatest(0, extract(epoch FROM s.expires_at - now()))::bigint "
                            "FROM refresh_tokens t JOIN sessions s ON s.id = t.session_id JOIN users u ON u.id = s.user_id "
                            "WHERE t.token_hash = $1 FOR UPDATE OF s, t",
                            4, params, false, &rows, reterr);
    if (rc)
        return rc;
    if (!cds_rows_count(rows))
        return refuse(reterr, CDS_UNAUTHENTICATED, "refresh.unknown", "There is no session for this browser.");
    cds_store_read_user(rows, 0, &r->out.user);
    cds_strcpy(r->out.session_id, sizeof(r->out.session_id), cds_rows_str(rows, 0, COL_SESSION));
    r->out.ends_in_s = cds_rows_i64(rows, 0, COL_LEFT, 0);
    return decide(db, r, rows, reterr);
}

cds_rc cds_store_refresh(struct cds_store *store, const struct cds_continuation *how, struct cds_refresh *ret, struct cds_err *reterr)
{
    struct refresh r = {.how = how};
    cds_rc rc = cds_store_tx(store, refresh, &r, reterr);
    if (!rc)
        *ret = r.out;
    if (!r.end_reason)
        return rc;
    /* Behind the transaction: it holds the session's row, and who changes rights takes the clock's row first (0010_access.sql). */
    struct cds_err err;
    cds_rc end_rc = cds_store_session_end(store, r.out.session_id, r.end_reason, &err);
    if (end_rc && reterr)
        *reterr = err;
    return end_rc ? end_rc : rc;
}

cds_rc cds_store_session_end(struct cds_store *store, const char *session_id, const char *reason, struct cds_err *reterr)
{
    const char *const params[] = {session_id, reason};
    const struct cds_statement st = {"SELECT session_end($1::uuid, NULL, $2)", 2, params, true};
    return cds_store_run(store, &st, NULL, reterr);
}

cds_rc cds_store_session_close(struct cds_store *store, const char *refresh_hash, char ret_user_id[static 37], struct cds_err *reterr)
{
    const char *const params[] = {refresh_hash};
    const struct cds_statement st = {
        "SELECT s.user_id, session_end(s.id, NULL, 'logout') FROM refresh_tokens t JOIN sessions s ON s.id = t.session_id WHERE t.token_hash = $1", 1,
        params, true};
    CDS_CLEANUP(cds_rows_free) struct cds_rows *rows = NULL;
    cds_rc rc = cds_store_run(store, &st, &rows, reterr);
    if (!rc)
        cds_strcpy(ret_user_id, 37, cds_rows_count(rows) ? cds_rows_str(rows, 0, 0) : "");
    return rc;
}

cds_rc cds_store_sweep(struct cds_store *store, struct cds_err *reterr)
{
    static const char *const sql[] = {"DELETE FROM sessions WHERE id IN (SELECT id FROM sessions WHERE expires_at < now() - interval '1 day' "
                                      "OR revoked_at < now() - interval '1 day' LIMIT 1000)",
                                      "DELETE FROM access_changes WHERE seq IN (SELECT seq FROM access_changes WHERE at < now() - interval '1 day' "
                                      "ORDER BY seq LIMIT 1000)"};
    cds_rc rc = CDS_OK;
    for (size_t i = 0; !rc && i < CDS_ARRAY_LEN(sql); i++) {
        const struct cds_statement st = {.sql = sql[i], .repeatable = true};
        rc = cds_store_run(store, &st, NULL, reterr);
    }
    return rc;
}
