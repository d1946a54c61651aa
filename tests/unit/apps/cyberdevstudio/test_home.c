/* Tests of apps/cyberdevstudio/home.c, ports.c and procinfo.c. */
#include "tests/support/test.h"

#include <arpa/inet.h>
#include <fcntl.h>
#include <netinet/in.h>
#include <sched.h>
#include <signal.h>
#include <sys/mount.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

#include "apps/cyberdevstudio/home.h"
#include "apps/cyberdevstudio/ports.h"
#include "apps/cyberdevstudio/procinfo.h"
#include "lib/base/clock.h"

static char root[64];

static int setup(void **state)
{
    strcpy(root, "/tmp/cds-home-XXXXXX");
    return mkdtemp(root) ? 0 : -1;
}

static int teardown(void **state)
{
    char command[128];
    snprintf(command, sizeof(command), "rm -rf %s", root);
    return system(command);
}

static struct cds_config *config_with(const char *flag1, const char *flag2)
{
    char *argv[] = {"test", (char *)flag1, (char *)flag2, NULL};
    int argc = flag2 ? 3 : 2;
    struct cds_config *config = NULL;
    struct cds_err err = {0};
    assert_int_equal(cds_config_load(&argc, argv, "test", &config, &err), CDS_OK);
    return config;
}

static struct cds_home make_home(const char *tail, cds_rc wanted)
{
    char flag[256];
    snprintf(flag, sizeof(flag), "--studio.home=%s/%s", root, tail);
    CDS_CLEANUP(cds_config_free) struct cds_config *config = config_with(flag, NULL);
    struct cds_home home;
    struct cds_err err = {0};
    assert_int_equal(cds_home_make(config, &home, &err), wanted);
    return home;
}

static void home_is_made_with_its_parents_and_resolved(void **state)
{
    char wanted[128];
    struct cds_home home = make_home("a/./b", CDS_OK);
    snprintf(wanted, sizeof(wanted), "%s/a/b", root);
    assert_string_equal(home.path, wanted);
}

static void home_refuses_a_path_too_long_for_the_sockets_below_it(void **state)
{
    make_home("12345678901234567890123456789012345678901234567890123456789012345678901234567890", CDS_BAD_PARAM);
}

static void make_inside(const char *tail, bool folder)
{
    char path[256];
    snprintf(path, sizeof(path), "%s/%s", root, tail);
    if (folder)
        assert_int_equal(mkdir(path, 0755), 0);
    else
        assert_int_equal(close(creat(path, 0644)), 0);
}

static void home_accepts_what_its_owner_put_there_before_the_first_start(void **state)
{
    make_inside("h", true);
    make_inside("h/studio.ini", false);
    make_inside("h/models", true);
    make_home("h", CDS_OK);
}

static void home_refuses_a_folder_that_holds_other_things_and_leaves_it_alone(void **state)
{
    char path[256];
    struct stat st;
    make_inside("h", true);
    make_inside("h/passwd", false);
    make_home("h", CDS_CONFLICT);
    snprintf(path, sizeof(path), "%s/h", root);
    assert_int_equal(stat(path, &st), 0);
    assert_int_equal(st.st_mode & 0777, 0755);
    /* The lock of an earlier start makes it a data folder. */
    make_inside("h/supervisor.lock", false);
    make_home("h", CDS_OK);
}

static void home_refuses_a_folder_of_another_user(void **state)
{
    char path[256];
    if (geteuid() != 0)
        skip();
    make_inside("h", true);
    snprintf(path, sizeof(path), "%s/h", root);
    assert_int_equal(chown(path, 65534, 65534), 0);
    make_home("h", CDS_DENIED);
}

static void home_lock_refuses_a_second_holder_and_names_the_first(void **state)
{
    struct cds_home one = make_home("h", CDS_OK), two = make_home("h", CDS_OK);
    struct cds_err err = {0};
    char pid_text[32];
    assert_int_equal(cds_home_lock(&one, &err), CDS_OK);
    assert_int_equal(cds_home_lock(&two, &err), CDS_CONFLICT);
    snprintf(pid_text, sizeof(pid_text), "process %d", (int)getpid());
    assert_non_null(strstr(err.message, pid_text));
    assert_non_null(strstr(err.hint, "cyberdevstudio down"));
    assert_int_equal(two.lock_fd, -1);
    pid_t holder = 0;
    assert_true(cds_home_locked(one.path, &holder));
    assert_int_equal(holder, getpid());
    cds_home_unlock(&one);
    assert_false(cds_home_locked(one.path, NULL));
    assert_int_equal(cds_home_lock(&two, &err), CDS_OK);
    cds_home_unlock(&two);
}

static void home_without_a_lock_file_is_not_locked(void **state)
{
    assert_false(cds_home_locked(root, NULL));
}

static void assert_mode(const struct cds_home *home, const char *tail, mode_t mode, uid_t uid)
{
    char path[512];
    struct stat st;
    snprintf(path, sizeof(path), "%s/%s", home->path, tail);
    assert_int_equal(stat(path, &st), 0);
    assert_int_equal(st.st_mode & 07777, mode);
    assert_int_equal(st.st_uid, uid);
}

static void home_folders_give_each_user_only_what_it_needs(void **state)
{
    if (geteuid() != 0)
        skip();
    struct cds_home home = make_home("h", CDS_OK);
    struct cds_identity services = {.uid = 4711, .gid = 4711, .change = true, .name = "x"};
    struct cds_err err = {0};
    assert_int_equal(cds_home_folders(&home, &services, &err), CDS_OK);
    assert_mode(&home, "", 0711, 0);
    assert_mode(&home, "run", 01731, 0); /* sticky: nobody replaces the sockets of others */
    assert_mode(&home, "keys", 0700, 4711);
    assert_mode(&home, "logs", 0750, 0);
    assert_mode(&home, "models", 0750, 4711);
    assert_mode(&home, "states", 0700, 4711);
    assert_mode(&home, "projects", 0700, 0);
}

static void home_folders_correct_rights_that_were_too_wide(void **state)
{
    struct cds_home home = make_home("h", CDS_OK);
    struct cds_identity services = {.uid = geteuid(), .gid = getegid()};
    struct cds_err err = {0};
    char path[512];
    snprintf(path, sizeof(path), "%s/keys", home.path);
    assert_int_equal(mkdir(path, 0777), 0);
    assert_int_equal(chmod(path, 0777), 0);
    assert_int_equal(cds_home_folders(&home, &services, &err), CDS_OK);
    assert_mode(&home, "keys", 0700, geteuid());
}

static void home_folders_refuse_a_link_in_place_of_a_folder(void **state)
{
    struct cds_home home = make_home("h", CDS_OK);
    struct cds_identity services = {.uid = geteuid(), .gid = getegid()};
    struct cds_err err = {0};
    char path[512], elsewhere[128];
    struct stat st;
    snprintf(path, sizeof(path), "%s/keys", home.path);
    snprintf(elsewhere, sizeof(elsewhere), "%s/elsewhere", root);
    assert_int_equal(mkdir(elsewhere, 0755), 0);
    assert_int_equal(symlink(elsewhere, path), 0);
    assert_int_not_equal(cds_home_folders(&home, &services, &err), CDS_OK);
    assert_non_null(strstr(err.message, path));
    assert_int_equal(stat(elsewhere, &st), 0);
    assert_int_equal(st.st_mode & 0777, 0755);
}

static void disk_check_names_what_is_free_and_what_is_needed(void **state)
{
    struct cds_err err = {0};
    /* A file system without any room for files. */
    assert_int_equal(cds_home_free_bytes("/proc"), 0);
    assert_int_equal(cds_home_disk_check("/proc", &err), CDS_EXHAUSTED);
    assert_string_equal(err.message, "Only 0 MB are free below /proc, the studio needs 512 MB.");
    assert_non_null(strstr(err.hint, "--studio.home="));
}

static void disk_check_takes_a_disk_it_cannot_ask_for_a_free_one(void **state)
{
    assert_true(cds_home_free_bytes("/nonexistent/folder") == UINT64_MAX);
    assert_int_equal(cds_home_disk_check("/nonexistent/folder", NULL), CDS_OK);
}

/** In a mount namespace of its own: a file system of that size on root, and what the check says. */
static int check_on_disk_of(const char *size)
{
    char options[64];
    snprintf(options, sizeof(options), "size=%s,mode=0755", size);
    pid_t pid = fork();
    if (pid == 0) {
        if (unshare(CLONE_NEWNS) != 0 || mount(NULL, "/", NULL, MS_REC | MS_PRIVATE, NULL) != 0 || mount("none", root, "tmpfs", 0, options) != 0)
            _exit(255);
        _exit((int)cds_home_disk_check(root, NULL));
    }
    int status = 0;
    assert_int_equal(waitpid(pid, &status, 0), pid);
    assert_true(WIFEXITED(status));
    return WEXITSTATUS(status);
}

static void disk_check_is_exact_at_its_edge(void **state)
{
    int small = check_on_disk_of("524284k"), enough = check_on_disk_of("524288k");
    if (small == 255) /* no right to mount */
        skip();
    assert_int_equal(small, CDS_EXHAUSTED);
    assert_int_equal(enough, CDS_OK);
}

/** A listening socket on a free port of 127.0.0.1. */
static int occupy(uint16_t *ret_port)
{
    struct sockaddr_in address = {.sin_family = AF_INET, .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
    socklen_t len = sizeof(address);
    int fd = socket(AF_INET, SOCK_STREAM, 0);
    assert_int_equal(bind(fd, (struct sockaddr *)&address, sizeof(address)), 0);
    assert_int_equal(listen(fd, 1), 0);
    assert_int_equal(getsockname(fd, (struct sockaddr *)&address, &len), 0);
    *ret_port = ntohs(address.sin_port);
    return fd;
}

static void ports_check_names_port_option_and_remedy(void **state)
{
    cds_rc freed = CDS_CONFLICT;
    /* Again where somebody else took the port as soon as it was free. */
    for (int tries = 0; tries < 5 && freed == CDS_CONFLICT; tries++) {
        uint16_t port = 0;
        char number[16];
        int fd = occupy(&port);
        snprintf(number, sizeof(number), "%u", port);
        struct cds_err err = {0};
        /* Only the taken one is asked: the other ports of this machine are not ours to judge. */
        assert_int_equal(cds_port_check("127.0.0.1", port, "auth.port", "login", &err), CDS_CONFLICT);
        assert_non_null(strstr(err.message, number));
        assert_non_null(strstr(err.message, "auth.port"));
        assert_non_null(strstr(err.hint, "--auth.port="));
        close(fd);
        freed = cds_port_check("127.0.0.1", port, "auth.port", "login", &err);
    }
    assert_int_equal(freed, CDS_OK);
}

static void ports_check_refuses_one_port_for_two_parts(void **state)
{
    CDS_CLEANUP(cds_config_free) struct cds_config *config = config_with("--api.port=7001", "--auth.port=7001");
    struct cds_err err = {0};
    assert_int_equal(cds_ports_check(config, cds_now_ms(), &err), CDS_BAD_PARAM);
    assert_non_null(strstr(err.message, "7001"));
}

static void ports_check_names_an_address_that_is_not_ours(void **state)
{
    struct cds_err err = {0};
    assert_int_not_equal(cds_port_check("192.0.2.1", 7001, "ui.port", "the page", &err), CDS_OK);
    assert_non_null(strstr(err.hint, "studio.bind"));
}

static void procinfo_finds_children_and_their_memory(void **state)
{
    static struct cds_proc list[CDS_PROC_MAX];
    pid_t child = fork();
    if (child == 0) {
        pause();
        _exit(0);
    }
    int count = cds_proc_list(list, CDS_PROC_MAX), found = 0;
    for (int i = 0; i < count; i++)
        if (list[i].pid == child) {
            found++;
            assert_int_equal(list[i].ppid, getpid());
            assert_true(list[i].rss_bytes > 0);
            assert_true(cds_proc_is_below(list, count, &list[i], getpid()));
            assert_true(cds_proc_is_below(list, count, &list[i], getppid()));
            assert_false(cds_proc_is_below(list, count, &list[i], child));
        }
    assert_true(cds_proc_pss_bytes(getpid()) > 0);
    kill(child, SIGKILL);
    waitpid(child, NULL, 0);
    assert_int_equal(found, 1);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup_teardown(home_is_made_with_its_parents_and_resolved, setup, teardown),
        cmocka_unit_test_setup_teardown(home_refuses_a_path_too_long_for_the_sockets_below_it, setup, teardown),
        cmocka_unit_test_setup_teardown(home_accepts_what_its_owner_put_there_before_the_first_start, setup, teardown),
        cmocka_unit_test_setup_teardown(home_refuses_a_folder_that_holds_other_things_and_leaves_it_alone, setup, teardown),
        cmocka_unit_test_setup_teardown(home_refuses_a_folder_of_another_user, setup, teardown),
        cmocka_unit_test_setup_teardown(home_lock_refuses_a_second_holder_and_names_the_first, setup, teardown),
        cmocka_unit_test_setup_teardown(home_without_a_lock_file_is_not_locked, setup, teardown),
        cmocka_unit_test_setup_teardown(home_folders_give_each_user_only_what_it_needs, setup, teardown),
        cmocka_unit_test_setup_teardown(home_folders_correct_rights_that_were_too_wide, setup, teardown),
        cmocka_unit_test_setup_teardown(home_folders_refuse_a_link_in_place_of_a_folder, setup, teardown),
        cmocka_unit_test(disk_check_names_what_is_free_and_what_is_needed),
        cmocka_unit_test(disk_check_takes_a_disk_it_cannot_ask_for_a_free_one),
        cmocka_unit_test_setup_teardown(disk_check_is_exact_at_its_edge, setup, teardown),
        cmocka_unit_test_setup_teardown(ports_check_names_port_option_and_remedy, setup, teardown),
        cmocka_unit_test_setup_teardown(ports_check_refuses_one_port_for_two_parts, setup, teardown),
        cmocka_unit_test_setup_teardown(ports_check_names_an_address_that_is_not_ours, setup, teardown),
        cmocka_unit_test(procinfo_finds_children_and_their_memory),
    };
    return RUN_ALL(tests);
}
