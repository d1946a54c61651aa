/* More tests of apps/cyberdevstudio/pg*.c: who may connect, what the server gets to know, whom a new start must leave alone. */
#include "tests/support/test.h"

#include <fcntl.h>
#include <grp.h>
#include <linux/capability.h>
#include <signal.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>

#include "lib/base/cleanup.h"
#include "lib/base/clock.h"
#include "lib/base/fd.h"
#include "lib/base/str.h"
#include "tests/support/pg.h"

enum { NOBODY = 65534 };

static struct test_pg pg;
static uid_t owner;
static gid_t owner_group;

static char *below(const char *tail, char *buf, size_t size)
{
    snprintf(buf, size, "%s/%s", pg.home.path, tail);
    return buf;
}

static int make(void **state)
{
    char path[400];
    struct stat st;
    setenv("CDS_TEST_SECRET", "must not reach the server", 1);
    test_pg_make(&pg);
    assert_int_equal(stat(below("pg", path, sizeof(path)), &st), 0);
    owner = st.st_uid;
    owner_group = st.st_gid;
    return 0;
}

static int unmake(void **state)
{
    test_pg_free(&pg);
    return 0;
}

static void put(const char *tail, const char *text)
{
    char path[400];
    snprintf(path, sizeof(path), "%s/%s", pg.home.path, tail);
    assert_int_equal(cds_write_file_atomic(path, text, strlen(text), 0600, NULL), CDS_OK);
    if (geteuid() == 0)
        assert_int_equal(chown(path, owner, (gid_t)-1), 0);
}

/* It starts, answers and ends: nothing was broken. */
static void starts(void)
{
    test_pg_start(&pg);
    struct cds_db *db = test_pg_open(&pg);
    assert_int_equal(test_sql_i64(db, "SELECT 1"), 1);
    cds_db_close(&db);
    test_pg_stop(&pg, SIGINT);
}

static void pid_files_that_name(pid_t pid)
{
    char text[600];
    snprintf(text, sizeof(text), "%d\n%s/pg\n1700000000\n5432\n%s/run/pg\n\n      1         1\nready   \n", (int)pid, pg.home.path, pg.home.path);
    put("pg/postmaster.pid", text);
    snprintf(text, sizeof(text), "%d\n%s/pg\n1700000000\n5432\n%s/run/pg\n", (int)pid, pg.home.path, pg.home.path);
    put("run/pg/.s.PGSQL.5432.lock", text);
}

/* A process of that user which has nothing to do with the cluster. */
static pid_t stranger(uid_t uid, const char *folder)
{
    int fds[2];
    char c;
    assert_int_equal(pipe2(fds, O_CLOEXEC), 0);
    pid_t pid = fork();
    if (pid == 0) {
        if ((geteuid() != 0 || (setresgid(owner_group, owner_group, owner_group) == 0 && setresuid(uid, uid, uid) == 0)) && chdir(folder) == 0)
            execl("/bin/sleep", "sleep", "300", (char *)NULL);
        ssize_t n = write(fds[1], "x", 1);
        _exit(n == 1 ? 1 : 2);
    }
    assert_true(pid > 0);
    close(fds[1]);
    assert_int_equal(read(fds[0], &c, 1), 0); /* closed by the exec */
    close(fds[0]);
    return pid;
}

static void end_stranger(pid_t pid)
{
    int status;
    assert_int_equal(waitpid(pid, &status, WNOHANG), 0); /* it lives */
    assert_int_equal(kill(pid, SIGKILL), 0);
    assert_int_equal(waitpid(pid, &status, 0), pid);
}

static void pid_of_another_users_process_is_no_hindrance(void **state)
{
    pid_files_that_name(1);
    starts();
}

static void stranger_that_stands_in_the_data_folder_is_left_alone(void **state)
{
    char folder[400];
    snprintf(folder, sizeof(folder), "%s/pg", pg.home.path);
    pid_t pid = stranger(owner, folder);
    pid_files_that_name(pid);
    starts();
    end_stranger(pid);
}

static void broken_pid_files_are_no_hindrance(void **state)
{
    put("pg/postmaster.pid", "hello\n\n\n");
    put("run/pg/.s.PGSQL.5432.lock", "hello\n");
    starts();
}

/* Starts a second server over one that runs; we hold the folder's lock, so the first one must go, and its data must be there. */
static void take_over(void)
{
    struct cds_err err = {0};
    test_pg_start(&pg);
    struct cds_db *db = test_pg_open(&pg);
    assert_int_equal(cds_db_script(db, "DROP TABLE IF EXISTS kept; CREATE TABLE kept AS SELECT 42 AS n", &err), CDS_OK);
    cds_db_close(&db);
    pid_t first = pg.pid;
    test_pg_start(&pg);
    assert_int_equal(waitpid(first, NULL, 0), first);
    db = test_pg_open(&pg);
    assert_int_equal(test_sql_i64(db, "SELECT n FROM kept"), 42);
    cds_db_close(&db);
    test_pg_stop(&pg, SIGINT);
}

/* As in a container, where root has no CAP_SYS_PTRACE. */
static void server_that_still_runs_is_seen_without_the_right_to_look_into_processes(void **state)
{
    struct __user_cap_header_struct header = {.version = _LINUX_CAPABILITY_VERSION_3};
    struct __user_cap_data_struct all[2], fewer[2];
    if (geteuid() != 0)
        skip();
    assert_int_equal(syscall(SYS_capget, &header, all), 0);
    memcpy(fewer, all, sizeof(fewer));
    fewer[0].effective &= ~(1U << CAP_SYS_PTRACE);
    assert_int_equal(syscall(SYS_capset, &header, fewer), 0);
    take_over();
    assert_int_equal(syscall(SYS_capset, &header, all), 0);
}

/* ---- made ---- */
static bool give_up(void *user, const char *step)
{
    assert_true(*step);
    return false;
}

static void interrupted_initdb_is_cancelled_and_leaves_no_cluster(void **state)
{
    char path[400], to[400];
    struct cds_err err = {0};
    const struct cds_identity same = {.change = false};
    struct cds_pg *made = NULL;
    assert_int_equal(rename(below("pg", path, sizeof(path)), below("aside", to, sizeof(to))), 0);
    assert_int_equal(cds_pg_prepare(pg.config, &pg.home, &same, give_up, NULL, &made, &err), CDS_CANCELLED);
    assert_null(made);
    assert_int_equal(access(path, F_OK), -1);
    assert_int_equal(rename(to, path), 0);
}

static void cluster_keeps_its_data_over_a_second_prepare(void **state)
{
    struct cds_err err = {0};
    const struct cds_identity same = {.change = false};
    test_pg_start(&pg);
    struct cds_db *db = test_pg_open(&pg);
    assert_int_equal(cds_db_script(db, "CREATE TABLE precious AS SELECT 42 AS n", &err), CDS_OK);
    cds_db_close(&db);
    test_pg_stop(&pg, SIGINT);
    cds_pg_free(&pg.pg);
    assert_int_equal(cds_pg_prepare(pg.config, &pg.home, &same, NULL, NULL, &pg.pg, &err), CDS_OK);
    test_pg_start(&pg);
    db = test_pg_open(&pg);
    assert_int_equal(test_sql_i64(db, "SELECT n FROM precious"), 42);
    cds_db_close(&db);
    test_pg_stop(&pg, SIGINT);
}

/* ---- who may connect ---- */
/* @return what a process of that user gets that asks for that role, NULL: the owner's */
static cds_rc connect_as(uid_t uid, gid_t gid, const char *role)
{
    char conninfo[700];
    snprintf(conninfo, sizeof(conninfo), role ? "%s user=%s" : "%s", pg.conninfo, role);
    pid_t pid = fork();
    if (pid == 0) {
        struct cds_db *db = NULL;
        if (setgroups(0, NULL) || setresgid(gid, gid, gid) || setresuid(uid, uid, uid))
            _exit(CDS_SYSTEM);
        _exit((int)cds_db_open(conninfo, cds_now_ms(), &db, NULL));
    }
    int status = 0;
    assert_int_equal(waitpid(pid, &status, 0), pid);
    assert_true(WIFEXITED(status));
    return (cds_rc)WEXITSTATUS(status);
}

static void root_and_the_cluster_user_may_be_the_owner_and_the_services_their_roles_and_nobody_else_anything(void **state)
{
    struct cds_identity services = {.change = true};
    struct cds_err err = {0};
    char path[400];
    if (geteuid() != 0)
        skip();
    cds_pg_free(&pg.pg);
    assert_int_equal(cds_sysuser_ensure("cds-studio", &services.uid, &services.gid, &err), CDS_OK);
    assert_int_equal(cds_pg_prepare(pg.config, &pg.home, &services, NULL, NULL, &pg.pg, &err), CDS_OK);
    test_pg_start(&pg);
    test_pg_migrate(&pg); /* makes the roles */
    assert_int_equal(connect_as(0, 0, NULL), CDS_OK);
    assert_int_equal(connect_as(owner, owner_group, NULL), CDS_OK);
    assert_int_equal(connect_as(services.uid, services.gid, "cds_app"), CDS_OK);
    assert_int_equal(connect_as(services.uid, services.gid, "cds_auth"), CDS_OK);
    assert_int_equal(connect_as(services.uid, services.gid, NULL), CDS_UNAVAILABLE);
    assert_int_equal(connect_as(NOBODY, NOBODY, NULL), CDS_UNAVAILABLE);
    /* The folder is the first gate; the second one holds without it. */
    assert_int_equal(chmod(below("run/pg", path, sizeof(path)), 0755), 0);
    assert_int_equal(connect_as(services.uid, services.gid, "cds_app"), CDS_OK);
    assert_int_equal(connect_as(services.uid, services.gid, NULL), CDS_UNAVAILABLE);
    assert_int_equal(connect_as(NOBODY, NOBODY, NULL), CDS_UNAVAILABLE);
    assert_int_equal(connect_as(NOBODY, NOBODY, "cds_app"), CDS_UNAVAILABLE);
    test_pg_stop(&pg, SIGINT);
}

static void server_gets_an_environment_of_its_own(void **state)
{
    char path[64];
    CDS_CLEANUP(cds_buf_free) struct cds_buf text = cds_buf_init(65536);
    test_pg_start(&pg);
    snprintf(path, sizeof(path), "/proc/%d/environ", (int)pg.pid);
    assert_int_equal(cds_read_file(path, &text, NULL), CDS_OK);
    assert_null(memmem(text.data, text.len, "SECRET", 6));
    assert_non_null(memmem(text.data, text.len, "LC_ALL=C.UTF-8", 14));
    test_pg_stop(&pg, SIGINT);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(pid_of_another_users_process_is_no_hindrance),
        cmocka_unit_test(stranger_that_stands_in_the_data_folder_is_left_alone),
        cmocka_unit_test(broken_pid_files_are_no_hindrance),
        cmocka_unit_test(server_that_still_runs_is_seen_without_the_right_to_look_into_processes),
        cmocka_unit_test(interrupted_initdb_is_cancelled_and_leaves_no_cluster),
        cmocka_unit_test(cluster_keeps_its_data_over_a_second_prepare),
        cmocka_unit_test(server_gets_an_environment_of_its_own),
        cmocka_unit_test(root_and_the_cluster_user_may_be_the_owner_and_the_services_their_roles_and_nobody_else_anything),
    };
    return cmocka_run_group_tests(tests, make, unmake);
}
