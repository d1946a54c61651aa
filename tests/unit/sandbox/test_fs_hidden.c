/* What a job may do to its own tree so that nobody can count or delete it: sandbox/fs_tree.c. Every test runs with each kind of rights that can
 * be had here: those we were started with, the job's on a thread of root, and a user's who has no other. */
#include <errno.h>
#include <fcntl.h>
#include <pthread.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>

#include "lib/base/cleanup.h"
#include "sandbox/broker.h"
#include "sandbox/confine/identity.h"
#include "sandbox/fs.h"
#include "tests/support/test.h"

enum { DEEP = 3000, BIG = 1 << 20 };

static char base[] = "/tmp/cds-test-hidden-XXXXXX";
static int project = -1; /* O_PATH, as the broker holds it */

/* ---- making trees; relative to the project, with the rights of the test ---- */
static int enter_project(void)
{
    char path[300];
    snprintf(path, sizeof(path), "%s/project", base);
    return chdir(path);
}

static int fill(const char *path, off_t bytes)
{
    CDS_CLEANUP(cds_close_fd) int fd = open(path, O_WRONLY | O_CREAT | O_CLOEXEC, 0644);
    return fd < 0 ? -1 : posix_fallocate(fd, 0, bytes);
}

/* a/b/big with a locked as a job does it whose current folder is below. */
static int lock_tree(mode_t mode)
{
    return enter_project() || mkdir("a", 0755) || mkdir("a/b", 0755) || fill("a/b/big", BIG) || fill("a/small", 1) || chmod("a/b", mode) ||
           chmod("a", mode);
}

static int nest(int depth)
{
    int bad = enter_project();
    for (int i = 0; i < depth && !bad; i++)
        bad = mkdir("d", 0755) || chdir("d");
    return bad || fill("end", 1) || enter_project();
}

static cds_rc delete (const char *name, struct cds_err *err)
{
    struct cds_path path;
    cds_rc rc = cds_path_parse_below(name, strlen(name), &path, err);
    return rc ? rc : cds_fs_delete(project, &path, true, err);
}

static struct cds_fs_usage count(void)
{
    struct cds_fs_usage used;
    cds_fs_count(project, CDS_FS_QUOTA_FILES, &used);
    return used;
}

/* Asserts that also work in a child that was forked for its rights: the number of the line is its exit code. */
#define NEED(what)                                                                                                                                   \
    do {                                                                                                                                             \
        if (!(what))                                                                                                                                 \
            return __LINE__;                                                                                                                         \
    } while (0)

/* ---- the bodies ---- */
static int locked_trees_are_counted(void)
{
    static const mode_t modes[] = {0, 0100, 0400, 0200};
    for (size_t i = 0; i < CDS_ARRAY_LEN(modes); i++) {
        struct stat st;
        struct cds_err err;
        NEED(lock_tree(modes[i]) == 0);
        const struct cds_fs_usage used = count();
        NEED(!used.hidden && used.entries == 4 && used.bytes >= BIG);
        NEED(stat("a", &st) == 0 && (st.st_mode & 07777) == modes[i]); /* looking leaves no trace */
        NEED(delete ("a", &err) == CDS_OK);
        NEED(count().entries == 0);
    }
    return 0;
}

static int a_write_into_a_project_that_hides_its_size_is_refused(void)
{
    static char text[1000];
    struct cds_fs_info info;
    struct cds_err err;
    struct cds_path path;
    NEED(nest(200) == 0);
    NEED(count().hidden);
    NEED(cds_path_parse_below("new", 3, &path, NULL) == CDS_OK);
    NEED(cds_fs_write(project, &path, text, sizeof(text), NULL, &info, &err) == CDS_DENIED && strcmp(err.rule, "fs.quota") == 0);
    NEED(access("new", F_OK) != 0);
    NEED(delete ("d", &err) == CDS_OK);
    NEED(cds_fs_write(project, &path, text, sizeof(text), NULL, &info, &err) == CDS_OK);
    NEED(delete ("new", &err) == CDS_OK);
    return 0;
}

static int trees_of_any_depth_are_deleted_with_few_descriptors(void)
{
    struct rlimit before;
    struct cds_err err = {0};
    NEED(nest(DEEP) == 0 && getrlimit(RLIMIT_NOFILE, &before) == 0);
    const struct rlimit few = {64, before.rlim_max};
    NEED(setrlimit(RLIMIT_NOFILE, &few) == 0);
    cds_rc rc = delete ("d", &err);
    NEED(setrlimit(RLIMIT_NOFILE, &before) == 0);
    NEED(rc == CDS_OK);
    NEED(count().entries == 0);
    return 0;
}

static int what_a_killed_write_left_goes_after_a_minute(void)
{
    const struct timespec old[2] = {{.tv_sec = time(NULL) - 120}, {.tv_sec = time(NULL) - 120}};
    const struct timespec future[2] = {{.tv_sec = time(NULL) + 9999}, {.tv_sec = time(NULL) + 9999}};
    NEED(enter_project() == 0 && mkdir("sub", 0755) == 0 && fill("sub/.cds-tmp-old", BIG) == 0 && fill(".cds-tmp-new", 1) == 0);
    NEED(mkdir(".cds-tmp-dir", 0755) == 0 && fill(".cds-tmp-dir/f", 1) == 0 && fill(".cds-tmp-future", 1) == 0 && fill("old", 1) == 0);
    NEED(utimensat(AT_FDCWD, "sub/.cds-tmp-old", old, 0) == 0 && utimensat(AT_FDCWD, ".cds-tmp-dir", old, 0) == 0);
    NEED(utimensat(AT_FDCWD, ".cds-tmp-future", future, 0) == 0 && utimensat(AT_FDCWD, "old", old, 0) == 0);
    const struct cds_fs_usage used = count();
    NEED(used.entries == 3 && used.bytes < BIG); /* sub, old, and the write that may be under way */
    NEED(access("sub/.cds-tmp-old", F_OK) && access(".cds-tmp-dir", F_OK) && access(".cds-tmp-future", F_OK));
    NEED(access(".cds-tmp-new", F_OK) == 0 && access("old", F_OK) == 0);
    NEED(unlink(".cds-tmp-new") == 0 && unlink("old") == 0 && rmdir("sub") == 0);
    return 0;
}

static cds_rc put(const char *name, size_t len, struct cds_err *err)
{
    static const char text[10000];
    struct cds_path path;
    struct cds_fs_info info;
    cds_rc rc = cds_path_parse_below(name, strlen(name), &path, err);
    return rc ? rc : cds_fs_write(project, &path, text, len, NULL, &info, err);
}

static int the_quota_holds_at_the_byte_and_at_the_entry(void)
{
    struct cds_err err = {0};
    struct cds_path path;
    struct cds_fs_info info;
    char name[32];
    NEED(enter_project() == 0 && fill("big", CDS_FS_QUOTA_BYTES - 8192) == 0);
    const uint64_t room = CDS_FS_QUOTA_BYTES - count().bytes;
    NEED(room > 0 && room <= 8192);
    NEED(put("a", room + 1, &err) == CDS_DENIED && strcmp(err.rule, "fs.quota") == 0 && access("a", F_OK) != 0);
    NEED(put("a", room, &err) == CDS_OK);
    NEED(put("b", 1, &err) == CDS_DENIED && strcmp(err.rule, "fs.quota") == 0);
    NEED(unlink("big") == 0 && unlink("a") == 0 && mkdir("n", 0755) == 0 && fill("n/0", 1) == 0);
    for (int i = 1; i < CDS_FS_QUOTA_FILES - 2; i++) { /* and n; one is left */
        snprintf(name, sizeof(name), "n/%d", i);
        NEED(link("n/0", name) == 0);
    }
    NEED(cds_path_parse_below("last", 4, &path, NULL) == CDS_OK);
    NEED(cds_fs_create(project, &path, CDS_FS_DIR, &info, &err) == CDS_OK);
    NEED(put("b", 1, &err) == CDS_DENIED && strcmp(err.rule, "fs.quota") == 0);
    NEED(put("last/c", 1, &err) == CDS_DENIED);
    NEED(delete ("last", &err) == CDS_OK && put("b", 1, &err) == CDS_OK && delete ("n", &err) == CDS_OK);
    return 0;
}

static int the_rights_of_folders_hold(void)
{
    struct cds_err err = {0};
    struct cds_path path;
    struct cds_fs_list list;
    NEED(enter_project() == 0 && mkdir("ro", 0755) == 0 && fill("ro/f", 1) == 0 && chmod("ro", 0555) == 0);
    NEED(mkdir("no", 0755) == 0 && fill("no/f", 1) == 0 && chmod("no", 0) == 0);
    NEED(put("ro/new", 1, &err) == CDS_DENIED && strcmp(err.rule, "fs.rights") == 0 && access("ro/new", F_OK) != 0);
    err.rule[0] = '\0';
    NEED(delete ("ro/f", &err) == CDS_DENIED && strcmp(err.rule, "fs.rights") == 0 && access("ro/f", F_OK) == 0);
    err.rule[0] = '\0';
    NEED(put("no/new", 1, &err) == CDS_DENIED && strcmp(err.rule, "fs.rights") == 0);
    NEED(cds_path_parse_below("no", 2, &path, NULL) == CDS_OK);
    err.rule[0] = '\0';
    NEED(cds_fs_list(project, &path, &list, &err) == CDS_DENIED && strcmp(err.rule, "fs.rights") == 0);
    NEED(delete ("ro", &err) == CDS_OK && delete ("no", &err) == CDS_OK);
    return 0;
}

/* ---- with which rights ---- */
static struct cds_job_identity who;

static int clear(void)
{
    char command[400];
    snprintf(command, sizeof(command), "cd %s && chmod -R u+rwx project 2>/dev/null; rm -rf project/*", base);
    return system(command);
}

static int as_user(int (*body)(void))
{
    int status;
    pid_t pid = fork();
    if (pid == 0) {
        if (syscall(SYS_setgroups, 0, NULL) || setresgid(who.gid, who.gid, who.gid) || setresuid(who.uid, who.uid, who.uid))
            _exit(1);
        int line = body();
        if (line)
            fprintf(stderr, "line %d failed as a user\n", line);
        _exit(line != 0);
    }
    assert_int_equal(waitpid(pid, &status, 0), pid);
    return WIFEXITED(status) ? WEXITSTATUS(status) : 99;
}

static void without_rights_over_others(int (*body)(void))
{
    char path[300];
    snprintf(path, sizeof(path), "%s/project", base);
    if (!who.change && geteuid() != 0) {
        assert_int_equal(body(), 0);
        return;
    }
    if (!who.change)
        skip();
    assert_int_equal(clear(), 0);
    assert_int_equal(chown(path, who.uid, who.gid), 0);
    assert_int_equal(cds_fs_identity_enter(&who, NULL), CDS_OK);
    int line = body();
    cds_fs_identity_leave(&who);
    assert_int_equal(line, 0);
    assert_int_equal(clear(), 0);
    assert_int_equal(as_user(body), 0);
}

static void in_every_mode(int (*body)(void))
{
    assert_int_equal(clear(), 0);
    if (geteuid() == 0)
        assert_int_equal(body(), 0);
    if (geteuid() != 0 || who.change)
        without_rights_over_others(body);
}

static void the_quota_is_told_by_its_rule(void **state)
{
    in_every_mode(the_quota_holds_at_the_byte_and_at_the_entry);
}
static void rights_of_a_folder_are_told_by_their_rule(void **state)
{
    without_rights_over_others(the_rights_of_folders_hold);
}
static void a_folder_without_rights_is_counted_and_deleted(void **state)
{
    in_every_mode(locked_trees_are_counted);
}
static void a_folder_deeper_than_the_count_goes_closes_the_project_for_writes_until_it_is_deleted(void **state)
{
    in_every_mode(a_write_into_a_project_that_hides_its_size_is_refused);
}
static void a_tree_of_any_depth_is_deleted_with_few_descriptors(void **state)
{
    in_every_mode(trees_of_any_depth_are_deleted_with_few_descriptors);
}
static void a_temporary_file_of_a_killed_write_is_removed_after_a_minute(void **state)
{
    in_every_mode(what_a_killed_write_left_goes_after_a_minute);
}

/* Reading is all that looking may do: nothing outside of the job's rights is changed by a thread that sees all. */
static void a_thread_that_sees_everything_still_changes_nothing(void **state)
{
    char path[300];
    if (!who.change)
        skip();
    snprintf(path, sizeof(path), "%s/of-root", base);
    assert_int_equal(mkdir(path, 0700), 0);
    assert_int_equal(cds_fs_identity_enter(&who, NULL), CDS_OK);
    int before = open(path, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    bool added = cds_fs_identity_see_all();
    CDS_CLEANUP(cds_close_fd) int fd = open(path, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    int made = mkdirat(fd, "x", 0755), why = errno;
    cds_fs_identity_see_less();
    int after = open(path, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    cds_fs_identity_leave(&who);
    assert_int_equal(before, -1);
    assert_true(added && fd >= 0);
    assert_int_equal(made, -1);
    assert_int_equal(why, EACCES);
    assert_int_equal(after, -1);
    assert_int_equal(rmdir(path), 0);
}

/* ---- someone else deletes at the same time ---- */
enum { ROUNDS = 40, FILES = 400 };
static pthread_barrier_t both;

static void *delete_backwards(void *user)
{
    char path[300];
    pthread_barrier_wait(&both);
    for (int i = FILES; i-- > 0;) {
        snprintf(path, sizeof(path), "%s/project/t/%d", base, i);
        unlink(path);
        rmdir(path);
    }
    return user;
}

static void a_child_that_vanishes_while_its_folder_is_deleted_counts_as_deleted(void **state)
{
    assert_int_equal(clear() | enter_project(), 0);
    for (int round = 0; round < ROUNDS; round++) {
        pthread_t thread;
        char name[32];
        struct cds_err err = {0};
        assert_int_equal(mkdir("t", 0755), 0);
        for (int i = 0; i < FILES; i++) {
            snprintf(name, sizeof(name), "t/%d", i);
            assert_int_equal(i % 2 ? mkdir(name, 0755) : fill(name, 1), 0);
        }
        assert_int_equal(pthread_barrier_init(&both, NULL, 2), 0);
        assert_int_equal(pthread_create(&thread, NULL, delete_backwards, NULL), 0);
        pthread_barrier_wait(&both);
        cds_rc rc = delete ("t", &err);
        pthread_join(thread, NULL);
        pthread_barrier_destroy(&both);
        if (rc)
            fail_msg("round %d: %s", round, err.message);
        assert_int_equal(access("t", F_OK), -1);
    }
}

static void a_project_that_locked_itself_is_opened_again(void **state)
{
    static const char id[] = "01890000-0000-7000-8000-000000000001";
    char path[300];
    struct stat st;
    CDS_CLEANUP(cds_close_fd) int projects = open(base, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    CDS_CLEANUP(cds_close_fd) int fd = -1;
    const struct broker broker = {.projects_fd = projects};
    snprintf(path, sizeof(path), "%s/%s", base, id);
    assert_int_equal(mkdir(path, 0755) | chmod(path, 0), 0);
    assert_int_equal(broker_project_open(&broker, id, &fd, NULL), CDS_OK);
    assert_int_equal(fstat(fd, &st), 0);
    assert_int_equal(st.st_mode & 07777, 0700);
    assert_int_equal(rmdir(path), 0);
}

static int setup(void **state)
{
    char path[300];
    if (!mkdtemp(base) || chmod(base, 0755))
        return -1;
    snprintf(path, sizeof(path), "%s/project", base);
    cds_job_identity_find(false, &who);
    if (mkdir(path, 0755))
        return -1;
    project = open(path, O_PATH | O_DIRECTORY | O_CLOEXEC);
    return project < 0;
}

static int teardown(void **state)
{
    char command[400];
    close(project);
    snprintf(command, sizeof(command), "chmod -R u+rwx %s; rm -rf %s", base, base);
    return chdir("/") || system(command);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_folder_without_rights_is_counted_and_deleted),
        cmocka_unit_test(a_folder_deeper_than_the_count_goes_closes_the_project_for_writes_until_it_is_deleted),
        cmocka_unit_test(a_tree_of_any_depth_is_deleted_with_few_descriptors),
        cmocka_unit_test(a_temporary_file_of_a_killed_write_is_removed_after_a_minute),
        cmocka_unit_test(the_quota_is_told_by_its_rule),
        cmocka_unit_test(rights_of_a_folder_are_told_by_their_rule),
        cmocka_unit_test(a_thread_that_sees_everything_still_changes_nothing),
        cmocka_unit_test(a_child_that_vanishes_while_its_folder_is_deleted_counts_as_deleted),
        cmocka_unit_test(a_project_that_locked_itself_is_opened_again),
    };
    return cmocka_run_group_tests(tests, setup, teardown);
}
