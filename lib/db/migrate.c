/* lib/db/migrate.c: see migrate.h.
 *
 * The lease row decides who migrates. It is short, so that a migrator that was killed stops nobody for long; and whoever applies a file
 * prolongs it inside of the file's transaction, so that nobody can take it over in the middle of a long one: the row is locked until then. */
#include "lib/db/migrate.h"

#include <dirent.h>
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "lib/base/cleanup.h"
#include "lib/base/clock.h"
#include "lib/base/fd.h"
#include "lib/base/random.h"
#include "lib/base/str.h"

enum { FILES_MAX = 1000, FILE_MAX_BYTES = 1024 * 1024, LEASE_WAIT_MS = 60000, LEASE_POLL_US = 50000, CREATE_TRIES = 20 };

#define LEASE "interval '10 seconds'"

struct file {
    int number;
    char name[256];
};

static int by_number(const void *a, const void *b)
{
    return ((const struct file *)a)->number - ((const struct file *)b)->number;
}

/* Names like 0001_users.sql, each number once, without a gap. */
static cds_rc list_files(const char *dir, struct file *files, size_t *ret_count, struct cds_err *reterr)
{
    CDS_CLEANUP(cds_close_dir) DIR *d = opendir(dir);
    size_t n = 0;
    if (!d)
        return cds_fail_errno(reterr, errno, __func__, "The migrations are not in %s.", dir);
    for (const struct dirent *e; (e = readdir(d)) && n < FILES_MAX;) {
        size_t len = strlen(e->d_name);
        if (len < 10 || strspn(e->d_name, "0123456789") != 4 || e->d_name[4] != '_' || strcmp(e->d_name + len - 4, ".sql") != 0)
            continue;
        files[n].number = atoi(e->d_name);
        cds_strcpy(files[n++].name, sizeof(files->name), e->d_name);
    }
    qsort(files, n, sizeof(*files), by_number);
    for (size_t i = 0; i < n; i++)
        if (files[i].number != (int)i + 1)
            return cds_fail(reterr, CDS_INTERNAL, __func__, "The migrations in %s are not numbered 0001 to %04zu without gap or double.", dir, n);
    if (n == 0)
        return cds_fail(reterr, CDS_NOT_FOUND, __func__, "There are no migrations in %s.", dir);
    *ret_count = n;
    return CDS_OK;
}

static cds_rc ensure_tables(struct cds_db *db, struct cds_err *reterr)
{
    static const char sql[] = "CREATE TABLE IF NOT EXISTS schema_migrations (number int PRIMARY KEY, name text NOT NULL, sha256 text NOT NULL,"
                              " applied_at timestamptz NOT NULL DEFAULT now());"
                              "CREATE TABLE IF NOT EXISTS schema_migrations_lock (id int PRIMARY KEY CHECK (id = 1), holder text NOT NULL,"
                              " until timestamptz NOT NULL)";
    cds_rc rc = CDS_OK;
    /* Two CREATE IF NOT EXISTS at the same moment can collide in the catalogue; the second try finds the table. */
    for (int i = 0; i < CREATE_TRIES; i++) {
        rc = cds_db_script(db, sql, reterr);
        if (!rc)
            return CDS_OK;
        usleep(LEASE_POLL_US);
    }
    return rc;
}

/* Our own lease counts as free: the answer to an earlier try may have been lost. */
static cds_rc take_lease(struct cds_db *db, const char *holder, struct cds_err *reterr)
{
    uint64_t until = cds_now_ms() + LEASE_WAIT_MS;
    const char *params[] = {holder};
    for (;;) {
        struct cds_rows *rows = NULL;
        cds_rc rc = cds_db_exec(db,
                                "INSERT INTO schema_migrations_lock AS l VALUES (1, $1, now() + " LEASE ")"
                                " ON CONFLICT (id) DO UPDATE SET holder = excluded.holder, until = excluded.until WHERE l.until < now()"
                                " OR l.holder = excluded.holder"
                                " RETURNING 1",
                                1, params, true, &rows, reterr);
        int got = cds_rows_count(rows);
        cds_rows_free(&rows);
        if (got || (rc && rc != CDS_TIMED_OUT)) /* timed out: the row is locked by one who applies a file right now */
            return rc;
        if (cds_ms_left(until) == 0)
            return cds_fail(reterr, CDS_BUSY, __func__, "Another process has been migrating the database for over a minute.");
        usleep(LEASE_POLL_US);
    }
}

static void give_lease(struct cds_db *db, const char *holder)
{
    const char *params[] = {holder};
    cds_rc rc = cds_db_exec(db, "DELETE FROM schema_migrations_lock WHERE holder = $1", 1, params, true, NULL, NULL);
    (void)rc; /* it runs out by itself */
}

/* *ret_done: the file was applied before, unchanged. */
static cds_rc check_applied(struct cds_db *db, const struct file *file, const char *text, bool *ret_done, struct cds_err *reterr)
{
    char number[16];
    struct cds_rows *rows = NULL;
    snprintf(number, sizeof(number), "%d", file->number);
    const char *params[] = {number, text};
    cds_rc rc = cds_db_exec(db, "SELECT sha256 = encode(sha256(convert_to($2, 'UTF8')), 'hex') FROM schema_migrations WHERE number = $1::int", 2,
                            params, true, &rows, reterr);
    if (!rc && cds_rows_count(rows) && !cds_rows_bool(rows, 0, 0)) {
        rc = cds_fail(reterr, CDS_CONFLICT, __func__, "Migration %s was changed after it had been applied.", file->name);
        cds_err_hint(reterr, "Migrations only go forward: restore the file and add a new one.");
    }
    *ret_done = !rc && cds_rows_count(rows) > 0;
    cds_rows_free(&rows);
    return rc;
}

/* Locks the lease row until the end of the transaction. */
static cds_rc hold_lease(struct cds_db *db, const char *holder, bool *ret_lost, struct cds_err *reterr)
{
    const char *params[] = {holder};
    struct cds_rows *rows = NULL;
    cds_rc rc = cds_db_exec(db, "UPDATE schema_migrations_lock SET until = now() + " LEASE " WHERE id = 1 AND holder = $1 RETURNING 1", 1, params,
                            false, &rows, reterr);
    *ret_lost = !rc && cds_rows_count(rows) == 0;
    cds_rows_free(&rows);
    return rc;
}

static cds_rc record(struct cds_db *db, const struct file *file, const char *text, struct cds_err *reterr)
{
    char number[16];
    snprintf(number, sizeof(number), "%d", file->number);
    const char *params[] = {number, file->name, text};
    return cds_db_exec(db, "INSERT INTO schema_migrations (number, name, sha256) VALUES ($1::int, $2, encode(sha256(convert_to($3, 'UTF8')), 'hex'))",
                       3, params, false, NULL, reterr);
}

/* *ret_lost: another process has the lease; nothing was done. */
static cds_rc apply(struct cds_db *db, const struct file *file, const char *text, const char *holder, bool *ret_lost, struct cds_err *reterr)
{
    cds_rc rc = cds_db_script(db, "BEGIN; SET LOCAL statement_timeout = '10min'; SET LOCAL lock_timeout = '30s'", reterr);
    if (!rc)
        rc = hold_lease(db, holder, ret_lost, reterr);
    if (!rc && !*ret_lost)
        rc = cds_db_script(db, text, reterr);
    if (!rc && !*ret_lost)
        rc = record(db, file, text, reterr);
    if (!rc && !*ret_lost)
        return cds_db_script(db, "COMMIT", reterr);
    cds_rc undone = cds_db_script(db, "ROLLBACK", NULL);
    (void)undone; /* the first failure is the one to tell */
    if (rc && reterr) {
        char detail[sizeof(reterr->detail)];
        cds_strcpy(detail, sizeof(detail), reterr->detail);
        cds_fail(reterr, rc, __func__, "Migration %s failed; nothing of it was kept.", file->name);
        cds_err_detail(reterr, "%s", detail);
    }
    return rc;
}

static cds_rc check_not_newer(struct cds_db *db, size_t count, struct cds_err *reterr)
{
    struct cds_rows *rows = NULL;
    cds_rc rc = cds_db_exec(db, "SELECT coalesce(max(number), 0) FROM schema_migrations", 0, NULL, true, &rows, reterr);
    int64_t newest = rc ? 0 : cds_rows_i64(rows, 0, 0, 0);
    cds_rows_free(&rows);
    if (!rc && newest > (int64_t)count) {
        rc = cds_fail(reterr, CDS_CONFLICT, __func__, "The database is at migration %lld and this program knows %zu.", (long long)newest, count);
        cds_err_hint(reterr, "It was used by a newer version: start that one, or restore a backup.");
    }
    return rc;
}

struct run {
    struct cds_db *db;
    const char *dir, *holder;
    void (*on_step)(void *user, const char *name);
    void *user;
};

static cds_rc apply_file(const struct run *run, const struct file *file, struct cds_err *reterr)
{
    char path[4096];
    CDS_CLEANUP(cds_buf_free) struct cds_buf text = cds_buf_init(FILE_MAX_BYTES);
    snprintf(path, sizeof(path), "%s/%s", run->dir, file->name);
    cds_rc rc = cds_read_file(path, &text, reterr);
    if (!rc && text.len == 0)
        rc = cds_fail(reterr, CDS_INTERNAL, __func__, "Migration %s is empty.", file->name);
    bool told = false;
    while (!rc) {
        bool done = false, lost = false;
        rc = check_applied(run->db, file, text.data, &done, reterr);
        if (rc || done)
            break;
        if (run->on_step && !told)
            run->on_step(run->user, file->name);
        told = true;
        rc = apply(run->db, file, text.data, run->holder, &lost, reterr);
        if (!rc && !lost)
            break;
        if (!rc)
            rc = take_lease(run->db, run->holder, reterr);
    }
    return rc;
}

cds_rc cds_migrate(struct cds_db *db, const char *dir, void (*on_step)(void *user, const char *name), void *user, struct cds_err *reterr)
{
    CDS_CLEANUP(cds_free_ptr) struct file *files = calloc(FILES_MAX, sizeof(*files));
    char holder[CDS_UUID_LEN + 1];
    size_t count = 0;
    if (!files)
        return cds_fail(reterr, CDS_EXHAUSTED, __func__, "Out of memory.");
    cds_uuid7(holder);
    cds_rc rc = list_files(dir, files, &count, reterr);
    if (rc || (rc = ensure_tables(db, reterr)) || (rc = take_lease(db, holder, reterr)))
        // NOLINTNEXTLINE(clang-analyzer-unix.Malloc): freed at its declaration (CDS_CLEANUP)
        return rc;
    rc = check_not_newer(db, count, reterr);
    const struct run run = {db, dir, holder, on_step, user};
    for (size_t i = 0; i < count && !rc; i++)
        rc = apply_file(&run, &files[i], reterr);
    give_lease(db, holder);
    return rc;
}
