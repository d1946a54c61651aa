/* Tests of lib/db/db.c: blocking connections, results, what errors mean. */
#include "tests/support/test.h"

#include <arpa/inet.h>
#include <netinet/in.h>
#include <pthread.h>
#include <sys/socket.h>
#include <unistd.h>

#include "lib/base/cleanup.h"
#include "lib/base/clock.h"
#include "lib/base/str.h"
#include "tests/support/pg.h"

static struct test_pg pg;
static struct cds_db *db;

static int make(void **state)
{
    struct cds_err err = {0};
    test_pg_make(&pg);
    test_pg_start(&pg);
    db = test_pg_open(&pg);
    assert_int_equal(cds_db_script(db,
                                   "CREATE TABLE t (id int PRIMARY KEY, n int CONSTRAINT t_n_positive CHECK (n > 0),"
                                   " other int REFERENCES t, must int NOT NULL DEFAULT 1); INSERT INTO t VALUES (1, 1, NULL)",
                                   &err),
                     CDS_OK);
    return 0;
}

static int unmake(void **state)
{
    cds_db_close(&db);
    test_pg_free(&pg);
    return 0;
}

static cds_rc code_of(const char *sql, struct cds_err *err)
{
    *err = (struct cds_err){0};
    struct cds_rows *rows = NULL;
    cds_rc rc = cds_db_exec(db, sql, 0, NULL, false, &rows, err);
    assert_true(rc == CDS_OK || rows == NULL);
    cds_rows_free(&rows);
    return rc;
}

static void exec_binds_its_parameters_and_gives_text_back(void **state)
{
    CDS_CLEANUP(cds_rows_free) struct cds_rows *rows = NULL;
    const char *params[] = {"'; DROP TABLE t; --", NULL, "-9223372036854775808"};
    assert_int_equal(cds_db_exec(db, "SELECT $1::text, $2::text, $3::bigint, true, false, 'grün' UNION ALL SELECT '', '', 0, NULL, NULL, ''", 3,
                                 params, false, &rows, NULL),
                     CDS_OK);
    assert_int_equal(cds_rows_count(rows), 2);
    assert_string_equal(cds_rows_str(rows, 0, 0), "'; DROP TABLE t; --");
    assert_null(cds_rows_str(rows, 0, 1));
    assert_string_equal(cds_rows_str(rows, 1, 1), "");
    assert_true(cds_rows_i64(rows, 0, 2, 0) == INT64_MIN);
    assert_true(cds_rows_i64(rows, 0, 1, -7) == -7);
    assert_true(cds_rows_i64(rows, 0, 0, -7) == -7);
    assert_true(cds_rows_i64(rows, 1, 1, -7) == -7);
    assert_true(cds_rows_bool(rows, 0, 3));
    assert_false(cds_rows_bool(rows, 0, 4));
    assert_false(cds_rows_bool(rows, 1, 3));
    assert_string_equal(cds_rows_str(rows, 0, 5), "grün");
}

static void errors_say_what_kind_they_are(void **state)
{
    static const struct {
        const char *sql;
        cds_rc code;
        const char *rule;
    } rows[] = {
        {"INSERT INTO t VALUES (1, 1)", CDS_CONFLICT, "t_pkey"},
        {"INSERT INTO t VALUES (2, 0)", CDS_BAD_PARAM, "t_n_positive"},
        {"INSERT INTO t VALUES (2, 1, 99)", CDS_BAD_PARAM, "t_other_fkey"},
        {"INSERT INTO t VALUES (2, 1, 1, NULL)", CDS_BAD_PARAM, ""},
        {"SELECT 'x'::int", CDS_BAD_PARAM, ""},
        {"SELECT 1 / 0", CDS_BAD_PARAM, ""},
        {"SELEKT", CDS_INTERNAL, ""},
        {"SELECT * FROM absent", CDS_INTERNAL, ""},
    };
    for (size_t i = 0; i < CDS_ARRAY_LEN(rows); i++) {
        struct cds_err err;
        assert_int_equal(code_of(rows[i].sql, &err), rows[i].code);
        assert_string_equal(err.rule, rows[i].rule);
        assert_true(*err.message && *err.detail);
        assert_null(strstr(err.message, "SELE")); /* SQL is for the log */
    }
}

static void failed_statement_leaves_its_outputs_and_the_connection_as_they_were(void **state)
{
    struct cds_rows *rows = (struct cds_rows *)&rows;
    struct cds_err err = {.message = "before"};
    assert_int_equal(cds_db_exec(db, "SELECT 1 / 0", 0, NULL, false, &rows, NULL), CDS_BAD_PARAM);
    assert_ptr_equal(rows, &rows);
    assert_int_equal(cds_db_exec(db, "SELECT 1", 0, NULL, false, NULL, &err), CDS_OK);
    assert_string_equal(err.message, "before");
}

static void session_has_its_time_limits_and_speaks_utf8(void **state)
{
    char text[64];
    assert_string_equal(test_sql(db, "SHOW statement_timeout", text, sizeof(text)), "10s");
    assert_string_equal(test_sql(db, "SHOW lock_timeout", text, sizeof(text)), "2s");
    assert_string_equal(test_sql(db, "SHOW idle_in_transaction_session_timeout", text, sizeof(text)), "30s");
    assert_string_equal(test_sql(db, "SHOW client_encoding", text, sizeof(text)), "UTF8");
    assert_string_equal(test_sql(db, "SHOW TimeZone", text, sizeof(text)), "UTC");
}

static void late_statement_and_late_lock_are_timeouts(void **state)
{
    struct cds_err err;
    /* The short times hold for the one statement that is about them, and for none of those around it. */
    assert_int_equal(cds_db_script(db, "BEGIN; SET LOCAL statement_timeout = '20ms'", &err), CDS_OK);
    assert_int_equal(code_of("SELECT pg_sleep(300)", &err), CDS_TIMED_OUT);
    assert_int_equal(cds_db_script(db, "ROLLBACK; BEGIN; SET LOCAL lock_timeout = '20ms'", &err), CDS_OK);
    CDS_CLEANUP(cds_db_close) struct cds_db *other = test_pg_open(&pg);
    assert_int_equal(cds_db_script(other, "BEGIN; LOCK TABLE t", &err), CDS_OK);
    assert_int_equal(code_of("SELECT * FROM t", &err), CDS_TIMED_OUT);
    assert_int_equal(cds_db_script(other, "ROLLBACK", &err), CDS_OK);
    assert_int_equal(cds_db_script(db, "ROLLBACK", &err), CDS_OK);
}

/* Ends the connection of this test, as a restart of the server would. */
static void end_connection(void)
{
    CDS_CLEANUP(cds_db_close) struct cds_db *other = test_patient(test_pg_open(&pg));
    char sql[100], text[64];
    snprintf(sql, sizeof(sql), "SELECT pg_terminate_backend(%d, 120000)", (int)test_sql_i64(db, "SELECT pg_backend_pid()"));
    assert_string_equal(test_sql(other, sql, text, sizeof(text)), "t"); /* it is gone */
}

static void repeatable_statement_survives_a_lost_connection(void **state)
{
    CDS_CLEANUP(cds_rows_free) struct cds_rows *rows = NULL;
    char text[64];
    end_connection();
    assert_int_equal(cds_db_exec(db, "SELECT 42", 0, NULL, true, &rows, NULL), CDS_OK);
    assert_string_equal(cds_rows_str(rows, 0, 0), "42");
    assert_string_equal(test_sql(db, "SHOW statement_timeout", text, sizeof(text)), "10s"); /* the new session has its settings too */
}

static void other_statement_is_not_repeated_after_a_lost_connection(void **state)
{
    struct cds_err err;
    end_connection();
    assert_int_equal(code_of("SELECT 42", &err), CDS_UNAVAILABLE);
    assert_true(err.retry_after_ms > 0);
    assert_int_equal(code_of("SELECT 42", &err), CDS_OK); /* the next one finds a new connection */
}

/* Two transactions that wait for each other: one of them is told to try again, and does. Here the other one, which holds a row already and takes the
 * second when the first one waits. */
static void *take_second(void *other)
{
    static const char waits[] =
        "DO $$ BEGIN WHILE NOT EXISTS (SELECT FROM pg_locks WHERE NOT granted) LOOP PERFORM pg_sleep(0.005); END LOOP; END $$";
    bool fine = !cds_db_script(other, waits, NULL) && !cds_db_script(other, "UPDATE t SET n = n + 1 WHERE id = 10", NULL);
    return !cds_db_script(other, "COMMIT", NULL) && fine ? other : NULL;
}

static void deadlock_is_repeated(void **state)
{
    pthread_t thread;
    struct cds_err err = {0};
    void *fine = NULL;
    CDS_CLEANUP(cds_db_close) struct cds_db *other = test_patient(test_pg_open(&pg));
    int64_t before = test_deadlocks(db);
    assert_int_equal(cds_db_script(db, "INSERT INTO t VALUES (10, 1), (11, 1); SET lock_timeout = '5min'; SET statement_timeout = '5min'", &err),
                     CDS_OK);
    assert_int_equal(cds_db_script(other, "BEGIN; UPDATE t SET n = n + 1 WHERE id = 11", &err), CDS_OK);
    assert_int_equal(pthread_create(&thread, NULL, take_second, other), 0);
    /* One statement that takes both locks in the other order. */
    static const char sql[] = "DO $$ BEGIN UPDATE t SET n = n + 1 WHERE id = 10; UPDATE t SET n = n + 1 WHERE id = 11; END $$";
    assert_int_equal(cds_db_exec(db, sql, 0, NULL, true, NULL, &err), CDS_OK);
    pthread_join(thread, &fine);
    cds_db_close(&other); /* which tells the statistics */
    for (uint64_t deadline_ms = cds_now_ms() + 120000; test_deadlocks(db) == before; usleep(2000))
        assert_true(cds_ms_left(deadline_ms) > 0);
    assert_int_equal(cds_db_script(db, "SET lock_timeout = '2s'; SET statement_timeout = '10s'", &err), CDS_OK);
    assert_true(test_sql_i64(db, "SELECT n FROM t WHERE id = 10") == (fine ? 3 : 2));
    assert_true(test_sql_i64(db, "SELECT n FROM t WHERE id = 11") == (fine ? 3 : 2));
}

static void absent_server_is_named_within_the_deadline(void **state)
{
    struct cds_db *none = NULL;
    struct cds_err err = {0};
    uint64_t begin = cds_now_ms();
    assert_int_equal(cds_db_open("host=/nonexistent user=studio dbname=studio", cds_now_ms() + 100, &none, &err), CDS_UNAVAILABLE);
    assert_true(cds_now_ms() - begin >= 100);
    assert_null(none);
    assert_true(*err.message && *err.hint && strstr(err.detail, "/nonexistent"));
}

/* Speaks just enough of the protocol to be taken for PostgreSQL 14. */
static void *be_old_server(void *user)
{
    static const unsigned char hello[] = "R\0\0\0\x08\0\0\0\0"
                                         "S\0\0\0\x18server_version\0"
                                         "14.9\0"
                                         "S\0\0\0\x19"
                                         "client_encoding\0"
                                         "UTF8\0"
                                         "Z\0\0\0\x05I";
    char buf[1000];
    int fd = accept(*(int *)user, NULL, NULL);
    if (fd < 0)
        return NULL;
    if (read(fd, buf, sizeof(buf)) > 0) {
        ssize_t n = write(fd, hello, sizeof(hello) - 1);
        (void)n;
        while (read(fd, buf, sizeof(buf)) > 0)
            ;
    }
    close(fd);
    return NULL;
}

static void server_older_than_15_is_refused_at_once(void **state)
{
    struct sockaddr_in address = {.sin_family = AF_INET, .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
    socklen_t len = sizeof(address);
    int fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
    assert_int_equal(bind(fd, (struct sockaddr *)&address, len), 0);
    assert_int_equal(listen(fd, 4), 0);
    getsockname(fd, (struct sockaddr *)&address, &len);
    pthread_t thread;
    assert_int_equal(pthread_create(&thread, NULL, be_old_server, &fd), 0);
    char conninfo[200];
    snprintf(conninfo, sizeof(conninfo), "host=127.0.0.1 port=%d user=a dbname=b sslmode=disable gssencmode=disable", ntohs(address.sin_port));
    struct cds_db *old = NULL;
    struct cds_err err = {0};
    assert_int_equal(cds_db_open(conninfo, cds_now_ms() + 60000, &old, &err), CDS_CONFLICT);
    pthread_join(thread, NULL);
    close(fd);
    assert_string_equal(err.message, "The database is PostgreSQL 14 and 15 is the oldest that works.");
    assert_true(*err.hint);
}

static void conninfo_quotes_the_data_folder(void **state)
{
    char home[300], flag[400], conninfo[600];
    snprintf(home, sizeof(home), "%s/a b", pg.home.path);
    snprintf(flag, sizeof(flag), "--studio.home=%s", home);
    char *argv[] = {(char *)"test", flag, (char *)"--database.url=", NULL};
    int argc = 3;
    CDS_CLEANUP(cds_config_free) struct cds_config *config = NULL;
    assert_int_equal(cds_config_load(&argc, argv, "test", &config, NULL), CDS_OK);
    char wanted[600];
    snprintf(wanted, sizeof(wanted), "host='%s/run/pg' user=studio dbname=studio", home);
    assert_string_equal(cds_db_conninfo(config, conninfo, sizeof(conninfo)), wanted);
}

static void conninfo_is_the_option_when_there_is_one(void **state)
{
    char conninfo[600];
    char *argv[] = {(char *)"test", (char *)"--database.url=postgres://u@h/d", NULL};
    int argc = 2;
    CDS_CLEANUP(cds_config_free) struct cds_config *config = NULL;
    assert_int_equal(cds_config_load(&argc, argv, "test", &config, NULL), CDS_OK);
    assert_string_equal(cds_db_conninfo(config, conninfo, sizeof(conninfo)), "postgres://u@h/d");
}

static void conninfo_that_is_too_long_is_refused_and_never_cut(void **state)
{
    /* Each quote becomes two bytes: what is a sane length for an option is the ceiling here, and one byte more is over it. */
    enum { AROUND = sizeof("host='//run/pg' user=studio dbname=studio") - 1, QUOTES = (CDS_DB_CONNINFO_MAX - 1 - AROUND) / 2 };
    char flag[QUOTES + 64], conninfo[CDS_DB_CONNINFO_MAX] = "";
    struct cds_err err = {0};
    setenv("CDS_CONFIG", "/dev/null", 1); /* instead of the file in a folder whose name no file system takes */
    for (int over = 0; over < 2; over++) {
        int begin = snprintf(flag, sizeof(flag), "--studio.home=/%s", (CDS_DB_CONNINFO_MAX - 1 - AROUND) % 2 ? "h" : "");
        memset(flag + begin, '\'', QUOTES);
        strcpy(flag + begin + QUOTES, over ? "x" : "");
        char *argv[] = {(char *)"test", flag, (char *)"--database.url=", NULL};
        int argc = 3;
        CDS_CLEANUP(cds_config_free) struct cds_config *config = NULL;
        assert_int_equal(cds_config_load(&argc, argv, "test", &config, NULL), CDS_OK);
        assert_int_equal(cds_db_conninfo_whole(config, conninfo, &err), over ? CDS_TOO_LARGE : CDS_OK);
        assert_int_equal(strlen(conninfo), CDS_DB_CONNINFO_MAX - 1); /* untouched the second time */
    }
    unsetenv("CDS_CONFIG");
    assert_string_equal(err.message, "The connection string of the database is longer than 2047 bytes.");
    assert_true(*err.hint);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(exec_binds_its_parameters_and_gives_text_back),
        cmocka_unit_test(errors_say_what_kind_they_are),
        cmocka_unit_test(failed_statement_leaves_its_outputs_and_the_connection_as_they_were),
        cmocka_unit_test(session_has_its_time_limits_and_speaks_utf8),
        cmocka_unit_test(late_statement_and_late_lock_are_timeouts),
        cmocka_unit_test(repeatable_statement_survives_a_lost_connection),
        cmocka_unit_test(other_statement_is_not_repeated_after_a_lost_connection),
        cmocka_unit_test(deadlock_is_repeated),
        cmocka_unit_test(absent_server_is_named_within_the_deadline),
        cmocka_unit_test(server_older_than_15_is_refused_at_once),
        cmocka_unit_test(conninfo_quotes_the_data_folder),
        cmocka_unit_test(conninfo_is_the_option_when_there_is_one),
        cmocka_unit_test(conninfo_that_is_too_long_is_refused_and_never_cut),
    };
    return cmocka_run_group_tests(tests, make, unmake);
}
