/* Jobs on a terminal. As in test_run_guards.c every test runs in three ways: as started, in a user namespace, with limits by rlimits. */
#include <fcntl.h>
#include <sys/stat.h>
#include <unistd.h>

#include "lib/base/cleanup.h"
#include "lib/base/clock.h"
#include "sandbox/run.h"
#include "tests/support/test.h"

/* By rlimits tasks are counted per user: other programs of the jobs' uid must not fail what is tested here. */
enum { TASKS = 1024, SEEN_MAX = 1 << 20, WAIT_MS = 20000, QUIET_MS = 300 };

static char base[] = "/tmp/cds-test-term-XXXXXX";
static struct cds_loop *loop;
static struct sandbox_host *host;
static struct cds_engine *engine;
static int project = -1;

static struct {
    struct cds_job *job;
    struct cds_job_result r;
    bool ended;
    char text[SEEN_MAX];
    size_t len;
    uint64_t bytes;
} seen;

static void on_output(void *user, int stream, const char *data, size_t len)
{
    assert_int_equal(stream, 1);
    seen.bytes += len;
    for (size_t i = 0; i < len && seen.len < SEEN_MAX - 1; i++)
        seen.text[seen.len++] = data[i];
    seen.text[seen.len] = '\0';
}

static void on_end(void *user, const struct cds_job_result *r)
{
    seen.r = *r;
    seen.ended = true;
}

static void open_terminal(const char *program)
{
    static const struct cds_job_events events = {on_output, on_end};
    static const char *const env[] = {"TERM=xterm-256color", "PS1=> ", "HISTFILE="};
    const struct cds_job_spec spec = {.language = program,
                                      .env = env,
                                      .env_count = 3,
                                      .rows = 24,
                                      .cols = 80,
                                      .project_fd = project,
                                      .limits = {60000, 60000, 256 << 20, UINT64_MAX, TASKS, 64 << 20, 0}};
    struct cds_err err = {0};
    seen.ended = false;
    seen.len = 0;
    seen.bytes = 0;
    seen.text[0] = '\0';
    cds_rc rc = engine->ops->acquire(engine, &spec, &seen.job, &err);
    if (!rc)
        rc = engine->ops->exec(seen.job, &spec, &events, NULL, &err);
    if (rc)
        fail_msg("exec: %s %s", err.message, err.detail);
}

static void wait_for(const char *text)
{
    uint64_t began = cds_now_ms();
    while (!strstr(seen.text, text) && !seen.ended && cds_now_ms() - began < WAIT_MS)
        cds_loop_once(loop, 20);
    if (!strstr(seen.text, text))
        fail_msg("no \"%s\" in \"%s\"; end %s %s", text, seen.text, seen.ended ? cds_run_end_name(seen.r.end) : "-", seen.r.reason);
}

static void wait_end(void)
{
    uint64_t began = cds_now_ms();
    while (!seen.ended && cds_now_ms() - began < WAIT_MS)
        cds_loop_once(loop, 20);
    assert_true(seen.ended);
}

static void type(const char *text)
{
    struct cds_err err = {0};
    seen.len = 0;
    seen.text[0] = '\0';
    if (engine->ops->write(seen.job, text, strlen(text), &err))
        fail_msg("write: %s", err.message);
}

static void close_terminal(void)
{
    engine->ops->kill(seen.job, CDS_END_CANCELLED);
    wait_end();
    assert_int_equal(seen.r.end, CDS_END_CANCELLED);
}

static void a_shell_has_a_terminal_of_its_own_and_ends_with_its_code(void **state)
{
    open_terminal("shell");
    wait_for("> ");
    type("tty; [ -t 0 ] && [ -t 1 ] && [ -t 2 ] && echo three-$((1+2)); echo $TERM; pwd\n");
    wait_for("/dev/console\r\nthree-3\r\nxterm-256color\r\n/work\r\n");
    type("echo again >/dev/tty; echo also >/dev/stderr; exit 7\n");
    wait_end();
    assert_non_null(strstr(seen.text, "again\r\nalso\r\n"));
    assert_int_equal(seen.r.end, CDS_END_EXIT);
    assert_int_equal(seen.r.exit_code, 7);
}

static void programs_see_a_new_size_and_bounds_are_kept(void **state)
{
    struct cds_err err;
    open_terminal("shell");
    wait_for("> ");
    type("trap 'echo changed' WINCH; stty size\n");
    wait_for("24 80\r\n");
    assert_int_equal(engine->ops->resize(seen.job, 40, 132, &err), CDS_OK);
    wait_for("changed");
    type("stty size\n");
    wait_for("40 132\r\n");
    assert_int_equal(engine->ops->resize(seen.job, 0, 80, &err), CDS_BAD_PARAM);
    assert_int_equal(engine->ops->resize(seen.job, 24, 1001, &err), CDS_BAD_PARAM);
    assert_int_equal(engine->ops->resize(seen.job, 1000, 1000, &err), CDS_OK);
    for (unsigned i = 0; i < 100000; i++) /* a storm of sizes is nothing but a number each */
        assert_int_equal(engine->ops->resize(seen.job, 1 + i % 1000, 1 + i % 7, &err), CDS_OK);
    close_terminal();
}

static void control_c_ends_the_program_in_front_and_not_the_shell(void **state)
{
    struct cds_job_stats stats;
    open_terminal("shell");
    wait_for("> ");
    engine->ops->stats(seen.job, &stats);
    assert_false(stats.in_front);
    type("python3 -c \"import signal, time; signal.signal(2, 0); print('be' + 'gun', flush=True); time.sleep(60)\"\n");
    wait_for("begun");
    engine->ops->stats(seen.job, &stats);
    assert_true(stats.in_front);
    type("\x03");
    wait_for("> ");
    type("echo code $?; jobs; sleep 50 & jobs\n");
    wait_for("code 130");
    wait_for("Running");
    close_terminal();
}

static void an_interpreter_leads_a_session_on_its_controlling_terminal(void **state)
{
    open_terminal("python");
    wait_for(">>> ");
    type("import os; print('led', os.getsid(0) == os.getpid(), os.tcgetpgrp(0) == os.getpgrp(), open('/dev/tty', 'w').isatty(), os.ttyname(1))\n");
    wait_for("led True True True /dev/console");
    close_terminal();
}

static void nothing_can_be_typed_into_a_terminal_from_inside(void **state)
{
    open_terminal("python");
    wait_for(">>> ");
    type("import ctypes, pty, os; libc = ctypes.CDLL(None, use_errno=True)\n");
    wait_for(">>> ");
    /* On its own terminal and on one that it opened itself; with high bits, which a filter of 64 bits would let pass. */
    type("t = lambda fd, code: (libc.syscall(16, fd, ctypes.c_ulong(code), ctypes.byref(ctypes.c_int(0x78))), ctypes.get_errno())\n");
    wait_for(">>> ");
    type("m, s = pty.openpty(); print('own', os.ttyname(s), [t(fd, c + h) for fd in (0, s) for c in (0x5412, 0x541c, 0x5423) "
         "for h in (0, 1 << 32, 0xdead << 32)] == [(-1, 1)] * 18)\n");
    wait_for("own /dev/pts/0 True");
    type("print('harmless', t(0, 0x5424)[0], t(s, 0x541b)[0], t(0, 0x5413)[0])\n"); /* TIOCGETD, FIONREAD, TIOCGWINSZ are theirs to ask */
    wait_for("harmless 0 0 0");
    close_terminal();
}

static void a_terminal_that_is_not_read_takes_its_input_whole_or_not_at_all(void **state)
{
    static char much[40000];
    struct cds_err err = {0};
    memset(much, 'x', sizeof(much));
    open_terminal("shell");
    wait_for("> ");
    type("stty raw -echo; echo raw; sleep 30\n");
    wait_for("raw\n");
    cds_rc rc = CDS_OK;
    int taken = 0;
    while (!rc && taken < 100) { /* the kernel's buffers, then ours */
        rc = engine->ops->write(seen.job, much, sizeof(much), &err);
        taken += !rc;
    }
    assert_int_equal(rc, CDS_BUSY);
    assert_true(taken >= 1 && taken < 40);
    assert_true(err.retry_after_ms > 0);
    assert_int_equal(engine->ops->write(seen.job, much, 1, &err), CDS_OK); /* a little still fits: nothing of the refused was taken */
    close_terminal();
}

static void a_held_terminal_makes_its_program_wait_and_then_goes_on(void **state)
{
    open_terminal("shell");
    wait_for("> ");
    type("yes 0123456789\n");
    wait_for("0123456789\r\n");
    engine->ops->hold(seen.job, true);
    uint64_t before = seen.bytes, began = cds_now_ms();
    while (cds_now_ms() - began < QUIET_MS)
        cds_loop_once(loop, 20);
    assert_int_equal(seen.bytes, before);
    engine->ops->hold(seen.job, false);
    while (seen.bytes < before + 1000000 && cds_now_ms() - began < WAIT_MS)
        cds_loop_once(loop, 20);
    assert_true(seen.bytes >= before + 1000000);
    type("\x03");
    wait_for("> ");
    close_terminal();
}

static void a_terminal_takes_no_place_of_a_run_and_leaves_nothing(void **state)
{
    struct cds_err err;
    open_terminal("node");
    wait_for("> ");
    assert_int_equal(host->active, 0);
    close_terminal();
    const struct cds_job_spec bad = {
        .language = "shell", .rows = 24, .cols = 0, .project_fd = project, .limits = {1000, 1000, 64 << 20, 1, 8, 1 << 20, 0}};
    const struct cds_job_spec odd = {
        .language = "perl", .rows = 24, .cols = 80, .project_fd = project, .limits = {1000, 1000, 64 << 20, 1, 8, 1 << 20, 0}};
    const struct cds_job_events events = {on_output, on_end};
    const struct cds_job_spec *const refused[] = {&bad, &odd};
    for (size_t i = 0; i < 2; i++) {
        struct cds_job *job;
        assert_int_equal(engine->ops->acquire(engine, refused[i], &job, &err), CDS_OK);
        assert_int_equal(engine->ops->exec(job, refused[i], &events, NULL, &err), CDS_BAD_PARAM);
    }
    assert_int_equal(host->active, 0);
}

static int open_engine(bool force_userns, bool no_cgroup)
{
    char dir[300];
    struct cds_err err;
    snprintf(dir, sizeof(dir), "%s/jail", base);
    char key[17];
    snprintf(key, sizeof(key), "test%d", (int)getpid()); /* a key is for one process at a time, and the tests of another tree may run */
    const struct sandbox_settings settings = {.base_dir = dir, .cgroup_key = key, .slots = 4, .no_cgroup = no_cgroup, .force_userns = force_userns};
    if (cds_loop_new(&loop, &err) || sandbox_host_open(loop, &settings, &host, &err) || cds_run_engine_new(host, 0, &engine, &err)) {
        fprintf(stderr, "%s %s\n", err.message, err.detail);
        return -1;
    }
    const struct cds_job_identity *who = &host->who;
    snprintf(dir, sizeof(dir), "%s/project", base);
    if (mkdir(dir, 0755) || (who->change && chown(dir, who->uid, who->gid)))
        return -1;
    project = open(dir, O_PATH | O_DIRECTORY | O_CLOEXEC);
    return project < 0;
}

static int usual_setup(void **state)
{
    return mkdtemp(base) && chmod(base, 0755) == 0 ? open_engine(false, false) : -1;
}
static int userns_setup(void **state)
{
    return open_engine(true, false);
}
static int rlimit_setup(void **state)
{
    return open_engine(false, true);
}

static int teardown(void **state)
{
    char command[400];
    close(project);
    engine->ops->close(engine);
    sandbox_host_close(&host);
    engine = NULL;
    cds_loop_free(&loop);
    snprintf(command, sizeof(command), "rm -rf %s/project %s/jail", base, base);
    return system(command);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_shell_has_a_terminal_of_its_own_and_ends_with_its_code),
        cmocka_unit_test(programs_see_a_new_size_and_bounds_are_kept),
        cmocka_unit_test(control_c_ends_the_program_in_front_and_not_the_shell),
        cmocka_unit_test(an_interpreter_leads_a_session_on_its_controlling_terminal),
        cmocka_unit_test(nothing_can_be_typed_into_a_terminal_from_inside),
        cmocka_unit_test(a_terminal_that_is_not_read_takes_its_input_whole_or_not_at_all),
        cmocka_unit_test(a_held_terminal_makes_its_program_wait_and_then_goes_on),
        cmocka_unit_test(a_terminal_takes_no_place_of_a_run_and_leaves_nothing),
    };
    int bad = cmocka_run_group_tests_name("as started", tests, usual_setup, teardown);
    bad += cmocka_run_group_tests_name("in a user namespace", tests, userns_setup, teardown);
    bad += cmocka_run_group_tests_name("limits by rlimits", tests, rlimit_setup, teardown);
    rmdir(base);
    return bad;
}
