/* Tests of lib/db/migrate.c: order, checksums, refusals, two migrators at once. */
#include "tests/support/test.h"

#include <pthread.h>
#include <signal.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

#include "lib/base/cleanup.h"
#include "lib/base/clock.h"
#include "lib/base/fd.h"
#include "lib/base/str.h"
#include "lib/db/migrate.h"
#include "tests/support/pg.h"

enum { WAIT_MS = 120000 };

static struct test_pg pg;
static struct cds_db *db;
static char dir[64], said[400];
static int steps;

static int make(void **state)
{
    test_pg_make(&pg);
    test_pg_start(&pg);
    return 0;
}

static int unmake(void **state)
{
    test_pg_free(&pg);
    return 0;
}

static void put(const char *name, const char *sql)
{
    char path[200];
    snprintf(path, sizeof(path), "%s/%s", dir, name);
    assert_int_equal(cds_write_file_atomic(path, sql, strlen(sql), 0600, NULL), CDS_OK);
}

/* An empty schema and a folder with two migrations. */
static int fresh(void **state)
{
    db = test_pg_open(&pg);
    assert_int_equal(cds_db_script(db, "DROP SCHEMA public CASCADE; DROP SCHEMA IF EXISTS cds_ml, slow_file CASCADE; CREATE SCHEMA public", NULL),
                     CDS_OK);
    strcpy(dir, "/tmp/cds-migrate-XXXXXX");
    assert_non_null(mkdtemp(dir));
    put("0001_one.sql", "CREATE TABLE one (id int); -- ä\nINSERT INTO one VALUES (1)");
    put("0002_two.sql", "ALTER TABLE one ADD COLUMN name text");
    return 0;
}

static int clear(void **state)
{
    char command[128];
    cds_db_close(&db);
    snprintf(command, sizeof(command), "rm -rf %s", dir);
    return system(command);
}

static void on_step(void *user, const char *name)
{
    steps++;
    strcat(said, name);
    strcat(said, " ");
}

static cds_rc migrate(struct cds_err *err)
{
    *err = (struct cds_err){0};
    steps = 0;
    *said = '\0';
    return cds_migrate(db, dir, on_step, NULL, err);
}

static void files_are_applied_once_in_order(void **state)
{
    struct cds_err err;
    assert_int_equal(migrate(&err), CDS_OK);
    assert_string_equal(said, "0001_one.sql 0002_two.sql ");
    assert_int_equal(migrate(&err), CDS_OK);
    assert_string_equal(said, "");
    put("0003_three.sql", "INSERT INTO one VALUES (2, 'x')");
    put("notes.txt", "not a migration");
    assert_int_equal(migrate(&err), CDS_OK);
    assert_string_equal(said, "0003_three.sql ");
    assert_int_equal(test_sql_i64(db, "SELECT count(*) FROM one"), 2);
    char text[100];
    assert_string_equal(test_sql(db, "SELECT sha256 FROM schema_migrations WHERE number = 2", text, sizeof(text)),
                        "31ba01c6ffb7cf333686e143a7e10244be90c89606a304187a777d223c1c0708");
}

static void changed_file_is_refused(void **state)
{
    struct cds_err err;
    assert_int_equal(migrate(&err), CDS_OK);
    put("0001_one.sql", "CREATE TABLE one (id bigint)");
    put("0003_three.sql", "CREATE TABLE three (id int)");
    assert_int_equal(migrate(&err), CDS_CONFLICT);
    assert_string_equal(err.message, "Migration 0001_one.sql was changed after it had been applied.");
    assert_true(*err.hint);
    assert_int_equal(steps, 0);
    assert_int_equal(test_sql_i64(db, "SELECT count(*) FROM schema_migrations"), 2);
}

static void newer_database_is_refused(void **state)
{
    struct cds_err err;
    assert_int_equal(migrate(&err), CDS_OK);
    char path[100];
    snprintf(path, sizeof(path), "%s/0002_two.sql", dir);
    unlink(path);
    assert_int_equal(migrate(&err), CDS_CONFLICT);
    assert_string_equal(err.message, "The database is at migration 2 and this program knows 1.");
}

static void failing_file_leaves_nothing_of_itself_and_all_before_it(void **state)
{
    struct cds_err err;
    put("0002_two.sql", "CREATE TABLE two (id int); SELECT 1 / 0");
    assert_int_equal(migrate(&err), CDS_BAD_PARAM);
    assert_string_equal(err.message, "Migration 0002_two.sql failed; nothing of it was kept.");
    assert_non_null(strstr(err.detail, "division"));
    assert_int_equal(test_sql_i64(db, "SELECT count(*) FROM schema_migrations"), 1);
    assert_int_equal(test_sql_i64(db, "SELECT count(*) FROM pg_tables WHERE tablename = 'two'"), 0);
    put("0002_two.sql", "CREATE TABLE two (id int)");
    assert_int_equal(migrate(&err), CDS_OK);
    assert_string_equal(said, "0002_two.sql ");
}

static void folder_with_a_gap_a_double_or_nothing_is_refused(void **state)
{
    struct cds_err err;
    char path[100];
    put("0004_four.sql", "SELECT 1");
    assert_int_equal(migrate(&err), CDS_INTERNAL);
    snprintf(path, sizeof(path), "%s/0004_four.sql", dir);
    unlink(path);
    put("0002_again.sql", "SELECT 1");
    assert_int_equal(migrate(&err), CDS_INTERNAL);
    put("0003_empty.sql", "");
    snprintf(path, sizeof(path), "%s/0002_again.sql", dir);
    unlink(path);
    assert_int_equal(migrate(&err), CDS_INTERNAL);
    assert_string_equal(err.message, "Migration 0003_empty.sql is empty.");
    strcat(dir, "/sub");
    assert_int_equal(mkdir(dir, 0700), 0);
    assert_int_equal(migrate(&err), CDS_NOT_FOUND);
    strcat(dir, "/absent");
    assert_int_equal(migrate(&err), CDS_SYSTEM);
    dir[strlen(dir) - strlen("/sub/absent")] = '\0';
    assert_int_equal(test_sql_i64(db, "SELECT count(*) FROM schema_migrations"), 2);
}

/* Each of several processes migrates at the same moment, three times over. */
static void two_migrators_at_once_apply_each_file_once(void **state)
{
    enum { PROCESSES = 4, LAPS = 3 };
    for (int lap = 0; lap < LAPS; lap++) {
        assert_int_equal(cds_db_script(db, "DROP SCHEMA public CASCADE; DROP SCHEMA IF EXISTS cds_ml CASCADE; CREATE SCHEMA public", NULL), CDS_OK);
        pid_t pids[PROCESSES];
        int go[2];
        assert_int_equal(pipe(go), 0);
        for (int i = 0; i < PROCESSES; i++) {
            if ((pids[i] = fork()) == 0) {
                char c;
                struct cds_db *mine = NULL;
                close(go[1]);
                if (!test_pg_join(&pg, &mine) || read(go[0], &c, 1) != 0)
                    _exit(2);
                _exit(cds_migrate(mine, CDS_SOURCE_DIR "/database/migrations", NULL, NULL, NULL) ? 1 : 0);
            }
            assert_true(pids[i] > 0);
        }
        close(go[0]);
        close(go[1]); /* the start signal */
        for (int i = 0; i < PROCESSES; i++) {
            int status;
            assert_int_equal(waitpid(pids[i], &status, 0), pids[i]);
            assert_true(WIFEXITED(status) && WEXITSTATUS(status) == 0);
        }
        assert_true(test_sql_i64(db, "SELECT count(*) FROM schema_migrations") >= 5);
        assert_int_equal(test_sql_i64(db, "SELECT count(*) FROM schema_migrations_lock"), 0);
    }
}

static void lease_of_a_dead_migrator_runs_out(void **state)
{
    struct cds_err err;
    assert_int_equal(migrate(&err), CDS_OK);
    put("0003_three.sql", "SELECT 1");
    assert_int_equal(cds_db_script(db,
                                   "INSERT INTO schema_migrations_lock VALUES (1, 'dead', now() + interval '700 ms');"
                                   " CREATE TABLE lease AS SELECT until FROM schema_migrations_lock",
                                   NULL),
                     CDS_OK);
    assert_int_equal(migrate(&err), CDS_OK);
    assert_int_equal(test_sql_i64(db, "SELECT count(*) FROM schema_migrations, lease WHERE number = 3 AND applied_at >= until"), 1);
}

/* ---- a file that runs as long as the test wants: until there is a row ---- */
#define SLOW "0003_slow.sql"

/** Begins it in a process of its own. @return the process, whose file runs */
static pid_t begin_slow_file(void)
{
    test_script(db, "CREATE SCHEMA slow_file CREATE TABLE ended (at int)");
    put(SLOW, "CREATE TABLE slow (id int);"
              "DO $$ BEGIN WHILE NOT EXISTS (SELECT FROM slow_file.ended) LOOP PERFORM pg_sleep(0.005); END LOOP; END $$");
    pid_t pid = fork();
    if (pid == 0) {
        struct cds_db *mine = NULL;
        if (!test_pg_join(&pg, &mine))
            _exit(2);
        _exit(cds_migrate(mine, dir, NULL, NULL, NULL) ? 1 : 0);
    }
    for (uint64_t deadline_ms = cds_now_ms() + WAIT_MS;
         test_sql_i64(db, "SELECT count(*) FROM pg_stat_activity WHERE query LIKE '%slow_file.ended%' AND pid <> pg_backend_pid()") == 0;
         usleep(2000))
        assert_true(cds_ms_left(deadline_ms) > 0 && waitpid(pid, NULL, WNOHANG) == 0);
    return pid;
}

static void end_slow_file(void)
{
    struct cds_db *other = NULL;
    if (test_pg_join(&pg, &other) && cds_db_script(other, "INSERT INTO slow_file.ended VALUES (1)", NULL))
        abort(); /* for threads, too */
    cds_db_close(&other);
}

/* Not before the test can have begun to wait for it: what comes then is right in any case, and seldom proves anything when this is too early. */
static void *end_slow_file_later(void *unused)
{
    usleep(300000);
    end_slow_file();
    return NULL;
}

/* A process whose file runs longer than the lease keeps it all the same; the other one waits and then finds the work done. */
static void long_file_is_not_taken_over(void **state)
{
    struct cds_err err;
    int status;
    pthread_t thread;
    pid_t pid = begin_slow_file();
    /* The lease is locked for as long as the file runs, whatever its end says. */
    assert_int_equal(cds_db_script(db, "SET lock_timeout = '100ms'; UPDATE schema_migrations_lock SET until = now() - interval '1 s'", NULL),
                     CDS_TIMED_OUT);
    test_patient(db);
    assert_int_equal(pthread_create(&thread, NULL, end_slow_file_later, NULL), 0);
    assert_int_equal(migrate(&err), CDS_OK);
    assert_int_equal(steps, 0);
    pthread_join(thread, NULL);
    assert_int_equal(waitpid(pid, &status, 0), pid);
    assert_true(WIFEXITED(status) && WEXITSTATUS(status) == 0);
}

static void killed_migrator_leaves_the_file_to_the_next_one(void **state)
{
    struct cds_err err;
    pid_t pid = begin_slow_file();
    assert_int_equal(kill(pid, SIGKILL), 0);
    assert_int_equal(waitpid(pid, NULL, 0), pid);
    end_slow_file(); /* the server finds out then, and takes it back */
    put(SLOW, "CREATE TABLE slow (id int)");
    /* As if the ten seconds of its lease had passed. */
    assert_int_equal(test_sql_i64(db, "SELECT count(*) FROM schema_migrations_lock"), 1);
    test_patient(db);
    test_script(db, "UPDATE schema_migrations_lock SET until = now()");
    assert_int_equal(migrate(&err), CDS_OK);
    assert_string_equal(said, SLOW " ");
}

#define FRESH(fn) cmocka_unit_test_setup_teardown(fn, fresh, clear)

int main(void)
{
    const struct CMUnitTest tests[] = {
        FRESH(files_are_applied_once_in_order),
        FRESH(changed_file_is_refused),
        FRESH(newer_database_is_refused),
        FRESH(failing_file_leaves_nothing_of_itself_and_all_before_it),
        FRESH(folder_with_a_gap_a_double_or_nothing_is_refused),
        FRESH(two_migrators_at_once_apply_each_file_once),
        FRESH(lease_of_a_dead_migrator_runs_out),
        FRESH(long_file_is_not_taken_over),
        FRESH(killed_migrator_leaves_the_file_to_the_next_one),
    };
    return cmocka_run_group_tests(tests, make, unmake);
}
