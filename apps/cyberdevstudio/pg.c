/* apps/cyberdevstudio/pg.c: find, make, start and watch the private cluster. See pg.h. */
#include "apps/cyberdevstudio/pg.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

#include "apps/cyberdevstudio/pg_priv.h"
#include "apps/cyberdevstudio/spawn.h"
#include "lib/base/cleanup.h"
#include "lib/base/fd.h"
#include "lib/base/str.h"

enum { TICK_MS = 50, STEP_MAX_MS = 120000, PID_FILE_MAX = 4096, READY_LINE = 8 };

/* ---- find ---- */
static bool has_programs(const char *dir)
{
    char path[600];
    snprintf(path, sizeof(path), "%s/initdb", dir);
    if (access(path, X_OK))
        return false;
    snprintf(path, sizeof(path), "%s/postgres", dir);
    return access(path, X_OK) == 0;
}

/* Debian's layout: one folder per major version. */
static int newest_installed(char *dir, size_t size)
{
    CDS_CLEANUP(cds_close_dir) DIR *d = opendir("/usr/lib/postgresql");
    int newest = 0;
    for (const struct dirent *e; d && (e = readdir(d));) {
        uint64_t major;
        char candidate[300];
        if (cds_parse_u64(e->d_name, 1, 999, &major) || (int)major <= newest)
            continue;
        snprintf(candidate, sizeof(candidate), "/usr/lib/postgresql/%s/bin", e->d_name);
        if (!has_programs(candidate))
            continue;
        newest = (int)major;
        snprintf(dir, size, "%s", candidate);
    }
    return newest;
}

/* "postgres (PostgreSQL) 15.18 (Debian ...)" -> 15. The folder is the operator's own setting. */
static int version_of(const char *dir)
{
    char path[600], line[200] = "";
    int fds[2], major = 0;
    snprintf(path, sizeof(path), "%s/postgres", dir);
    if (pipe2(fds, O_CLOEXEC))
        return 0;
    const char *argv[] = {path, "-V", NULL};
    char *envp[] = {NULL};
    const struct cds_spawn what = {.program = path, .argv = argv, .envp = envp, .log_fd = fds[1], .ready_fd = -1, .input_fd = -1};
    pid_t pid;
    cds_rc rc = cds_spawn_start(&what, &pid, NULL);
    close(fds[1]);
    if (!rc) {
        ssize_t n = read(fds[0], line, sizeof(line) - 1);
        line[n > 0 ? n : 0] = '\0';
        waitpid(pid, NULL, 0);
        const char *number = strchr(line, ')');
        major = number ? atoi(number + 1) : 0;
    }
    close(fds[0]);
    return major;
}

cds_rc cds_pg_find(const struct cds_config *config, char *bin_dir, size_t size, int *ret_major, struct cds_err *reterr)
{
    const char *set = cds_config_str(config, CDS_OPT_DB_BIN_DIR);
    int major = 0;
    snprintf(bin_dir, size, "%s", set);
    if (*set && has_programs(set))
        major = version_of(set);
    else if (!*set)
        major = newest_installed(bin_dir, size);
    if (major >= CDS_PG_OLDEST) {
        *ret_major = major;
        return CDS_OK;
    }
    if (major)
        cds_fail(reterr, CDS_NOT_FOUND, __func__, "PostgreSQL %d in %s is too old; %d is the oldest that works.", major, bin_dir, CDS_PG_OLDEST);
    else
        cds_fail(reterr, CDS_NOT_FOUND, __func__, "There is no PostgreSQL server%s%s.", *set ? " in " : " below /usr/lib/postgresql", set);
    cds_err_hint(reterr,
                 "Install it, e.g. with: apt-get install postgresql-15; or name its folder with database.bin_dir, or a server with DATABASE_URL.");
    return CDS_NOT_FOUND;
}

/* ---- make ---- */
uid_t cds_pg_uid(const struct cds_pg *pg)
{
    return pg->owner.change ? pg->owner.uid : geteuid();
}

static cds_rc make_folder(const char *path, uid_t uid, gid_t gid, mode_t mode, struct cds_err *reterr)
{
    if (mkdir(path, 0700) && errno != EEXIST)
        return cds_fail_errno(reterr, errno, __func__, "The folder %s cannot be made.", path);
    CDS_CLEANUP(cds_close_fd) int fd = open(path, O_RDONLY | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC);
    if (fd < 0 || (geteuid() == 0 && fchown(fd, uid, gid)) || fchmod(fd, mode))
        return cds_fail_errno(reterr, errno, __func__, "The folder %s cannot be given to the database's user.", path);
    return CDS_OK;
}

static cds_rc make_data_folder(const struct cds_pg *pg, const char *path, struct cds_err *reterr)
{
    return make_folder(path, cds_pg_uid(pg), pg->owner.change ? pg->owner.gid : getegid(), 0700, reterr);
}

static cds_rc make_folders(const struct cds_pg *pg, struct cds_err *reterr)
{
    /* Who may enter the socket's folder may try to connect: the services' group, and root. */
    gid_t group = pg->services.change ? pg->services.gid : pg->owner.change ? pg->owner.gid : getegid();
    cds_rc rc = make_data_folder(pg, pg->data_dir, reterr);
    return rc ? rc : make_folder(pg->run_dir, cds_pg_uid(pg), group, 0750, reterr);
}

/* What a program said last: there it tells why it gave up. One line. */
static void last_words(int log, char *said, size_t size)
{
    off_t end = lseek(log, 0, SEEK_END), begin = end > (off_t)size - 1 ? end - (off_t)size + 1 : 0;
    ssize_t n = end > 0 ? pread(log, said, size - 1, begin) : 0;
    said[n > 0 ? n : 0] = '\0';
    for (char *c = said; *c; c++)
        if ((unsigned char)*c < ' ')
            *c = ' ';
}

/* Runs one program of the server's to its end; what it said last goes into the error. */
static cds_rc run_step(const struct cds_pg *pg, const char *const *argv, int input_fd, const char *step, bool (*tick)(void *user, const char *step),
                       void *user, struct cds_err *reterr)
{
    char *envp[] = {(char *)"PATH=/usr/bin:/bin", (char *)"LC_ALL=C.UTF-8", (char *)"TZ=UTC", NULL};
    CDS_CLEANUP(cds_close_fd) int log = memfd_create("postgres", MFD_CLOEXEC);
    const struct cds_spawn what = {
        .program = argv[0], .argv = argv, .envp = envp, .as = &pg->owner, .log_fd = log, .ready_fd = -1, .input_fd = input_fd};
    pid_t pid;
    int status = 0;
    cds_rc rc = cds_spawn_start(&what, &pid, reterr);
    if (rc)
        return rc;
    for (int waited = 0; waitpid(pid, &status, WNOHANG) == 0; waited += TICK_MS) {
        bool stop = tick && !tick(user, step);
        if (stop || waited >= STEP_MAX_MS) {
            kill(-pid, SIGKILL); /* with its helpers: each child leads its own group */
            waitpid(pid, NULL, 0);
            return cds_fail(reterr, stop ? CDS_CANCELLED : CDS_TIMED_OUT, __func__, stop ? "Interrupted while %s." : "It took over two minutes: %s.",
                            step);
        }
        poll(NULL, 0, TICK_MS);
    }
    if (WIFEXITED(status) && WEXITSTATUS(status) == 0)
        return CDS_OK;
    char said[180];
    last_words(log, said, sizeof(said));
    return cds_fail(reterr, CDS_SYSTEM, __func__, "The database could not be made: %s ended with %d. %s", argv[0],
                    WIFEXITED(status) ? WEXITSTATUS(status) : -1, said);
}

static cds_rc make_cluster(const struct cds_pg *pg, const char *folder, bool (*tick)(void *user, const char *step), void *user,
                           struct cds_err *reterr)
{
    char program[600];
    snprintf(program, sizeof(program), "%s/initdb", pg->bin_dir);
    const char *initdb[] = {
        program, "-D", folder, "-U", "studio", "--locale=C.UTF-8", "-E", "UTF8", "-k", "--auth-local=peer", "--auth-host=reject", "--no-instructions",
        NULL};
    cds_rc rc = run_step(pg, initdb, -1, "the database is being made", tick, user, reterr);
    if (rc)
        return rc;
    static const char sql[] = "CREATE DATABASE studio\n";
    CDS_CLEANUP(cds_close_fd) int input = memfd_create("sql", MFD_CLOEXEC);
    if (input < 0 || write(input, sql, sizeof(sql) - 1) != (ssize_t)sizeof(sql) - 1 || lseek(input, 0, SEEK_SET))
        return cds_fail_errno(reterr, errno, __func__, "Out of memory.");
    snprintf(program, sizeof(program), "%s/postgres", pg->bin_dir);
    const char *single[] = {program, "--single", "-D", folder, "postgres", NULL};
    return run_step(pg, single, input, "the database is being made", tick, user, reterr);
}

/* What an interrupted first start left; it never held anything. */
static cds_rc drop_unfinished(const char *folder, struct cds_err *reterr)
{
    const char *argv[] = {"/bin/rm", "-rf", "--one-file-system", folder, NULL};
    const struct cds_pg as_ourselves = {.owner = {.change = false}};
    return access(folder, F_OK) ? CDS_OK : run_step(&as_ourselves, argv, -1, "an unfinished database is being removed", NULL, NULL, reterr);
}

/* The data folder says which major version made it; another one must not touch it. */
static cds_rc check_version(const struct cds_pg *pg, bool *ret_exists, struct cds_err *reterr)
{
    char path[400];
    CDS_CLEANUP(cds_buf_free) struct cds_buf text = cds_buf_init(64);
    snprintf(path, sizeof(path), "%s/PG_VERSION", pg->data_dir);
    cds_rc rc = cds_read_file(path, &text, reterr);
    *ret_exists = rc == CDS_OK;
    if (rc == CDS_NOT_FOUND)
        return CDS_OK;
    if (rc)
        return rc;
    int made_by = atoi(text.data);
    if (made_by == pg->major)
        return CDS_OK;
    cds_fail(reterr, CDS_CONFLICT, __func__, "The database in %s was made by PostgreSQL %d and the server found is version %d.", pg->data_dir,
             made_by, pg->major);
    cds_err_hint(reterr, "Name the folder of version %d with database.bin_dir.", made_by);
    return CDS_CONFLICT;
}

/* The rename is on the disk before anything is written into the cluster. */
static cds_rc sync_folder(const char *path, struct cds_err *reterr)
{
    CDS_CLEANUP(cds_close_fd) int fd = open(path, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    return fd >= 0 && fsync(fd) == 0 ? CDS_OK : cds_fail_errno(reterr, errno, __func__, "The folder %s cannot be written to the disk.", path);
}

/* Made beside its place and moved there when it is complete, so that what stands in the data folder is never half a cluster, and nothing there
 * is ever removed. */
static cds_rc ensure_cluster(const struct cds_pg *pg, const char *home, bool (*tick)(void *user, const char *step), void *user,
                             struct cds_err *reterr)
{
    char unfinished[400];
    bool exists;
    cds_rc rc = check_version(pg, &exists, reterr);
    if (rc || exists)
        return rc;
    if (rmdir(pg->data_dir) && errno != ENOENT) { /* an empty folder may stand there */
        cds_fail(reterr, CDS_CONFLICT, __func__, "%s holds something that is not a database.", pg->data_dir);
        cds_err_hint(reterr, "Move it away, or choose another data folder with --studio.home=FOLDER.");
        return CDS_CONFLICT;
    }
    snprintf(unfinished, sizeof(unfinished), "%s.new", pg->data_dir);
    if ((rc = drop_unfinished(unfinished, reterr)) || (rc = make_data_folder(pg, unfinished, reterr)) ||
        (rc = make_cluster(pg, unfinished, tick, user, reterr)))
        return rc;
    if (rename(unfinished, pg->data_dir))
        return cds_fail_errno(reterr, errno, __func__, "The database cannot be put into %s.", pg->data_dir);
    return sync_folder(home, reterr);
}

/* libpq takes a comma in the socket's folder for a list of hosts, and the others would end a quoted setting. */
static cds_rc check_path(const char *home, struct cds_err *reterr)
{
    if (!strpbrk(home, ",'\"\\\n"))
        return CDS_OK;
    cds_fail(reterr, CDS_BAD_PARAM, __func__, "The database cannot live below %s: a comma, quote, backslash or line break is in the way.", home);
    cds_err_hint(reterr, "Choose another data folder with --studio.home=FOLDER.");
    return CDS_BAD_PARAM;
}

static cds_rc prepare(struct cds_pg *pg, const struct cds_config *config, const struct cds_home *home, bool (*tick)(void *user, const char *step),
                      void *user, struct cds_err *reterr)
{
    cds_rc rc = cds_pg_find(config, pg->bin_dir, sizeof(pg->bin_dir), &pg->major, reterr);
    if (rc || (rc = check_path(home->path, reterr)) || (rc = cds_home_disk_check(home->path, reterr)))
        return rc;
    snprintf(pg->data_dir, sizeof(pg->data_dir), "%s/pg", home->path);
    snprintf(pg->run_dir, sizeof(pg->run_dir), "%s/run/pg", home->path);
    if (geteuid() == 0) { /* the server refuses to run as root */
        snprintf(pg->owner.name, sizeof(pg->owner.name), "%s", cds_config_str(config, CDS_OPT_DB_USER));
        if ((rc = cds_sysuser_ensure(pg->owner.name, &pg->owner.uid, &pg->owner.gid, reterr)))
            return rc;
        pg->owner.change = true;
    }
    if ((rc = cds_pg_check_users(pg, reterr)) || (rc = ensure_cluster(pg, home->path, tick, user, reterr)) || (rc = make_folders(pg, reterr)))
        return rc;
    return cds_pg_write_files(pg, reterr);
}

cds_rc cds_pg_prepare(const struct cds_config *config, const struct cds_home *home, const struct cds_identity *services,
                      bool (*tick)(void *user, const char *step), void *user, struct cds_pg **ret, struct cds_err *reterr)
{
    struct cds_pg *pg = calloc(1, sizeof(*pg));
    if (!pg)
        return cds_fail(reterr, CDS_EXHAUSTED, __func__, "Out of memory.");
    pg->services = *services;
    cds_rc rc = prepare(pg, config, home, tick, user, reterr);
    if (rc) {
        cds_pg_free(&pg);
        return rc;
    }
    *ret = pg;
    return CDS_OK;
}

void cds_pg_free(struct cds_pg **pg)
{
    free(*pg);
    *pg = NULL;
}

/* ---- run ---- */
cds_rc cds_pg_spawn(struct cds_pg *pg, int log_fd, pid_t *ret_pid, struct cds_err *reterr)
{
    char program[600];
    char *envp[] = {(char *)"PATH=/usr/bin:/bin", (char *)"LC_ALL=C.UTF-8", (char *)"TZ=UTC", NULL};
    cds_rc rc = cds_pg_clear_stale(pg, reterr);
    if (rc)
        return rc;
    snprintf(program, sizeof(program), "%s/postgres", pg->bin_dir);
    const char *argv[] = {program, "-D", pg->data_dir, NULL};
    /* SIGINT is PostgreSQL's fast shutdown: a supervisor that was killed leaves a clean cluster. */
    const struct cds_spawn what = {
        .program = program, .argv = argv, .envp = envp, .as = &pg->owner, .log_fd = log_fd, .ready_fd = -1, .input_fd = -1, .death_signal = SIGINT};
    if ((rc = cds_spawn_start(&what, &pg->pid, reterr)))
        return rc;
    *ret_pid = pg->pid;
    return CDS_OK;
}

enum cds_pg_state cds_pg_poll(const struct cds_pg *pg)
{
    char path[400];
    CDS_CLEANUP(cds_buf_free) struct cds_buf text = cds_buf_init(PID_FILE_MAX);
    if (!pg->pid)
        return CDS_PG_DOWN;
    snprintf(path, sizeof(path), "%s/postmaster.pid", pg->data_dir);
    if (cds_read_file(path, &text, NULL) || atoi(text.data) != (int)pg->pid)
        return CDS_PG_STARTING; /* absent, or a corpse's */
    const char *line = text.data;
    for (int i = 1; i < READY_LINE && line; i++)
        line = (line = strchr(line, '\n')) ? line + 1 : NULL;
    return line && cds_starts_with(line, "ready") ? CDS_PG_READY : CDS_PG_STARTING;
}

void cds_pg_exited(struct cds_pg *pg)
{
    pg->pid = 0;
}
