/* apps/cyberdevstudio/backup_files.c: see backup.h. */
#include "apps/cyberdevstudio/backup.h"

#include <dirent.h>
#include <errno.h>
#include <limits.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "apps/cyberdevstudio/pg.h"
#include "lib/base/cleanup.h"
#include "lib/base/clock.h"
#include "lib/base/fd.h"
#include "lib/base/str.h"
#include "lib/db/db.h"

enum { ARGS_MAX = 16, SAID_MAX = 8192 };

/* What a program said last: there it tells why it gave up. */
static const char *last_line(const char *text)
{
    const char *line = strrchr(text, '\n');
    return line ? line + 1 : text;
}

cds_rc cds_backup_tool(const struct cds_config *config, const char *name, const char *const *args, const struct cds_patience *patience,
                       struct cds_err *reterr)
{
    char bin_dir[512], program[600], conninfo[CDS_DB_CONNINFO_MAX], bare[CDS_DB_CONNINFO_MAX], password[CDS_DB_CONNINFO_MAX];
    char env[CDS_DB_CONNINFO_MAX + 16];
    int major = 0, n = 0;
    cds_rc rc = cds_pg_find(config, bin_dir, sizeof(bin_dir), &major, reterr);
    if (rc == CDS_OK)
        rc = cds_db_conninfo_whole(config, conninfo, reterr);
    if (rc == CDS_OK)
        rc = cds_db_conninfo_tools(conninfo, bare, password, reterr);
    if (rc != CDS_OK)
        return rc;
    snprintf(program, sizeof(program), "%s/%s", bin_dir, name);
    const char *argv[ARGS_MAX] = {program, "-d", bare};
    for (n = 3; args[n - 3] && n + 1 < ARGS_MAX; n++)
        argv[n] = args[n - 3];
    snprintf(env, sizeof(env), "PGPASSWORD=%s", password);
    const struct cds_capture_how how = {.argv = argv,
                                        .env = {.extra = *password ? env : NULL},
                                        .deadline_ms = cds_now_ms() + CDS_BACKUP_TOOL_MS,
                                        .patience = *patience,
                                        .max_bytes = SAID_MAX};
    struct cds_capture got;
    rc = cds_capture_run(&how, &got, reterr);
    explicit_bzero(env, sizeof(env));
    explicit_bzero(password, sizeof(password));
    explicit_bzero(conninfo, sizeof(conninfo));
    if (rc != CDS_OK)
        return rc;
    if (got.exit_code != 0 || got.timed_out)
        rc = cds_fail(reterr, CDS_SYSTEM, __func__, "%s ended with %d: %.160s", name, got.exit_code,
                      got.out.data ? last_line(got.out.data) : "it said nothing");
    cds_capture_free(&got);
    return rc;
}

static cds_rc copy_one(const char *from, const char *to, const struct cds_identity *owner, struct cds_err *reterr)
{
    struct stat st;
    CDS_CLEANUP(cds_buf_free) struct cds_buf bytes = cds_buf_init(CDS_BACKUP_KEY_BYTES);
    if (lstat(from, &st) || !S_ISREG(st.st_mode) || access(to, F_OK) == 0)
        return CDS_OK; /* no plain file, or what is there counts */
    cds_rc rc = cds_read_file(from, &bytes, reterr);
    if (rc == CDS_OK)
        rc = cds_write_file_atomic(to, bytes.data ? bytes.data : "", bytes.len, 0600, reterr);
    if (bytes.data)
        explicit_bzero(bytes.data, bytes.len);
    if (rc == CDS_OK && owner && owner->change && lchown(to, owner->uid, owner->gid))
        rc = cds_fail_errno(reterr, errno, __func__, "The file %s cannot be given to the services' user.", to);
    return rc;
}

cds_rc cds_backup_copy(const char *from, const char *to, const struct cds_identity *owner, struct cds_err *reterr)
{
    CDS_CLEANUP(cds_close_dir) DIR *d = opendir(from);
    char source[PATH_MAX], target[PATH_MAX];
    int n = 0;
    cds_rc rc = CDS_OK;
    if (!d)
        return errno == ENOENT ? CDS_OK : cds_fail_errno(reterr, errno, __func__, "The folder %s cannot be read.", from);
    for (const struct dirent *e; rc == CDS_OK && (e = readdir(d));) {
        if (e->d_name[0] == '.')
            continue;
        if (++n > CDS_BACKUP_KEYS_MAX)
            return cds_fail(reterr, CDS_TOO_LARGE, __func__, "The folder %s holds more than %d files.", from, CDS_BACKUP_KEYS_MAX);
        if (snprintf(source, sizeof(source), "%s/%s", from, e->d_name) >= (int)sizeof(source) ||
            snprintf(target, sizeof(target), "%s/%s", to, e->d_name) >= (int)sizeof(target))
            return cds_fail(reterr, CDS_TOO_LARGE, __func__, "A path below %s is too long.", from);
        rc = copy_one(source, target, owner, reterr);
    }
    return rc;
}
