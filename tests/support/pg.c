/* tests/support/pg.c: see pg.h. */
#include "tests/support/pg.h"

#include <dirent.h>
#include <fcntl.h>
#include <signal.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

#include "apps/cyberdevstudio/ledger_verify.h"
#include "lib/base/cleanup.h"
#include "lib/base/clock.h"
#include "lib/base/str.h"
#include "lib/db/migrate.h"
#include "tests/support/test.h"

enum { READY_MS = 120000, PAUSE_US = 2000, HOUR_MS = 3600000, EARLY_MS = 30000 };

void test_pg_make(struct test_pg *t)
{
    char path[300], flag[400];
    *t = (struct test_pg){.home.lock_fd = -1, .log_fd = -1};
    strcpy(t->home.path, "/tmp/cds-pg-XXXXXX");
    assert_non_null(mkdtemp(t->home.path));
    assert_int_equal(chmod(t->home.path, 0711), 0);
    snprintf(path, sizeof(path), "%s/run", t->home.path);
    assert_int_equal(mkdir(path, 0711), 0);
    snprintf(path, sizeof(path), "%s/pg.log", t->home.path);
    t->log_fd = open(path, O_WRONLY | O_CREAT | O_APPEND | O_CLOEXEC, 0600);
    assert_true(t->log_fd >= 0);
    snprintf(flag, sizeof(flag), "--studio.home=%s", t->home.path);
    char *argv[] = {(char *)"test", flag, (char *)"--database.url=", NULL};
    int argc = 3;
    struct cds_err err = {0};
    if (cds_config_load(&argc, argv, "test", &t->config, &err))
        fail_msg("%s", err.message);
    const struct cds_identity services = {.change = false};
    if (cds_pg_prepare(t->config, &t->home, &services, NULL, NULL, &t->pg, &err))
        fail_msg("%s %s %s", err.message, err.hint, err.detail);
    cds_db_conninfo(t->config, t->conninfo, sizeof(t->conninfo));
}

void test_pg_start(struct test_pg *t)
{
    struct cds_err err = {0};
    uint64_t deadline_ms = cds_now_ms() + READY_MS;
    if (cds_pg_spawn(t->pg, t->log_fd, &t->pid, &err))
        fail_msg("%s %s", err.message, err.detail);
    while (cds_pg_poll(t->pg) != CDS_PG_READY) {
        if (waitpid(t->pid, NULL, WNOHANG) != 0)
            fail_msg("the server ended; see %s/pg.log", t->home.path);
        assert_true(cds_ms_left(deadline_ms) > 0);
        usleep(PAUSE_US);
    }
}

int test_pg_stop(struct test_pg *t, int signo)
{
    int status = 0;
    assert_int_equal(kill(t->pid, signo), 0);
    assert_int_equal(waitpid(t->pid, &status, 0), t->pid);
    cds_pg_exited(t->pg);
    t->pid = 0;
    return status;
}

/* A corpse that nobody has collected yet is none: it holds no memory. */
static bool lives(pid_t pid)
{
    char path[64], text[256] = "";
    snprintf(path, sizeof(path), "/proc/%d/stat", (int)pid);
    FILE *f = fopen(path, "re");
    bool read = f && fgets(text, sizeof(text), f);
    if (f)
        fclose(f);
    const char *name_end = strrchr(text, ')');
    return read && name_end && !strchr("ZX", name_end[2]);
}

void test_pg_kill_all(struct test_pg *t)
{
    pid_t children[256];
    char path[64];
    int n = 0;
    assert_int_equal(kill(t->pid, SIGSTOP), 0); /* it makes no more of them */
    snprintf(path, sizeof(path), "/proc/%d/task/%d/children", (int)t->pid, (int)t->pid);
    FILE *f = fopen(path, "re");
    assert_non_null(f);
    while (n < 256 && fscanf(f, "%d", &children[n]) == 1)
        n++;
    fclose(f);
    assert_int_equal(kill(t->pid, SIGKILL), 0);
    for (int i = 0; i < n; i++)
        kill(children[i], SIGKILL); /* may have left by itself */
    assert_int_equal(waitpid(t->pid, NULL, 0), t->pid);
    /* Their shared memory would keep the next server from starting. */
    const uint64_t deadline_ms = cds_now_ms() + READY_MS;
    for (int i = 0; i < n; i++)
        while (lives(children[i])) {
            assert_true(cds_ms_left(deadline_ms) > 0);
            usleep(PAUSE_US);
        }
    cds_pg_exited(t->pg);
    t->pid = 0;
}

void test_pg_free(struct test_pg *t)
{
    char command[300];
    if (t->pid)
        test_pg_stop(t, SIGINT);
    if (t->pg)
        cds_pg_free(&t->pg);
    cds_config_free(&t->config);
    if (t->log_fd >= 0)
        close(t->log_fd);
    snprintf(command, sizeof(command), "rm -rf %s", t->home.path);
    assert_int_equal(system(command), 0);
}

struct cds_db *test_pg_open(const struct test_pg *t)
{
    struct cds_db *db = NULL;
    struct cds_err err = {0};
    if (cds_db_open(t->conninfo, cds_now_ms() + READY_MS, &db, &err))
        fail_msg("%s %s", err.message, err.detail);
    return db;
}

static const char patient_sql[] = "SET lock_timeout = '5min'; SET statement_timeout = '5min'; SET idle_in_transaction_session_timeout = '5min'";

struct cds_db *test_patient(struct cds_db *db)
{
    test_script(db, patient_sql);
    return db;
}

bool test_pg_join(const struct test_pg *t, struct cds_db **ret)
{
    if (cds_db_open(t->conninfo, cds_now_ms() + READY_MS, ret, NULL))
        return false;
    if (!cds_db_script(*ret, patient_sql, NULL))
        return true;
    cds_db_close(ret);
    return false;
}

void test_early_in_the_hour(void)
{
    const uint64_t left_ms = HOUR_MS - cds_wall_ms() % HOUR_MS;
    if (left_ms > EARLY_MS)
        return;
    for (const uint64_t until_ms = cds_wall_ms() + left_ms; cds_wall_ms() <= until_ms;)
        usleep(PAUSE_US);
}

void test_pg_migrate(const struct test_pg *t)
{
    CDS_CLEANUP(cds_db_close) struct cds_db *db = test_pg_open(t);
    struct cds_err err = {0};
    if (cds_migrate(db, CDS_SOURCE_DIR "/database/migrations", NULL, NULL, &err))
        fail_msg("%s %s", err.message, err.detail);
}

char *test_sql(struct cds_db *db, const char *sql, char *ret, size_t size)
{
    CDS_CLEANUP(cds_rows_free) struct cds_rows *rows = NULL;
    struct cds_err err = {0};
    if (cds_db_exec(db, sql, 0, NULL, false, &rows, &err))
        fail_msg("%s: %s %s", sql, err.message, err.detail);
    const char *text = cds_rows_count(rows) ? cds_rows_str(rows, 0, 0) : NULL;
    return cds_strcpy(ret, size, text ? text : "");
}

int64_t test_sql_i64(struct cds_db *db, const char *sql)
{
    char text[64];
    test_sql(db, sql, text, sizeof(text));
    return *text ? strtoll(text, NULL, 10) : -1;
}

int64_t test_number(struct cds_db *db, const char *sql, int n, const char *const *params, bool repeat)
{
    struct cds_rows *rows = NULL;
    if (cds_db_exec(db, sql, n, params, repeat, &rows, NULL))
        return -1;
    int64_t value = cds_rows_count(rows) ? cds_rows_i64(rows, 0, 0, 0) : -1;
    cds_rows_free(&rows);
    return value;
}

void test_script(struct cds_db *db, const char *sql)
{
    struct cds_err err = {0};
    if (cds_db_script(db, sql, &err))
        fail_msg("%s: %s %s", sql, err.message, err.detail);
}

void test_books(struct cds_db *db)
{
    struct cds_ledger_report report;
    struct cds_err err = {0};
    if (cds_ledger_verify(db, &report, &err))
        fail_msg("%s %s", err.message, err.detail);
    for (int i = 0; i < CDS_LEDGER_CHECKS; i++)
        if (report.checks[i].broken)
            fail_msg("%s: %s", report.checks[i].rule, report.checks[i].example);
}

int64_t test_deadlocks(struct cds_db *db)
{
    test_script(db, "SELECT pg_stat_force_next_flush(); SELECT pg_stat_clear_snapshot()");
    return test_sql_i64(db, "SELECT deadlocks FROM pg_stat_database WHERE datname = current_database()");
}
