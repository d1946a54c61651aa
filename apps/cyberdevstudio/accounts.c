/* apps/cyberdevstudio/accounts.c: `user list`, `user link`, `user role`, `user block`, `user unblock`, `user delete`, `user sessions`: what an
 * operator does without the page, also when nobody can sign in. The same SQL functions as the gateway's, so a running studio follows within a second.
 */
#include <stdio.h>
#include <string.h>

#include "apps/cyberdevstudio/acts.h"
#include "apps/cyberdevstudio/ask_sandbox.h"
#include "apps/cyberdevstudio/parts.h"
#include "lib/base/cleanup.h"
#include "lib/base/random.h"
#include "lib/base/str.h"
#include "lib/db/forget.h"
#include "lib/json/json.h"
#include "lib/jwt/jwt.h"

enum { TOKEN_BYTES = 32, TOKEN_TEXT = 43, FOLDER_MS = 60000 };

struct asked {
    const struct cds_command *cmd;
    struct cds_act act;
    cds_database_fn *fn;
    const char *email, *role, *status;
    const char *heir; /* of user delete: who gets the projects */
    bool remove;      /* of user delete: the projects are removed */
    bool json;
    char gone[CDS_FORGET_PROJECTS_MAX * 40 + 8]; /* ids of removed projects, JSON */
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

static const char forget_words[] = "Say who gets them with --projects-to ADDRESS, or --remove-projects to remove them with all files.";

static cds_rc tell_forgotten(struct asked *asked, const struct cds_rows *rows, struct cds_err *reterr)
{
    const char *verdict = cds_rows_str(rows, 0, 0);
    long long projects = (long long)cds_rows_i64(rows, 0, 1, 0);
    if (cds_streq(verdict, "projects")) {
        cds_fail(reterr, CDS_CONFLICT, __func__, "%s has %lld project%s with files.", asked->email, projects, projects == 1 ? "" : "s");
        return cds_err_hint(reterr, "%s", forget_words);
    }
    if (cds_streq(verdict, "no_heir"))
        return cds_fail(reterr, CDS_BAD_PARAM, __func__, "Projects go to another user of this studio who is not blocked.");
    if (cds_streq(verdict, "heir_full"))
        return cds_fail(reterr, CDS_CONFLICT, __func__, "%s would have more projects than one account may have; choose somebody else.", asked->heir);
    cds_rc rc = told(asked, verdict, "deleted", reterr);
    if (!rc && projects)
        printf("%lld project%s %s%s.\n", projects, projects == 1 ? "" : "s", asked->heir ? "handed over to " : "removed",
               asked->heir ? asked->heir : "");
    cds_strcpy(asked->gone, sizeof(asked->gone), cds_rows_str(rows, 0, 2));
    return rc;
}

static cds_rc id_of(struct cds_db *db, const char *email, char ret[static 37], struct cds_err *reterr)
{
    CDS_CLEANUP(cds_rows_free) struct cds_rows *rows = NULL;
    cds_rc rc = cds_db_exec(db, "SELECT id FROM users WHERE email = lower($1)", 1, &email, true, &rows, reterr);
    if (!rc && !cds_rows_count(rows))
        rc = no_user(email, reterr);
    if (!rc)
        cds_strcpy(ret, 37, cds_rows_str(rows, 0, 0));
    return rc;
}

static cds_rc forget(void *user, struct cds_db *db, const struct cds_patience *patience, struct cds_err *reterr)
{
    struct asked *asked = user;
    char id[37], heir[37], most[16];
    CDS_CLEANUP(cds_rows_free) struct cds_rows *rows = NULL;
    snprintf(most, sizeof(most), "%d", CDS_FORGET_PROJECTS_MAX);
    cds_rc rc = id_of(db, asked->email, id, reterr);
    if (!rc && asked->heir)
        rc = id_of(db, asked->heir, heir, reterr);
    const char *const params[] = {id, asked->heir ? heir : NULL, asked->remove ? "t" : "f", most};
    if (!rc)
        rc = cds_db_exec(db, cds_forget_sql, 4, params, false, &rows, reterr);
    return rc ? rc : tell_forgotten(asked, rows, reterr);
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
    cds_rc rc = cds_act_begin(db, &asked->act, reterr);
    if (rc != CDS_OK)
        return rc;
    rc = asked->fn(user, db, patience, reterr);
    cds_act_end(db, &asked->act, rc);
    return rc;
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
    struct asked asked = {.act.name = "user link"};
    return run_for_one(cmd, &asked, make_link, "link");
}

enum cds_exit cds_cmd_user_block(const struct cds_command *cmd)
{
    struct asked asked = {.act.name = "user block", .status = "blocked"};
    return run_for_one(cmd, &asked, change, "block");
}

enum cds_exit cds_cmd_user_unblock(const struct cds_command *cmd)
{
    struct asked asked = {.act.name = "user unblock", .status = "active"};
    return run_for_one(cmd, &asked, change, "unblock");
}

/* The folders, once the rows are gone: whoever ran in them was ended by the same change. */
static enum cds_exit remove_folders(const struct cds_command *cmd, const char *list)
{
    CDS_JSON_AUTO ids = NULL;
    char request[37];
    enum cds_exit worst = CDS_EXIT_OK;
    if (!*list || cds_json_parse(list, strlen(list), &ids, NULL))
        return CDS_EXIT_OK;
    for (size_t i = 0; i < cds_json_size(ids); i++) {
        CDS_JSON_AUTO result = NULL;
        const char *id = cds_json_str(cds_json_at(ids, i));
        cds_uuid7(request);
        enum cds_exit code =
            cds_ask_sandbox(cmd, "project.discard", cds_json_pack("{s:s,s:s}", "project", id, "request_id", request), FOLDER_MS, &result);
        if (code != CDS_EXIT_OK) {
            fprintf(stderr, "cyberdevstudio: the folder projects/%s could not be removed; remove it by hand.\n", id);
            worst = code;
        }
    }
    return worst;
}

enum cds_exit cds_cmd_user_delete(const struct cds_command *cmd)
{
    struct cds_command rest = *cmd;
    struct asked asked = {.act.name = "user delete", .remove = cds_take_switch(&rest, "--remove-projects")};
    CDS_JSON_AUTO there = NULL;
    if (!cds_take_value(&rest, "--projects-to", &asked.heir))
        return CDS_EXIT_USAGE;
    if (asked.heir && asked.remove) {
        fprintf(stderr, "cyberdevstudio: projects are handed over or removed, not both.\n");
        return CDS_EXIT_USAGE;
    }
    /* Folders are removed by the sandbox: without one the rows would go and the files stay. */
    if (asked.remove) {
        enum cds_exit code = cds_ask_sandbox(cmd, "image.list", cds_json_object(), FOLDER_MS, &there);
        if (code != CDS_EXIT_OK)
            return code;
    }
    enum cds_exit code = run_for_one(&rest, &asked, forget, "delete");
    return code == CDS_EXIT_OK ? remove_folders(cmd, asked.gone) : code;
}

enum cds_exit cds_cmd_user_signout(const struct cds_command *cmd)
{
    struct asked asked = {.act.name = "user signout"};
    return run_for_one(cmd, &asked, end_sessions, "signout");
}

enum cds_exit cds_cmd_user_role(const struct cds_command *cmd)
{
    struct cds_command rest = *cmd;
    struct asked asked = {.act.name = "user role"};
    if (!cds_take_value(&rest, "--email", &asked.email) || !cds_take_value(&rest, "--role", &asked.role) || !cds_no_more(&rest))
        return CDS_EXIT_USAGE;
    if (!asked.email || !asked.role || !(cds_streq(asked.role, "admin") || cds_streq(asked.role, "developer") || cds_streq(asked.role, "viewer"))) {
        fprintf(stderr, "cyberdevstudio: user role needs --email and --role (admin, developer or viewer).\n");
        return CDS_EXIT_USAGE;
    }
    return run(cmd, &asked, change);
}
