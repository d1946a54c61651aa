/* apps/cyberdevstudio/accounts.c: `user list`, `user link`, `user role`, `user block`, `user unblock`, `user delete`, `user sessions`: what an
 * operator does without the page, also when nobody can sign in. The same SQL functions as the gateway's, so a running studio follows within a second.
 */
#include <stdio.h>
#include <string.h>

#include "apps/cyberdevstudio/database.h"
#include "apps/cyberdevstudio/parts.h"
#include "lib/base/cleanup.h"
#include "lib/base/random.h"
#include "lib/base/str.h"
#include "lib/json/json.h"
#include "lib/jwt/jwt.h"

enum { TOKEN_BYTES = 32, TOKEN_TEXT = 43 };

struct asked {
    const struct cds_command *cmd;
    const char *act; /**< of the audit log, NULL: nothing is changed */
    cds_database_fn *fn;
    const char *email, *role, *status;
    bool json;
};

/* ---- list ---- */
static const char list_sql[] = "SELECT u.email, u.role, u.status, coalesce(to_char(u.last_login_at AT TIME ZONE 'UTC', 'YYYY-MM-DD HH24:MI'), '-'),"
                               " (SELECT count(*) FROM sessions s WHERE s.user_id = u.id AND s.revoked_at IS NULL AND s.expires_at > now()), u.id"
                               " FROM users u WHERE u.status <> 'deleted' ORDER BY u.email";

static void print_list(const struct cds_rows *rows, bool json)
{
    CDS_JSON_AUTO all = cds_json_array();
    if (!json)
        printf("%-40s %-10s %-8s %-17s %s\n", "ADDRESS", "ROLE", "STATE", "LAST SIGN-IN", "SESSIONS");
    for (int i = 0; i < cds_rows_count(rows); i++) {
        const char *const c[] = {cds_rows_str(rows, i, 0), cds_rows_str(rows, i, 1), cds_rows_str(rows, i, 2),
                                 cds_rows_str(rows, i, 3), cds_rows_str(rows, i, 4), cds_rows_str(rows, i, 5)};
        if (json)
            cds_json_append(all, cds_json_pack("{s:s,s:s,s:s,s:s,s:s,s:I}", "user_id", c[5], "email", c[0], "role", c[1], "status", c[2],
                                               "last_login_at", c[3], "sessions", cds_rows_i64(rows, i, 4, 0)));
        else
            printf("%-40s %-10s %-8s %-17s %s\n", c[0], c[1], c[2], c[3], c[4]);
    }
    CDS_CLEANUP(cds_free_ptr) char *text = json ? cds_json_dumps(all, NULL) : NULL;
    if (text)
        puts(text);
}

static cds_rc list(void *user, struct cds_db *db, const struct cds_patience *patience, struct cds_err *reterr)
{
    const struct asked *asked = user;
    CDS_CLEANUP(cds_rows_free) struct cds_rows *rows = NULL;
    cds_rc rc = cds_db_exec(db, list_sql, 0, NULL, true, &rows, reterr);
    if (rc == CDS_OK)
        print_list(rows, asked->json);
    return rc;
}

/* ---- changes ---- */
static cds_rc no_user(const char *email, struct cds_err *reterr)
{
    cds_fail(reterr, CDS_NOT_FOUND, __func__, "There is no user %s.", email);
    return cds_err_hint(reterr, "\"cyberdevstudio user list\" shows all.");
}

static cds_rc told(const struct asked *asked, const char *verdict, const char *what, struct cds_err *reterr)
{
    if (!verdict || cds_streq(verdict, "unknown"))
        return no_user(asked->email, reterr);
    if (cds_streq(verdict, "last_admin")) {
        cds_fail(reterr, CDS_CONFLICT, __func__, "%s is the last active admin: without one nobody could manage the studio.", asked->email);
        return cds_err_hint(reterr, "Make another one first: \"cyberdevstudio user role --email E --role admin\".");
    }
    printf("%s: %s%s.\n", asked->email, cds_streq(verdict, "same") ? "already " : "", what);
    return CDS_OK;
}

static cds_rc change(void *user, struct cds_db *db, const struct cds_patience *patience, struct cds_err *reterr)
{
    const struct asked *asked = user;
    const char *why = asked->role ? "role" : asked->status;
    const char *const params[] = {asked->email, asked->role, asked->status, why};
    CDS_CLEANUP(cds_rows_free) struct cds_rows *rows = NULL;
    cds_rc rc =
        cds_db_exec(db, "SELECT user_change(id, $2::text, $3::text, $4::text) FROM users WHERE email = lower($1)", 4, params, false, &rows, reterr);
    if (rc != CDS_OK)
        return rc;
    return told(asked, cds_rows_count(rows) ? cds_rows_str(rows, 0, 0) : NULL,
                asked->role                           ? asked->role
                : cds_streq(asked->status, "blocked") ? "blocked"
                                                      : "unblocked",
                reterr);
}

static cds_rc forget(void *user, struct cds_db *db, const struct cds_patience *patience, struct cds_err *reterr)
{
    const struct asked *asked = user;
    CDS_CLEANUP(cds_rows_free) struct cds_rows *rows = NULL;
    cds_rc rc = cds_db_exec(db, "SELECT user_forget(id) FROM users WHERE email = lower($1)", 1, &asked->email, false, &rows, reterr);
    return rc != CDS_OK ? rc : told(asked, cds_rows_count(rows) ? cds_rows_str(rows, 0, 0) : NULL, "deleted", reterr);
}

static cds_rc end_sessions(void *user, struct cds_db *db, const struct cds_patience *patience, struct cds_err *reterr)
{
    const struct asked *asked = user;
    CDS_CLEANUP(cds_rows_free) struct cds_rows *rows = NULL;
    cds_rc rc =
        cds_db_exec(db, "SELECT sessions_end(id, NULL, 'revoked') FROM users WHERE email = lower($1)", 1, &asked->email, false, &rows, reterr);
    if (rc != CDS_OK)
        return rc;
    if (!cds_rows_count(rows))
        return no_user(asked->email, reterr);
    printf("%s: %s sessions ended.\n", asked->email, cds_rows_str(rows, 0, 0));
    return CDS_OK;
}

/* One statement: the link that was there before is void, and a blocked account gets none. */
static const char link_sql[] =
    "WITH u AS (SELECT id, status FROM users WHERE email = lower($1) AND status IN ('active', 'pending')),"
    " gone AS (DELETE FROM invites WHERE used_at IS NULL AND user_id IN (SELECT id FROM u))"
    " INSERT INTO invites (token_hash, user_id, kind, expires_at)"
    " SELECT $2, u.id, CASE u.status WHEN 'pending' THEN 'invite' ELSE 'reset' END, now() + make_interval(secs => $3::bigint) FROM u"
    " RETURNING to_char(expires_at AT TIME ZONE 'UTC', 'YYYY-MM-DD HH24:MI')";

static cds_rc make_link(void *user, struct cds_db *db, const struct cds_patience *patience, struct cds_err *reterr)
{
    const struct asked *asked = user;
    const struct cds_config *config = asked->cmd->config;
    unsigned char secret[TOKEN_BYTES];
    char token[TOKEN_TEXT + 1], hash[65], life_s[24], url[512];
    cds_random(secret, sizeof(secret));
    cds_base64url(secret, sizeof(secret), token);
    cds_sha256_hex(token, TOKEN_TEXT, hash);
    snprintf(life_s, sizeof(life_s), "%llu", (unsigned long long)cds_config_u64(config, CDS_OPT_AUTH_INVITE_S));
    const char *const params[] = {asked->email, hash, life_s};
    CDS_CLEANUP(cds_rows_free) struct cds_rows *rows = NULL;
    cds_rc rc = cds_db_exec(db, link_sql, CDS_ARRAY_LEN(params), params, false, &rows, reterr);
    if (rc == CDS_OK && !cds_rows_count(rows)) {
        cds_fail(reterr, CDS_NOT_FOUND, __func__, "There is no user %s, or the account is blocked.", asked->email);
        rc = cds_err_hint(reterr, "\"cyberdevstudio user list\" shows all.");
    }
    if (rc == CDS_OK)
        printf("%s/invite#token=%s\nIt sets the password of %s, works once, until %s UTC.\n", cds_public_url(config, url, sizeof(url)), token,
               asked->email, cds_rows_str(rows, 0, 0));
    explicit_bzero(secret, sizeof(secret));
    explicit_bzero(token, sizeof(token));
    return rc;
}

/* ---- commands ---- */
/* An operator's act stands in the audit log before it is done, as an admin's does; whom it is about stands in the lines of what changes. */
static cds_rc audited(void *user, struct cds_db *db, const struct cds_patience *patience, struct cds_err *reterr)
{
    struct asked *asked = user;
    cds_rc rc = CDS_OK;
    if (asked->act)
        rc = cds_db_exec(db, "SELECT audit_add('begin', 'command line', NULL, NULL, $1::text, NULL, '{}')", 1, &asked->act, false, NULL, reterr);
    return rc == CDS_OK ? asked->fn(user, db, patience, reterr) : rc;
}

static enum cds_exit run(const struct cds_command *cmd, struct asked *asked, cds_database_fn *fn)
{
    struct cds_err err = {0};
    asked->cmd = cmd;
    asked->fn = fn;
    return cds_with_database(cmd, CDS_CLUSTER_THERE, audited, asked, &err) == CDS_OK ? CDS_EXIT_OK : cds_complain(stderr, &err);
}

static enum cds_exit run_for_one(const struct cds_command *cmd, struct asked *asked, cds_database_fn *fn, const char *name)
{
    struct cds_command rest = *cmd;
    if (!cds_take_value(&rest, "--email", &asked->email) || !cds_no_more(&rest))
        return CDS_EXIT_USAGE;
    if (!asked->email) {
        fprintf(stderr, "cyberdevstudio: user %s needs --email.\n", name);
        return CDS_EXIT_USAGE;
    }
    return run(cmd, asked, fn);
}

enum cds_exit cds_cmd_user_list(const struct cds_command *cmd)
{
    struct cds_command rest = *cmd;
    struct asked asked = {.json = cds_take_switch(&rest, "--json")};
    return cds_no_more(&rest) ? run(cmd, &asked, list) : CDS_EXIT_USAGE;
}

enum cds_exit cds_cmd_user_link(const struct cds_command *cmd)
{
    struct asked asked = {.act = "user link"};
    return run_for_one(cmd, &asked, make_link, "link");
}

enum cds_exit cds_cmd_user_block(const struct cds_command *cmd)
{
    struct asked asked = {.act = "user block", .status = "blocked"};
    return run_for_one(cmd, &asked, change, "block");
}

enum cds_exit cds_cmd_user_unblock(const struct cds_command *cmd)
{
    struct asked asked = {.act = "user unblock", .status = "active"};
    return run_for_one(cmd, &asked, change, "unblock");
}

enum cds_exit cds_cmd_user_delete(const struct cds_command *cmd)
{
    struct asked asked = {.act = "user delete"};
    return run_for_one(cmd, &asked, forget, "delete");
}

enum cds_exit cds_cmd_user_signout(const struct cds_command *cmd)
{
    struct asked asked = {.act = "user signout"};
    return run_for_one(cmd, &asked, end_sessions, "signout");
}

enum cds_exit cds_cmd_user_role(const struct cds_command *cmd)
{
    struct cds_command rest = *cmd;
    struct asked asked = {.act = "user role"};
    if (!cds_take_value(&rest, "--email", &asked.email) || !cds_take_value(&rest, "--role", &asked.role) || !cds_no_more(&rest))
        return CDS_EXIT_USAGE;
    if (!asked.email || !asked.role || !(cds_streq(asked.role, "admin") || cds_streq(asked.role, "developer") || cds_streq(asked.role, "viewer"))) {
        fprintf(stderr, "cyberdevstudio: user role needs --email and --role (admin, developer or viewer).\n");
        return CDS_EXIT_USAGE;
    }
    return run(cmd, &asked, change);
}
