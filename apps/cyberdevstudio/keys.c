/* apps/cyberdevstudio/keys.c: `key list|create|rotate|revoke`: API keys without the page. Keys are made by cds-auth, which has the pepper; the rest
 * are the gateway's own statements, so a running studio follows within a second. */
#include <stdio.h>
#include <string.h>

#include "apps/cyberdevstudio/acts.h"
#include "apps/cyberdevstudio/auth_program.h"
#include "lib/base/cleanup.h"
#include "lib/base/random.h"
#include "lib/base/str.h"
#include "lib/json/json.h"

enum { WORDS_MAX = 20 };

struct asked {
    const struct cds_command *cmd;
    const char *email, *id;
    const char *words[WORDS_MAX]; /* for cds-auth */
    struct cds_act act;
    cds_database_fn *fn;
    bool json;
};

/* ---- list ---- */
static const char list_sql[] =
    "SELECT k.id, u.email, k.name, k.role, CASE WHEN k.revoked_at IS NOT NULL THEN 'revoked' WHEN k.expires_at <= now() THEN 'expired' ELSE 'active' "
    "END,"
    " coalesce(to_char(k.last_used_at AT TIME ZONE 'UTC', 'YYYY-MM-DD HH24:MI'), '-'),"
    " coalesce(to_char(k.expires_at AT TIME ZONE 'UTC', 'YYYY-MM-DD HH24:MI'), '-'), array_to_string(k.scopes, ','), array_to_string(k.models, ',')"
    " FROM api_keys k JOIN users u ON u.id = k.user_id WHERE u.status <> 'deleted' AND ($1::text IS NULL OR u.email = lower($1))"
    " ORDER BY k.revoked_at IS NULL AND (k.expires_at IS NULL OR k.expires_at > now()) DESC, u.email, k.created_at DESC LIMIT 1000";
enum { ID, EMAIL, NAME, ROLE, STATE, USED, EXPIRES, SCOPES, MODELS, COLUMNS };

static void print_list(const struct cds_rows *rows, bool json)
{
    static const char *const names[] = {"key_id", "email", "name", "role", "state", "last_used_at", "expires_at", "scopes", "models"};
    CDS_JSON_AUTO all = cds_json_array();
    if (!json)
        printf("%-36s %-32s %-20s %-10s %-8s %-17s %s\n", "KEY", "USER", "NAME", "ROLE", "STATE", "LAST USE", "EXPIRES");
    for (int i = 0; i < cds_rows_count(rows); i++) {
        cds_json *one = json ? cds_json_object() : NULL;
        for (int c = 0; json && c < COLUMNS; c++)
            cds_json_set(one, names[c], cds_json_string(cds_rows_str(rows, i, c)));
        if (json)
            cds_json_append(all, one);
        else
            printf("%-36s %-32s %-20s %-10s %-8s %-17s %s\n", cds_rows_str(rows, i, ID), cds_rows_str(rows, i, EMAIL), cds_rows_str(rows, i, NAME),
                   cds_rows_str(rows, i, ROLE), cds_rows_str(rows, i, STATE), cds_rows_str(rows, i, USED), cds_rows_str(rows, i, EXPIRES));
    }
    CDS_CLEANUP(cds_free_ptr) char *text = json ? cds_json_dumps(all, NULL) : NULL;
    if (text)
        puts(text);
}

static cds_rc list(void *user, struct cds_db *db, const struct cds_patience *patience, struct cds_err *reterr)
{
    const struct asked *asked = user;
    CDS_CLEANUP(cds_rows_free) struct cds_rows *rows = NULL;
    cds_rc rc = cds_db_exec(db, list_sql, 1, &asked->email, true, &rows, reterr);
    if (rc == CDS_OK)
        print_list(rows, asked->json);
    return rc;
}

/* ---- changes ---- */
static cds_rc end_key(void *user, struct cds_db *db, const struct cds_patience *patience, struct cds_err *reterr)
{
    const struct asked *asked = user;
    CDS_CLEANUP(cds_rows_free) struct cds_rows *rows = NULL;
    if (!cds_uuid_valid(asked->id))
        return cds_fail(reterr, CDS_BAD_PARAM, __func__, "An API key is named by its id, as \"cyberdevstudio key list\" shows it.");
    cds_rc rc = cds_db_exec(db, "SELECT key_end($1::uuid, NULL, 'revoked')", 1, &asked->id, false, &rows, reterr);
    if (rc != CDS_OK)
        return rc;
    if (!cds_streq(cds_rows_str(rows, 0, 0), "ok")) {
        cds_fail(reterr, CDS_NOT_FOUND, __func__, "There is no live API key with the id %s.", asked->id);
        return cds_err_hint(reterr, "\"cyberdevstudio key list\" shows all.");
    }
    printf("%s: revoked.\n", asked->id);
    return CDS_OK;
}

static cds_rc run_auth(void *user, struct cds_db *db, const struct cds_patience *patience, struct cds_err *reterr)
{
    const struct asked *asked = user;
    return cds_run_auth(asked->cmd, asked->words, NULL, patience, reterr);
}

/* ---- commands ---- */
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

/* Passes the named flags on to cds-auth; those in front are needed. */
static enum cds_exit run_with(const struct cds_command *cmd, const char *verb, const char *const *flags, size_t needed, size_t count)
{
    struct cds_command rest = *cmd;
    char name[24];
    struct asked asked = {.words = {"key", verb}, .act.name = name};
    size_t n = 2;
    snprintf(name, sizeof(name), "key %s", verb);
    for (size_t i = 0; i < count; i++) {
        const char *value = NULL;
        if (!cds_take_value(&rest, flags[i], &value))
            return CDS_EXIT_USAGE;
        if (!value && i < needed) {
            fprintf(stderr, "cyberdevstudio: key %s needs %s.\n", verb, flags[i]);
            return CDS_EXIT_USAGE;
        }
        if (value && cds_streq(flags[i], "--id") && cds_uuid_valid(value))
            asked.act.object = value;
        if (value) {
            asked.words[n++] = flags[i];
            asked.words[n++] = value;
        }
    }
    return cds_no_more(&rest) ? run(cmd, &asked, run_auth) : CDS_EXIT_USAGE;
}

enum cds_exit cds_cmd_key_list(const struct cds_command *cmd)
{
    struct cds_command rest = *cmd;
    struct asked asked = {.json = cds_take_switch(&rest, "--json")};
    return cds_take_value(&rest, "--email", &asked.email) && cds_no_more(&rest) ? run(cmd, &asked, list) : CDS_EXIT_USAGE;
}

enum cds_exit cds_cmd_key_create(const struct cds_command *cmd)
{
    static const char *const flags[] = {"--email", "--name", "--role", "--scopes", "--models", "--days"};
    return run_with(cmd, "create", flags, 2, CDS_ARRAY_LEN(flags));
}

enum cds_exit cds_cmd_key_rotate(const struct cds_command *cmd)
{
    static const char *const flags[] = {"--id", "--overlap-s"};
    return run_with(cmd, "rotate", flags, 1, CDS_ARRAY_LEN(flags));
}

enum cds_exit cds_cmd_key_revoke(const struct cds_command *cmd)
{
    struct cds_command rest = *cmd;
    struct asked asked = {.act.name = "key revoke"};
    if (!cds_take_value(&rest, "--id", &asked.id) || !cds_no_more(&rest))
        return CDS_EXIT_USAGE;
    if (!asked.id) {
        fprintf(stderr, "cyberdevstudio: key revoke needs --id.\n");
        return CDS_EXIT_USAGE;
    }
    asked.act.object = cds_uuid_valid(asked.id) ? asked.id : NULL;
    return run(cmd, &asked, end_key);
}
