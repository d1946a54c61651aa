/* Tests of apps/cyberdevstudio/spawn.c, capture.c and runas.c: what a child gets, and what it does not. */
#include "tests/support/test.h"

#include <errno.h>
#include <fcntl.h>
#include <grp.h>
#include <signal.h>
#include <sys/wait.h>
#include <unistd.h>

#include "apps/cyberdevstudio/capture.h"
#include "apps/cyberdevstudio/spawn.h"
#include "lib/base/cleanup.h"
#include "lib/base/clock.h"
#include "tests/support/timely.h"

enum { LONG_MS = 120000 };

/** Runs a shell line and returns what it printed; the caller frees out. */
static struct cds_capture shell(const char *line, const char *input, const struct cds_identity *as, uint64_t ms)
{
    const char *const argv[] = {"/bin/sh", "-c", line, NULL};
    struct cds_capture got = {0};
    struct cds_err err = {0};
    struct cds_capture_how how = {.argv = argv, .input = input, .as = as, .deadline_ms = cds_now_ms() + ms, .max_bytes = 4096};
    assert_int_equal(cds_capture_run(&how, &got, &err), CDS_OK);
    return got;
}

static void capture_keeps_output_and_exit_code(void **state)
{
    CDS_CLEANUP(cds_capture_free) struct cds_capture got = shell("echo out; echo err >&2; exit 3", NULL, NULL, LONG_MS);
    assert_string_equal(got.out.data, "out\nerr");
    assert_int_equal(got.exit_code, 3);
    assert_false(got.timed_out);
}

static void capture_passes_the_input(void **state)
{
    CDS_CLEANUP(cds_capture_free) struct cds_capture got = shell("read x; echo \"<$x>\"", "secret\n", NULL, LONG_MS);
    assert_string_equal(got.out.data, "<secret>");
}

static void capture_without_input_reads_the_end_at_once(void **state)
{
    CDS_CLEANUP(cds_capture_free) struct cds_capture got = shell("cat; echo end", NULL, NULL, LONG_MS);
    assert_string_equal(got.out.data, "end");
}

static bool lose_patience(void *user)
{
    return ++*(int *)user < 3;
}

static void capture_ends_the_helper_when_its_caller_gives_up(void **state)
{
    int asked = 0;
    const char *const argv[] = {"/bin/sh", "-c", "sleep 600 & wait", NULL};
    struct cds_capture got = {.exit_code = 77};
    struct cds_err err = {0};
    uint64_t began_ms = cds_now_ms();
    struct cds_capture_how how = {.argv = argv, .deadline_ms = began_ms + LONG_MS, .patience = {lose_patience, &asked}, .max_bytes = 16};
    assert_int_equal(cds_capture_run(&how, &got, &err), CDS_CANCELLED);
    assert_int_equal(asked, 3);
    assert_int_equal(got.exit_code, 77);
    test_timely(cds_now_ms() - began_ms, 5000);
    assert_int_equal(waitpid(-1, NULL, WNOHANG), -1); /* nothing is left to collect */
}

static void capture_refuses_input_longer_than_its_pipe(void **state)
{
    static char text[5000];
    memset(text, 'x', sizeof(text) - 1);
    const char *const argv[] = {"/bin/true", NULL};
    struct cds_capture got = {.exit_code = 77};
    struct cds_err err = {0};
    struct cds_capture_how how = {.argv = argv, .input = text, .deadline_ms = cds_now_ms() + LONG_MS, .max_bytes = 16};
    assert_int_equal(cds_capture_run(&how, &got, &err), CDS_TOO_LARGE);
    assert_int_equal(got.exit_code, 77);
}

static void capture_cuts_output_at_the_ceiling(void **state)
{
    const char *const argv[] = {"/bin/sh", "-c", "i=0; while [ $i -lt 5000 ]; do echo 0123456789; i=$((i+1)); done", NULL};
    CDS_CLEANUP(cds_capture_free) struct cds_capture got = {0};
    struct cds_err err = {0};
    struct cds_capture_how how = {.argv = argv, .deadline_ms = cds_now_ms() + LONG_MS, .max_bytes = 100};
    assert_int_equal(cds_capture_run(&how, &got, &err), CDS_OK);
    assert_int_equal(got.exit_code, 0);
    assert_true(got.out.len <= 100 && got.out.len > 90);
}

static void capture_kills_the_whole_group_at_the_deadline(void **state)
{
    pid_t grandchild = 0;
    /* Again where the shell was too slow to say it before the deadline. */
    for (uint64_t ms = 300; grandchild <= 1; ms *= 2) {
        CDS_CLEANUP(cds_capture_free) struct cds_capture got = shell("sleep 600 & echo $!; wait", NULL, NULL, ms);
        assert_true(got.timed_out);
        assert_true(ms < LONG_MS);
        grandchild = got.out.len ? (pid_t)atoi(got.out.data) : 0;
    }
    /* It is a zombie of init, or gone, in a moment: signal 0 finds no running process any more. */
    for (uint64_t deadline_ms = cds_now_ms() + LONG_MS; cds_ms_left(deadline_ms) > 0;) {
        char path[64], text[64] = "";
        snprintf(path, sizeof(path), "/proc/%d/stat", (int)grandchild);
        CDS_CLEANUP(cds_close_file) FILE *f = fopen(path, "re");
        if (!f || !fgets(text, sizeof(text), f) || strstr(text, ") Z"))
            return;
        usleep(10000);
    }
    fail_msg("the grandchild still runs");
}

static void spawn_names_a_missing_program(void **state)
{
    const char *const argv[] = {"/nonexistent/cds-auth", NULL};
    char *const envp[] = {NULL};
    struct cds_spawn what = {.program = argv[0], .argv = argv, .envp = envp, .log_fd = -1, .ready_fd = -1, .input_fd = -1};
    struct cds_err err = {0};
    pid_t pid = 77;
    assert_int_equal(cds_spawn_start(&what, &pid, &err), CDS_NOT_FOUND);
    assert_non_null(strstr(err.message, "/nonexistent/cds-auth"));
    assert_int_equal(pid, 77);
}

static void spawn_closes_every_descriptor_above_the_ready_pipe(void **state)
{
    CDS_CLEANUP(cds_close_fd) int leak = open("/dev/null", O_RDONLY);
    CDS_CLEANUP(cds_close_fd) int high = fcntl(leak, F_DUPFD, 200);
    assert_true(high >= 200);
    CDS_CLEANUP(cds_capture_free)
    struct cds_capture got = shell("for f in /proc/$$/fd/*; do echo ${f##*/}; done | sort -n | tr '\\n' ' '", NULL, NULL, LONG_MS);
    int last = -1;
    for (char *word = strtok(got.out.data, " "); word; word = strtok(NULL, " "))
        last = atoi(word);
    /* The shell itself keeps one private descriptor (10 in dash) at most. */
    assert_in_range(last, 2, 10);
}

static void spawn_gives_an_empty_signal_mask_and_default_handlers(void **state)
{
    sigset_t blocked, before;
    sigemptyset(&blocked);
    sigaddset(&blocked, SIGTERM);
    sigaddset(&blocked, SIGCHLD);
    sigprocmask(SIG_BLOCK, &blocked, &before);
    void (*pipe_before)(int) = signal(SIGPIPE, SIG_IGN);
    /* Not through a shell: that one clears its mask itself. */
    const char *const argv[] = {"/bin/grep", "-E", "^Sig(Blk|Ign)", "/proc/self/status", NULL};
    CDS_CLEANUP(cds_capture_free) struct cds_capture got = {0};
    struct cds_err err = {0};
    struct cds_capture_how how = {.argv = argv, .deadline_ms = cds_now_ms() + LONG_MS, .max_bytes = 4096};
    assert_int_equal(cds_capture_run(&how, &got, &err), CDS_OK);
    signal(SIGPIPE, pipe_before);
    sigprocmask(SIG_SETMASK, &before, NULL);
    assert_string_equal(got.out.data, "SigBlk:\t0000000000000000\nSigIgn:\t0000000000000000");
}

static void spawn_ties_the_child_to_the_life_of_its_parent(void **state)
{
    int fds[2];
    assert_int_equal(pipe(fds), 0);
    pid_t middle = fork();
    if (middle == 0) {
        const char *const argv[] = {"/bin/sleep", "600", NULL};
        char *const envp[] = {NULL};
        struct cds_spawn what = {.program = argv[0], .argv = argv, .envp = envp, .log_fd = fds[1], .ready_fd = -1, .input_fd = -1};
        struct cds_err err;
        pid_t pid = 0;
        if (cds_spawn_start(&what, &pid, &err) != CDS_OK)
            _exit(1);
        close(fds[1]);
        raise(SIGKILL);
    }
    close(fds[1]);
    assert_int_equal(waitpid(middle, NULL, 0), middle);
    /* The pipe ends when the last holder, the sleeping grandchild, is gone. */
    char byte;
    assert_int_equal(read(fds[0], &byte, 1), 0);
    close(fds[0]);
}

static void become_drops_to_the_user_without_groups(void **state)
{
    if (geteuid() != 0)
        skip();
    struct cds_identity nobody = {.uid = 65534, .gid = 65534, .change = true, .name = "nobody"};
    const gid_t more = 4711;
    assert_int_equal(setgroups(1, &more), 0);
    CDS_CLEANUP(cds_capture_free)
    struct cds_capture got = shell("grep -E '^(Uid|Groups|NoNewPrivs)' /proc/self/status | tr -d '\\t '", NULL, &nobody, LONG_MS);
    assert_string_equal(got.out.data, "Uid:65534655346553465534\nGroups:\nNoNewPrivs:1");
}

static void probe_finds_the_first_thing_a_user_cannot_use(void **state)
{
    if (geteuid() != 0)
        skip();
    char folder[] = "/tmp/cds-probe-XXXXXX";
    assert_non_null(mkdtemp(folder)); /* 0700 root */
    struct cds_identity nobody = {.uid = 65534, .gid = 65534, .change = true, .name = "nobody"};
    struct cds_need needs[] = {{"/bin/sh", X_OK}, {folder, R_OK}, {NULL, 0}};
    struct cds_err err;
    int missing = 77;
    assert_int_equal(cds_identity_probe(&nobody, needs, &missing, &err), CDS_OK);
    assert_int_equal(missing, 1);
    needs[1].path = NULL;
    assert_int_equal(cds_identity_probe(&nobody, needs, &missing, &err), CDS_OK);
    assert_int_equal(missing, -1);
    rmdir(folder);
}

static void sysuser_refuses_names_that_useradd_could_misread(void **state)
{
    static const char *const names[] = {"", "-r", "a b", "Root", "x;y", "averyveryverylongnameofasystemuser"};
    struct cds_err err;
    for (size_t i = 0; i < CDS_ARRAY_LEN(names); i++) {
        uid_t uid = 77;
        gid_t gid = 77;
        assert_int_equal(cds_sysuser_ensure(names[i], &uid, &gid, &err), CDS_BAD_PARAM);
        assert_int_equal(uid, 77);
    }
}

static void sysuser_finds_a_user_that_is_there(void **state)
{
    struct cds_err err;
    uid_t uid = 77;
    gid_t gid = 77;
    assert_int_equal(cds_sysuser_ensure("root", &uid, &gid, &err), CDS_OK);
    assert_int_equal(uid, 0);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(capture_keeps_output_and_exit_code),
        cmocka_unit_test(capture_passes_the_input),
        cmocka_unit_test(capture_without_input_reads_the_end_at_once),
        cmocka_unit_test(capture_ends_the_helper_when_its_caller_gives_up),
        cmocka_unit_test(capture_refuses_input_longer_than_its_pipe),
        cmocka_unit_test(capture_cuts_output_at_the_ceiling),
        cmocka_unit_test(capture_kills_the_whole_group_at_the_deadline),
        cmocka_unit_test(spawn_names_a_missing_program),
        cmocka_unit_test(spawn_closes_every_descriptor_above_the_ready_pipe),
        cmocka_unit_test(spawn_gives_an_empty_signal_mask_and_default_handlers),
        cmocka_unit_test(spawn_ties_the_child_to_the_life_of_its_parent),
        cmocka_unit_test(become_drops_to_the_user_without_groups),
        cmocka_unit_test(probe_finds_the_first_thing_a_user_cannot_use),
        cmocka_unit_test(sysuser_refuses_names_that_useradd_could_misread),
        cmocka_unit_test(sysuser_finds_a_user_that_is_there),
    };
    return RUN_ALL(tests);
}
