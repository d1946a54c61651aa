/* apps/cyberdevstudio/pg_files.c: the cluster's settings, who may connect, and what an earlier server left behind. */
#include <dirent.h>
#include <errno.h>
#include <limits.h>
#include <poll.h>
#include <pwd.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

#include "apps/cyberdevstudio/pg_priv.h"
#include "lib/base/cleanup.h"
#include "lib/base/fd.h"
#include "lib/base/str.h"

enum { FILE_MAX = 16384, LEFTOVER_ROUNDS = 400, LEFTOVER_GRACE = 150, LEFTOVER_PAUSE_MS = 20, LEFTOVER_UNKNOWN = 255 };

/* Small and durable: everything that protects data stays on; memory and helpers are cut to what a team's studio needs. */
static const char settings[] = "# Written by cyberdevstudio before each start.\n"
                               "listen_addresses = ''\n"
                               "unix_socket_permissions = 0777\n" /* the folder is the gate, and peer authentication checks each connection */
                               "max_connections = 40\n"
                               "shared_buffers = 64MB\n"
                               "huge_pages = off\n"
                               "fsync = on\n"
                               "full_page_writes = on\n"
                               "synchronous_commit = on\n"
                               "data_sync_retry = off\n"
                               "restart_after_crash = on\n"
                               "wal_level = replica\n"
                               "max_wal_senders = 2\n"
                               "max_replication_slots = 0\n"
                               "wal_compression = on\n"
                               "min_wal_size = 32MB\n"
                               "max_wal_size = 256MB\n"
                               "jit = off\n"
                               "max_parallel_workers = 0\n"
                               "max_parallel_workers_per_gather = 0\n"
                               "max_worker_processes = 4\n"
                               "max_logical_replication_workers = 0\n"
                               "autovacuum = on\n"
                               "autovacuum_max_workers = 2\n"
                               "client_connection_check_interval = 1s\n"
                               "idle_in_transaction_session_timeout = 30s\n"
                               "deadlock_timeout = 200ms\n"
                               "log_min_messages = warning\n"
                               "logging_collector = off\n"
                               "timezone = 'UTC'\n"
                               "log_timezone = 'UTC'\n";

/* Written as root into the database user's folder: by a new file and a rename, so that no link planted there is followed. */
static cds_rc put(const struct cds_pg *pg, const char *name, const struct cds_buf *text, struct cds_err *reterr)
{
    char path[400];
    if (text->failed)
        return cds_fail(reterr, CDS_EXHAUSTED, __func__, "Out of memory.");
    snprintf(path, sizeof(path), "%s/%s", pg->data_dir, name);
    cds_rc rc = cds_write_file_atomic(path, text->data, text->len, 0600, reterr);
    if (!rc && pg->owner.change && lchown(path, pg->owner.uid, pg->owner.gid))
        rc = cds_fail_errno(reterr, errno, __func__, "The file %s cannot be given to the database's user.", path);
    return rc;
}

/** The name under which the ident map may list a user, NULL when it has none. Static storage, overwritten by the next call. */
static const char *name_of(uid_t uid)
{
    const struct passwd *pw = getpwuid(uid);
    return pw && !strpbrk(pw->pw_name, " \t\"\n") ? pw->pw_name : NULL;
}

cds_rc cds_pg_check_users(const struct cds_pg *pg, struct cds_err *reterr)
{
    const uid_t uids[] = {geteuid(), cds_pg_uid(pg), pg->services.change ? pg->services.uid : geteuid()};
    for (size_t i = 0; i < CDS_ARRAY_LEN(uids); i++)
        if (!name_of(uids[i])) {
            cds_fail(reterr, CDS_NOT_FOUND, __func__, "The database knows users by name, and user id %u has none on this system.", (unsigned)uids[i]);
            cds_err_hint(reterr,
                         "Add a line for it to /etc/passwd (useradd --uid %u NAME), start the studio as a user that has one, or set DATABASE_URL.",
                         (unsigned)uids[i]);
            return CDS_NOT_FOUND;
        }
    return CDS_OK;
}

/* Services may be no owner: one that was taken over changes nothing of the schema and no line of the ledger. Who starts the studio may be anybody:
 * the files of the database are theirs anyway. */
static void map_user(struct cds_buf *text, uid_t uid, bool owner)
{
    static const char *const roles[] = {"cds_app", "cds_auth", "cds_reader"};
    const char *name = name_of(uid);
    if (!name)
        return;
    if (owner)
        cds_buf_addf(text, "cds \"%s\" studio\n", name);
    for (size_t i = 0; i < CDS_ARRAY_LEN(roles); i++)
        cds_buf_addf(text, "cds \"%s\" %s\n", name, roles[i]);
}

cds_rc cds_pg_write_files(const struct cds_pg *pg, struct cds_err *reterr)
{
    CDS_CLEANUP(cds_buf_free) struct cds_buf auto_conf = cds_buf_init(FILE_MAX);
    CDS_CLEANUP(cds_buf_free) struct cds_buf hba = cds_buf_init(FILE_MAX);
    CDS_CLEANUP(cds_buf_free) struct cds_buf ident = cds_buf_init(FILE_MAX);
    cds_buf_addf(&auto_conf, "%sunix_socket_directories = '%s'\n", settings, pg->run_dir);
    cds_buf_add_str(&hba, "# The kernel tells who connects; nobody needs a password and nobody else gets in.\nlocal all all peer map=cds\n");
    map_user(&ident, 0, true);
    map_user(&ident, geteuid(), true);
    map_user(&ident, cds_pg_uid(pg), true);
    if (pg->services.change)
        map_user(&ident, pg->services.uid, false);
    cds_rc rc = put(pg, "postgresql.auto.conf", &auto_conf, reterr);
    if (!rc)
        rc = put(pg, "pg_hba.conf", &hba, reterr);
    return rc ? rc : put(pg, "pg_ident.conf", &ident, reterr);
}

/* ---- leftovers ---- */
static bool link_is(pid_t pid, const char *what, const char *wanted, bool last_part_only)
{
    char path[64], target[PATH_MAX];
    snprintf(path, sizeof(path), "/proc/%d/%s", (int)pid, what);
    ssize_t n = readlink(path, target, sizeof(target) - 1);
    if (n <= 0)
        return false;
    target[n] = '\0';
    const char *slash = strrchr(target, '/');
    return cds_streq(last_part_only && slash ? slash + 1 : target, wanted);
}

/* A server process of this cluster: its program is postgres and it stands in the data folder. */
static bool is_ours(const struct cds_pg *pg, pid_t pid)
{
    return link_is(pid, "cwd", pg->data_dir, false) && (link_is(pid, "exe", "postgres", true) || link_is(pid, "exe", "postgres (deleted)", true));
}

/* Counts them; kills them when by_force. */
static int end_leftovers(const struct cds_pg *pg, bool by_force)
{
    CDS_CLEANUP(cds_close_dir) DIR *proc = opendir("/proc");
    int found = 0;
    for (const struct dirent *e; proc && (e = readdir(proc));) {
        uint64_t pid;
        if (cds_parse_u64(e->d_name, 2, INT_MAX, &pid) || !is_ours(pg, (pid_t)pid))
            continue;
        if (by_force)
            kill((pid_t)pid, SIGKILL);
        found++;
    }
    return found;
}

/* The same as the cluster's user: root without CAP_SYS_PTRACE (a container's) may not look into that user's processes, and would take a living
 * server for none. @return how many, -1 when nobody could look */
static int end_leftovers_as_owner(const struct cds_pg *pg, bool by_force)
{
    int status = 0;
    if (!pg->owner.change)
        return end_leftovers(pg, by_force);
    pid_t pid = fork();
    if (pid == 0) {
        int found = cds_identity_become(&pg->owner) ? LEFTOVER_UNKNOWN : end_leftovers(pg, by_force);
        _exit(found < LEFTOVER_UNKNOWN ? found : LEFTOVER_UNKNOWN);
    }
    while (pid > 0 && waitpid(pid, &status, 0) < 0)
        if (errno != EINTR)
            return -1;
    return pid > 0 && WIFEXITED(status) && WEXITSTATUS(status) < LEFTOVER_UNKNOWN ? WEXITSTATUS(status) : -1;
}

static cds_rc remove_stale(const char *folder, const char *name, struct cds_err *reterr)
{
    char path[400];
    snprintf(path, sizeof(path), "%s/%s", folder, name);
    if (unlink(path) == 0 || errno == ENOENT)
        return CDS_OK;
    return cds_fail_errno(reterr, errno, __func__, "The stale file %s cannot be removed.", path);
}

cds_rc cds_pg_clear_stale(const struct cds_pg *pg, struct cds_err *reterr)
{
    /* We hold the lock of the data folder, so whatever still works on the cluster has lost its supervisor. A server got SIGINT from that and
     * may still be writing its last checkpoint: three seconds, then force. */
    for (int round = 0, left; (left = end_leftovers_as_owner(pg, round >= LEFTOVER_GRACE)) != 0; round++) {
        if (left < 0 || round == LEFTOVER_ROUNDS)
            return cds_fail(reterr, CDS_CONFLICT, __func__, "Processes of an earlier database server on %s do not end.", pg->data_dir);
        poll(NULL, 0, LEFTOVER_PAUSE_MS);
    }
    /* None of our processes lives, so what names one is a leftover. The server itself would refuse to start over an empty file and over one whose
     * number now belongs to another process of its user. */
    cds_rc rc = remove_stale(pg->data_dir, "postmaster.pid", reterr);
    return rc ? rc : remove_stale(pg->run_dir, ".s.PGSQL.5432.lock", reterr);
}
