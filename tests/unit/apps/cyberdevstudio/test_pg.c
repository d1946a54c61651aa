/* Tests of apps/cyberdevstudio/pg*.c: the private cluster is made once and whole, starts over everything a dead server can leave behind, and
 * ends with its supervisor. */
#include "tests/support/test.h"

#include <fcntl.h>
#include <grp.h>
#include <signal.h>
#include <sys/prctl.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

#include "apps/cyberdevstudio/pg_priv.h"
#include "lib/base/cleanup.h"
#include "lib/base/clock.h"
#include "lib/base/fd.h"
#include "tests/support/pg.h"

enum { WAIT_MS = 120000, PAUSE_US = 5000 };

static struct test_pg pg;
static const struct cds_identity nobody_else = {.change = false};

static int make(void **state)
{
    test_pg_make(&pg);
    return 0;
}

static int unmake(void **state)
{
    test_pg_free(&pg);
    return 0;
}

static char *in_home(const char *name, char *path, size_t size)
{
    snprintf(path, size, "%s/%s", pg.home.path, name);
    return path;
}

static void put(const char *name, const char *text)
{
    char path[400];
    struct cds_err err = {0};
    if (cds_write_file_atomic(in_home(name, path, sizeof(path)), text, strlen(text), 0600, &err))
        fail_msg("%s %s", err.message, err.detail);
    assert_int_equal(lchown(path, cds_pg_uid(pg.pg), (gid_t)-1), 0);
}

static void pid_file(pid_t pid, const char *state)
{
    char text[600];
    snprintf(text, sizeof(text), "%d\n%s/pg\n1700000000\n5432\n%s/run/pg\n\n  1 1\n%s\n", (int)pid, pg.home.path, pg.home.path, state);
    put("pg/postmaster.pid", text);
}

static void starts_and_answers(void)
{
    test_pg_start(&pg);
    CDS_CLEANUP(cds_db_close) struct cds_db *db = test_pg_open(&pg);
    assert_int_equal(test_sql_i64(db, "SELECT 42"), 42);
    cds_db_close(&db);
    assert_int_equal(test_pg_stop(&pg, SIGINT), 0);
}

/* ---- what a dead server leaves ---- */
static void server_starts_over_the_pid_file_of_a_process_that_is_gone(void **state)
{
    pid_t gone = fork();
    if (gone == 0)
        _exit(0);
    assert_int_equal(waitpid(gone, NULL, 0), gone);
    pid_file(gone, "ready   ");
    starts_and_answers();
}

/* After a reboot the number may belong to any process of the same user; the server by itself would refuse to start. */
static void server_starts_over_the_pid_file_of_a_stranger_and_leaves_the_stranger_alone(void **state)
{
    pid_t stranger = fork();
    if (stranger == 0) {
        if (geteuid() == 0 && (setgroups(0, NULL) || setgid(pg.pg->owner.gid) || setuid(pg.pg->owner.uid)))
            _exit(1);
        prctl(PR_SET_PDEATHSIG, SIGKILL); /* a test that fails leaves nothing behind */
        for (;;)
            pause();
    }
    pid_file(stranger, "ready   ");
    starts_and_answers();
    assert_int_equal(waitpid(stranger, NULL, WNOHANG), 0);
    assert_int_equal(kill(stranger, SIGKILL), 0);
    assert_int_equal(waitpid(stranger, NULL, 0), stranger);
}

static void server_starts_over_an_empty_pid_file(void **state)
{
    put("pg/postmaster.pid", "");
    starts_and_answers();
}

static void server_starts_over_an_empty_socket_lock(void **state)
{
    put("run/pg/.s.PGSQL.5432.lock", "");
    starts_and_answers();
}

/* A backend that burns CPU does not notice that its postmaster died, and its shared memory keeps a new server from starting. */
static void server_starts_after_its_predecessor_was_killed_beside_a_busy_backend(void **state)
{
    test_pg_start(&pg);
    pid_t client = fork();
    if (client == 0) {
        prctl(PR_SET_PDEATHSIG, SIGKILL);
        struct cds_db *db = test_pg_open(&pg);
        _exit((int)cds_db_script(db, "SELECT count(*) FROM generate_series(1, 100000000000)", NULL));
    }
    CDS_CLEANUP(cds_db_close) struct cds_db *db = test_pg_open(&pg);
    uint64_t deadline_ms = cds_now_ms() + WAIT_MS;
    while (test_sql_i64(db, "SELECT count(*) FROM pg_stat_activity WHERE state = 'active' AND query LIKE '%generate_series(1, 1%'"
                            " AND pid <> pg_backend_pid()") == 0) {
        assert_true(cds_ms_left(deadline_ms) > 0);
        usleep(PAUSE_US);
    }
    cds_db_close(&db);
    int status = test_pg_stop(&pg, SIGKILL);
    assert_true(WIFSIGNALED(status));
    starts_and_answers();
    assert_int_equal(waitpid(client, &status, 0), client);
    assert_int_not_equal(status, 0); /* its statement never ended well */
}

/* Only the holder of the data folder's lock starts servers, so one that still runs has lost its supervisor. */
static void second_start_ends_the_first_server(void **state)
{
    test_pg_start(&pg);
    pid_t first = pg.pid;
    cds_pg_exited(pg.pg); /* as after a restart of the supervisor: it knows of no server */
    test_pg_start(&pg);
    int status;
    assert_int_not_equal(pg.pid, first);
    assert_int_equal(waitpid(first, &status, 0), first);
    test_pg_stop(&pg, SIGINT);
}

static void poll_believes_only_the_pid_file_of_the_child(void **state)
{
    char path[400];
    assert_int_equal(cds_pg_poll(pg.pg), CDS_PG_DOWN);
    pg.pg->pid = getpid();
    assert_int_equal(cds_pg_poll(pg.pg), CDS_PG_STARTING); /* no file yet */
    pid_file(getpid(), "starting");
    assert_int_equal(cds_pg_poll(pg.pg), CDS_PG_STARTING);
    pid_file(getpid(), "stopping");
    assert_int_equal(cds_pg_poll(pg.pg), CDS_PG_STARTING);
    pid_file(getppid(), "ready   ");
    assert_int_equal(cds_pg_poll(pg.pg), CDS_PG_STARTING); /* a corpse's */
    put("pg/postmaster.pid", "");
    assert_int_equal(cds_pg_poll(pg.pg), CDS_PG_STARTING);
    pid_file(getpid(), "ready   ");
    assert_int_equal(cds_pg_poll(pg.pg), CDS_PG_READY);
    cds_pg_exited(pg.pg);
    assert_int_equal(cds_pg_poll(pg.pg), CDS_PG_DOWN);
    assert_int_equal(unlink(in_home("pg/postmaster.pid", path, sizeof(path))), 0);
}

/* ---- life ---- */
static void server_ends_cleanly_when_its_supervisor_is_killed(void **state)
{
    char path[400];
    int fds[2], status;
    pid_t server = 0;
    assert_int_equal(pipe2(fds, O_CLOEXEC), 0);
    assert_int_equal(prctl(PR_SET_CHILD_SUBREAPER, 1), 0);
    pid_t supervisor = fork();
    if (supervisor == 0) {
        test_pg_start(&pg);
        ssize_t n = write(fds[1], &pg.pid, sizeof(pg.pid));
        for (;;)
            n = pause();
        _exit((int)n);
    }
    close(fds[1]);
    assert_int_equal(read(fds[0], &server, sizeof(server)), sizeof(server));
    close(fds[0]);
    assert_int_equal(kill(supervisor, SIGKILL), 0);
    assert_int_equal(waitpid(supervisor, NULL, 0), supervisor);
    uint64_t deadline_ms = cds_now_ms() + WAIT_MS;
    while (waitpid(server, &status, WNOHANG) == 0) {
        if (cds_ms_left(deadline_ms) == 0)
            kill(server, SIGKILL); /* shows in its status */
        usleep(PAUSE_US);
    }
    assert_int_equal(prctl(PR_SET_CHILD_SUBREAPER, 0), 0);
    assert_true(WIFEXITED(status) && WEXITSTATUS(status) == 0);
    assert_int_not_equal(access(in_home("pg/postmaster.pid", path, sizeof(path)), F_OK), 0);
}

static void server_keeps_every_safety_and_listens_to_no_network(void **state)
{
    static const char *const wanted[][2] = {{"fsync", "on"},          {"full_page_writes", "on"}, {"synchronous_commit", "on"},
                                            {"data_checksums", "on"}, {"listen_addresses", ""},   {"data_sync_retry", "off"},
                                            {"TimeZone", "UTC"},      {"server_encoding", "UTF8"}};
    char sql[100], text[100];
    test_pg_start(&pg);
    CDS_CLEANUP(cds_db_close) struct cds_db *db = test_pg_open(&pg);
    for (size_t i = 0; i < sizeof(wanted) / sizeof(wanted[0]); i++) {
        snprintf(sql, sizeof(sql), "SELECT current_setting('%s')", wanted[i][0]);
        assert_string_equal(test_sql(db, sql, text, sizeof(text)), wanted[i][1]);
    }
    cds_db_close(&db);
    test_pg_stop(&pg, SIGINT);
}

static void folders_are_closed_to_others(void **state)
{
    char path[400];
    struct stat st;
    assert_int_equal(stat(in_home("pg", path, sizeof(path)), &st), 0);
    assert_int_equal(st.st_mode & 07777, 0700);
    assert_int_equal(st.st_uid, cds_pg_uid(pg.pg));
    assert_int_equal(stat(in_home("run/pg", path, sizeof(path)), &st), 0);
    assert_int_equal(st.st_mode & 07777, 0750);
    assert_int_equal(st.st_uid, cds_pg_uid(pg.pg));
}

/* The folder is the first gate. Behind it, peer authentication: a user who is not in the map does not get in. */
static void another_user_is_refused_even_inside_the_folder(void **state)
{
    char path[400];
    int status;
    if (geteuid() != 0)
        skip(); /* only root can be somebody else */
    test_pg_start(&pg);
    assert_int_equal(chmod(in_home("run/pg", path, sizeof(path)), 0755), 0);
    pid_t other = fork();
    if (other == 0) {
        struct cds_db *db = NULL;
        struct cds_err err = {0};
        if (setgroups(0, NULL) || setgid(65534) || setuid(65534))
            _exit(1);
        bool refused = cds_db_open(pg.conninfo, 0, &db, &err) == CDS_UNAVAILABLE && strstr(err.detail, "authentication failed");
        _exit(refused ? 0 : 2);
    }
    assert_int_equal(waitpid(other, &status, 0), other);
    assert_int_equal(status, 0);
    assert_int_equal(chmod(path, 0750), 0);
    test_pg_stop(&pg, SIGINT);
}

/* ---- making it ---- */
static cds_rc prepare_again(bool (*tick)(void *user, const char *step), struct cds_err *reterr)
{
    struct cds_pg *again = NULL;
    cds_rc rc = cds_pg_prepare(pg.config, &pg.home, &nobody_else, tick, NULL, &again, reterr);
    assert_true((again == NULL) == (rc != CDS_OK));
    cds_pg_free(&again);
    return rc;
}

static void settings_are_written_anew_before_each_start(void **state)
{
    put("pg/postgresql.auto.conf", "fsync = off\nlisten_addresses = '*'\n");
    put("pg/pg_hba.conf", "local all all trust\n");
    struct cds_err err = {0};
    assert_int_equal(prepare_again(NULL, &err), CDS_OK);
    server_keeps_every_safety_and_listens_to_no_network(state);
    another_user_is_refused_even_inside_the_folder(state);
}

static void cluster_of_another_major_version_is_refused_and_left_alone(void **state)
{
    char made_by[16], path[400];
    struct cds_err err = {0};
    CDS_CLEANUP(cds_buf_free) struct cds_buf text = cds_buf_init(64);
    put("pg/PG_VERSION", "9\n");
    assert_int_equal(prepare_again(NULL, &err), CDS_CONFLICT);
    assert_non_null(strstr(err.message, "PostgreSQL 9"));
    assert_non_null(strstr(err.hint, "database.bin_dir"));
    assert_int_equal(cds_read_file(in_home("pg/PG_VERSION", path, sizeof(path)), &text, NULL), CDS_OK);
    assert_string_equal(text.data, "9\n");
    snprintf(made_by, sizeof(made_by), "%d\n", pg.pg->major);
    put("pg/PG_VERSION", made_by);
    assert_int_equal(prepare_again(NULL, &err), CDS_OK);
}

static bool give_up(void *user, const char *step)
{
    return false;
}

/* A first start that was interrupted, in the middle of initdb or before the last rename, holds nothing and is made again. */
static void unfinished_cluster_is_made_again(void **state)
{
    char path[400], aside[400];
    struct cds_err err = {0};
    in_home("pg", path, sizeof(path));
    in_home("aside", aside, sizeof(aside));
    assert_int_equal(rename(path, aside), 0);
    assert_int_equal(prepare_again(give_up, &err), CDS_CANCELLED);
    assert_int_not_equal(access(path, F_OK), 0);
    assert_int_equal(access(in_home("pg.new", path, sizeof(path)), F_OK), 0); /* what it left */
    put("pg.new/half", "of a cluster");
    assert_int_equal(prepare_again(NULL, &err), CDS_OK);
    assert_int_not_equal(access(path, F_OK), 0);
    assert_int_not_equal(access(in_home("pg/half", path, sizeof(path)), F_OK), 0);
    starts_and_answers();
}

static void folder_that_holds_something_else_is_refused_and_left_alone(void **state)
{
    char path[400], aside[400];
    struct cds_err err = {0};
    in_home("pg", path, sizeof(path));
    in_home("aside2", aside, sizeof(aside));
    assert_int_equal(rename(path, aside), 0);
    assert_int_equal(mkdir(path, 0700), 0);
    put("pg/letter", "dear diary");
    assert_int_equal(prepare_again(NULL, &err), CDS_CONFLICT);
    assert_true(*err.hint);
    assert_int_equal(unlink(in_home("pg/letter", path, sizeof(path))), 0);
    assert_int_equal(rmdir(in_home("pg", path, sizeof(path))), 0);
    assert_int_equal(rename(aside, path), 0);
}

/* A container that runs as a bare number. */
static void user_without_a_name_is_told_before_anything_is_made(void **state)
{
    enum { NAMELESS = 1879000001 };
    struct {
        cds_rc rc;
        struct cds_err err;
    } said = {0};
    int fds[2];
    struct cds_home home = {.lock_fd = -1};
    strcpy(home.path, "/tmp/cds-nameless-XXXXXX");
    if (geteuid() != 0)
        skip();
    assert_non_null(mkdtemp(home.path));
    assert_int_equal(chown(home.path, NAMELESS, NAMELESS), 0);
    assert_int_equal(pipe(fds), 0);
    pid_t pid = fork();
    if (pid == 0) {
        struct cds_pg *none = NULL;
        if (setgroups(0, NULL) || setresgid(NAMELESS, NAMELESS, NAMELESS) || setresuid(NAMELESS, NAMELESS, NAMELESS))
            _exit(1);
        said.rc = cds_pg_prepare(pg.config, &home, &nobody_else, NULL, NULL, &none, &said.err);
        _exit(write(fds[1], &said, sizeof(said)) == (ssize_t)sizeof(said) ? 0 : 1);
    }
    assert_int_equal(read(fds[0], &said, sizeof(said)), sizeof(said));
    assert_int_equal(waitpid(pid, NULL, 0), pid);
    close(fds[0]);
    close(fds[1]);
    assert_int_equal(said.rc, CDS_NOT_FOUND);
    assert_non_null(strstr(said.err.message, "user id 1879000001"));
    assert_non_null(strstr(said.err.hint, "/etc/passwd"));
    assert_int_equal(rmdir(home.path), 0); /* still empty */
}

static void data_folder_that_libpq_would_misread_is_refused(void **state)
{
    static const char *const paths[] = {"/tmp/a,b", "/tmp/a'b", "/tmp/a\"b", "/tmp/a\\b", "/tmp/a\nb"};
    for (size_t i = 0; i < sizeof(paths) / sizeof(paths[0]); i++) {
        struct cds_home home = {.lock_fd = -1};
        struct cds_pg *none = NULL;
        struct cds_err err = {0};
        strcpy(home.path, paths[i]);
        assert_int_equal(cds_pg_prepare(pg.config, &home, &nobody_else, NULL, NULL, &none, &err), CDS_BAD_PARAM);
        assert_null(none);
    }
}

/* ---- finding the programs ---- */
static cds_rc find_in(const char *bin_dir, int *ret_major, struct cds_err *reterr)
{
    char flag[500], home[400], found[512];
    snprintf(flag, sizeof(flag), "--database.bin_dir=%s", bin_dir);
    snprintf(home, sizeof(home), "--studio.home=%s", pg.home.path);
    char *argv[] = {(char *)"test", flag, home, NULL};
    int argc = 3;
    CDS_CLEANUP(cds_config_free) struct cds_config *config = NULL;
    assert_int_equal(cds_config_load(&argc, argv, "test", &config, NULL), CDS_OK);
    return cds_pg_find(config, found, sizeof(found), ret_major, reterr);
}

static void find_takes_the_folder_that_is_named(void **state)
{
    int major = 0;
    assert_int_equal(find_in(pg.pg->bin_dir, &major, NULL), CDS_OK);
    assert_int_equal(major, pg.pg->major);
}

static void find_refuses_a_folder_without_a_server_and_a_server_that_is_too_old(void **state)
{
    char path[400];
    int major = -1;
    struct cds_err err = {0};
    assert_int_equal(find_in(pg.home.path, &major, &err), CDS_NOT_FOUND);
    assert_non_null(strstr(err.hint, "apt-get install"));
    put("initdb", "#!/bin/sh\n");
    put("postgres", "#!/bin/sh\necho 'postgres (PostgreSQL) 14.9'\n");
    assert_int_equal(chmod(in_home("initdb", path, sizeof(path)), 0755), 0);
    assert_int_equal(chmod(in_home("postgres", path, sizeof(path)), 0755), 0);
    assert_int_equal(find_in(pg.home.path, &major, &err), CDS_NOT_FOUND);
    assert_non_null(strstr(err.message, "PostgreSQL 14"));
    assert_int_equal(major, -1);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(server_starts_over_the_pid_file_of_a_process_that_is_gone),
        cmocka_unit_test(server_starts_over_the_pid_file_of_a_stranger_and_leaves_the_stranger_alone),
        cmocka_unit_test(server_starts_over_an_empty_pid_file),
        cmocka_unit_test(server_starts_over_an_empty_socket_lock),
        cmocka_unit_test(server_starts_after_its_predecessor_was_killed_beside_a_busy_backend),
        cmocka_unit_test(second_start_ends_the_first_server),
        cmocka_unit_test(poll_believes_only_the_pid_file_of_the_child),
        cmocka_unit_test(server_ends_cleanly_when_its_supervisor_is_killed),
        cmocka_unit_test(server_keeps_every_safety_and_listens_to_no_network),
        cmocka_unit_test(folders_are_closed_to_others),
        cmocka_unit_test(another_user_is_refused_even_inside_the_folder),
        cmocka_unit_test(settings_are_written_anew_before_each_start),
        cmocka_unit_test(cluster_of_another_major_version_is_refused_and_left_alone),
        cmocka_unit_test(unfinished_cluster_is_made_again),
        cmocka_unit_test(folder_that_holds_something_else_is_refused_and_left_alone),
        cmocka_unit_test(user_without_a_name_is_told_before_anything_is_made),
        cmocka_unit_test(data_folder_that_libpq_would_misread_is_refused),
        cmocka_unit_test(find_takes_the_folder_that_is_named),
        cmocka_unit_test(find_refuses_a_folder_without_a_server_and_a_server_that_is_too_old),
    };
    return cmocka_run_group_tests(tests, make, unmake);
}
