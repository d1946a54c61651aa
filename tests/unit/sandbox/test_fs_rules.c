#include <errno.h>
#include <fcntl.h>
#include <linux/fs.h>
#include <pthread.h>
#include <stdatomic.h>
#include <stddef.h>
#include <sys/prctl.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>

#include <linux/filter.h>
#include <linux/seccomp.h>

#include "lib/base/cleanup.h"
#include "sandbox/fs.h"
#include "tests/support/test.h"

/* <base>/project is the project, <base>/outside holds a secret. */
static char base[] = "/tmp/cds-test-fs-rules-XXXXXX";
static int project = -1;

static char *at(const char *name)
{
    static char path[4][300];
    static int turn;
    turn = (turn + 1) % 4;
    snprintf(path[turn], sizeof(path[turn]), "%s/%s", base, name);
    return path[turn];
}

static void put(const char *name, const char *text)
{
    FILE *f = fopen(at(name), "w");
    assert_non_null(f);
    fputs(text, f);
    fclose(f);
}

static int setup(void **state)
{
    if (!mkdtemp(base) || mkdir(at("project"), 0755) || mkdir(at("outside"), 0755))
        return -1;
    put("outside/secret", "secret");
    project = open(at("project"), O_PATH | O_DIRECTORY | O_CLOEXEC);
    return project < 0;
}

static int teardown(void **state)
{
    char command[400];
    close(project);
    snprintf(command, sizeof(command), "rm -rf %s", base);
    return system(command);
}

static struct cds_path parse(const char *text)
{
    struct cds_path path;
    assert_int_equal(cds_path_parse(text, strlen(text), &path, NULL), CDS_OK);
    return path;
}

static cds_rc write_file(const char *name, const char *text, const char *if_version, struct cds_fs_info *info, struct cds_err *err)
{
    const struct cds_path path = parse(name);
    return cds_fs_write(project, &path, text, strlen(text), if_version, info, err);
}

static cds_rc read_file(const char *name, char *out, struct cds_err *err)
{
    CDS_CLEANUP(cds_buf_free) struct cds_buf buf = cds_buf_init(CDS_FS_FILE_MAX);
    struct cds_fs_info info;
    const struct cds_path path = parse(name);
    cds_rc rc = cds_fs_read(project, &path, &buf, &info, err);
    if (!rc)
        strcpy(out, buf.data ? buf.data : "");
    return rc;
}

static void what_was_written_is_read_back(void **state)
{
    struct cds_fs_info info;
    char text[100];
    assert_int_equal(write_file("a.txt", "hello", NULL, &info, NULL), CDS_OK);
    assert_int_equal(info.size_bytes, 5);
    assert_int_equal(strlen(info.version), 16);
    assert_int_equal(read_file("a.txt", text, NULL), CDS_OK);
    assert_string_equal(text, "hello");
}

static void the_size_limit_holds_at_the_byte(void **state)
{
    static char big[CDS_FS_FILE_MAX + 1];
    struct cds_fs_info info;
    struct cds_err err;
    const struct cds_path path = parse("big");
    assert_int_equal(cds_fs_write(project, &path, big, CDS_FS_FILE_MAX, NULL, &info, NULL), CDS_OK);
    assert_int_equal(cds_fs_write(project, &path, big, CDS_FS_FILE_MAX + 1, NULL, &info, &err), CDS_DENIED);
    assert_string_equal(err.rule, "fs.too_big");
    assert_int_equal(truncate(at("project/big"), CDS_FS_FILE_MAX + 1), 0);
    CDS_CLEANUP(cds_buf_free) struct cds_buf buf = cds_buf_init(CDS_FS_FILE_MAX);
    assert_int_equal(cds_fs_read(project, &path, &buf, &info, &err), CDS_DENIED);
    assert_string_equal(err.rule, "fs.too_big");
}

static void a_lost_update_is_refused(void **state)
{
    struct cds_fs_info first, second;
    struct cds_err err;
    assert_int_equal(write_file("v", "one", "", &first, NULL), CDS_OK);
    assert_int_equal(write_file("v", "x", "", &second, &err), CDS_CONFLICT); /* must be new */
    assert_int_equal(write_file("v", "two", first.version, &second, NULL), CDS_OK);
    assert_string_not_equal(first.version, second.version);
    assert_int_equal(write_file("v", "three", first.version, &first, &err), CDS_CONFLICT);
    put("project/v", "by a run");
    assert_int_equal(write_file("v", "three", second.version, &first, &err), CDS_CONFLICT);
    assert_int_equal(write_file("gone", "x", "0123456789abcdef", &first, &err), CDS_CONFLICT);
}

static void links_are_never_followed(void **state)
{
    static const char *const through[] = {"link", "dir/secret"};
    struct cds_err err;
    struct cds_fs_info info;
    char text[100];
    assert_int_equal(symlink(at("outside/secret"), at("project/link")) | symlink(at("outside"), at("project/dir")), 0);
    for (size_t i = 0; i < CDS_ARRAY_LEN(through); i++) {
        assert_int_equal(read_file(through[i], text, &err), CDS_DENIED);
        assert_string_equal(err.rule, "fs.symlink");
        assert_int_equal(write_file(through[i], "x", NULL, &info, &err), CDS_DENIED);
        assert_string_equal(err.rule, "fs.symlink");
        const struct cds_path path = parse(through[i]);
        assert_int_equal(cds_fs_stat(project, &path, &info, &err), CDS_DENIED);
    }
    struct cds_fs_list list;
    const struct cds_path dir = parse("dir"), inside = parse("dir/new");
    assert_int_equal(cds_fs_list(project, &dir, &list, &err), CDS_DENIED);
    assert_int_equal(cds_fs_create(project, &inside, CDS_FS_DIR, &info, &err), CDS_DENIED);
    assert_int_equal(cds_fs_delete(project, &inside, true, &err), CDS_DENIED);
    assert_int_equal(cds_fs_rename(project, &dir, &inside, &err), CDS_DENIED);
    /* Deleting the link itself is allowed and leaves what it points to. */
    assert_int_equal(cds_fs_delete(project, &dir, true, NULL), CDS_OK);
    assert_int_equal(access(at("outside/secret"), F_OK), 0);
    assert_int_equal(unlink(at("project/link")), 0);
}

static void hard_links_pipes_and_devices_are_refused(void **state)
{
    struct cds_err err;
    struct cds_fs_info info;
    char text[100];
    assert_int_equal(link(at("outside/secret"), at("project/hard")) | mkfifo(at("project/fifo"), 0666), 0);
    assert_int_equal(read_file("hard", text, &err), CDS_DENIED);
    assert_string_equal(err.rule, "fs.hardlink");
    assert_int_equal(write_file("hard", "x", NULL, &info, &err), CDS_DENIED);
    assert_int_equal(read_file("fifo", text, &err), CDS_DENIED); /* and does not wait for a writer */
    assert_string_equal(err.rule, "fs.special");
    assert_int_equal(write_file("fifo", "x", NULL, &info, &err), CDS_DENIED);
    if (mknod(at("project/null"), S_IFCHR | 0666, 0x103) == 0) {
        assert_int_equal(read_file("null", text, &err), CDS_DENIED);
        assert_string_equal(err.rule, "fs.special");
        unlink(at("project/null"));
    }
    unlink(at("project/hard"));
    unlink(at("project/fifo"));
}

static void rename_never_replaces_and_delete_asks_for_full_folders(void **state)
{
    struct cds_err err;
    struct cds_fs_info info;
    const struct cds_path a = parse("ra"), b = parse("rb"), dir = parse("rd"), inside = parse("rd/x");
    assert_int_equal(cds_fs_create(project, &a, CDS_FS_FILE, &info, &err), CDS_OK);
    assert_int_equal(cds_fs_create(project, &a, CDS_FS_FILE, &info, &err), CDS_CONFLICT);
    assert_int_equal(cds_fs_create(project, &dir, CDS_FS_DIR, &info, NULL), CDS_OK);
    assert_int_equal(cds_fs_rename(project, &a, &dir, &err), CDS_CONFLICT);
    assert_int_equal(cds_fs_rename(project, &a, &inside, NULL), CDS_OK);
    assert_int_equal(cds_fs_rename(project, &dir, &inside, &err), CDS_CONFLICT);
    assert_int_equal(cds_fs_delete(project, &dir, false, &err), CDS_CONFLICT);
    assert_int_equal(cds_fs_delete(project, &dir, true, NULL), CDS_OK);
    assert_int_equal(cds_fs_delete(project, &b, true, &err), CDS_NOT_FOUND);
}

static void recursive_delete_does_not_follow_links(void **state)
{
    const struct cds_path dir = parse("tree");
    assert_int_equal(mkdir(at("project/tree"), 0755) | mkdir(at("project/tree/sub"), 0755), 0);
    assert_int_equal(symlink(at("outside"), at("project/tree/sub/out")), 0);
    put("project/tree/sub/f", "x");
    assert_int_equal(cds_fs_delete(project, &dir, true, NULL), CDS_OK);
    assert_int_equal(access(at("outside/secret"), F_OK), 0);
}

static void set_user_id_bits_never_survive_a_write(void **state)
{
    struct cds_fs_info info;
    struct stat st;
    put("project/suid", "x");
    assert_int_equal(chmod(at("project/suid"), 06755), 0);
    assert_int_equal(write_file("suid", "y", NULL, &info, NULL), CDS_OK);
    assert_int_equal(stat(at("project/suid"), &st), 0);
    assert_int_equal(st.st_mode & 07777, 0755);
}

static void a_listing_hides_our_temporary_files_and_sorts_folders_first(void **state)
{
    struct cds_fs_list list;
    const struct cds_path dir = parse("ls");
    assert_int_equal(mkdir(at("project/ls"), 0755) | mkdir(at("project/ls/z"), 0755), 0);
    put("project/ls/a", "1");
    put("project/ls/.cds-tmp-00", "1");
    assert_int_equal(cds_fs_list(project, &dir, &list, NULL), CDS_OK);
    assert_int_equal(list.count, 2);
    assert_string_equal(list.entries[0].name, "z");
    assert_string_equal(list.entries[1].name, "a");
    cds_fs_list_free(&list);
}

/* ---- a race: a thread swaps a folder with a link to the outside ---- */
static atomic_bool stop;
static void *swap(void *user)
{
    char a[300], b[300]; /* its own: at() belongs to the other thread */
    snprintf(a, sizeof(a), "%s/project/swap", base);
    snprintf(b, sizeof(b), "%s/project/evil", base);
    while (!atomic_load(&stop))
        syscall(SYS_renameat2, AT_FDCWD, a, AT_FDCWD, b, RENAME_EXCHANGE);
    return user;
}

static void a_folder_swapped_for_a_link_never_leads_outside(void **state)
{
    enum { TURNS = 20000 };
    pthread_t thread;
    int escaped = 0, fine = 0, refused = 0;
    assert_int_equal(mkdir(at("project/swap"), 0755) | symlink(at("outside"), at("project/evil")), 0);
    put("project/swap/secret", "inside");
    assert_int_equal(pthread_create(&thread, NULL, swap, NULL), 0);
    for (int i = 0; i < TURNS; i++) {
        char text[100];
        struct cds_fs_info info;
        struct cds_err err;
        cds_rc rc = read_file("swap/secret", text, &err);
        escaped += !rc && strcmp(text, "inside") != 0;
        fine += !rc;
        refused += rc != CDS_OK;
        if (i % 10 == 0 && write_file("swap/planted", "x", NULL, &info, &err) == CDS_OK && access(at("outside/planted"), F_OK) == 0)
            escaped++;
    }
    atomic_store(&stop, true);
    pthread_join(thread, NULL);
    assert_int_equal(escaped, 0);
    assert_true(fine > 0 && refused > 0); /* both sides of the race were met */
    assert_int_equal(access(at("outside/planted"), F_OK), -1);
}

/* ---- the way without openat2 ---- */
static int forbid_openat2(void)
{
    struct sock_filter code[] = {
        BPF_STMT(BPF_LD | BPF_W | BPF_ABS, offsetof(struct seccomp_data, nr)),
        BPF_JUMP(BPF_JMP | BPF_JEQ | BPF_K, SYS_openat2, 0, 1),
        BPF_STMT(BPF_RET | BPF_K, SECCOMP_RET_ERRNO | ENOSYS),
        BPF_STMT(BPF_RET | BPF_K, SECCOMP_RET_ALLOW),
    };
    struct sock_fprog program = {CDS_ARRAY_LEN(code), code};
    return prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0) || syscall(SYS_seccomp, SECCOMP_SET_MODE_FILTER, 0, &program);
}

static int without_openat2(void)
{
    char text[100] = "";
    struct cds_err err;
    struct cds_fs_info info;
    if (forbid_openat2() || syscall(SYS_openat2, AT_FDCWD, "/", NULL, 0) != -1 || errno != ENOSYS)
        return 10;
    if (write_file("d1/f", "deep", NULL, &info, &err) || read_file("d1/f", text, &err) || strcmp(text, "deep"))
        return 11;
    if (read_file("l1", text, &err) != CDS_DENIED || strcmp(err.rule, "fs.symlink"))
        return 12;
    if (read_file("l2/secret", text, &err) != CDS_DENIED || strcmp(err.rule, "fs.symlink"))
        return 13;
    if (write_file("l2/planted2", "x", NULL, &info, &err) != CDS_DENIED)
        return 14;
    if (read_file("d1/f/x", text, &err) != CDS_NOT_FOUND || read_file("none", text, &err) != CDS_NOT_FOUND)
        return 15;
    return 0;
}

static void the_same_rules_hold_without_openat2(void **state)
{
    int status;
    assert_int_equal(mkdir(at("project/d1"), 0755), 0);
    assert_int_equal(symlink(at("outside/secret"), at("project/l1")) | symlink(at("outside"), at("project/l2")), 0);
    pid_t pid = fork();
    if (pid == 0)
        _exit(without_openat2());
    assert_int_equal(waitpid(pid, &status, 0), pid);
    assert_true(WIFEXITED(status));
    assert_int_equal(WEXITSTATUS(status), 0);
    assert_int_equal(access(at("outside/planted2"), F_OK), -1);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(what_was_written_is_read_back),
        cmocka_unit_test(the_size_limit_holds_at_the_byte),
        cmocka_unit_test(a_lost_update_is_refused),
        cmocka_unit_test(links_are_never_followed),
        cmocka_unit_test(hard_links_pipes_and_devices_are_refused),
        cmocka_unit_test(rename_never_replaces_and_delete_asks_for_full_folders),
        cmocka_unit_test(recursive_delete_does_not_follow_links),
        cmocka_unit_test(set_user_id_bits_never_survive_a_write),
        cmocka_unit_test(a_listing_hides_our_temporary_files_and_sorts_folders_first),
        cmocka_unit_test(a_folder_swapped_for_a_link_never_leads_outside),
        cmocka_unit_test(the_same_rules_hold_without_openat2),
    };
    return cmocka_run_group_tests(tests, setup, teardown);
}
