/* apps/cyberdevstudio/backup.c: `backup`: database and keys into a new folder. See backup.h. */
#include "apps/cyberdevstudio/backup.h"

#include <errno.h>
#include <limits.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "apps/cyberdevstudio/acts.h"
#include "apps/cyberdevstudio/database.h"
#include "lib/base/cleanup.h"
#include "lib/base/fd.h"
#include "lib/base/str.h"
#include "lib/json/json.h"

struct asked {
    const struct cds_command *cmd;
    const char *folder;
    struct cds_act act;
    char dump[PATH_MAX];
};

/* Where the chain of the audit log was before the dump began: the dump holds at least that, so a restored copy must show it. */
static const char facts_sql[] =
    "SELECT json_build_object('format', $1::int, 'version', $2::text, 'migration', (SELECT max(number) FROM schema_migrations),"
    " 'postgres', current_setting('server_version_num')::int / 10000, 'at', to_char(now() AT TIME ZONE 'UTC', 'YYYY-MM-DD\"T\"HH24:MI:SS\"Z\"'),"
    " 'audit_seq', seq, 'audit_hash', encode(hash, 'hex')) FROM audit_head";

static cds_rc make_folder(const char *folder, struct cds_err *reterr)
{
    char keys[PATH_MAX];
    if (snprintf(keys, sizeof(keys), "%s/keys", folder) >= (int)sizeof(keys))
        return cds_fail(reterr, CDS_TOO_LARGE, __func__, "The folder's name is too long.");
    if (mkdir(folder, 0700) && errno == EEXIST) {
        cds_fail(reterr, CDS_CONFLICT, __func__, "There is something at %s already, and a backup replaces nothing.", folder);
        return cds_err_hint(reterr, "Name a folder that does not exist.");
    }
    if (access(folder, W_OK) || mkdir(keys, 0700))
        return cds_fail_errno(reterr, errno, __func__, "The folder %s cannot be made.", folder);
    return CDS_OK;
}

static cds_rc back_up(void *user, struct cds_db *db, const struct cds_patience *patience, struct cds_err *reterr)
{
    struct asked *asked = user;
    char format[16], from[PATH_MAX], to[PATH_MAX];
    CDS_CLEANUP(cds_rows_free) struct cds_rows *rows = NULL;
    snprintf(format, sizeof(format), "%d", CDS_BACKUP_FORMAT);
    const char *params[] = {format, CDS_VERSION};
    cds_rc rc = cds_db_exec(db, facts_sql, CDS_ARRAY_LEN(params), params, true, &rows, reterr);
    if (rc != CDS_OK)
        return cds_err_hint(reterr, "Bring the schema up to date with \"cyberdevstudio migrate\", then try again.");
    if ((rc = make_folder(asked->folder, reterr)) != CDS_OK)
        return rc;
    snprintf(asked->dump, sizeof(asked->dump), "%s/database.dump", asked->folder);
    const char *args[] = {"--format=custom", "--no-owner", "--no-acl", "--file", asked->dump, NULL};
    rc = cds_backup_tool(asked->cmd->config, "pg_dump", args, patience, reterr);
    if (rc == CDS_OK && chmod(asked->dump, 0600))
        rc = cds_fail_errno(reterr, errno, __func__, "The dump cannot be closed to others.");
    snprintf(to, sizeof(to), "%s/keys", asked->folder);
    if (rc == CDS_OK)
        rc = cds_backup_copy(cds_config_path(asked->cmd->config, "keys", from, sizeof(from)), to, NULL, reterr);
    snprintf(to, sizeof(to), "%s/backup.json", asked->folder);
    const char *facts = cds_rows_str(rows, 0, 0);
    if (rc == CDS_OK)
        rc = facts ? cds_write_file_atomic(to, facts, strlen(facts), 0600, reterr)
                   : cds_fail(reterr, CDS_INTERNAL, __func__, "The database does not know its audit log.");
    if (rc == CDS_OK)
        printf("%s: %s\n", asked->folder, facts);
    return rc;
}

/* A backup holds secrets: whoever made one could be anybody. */
static cds_rc audited(void *user, struct cds_db *db, const struct cds_patience *patience, struct cds_err *reterr)
{
    struct asked *asked = user;
    cds_rc rc = cds_act_begin(db, &asked->act, reterr);
    if (rc != CDS_OK)
        return rc;
    rc = back_up(user, db, patience, reterr);
    cds_act_end(db, &asked->act, rc);
    return rc;
}

enum cds_exit cds_cmd_backup(const struct cds_command *cmd)
{
    struct cds_err err = {0};
    struct asked asked = {.cmd = cmd, .act.name = "backup"};
    if (cmd->argc != 1) {
        fprintf(stderr, "cyberdevstudio: backup needs one folder, which it makes.\n");
        return CDS_EXIT_USAGE;
    }
    asked.folder = cmd->argv[0];
    return cds_with_database(cmd, CDS_CLUSTER_THERE, audited, &asked, &err) == CDS_OK ? CDS_EXIT_OK : cds_complain(stderr, &err);
}
