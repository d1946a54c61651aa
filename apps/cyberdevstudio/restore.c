/* apps/cyberdevstudio/restore.c: `restore`: an empty database filled from a backup, brought to the schema of this version, and checked. See backup.h.
 */
#include <limits.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

#include "apps/cyberdevstudio/acts.h"
#include "apps/cyberdevstudio/backup.h"
#include "apps/cyberdevstudio/database.h"
#include "apps/cyberdevstudio/home.h"
#include "apps/cyberdevstudio/ledger_verify.h"
#include "apps/cyberdevstudio/parts.h"
#include "apps/cyberdevstudio/services.h"
#include "lib/base/cleanup.h"
#include "lib/base/fd.h"
#include "lib/base/str.h"
#include "lib/json/json.h"

enum { FACTS_MAX = 4096 };

struct asked {
    const struct cds_command *cmd;
    const char *folder;
    cds_json *facts;
    struct cds_ledger_report report;
    bool chain_goes_on;
};

static cds_rc read_facts(struct asked *asked, struct cds_err *reterr)
{
    char path[PATH_MAX];
    CDS_CLEANUP(cds_buf_free) struct cds_buf text = cds_buf_init(FACTS_MAX);
    snprintf(path, sizeof(path), "%s/backup.json", asked->folder);
    cds_rc rc = cds_read_file(path, &text, reterr);
    if (rc == CDS_OK)
        rc = cds_json_parse(text.data ? text.data : "", text.len, &asked->facts, reterr);
    if (rc != CDS_OK) {
        cds_fail(reterr, CDS_NOT_FOUND, __func__, "There is no whole backup in %s.", asked->folder);
        return cds_err_hint(reterr, "A backup is finished when its file backup.json is there.");
    }
    if (cds_json_get_i64(asked->facts, "format", 0) == CDS_BACKUP_FORMAT)
        return CDS_OK;
    return cds_fail(reterr, CDS_CONFLICT, __func__, "The backup in %s has a form that this version does not know.", asked->folder);
}

static cds_rc check_empty(struct cds_db *db, struct cds_err *reterr)
{
    CDS_CLEANUP(cds_rows_free) struct cds_rows *rows = NULL;
    cds_rc rc = cds_db_exec(db, "SELECT count(*) FROM pg_tables WHERE schemaname = 'public'", 0, NULL, true, &rows, reterr);
    if (rc != CDS_OK || cds_rows_i64(rows, 0, 0, 1) == 0)
        return rc;
    cds_fail(reterr, CDS_CONFLICT, __func__, "The database is not empty, and a restore replaces nothing.");
    return cds_err_hint(reterr, "Name a new data folder with --studio.home=FOLDER, or an empty database with DATABASE_URL.");
}

/* The services' user must be able to read them. */
static cds_rc put_keys(const struct asked *asked, struct cds_err *reterr)
{
    char from[PATH_MAX], to[PATH_MAX], program_dir[PATH_MAX], note[512];
    const struct cds_config *config = asked->cmd->config;
    struct cds_identity services;
    cds_services_identity(config, cds_config_home(config), cds_program_dir(program_dir, sizeof(program_dir)), true, &services, note, sizeof(note));
    snprintf(from, sizeof(from), "%s/keys", asked->folder);
    cds_rc rc = cds_mkdir_p(cds_config_path(config, "keys", to, sizeof(to)), 0700, reterr);
    if (rc == CDS_OK && services.change && chown(to, services.uid, services.gid))
        rc = cds_fail(reterr, CDS_SYSTEM, __func__, "The folder %s cannot be given to the services' user.", to);
    return rc == CDS_OK ? cds_backup_copy(from, to, &services, reterr) : rc;
}

/* Line audit_seq of the chain is the one that stood there when the backup was made. */
static cds_rc check_chain(struct cds_db *db, struct asked *asked, struct cds_err *reterr)
{
    char seq[24];
    CDS_CLEANUP(cds_rows_free) struct cds_rows *rows = NULL;
    snprintf(seq, sizeof(seq), "%lld", (long long)cds_json_get_i64(asked->facts, "audit_seq", 0));
    const char *hash = cds_json_get_str(asked->facts, "audit_hash");
    const char *params[] = {seq, hash ? hash : ""};
    cds_rc rc = cds_db_exec(db, "SELECT $1::bigint = 0 OR EXISTS (SELECT FROM audit_log WHERE seq = $1::bigint AND encode(hash, 'hex') = $2::text)",
                            CDS_ARRAY_LEN(params), params, true, &rows, reterr);
    asked->chain_goes_on = rc == CDS_OK && cds_rows_bool(rows, 0, 0);
    return rc;
}

static cds_rc restore(void *user, struct cds_db *db, const struct cds_patience *patience, struct cds_err *reterr)
{
    struct asked *asked = user;
    char dump[PATH_MAX];
    snprintf(dump, sizeof(dump), "%s/database.dump", asked->folder);
    const char *args[] = {"--exit-on-error", "--single-transaction", "--no-owner", "--no-acl", dump, NULL};
    cds_rc rc = check_empty(db, reterr);
    if (rc == CDS_OK)
        rc = cds_backup_tool(asked->cmd->config, "pg_restore", args, patience, reterr);
    if (rc == CDS_OK)
        rc = cds_database_migrate(asked->cmd, db, NULL, NULL, reterr);
    /* Roles are the server's, so a copy has no grants: they are made anew. */
    if (rc == CDS_OK)
        rc = cds_db_exec(db, "SELECT roles_make(), roles_grant()", 0, NULL, false, NULL, reterr);
    if (rc == CDS_OK)
        rc = put_keys(asked, reterr);
    if (rc == CDS_OK)
        rc = check_chain(db, asked, reterr);
    /* There is a log only now; its lines say that what stands before them came out of a backup. */
    struct cds_act act = {.name = "restore"};
    if (rc == CDS_OK)
        rc = cds_act_begin(db, &act, reterr);
    if (rc != CDS_OK)
        return rc;
    rc = cds_ledger_verify(db, &asked->report, reterr);
    cds_act_end(db, &act, rc == CDS_OK && (asked->report.broken || !asked->chain_goes_on) ? CDS_CONFLICT : rc);
    return rc;
}

static cds_rc check_stopped(const struct cds_command *cmd, struct cds_err *reterr)
{
    if (!cds_home_locked(cds_config_home(cmd->config), NULL))
        return CDS_OK;
    cds_fail(reterr, CDS_CONFLICT, __func__, "The studio on %s runs.", cds_config_home(cmd->config));
    return cds_err_hint(reterr, "Stop it with \"cyberdevstudio down\", or name another data folder with --studio.home=FOLDER.");
}

/* Beside a database that is not ours the data folder still gets the keys: it is made ours as a start would, so that a start takes it. */
static cds_rc take_home(const struct cds_command *cmd, struct cds_home *home, struct cds_err *reterr)
{
    if (!*cds_config_str(cmd->config, CDS_OPT_DB_URL))
        return CDS_OK; /* whoever starts the cluster does it */
    cds_rc rc = cds_home_make(cmd->config, home, reterr);
    return rc == CDS_OK ? cds_home_lock(home, reterr) : rc;
}

enum cds_exit cds_cmd_restore(const struct cds_command *cmd)
{
    static struct asked asked;
    CDS_CLEANUP(cds_home_unlock) struct cds_home home = {.lock_fd = -1};
    struct cds_err err = {0};
    if (cmd->argc != 1) {
        fprintf(stderr, "cyberdevstudio: restore needs the folder of a backup.\n");
        return CDS_EXIT_USAGE;
    }
    asked.cmd = cmd;
    asked.folder = cmd->argv[0];
    cds_rc rc = check_stopped(cmd, &err);
    if (rc == CDS_OK)
        rc = read_facts(&asked, &err);
    if (rc == CDS_OK)
        rc = take_home(cmd, &home, &err);
    if (rc == CDS_OK)
        rc = cds_with_database(cmd, CDS_CLUSTER_MADE, restore, &asked, &err);
    if (rc == CDS_OK)
        cds_ledger_print(&asked.report);
    if (rc == CDS_OK && !asked.chain_goes_on)
        puts("The audit log is NOT the one that was backed up.");
    cds_json_unref(asked.facts);
    if (rc != CDS_OK)
        return cds_complain(stderr, &err);
    return asked.report.broken || !asked.chain_goes_on ? CDS_EXIT_FAILED : CDS_EXIT_OK;
}
