/* Jails that are ready: a run from one must be told from a cold run by its time only. In three ways, as in test_run_guards.c. */
#include <fcntl.h>
#include <signal.h>
#include <sys/stat.h>
#include <unistd.h>

#include "lib/base/clock.h"
#include "sandbox/run.h"
#include "tests/support/test.h"

enum { OUT_MAX = 16384, WAIT_MS = 120000 };

static char base[] = "/tmp/cds-test-pool-XXXXXX";
static struct cds_loop *loop;
static struct sandbox_host *host;
static struct cds_engine *engine;
static int project = -1, other = -1;

struct fate {
    struct cds_job_result r;
    char text[3][OUT_MAX]; /* by stream */
    bool ended;
};
static struct fate cold, pooled;

static void on_output(void *user, int stream, const char *data, size_t len)
{
    struct fate *f = user;
    size_t at = strlen(f->text[stream]);
    assert_true(at + len < OUT_MAX);
    memcpy(f->text[stream] + at, data, len);
    f->text[stream][at + len] = '\0';
}

static void on_end(void *user, const struct cds_job_result *r)
{
    struct fate *f = user;
    f->r = *r;
    f->ended = true;
}

static struct cds_job_spec spec_of(const char *language, const char *code)
{
    return (struct cds_job_spec){.language = language,
                                 .code = code,
                                 .code_len = strlen(code),
                                 .project_fd = project,
                                 .limits = {60000, 50000, 512 << 20, 32768, 48, 64 << 20, 0}};
}

static void run(const struct cds_job_spec *spec, struct fate *f)
{
    static const struct cds_job_events events = {on_output, on_end};
    struct cds_err err = {0};
    struct cds_job *job;
    *f = (struct fate){.ended = false};
    cds_rc rc = engine->ops->acquire(engine, spec, &job, &err);
    if (!rc)
        rc = engine->ops->exec(job, spec, &events, f, &err);
    if (rc)
        fail_msg("exec: %s %s", err.message, err.detail);
    uint64_t began = cds_now_ms();
    while (!f->ended && cds_now_ms() - began < WAIT_MS)
        cds_loop_once(loop, 20);
    assert_true(f->ended);
    if (f->r.end == CDS_END_ENGINE_FAILED)
        fail_msg("engine: %s", f->r.reason);
}

static void settle(uint64_t ms)
{
    /* A jail is made ready some moments after the end of a box, by the loop: whatever takes long, it has its turns. */
    for (uint64_t began = cds_now_ms(); host->ending && cds_now_ms() - began < WAIT_MS;)
        cds_loop_once(loop, 20);
    for (uint64_t began = cds_now_ms(); cds_now_ms() - began < ms;)
        cds_loop_once(loop, 20);
    for (int i = 0; i < 3; i++)
        cds_loop_once(loop, 0);
}

/* The same job twice, first cold, then from the pool. */
static void twice(const struct cds_job_spec *spec)
{
    static uint32_t once;
    struct cds_job_spec elsewhere = *spec;
    elsewhere.limits.wall_ms += ++once; /* nothing is ready for that */
    run(&elsewhere, &cold);
    assert_string_equal(cold.r.origin, "cold");
    struct cds_job_spec first = *spec;
    run(&first, &pooled);
    settle(300);
    run(spec, &pooled);
    assert_string_equal(pooled.r.origin, "pool");
    assert_int_equal(pooled.r.end, cold.r.end);
    assert_int_equal(pooled.r.exit_code, cold.r.exit_code);
    assert_int_equal(pooled.r.signo, cold.r.signo);
    assert_string_equal(pooled.text[1], cold.text[1]);
    assert_string_equal(pooled.text[2], cold.text[2]);
}

static void a_program_in_each_language_does_the_same_as_cold(void **state)
{
    static const char *const programs[][2] = {
        {"sh", "echo $0 $# \"$1\"; cat; echo err >&2; exit 3"},
        {"c", "#include <stdio.h>\nint main(int n, char **v) { puts(v[1]); return n; }"},
        {"python", "import sys, os\nprint(sys.argv, sys.path[0], __name__, __file__, input(), os.environ['A'], open('/tmp/d/f').read())\n"
                   "print(sorted(k for k in globals() if not k.startswith('__')), sorted(os.environ))\nsys.exit(4)"},
        {"node", "import fs from 'node:fs';\nconsole.log(process.argv.slice(1), process.env.A, fs.readFileSync(0, 'utf8'),"
                 " fs.readFileSync('/tmp/d/f', 'utf8'), import.meta.url, Object.keys(process.env).sort());\nprocess.exit(5);"},
    };
    const char *args[] = {"one two"}, *env[] = {"A=b c"};
    const struct cds_job_file files[] = {{"d/f", "content", 7}};
    for (size_t i = 0; i < CDS_ARRAY_LEN(programs); i++) {
        struct cds_job_spec spec = spec_of(programs[i][0], programs[i][1]);
        spec.args = args;
        spec.arg_count = 1;
        spec.env = env;
        spec.env_count = 1;
        spec.files = files;
        spec.file_count = 1;
        spec.stdin_data = "input\n";
        spec.stdin_len = 6;
        twice(&spec);
        assert_true(strlen(pooled.text[1]) > 0);
    }
}

static void errors_look_the_same_as_cold(void **state)
{
    static const char *const programs[][2] = {
        {"python", "def f():\n    raise ValueError('no')\nf()"},
        {"python", "print('a'"},
        {"python", "import os; os.kill(os.getpid(), 9)"},
        {"sh", "nonesuch"},
        {"node", "process.kill(process.pid, 'SIGTERM'); setTimeout(() => {}, 5000);"},
    };
    for (size_t i = 0; i < CDS_ARRAY_LEN(programs); i++) {
        const struct cds_job_spec spec = spec_of(programs[i][0], programs[i][1]);
        twice(&spec);
    }
    assert_int_equal(cold.r.signo, SIGTERM);
}

static void a_file_of_the_project_runs_as_it_is_now(void **state)
{
    struct cds_job_spec spec =
        spec_of("python", "open('/work/mod.py', 'w').write('x = 1'); open('/work/a.py', 'w').write('import mod; print(mod.x)')");
    run(&spec, &cold);
    spec.code = NULL;
    spec.path = "a.py";
    run(&spec, &pooled);
    assert_string_equal(pooled.text[2], "");
    assert_string_equal(pooled.text[1], "1\n");
    spec.path = "none.py";
    twice(&spec);
    assert_int_equal(pooled.r.exit_code, 2);
}

static void nothing_of_one_run_is_left_for_the_next(void **state)
{
    const struct cds_job_spec spec =
        spec_of("python", "import os, builtins\nprint(os.path.exists('/tmp/left'), hasattr(builtins, 'left'), hash('a'), os.getpid())\n"
                          "open('/tmp/left', 'w').close(); builtins.left = 1");
    run(&spec, &cold);
    settle(300);
    run(&spec, &cold);
    assert_string_equal(cold.r.origin, "pool");
    settle(300);
    run(&spec, &pooled);
    assert_string_equal(pooled.r.origin, "pool");
    assert_int_equal(strncmp(cold.text[1], "False False ", 12), 0);
    assert_int_equal(strncmp(pooled.text[1], "False False ", 12), 0);
    assert_string_not_equal(pooled.text[1], cold.text[1]); /* another hash seed */
}

static void another_project_access_or_limit_gets_no_ready_jail(void **state)
{
    struct cds_job_spec spec = spec_of("sh", "ls /work");
    twice(&spec);
    settle(100);
    spec.project_fd = other;
    run(&spec, &pooled);
    assert_string_equal(pooled.r.origin, "cold");
    spec = spec_of("sh", "true");
    spec.access = CDS_PROJECT_READ_ONLY;
    run(&spec, &pooled);
    assert_string_equal(pooled.r.origin, "cold");
    spec = spec_of("sh", "true");
    spec.limits.memory_bytes += 4096;
    run(&spec, &pooled);
    assert_string_equal(pooled.r.origin, "cold");
}

static void limits_count_from_the_order_on(void **state)
{
    struct cds_job_spec spec = spec_of("python", "while True: pass");
    spec.limits.cpu_ms = 700;
    spec.limits.wall_ms = 60000;
    run(&spec, &cold);
    settle(500);
    run(&spec, &pooled);
    assert_string_equal(pooled.r.origin, "pool");
    assert_int_equal(cold.r.end, CDS_END_CPU_TIME);
    assert_int_equal(pooled.r.end, CDS_END_CPU_TIME);
    spec = spec_of("sh", "sleep 20");
    spec.limits.wall_ms = spec.limits.cpu_ms = 400;
    run(&spec, &cold);
    settle(700);
    run(&spec, &pooled);
    assert_string_equal(pooled.r.origin, "pool");
    assert_int_equal(pooled.r.end, CDS_END_WALL_TIME);
    assert_true(pooled.r.wall_ms >= 380);
}

static void ready_jails_take_no_place_and_are_bounded(void **state)
{
    for (int i = 0; i < 6; i++) {
        struct cds_job_spec spec = spec_of("sh", "true");
        spec.limits.tmp_bytes += (uint64_t)i * 4096;
        run(&spec, &cold);
        settle(60);
    }
    assert_int_equal(host->active, 0);
    assert_int_equal(cds_run_engine_ready(engine), 3);
}

static int open_engine(bool force_userns, bool no_cgroup)
{
    char dir[300];
    struct cds_err err;
    snprintf(dir, sizeof(dir), "%s/jail", base);
    char key[17];
    snprintf(key, sizeof(key), "test%d", (int)getpid()); /* a key is for one process at a time, and the tests of another tree may run */
    const struct sandbox_settings settings = {.base_dir = dir, .cgroup_key = key, .slots = 2, .no_cgroup = no_cgroup, .force_userns = force_userns};
    if (cds_loop_new(&loop, &err) || sandbox_host_open(loop, &settings, &host, &err) || cds_run_engine_new(host, 3, &engine, &err)) {
        fprintf(stderr, "%s %s\n", err.message, err.detail);
        return -1;
    }
    int *const folders[] = {&project, &other};
    for (int i = 0; i < 2; i++) {
        snprintf(dir, sizeof(dir), "%s/project%d", base, i);
        if (mkdir(dir, 0755) || (host->who.change && chown(dir, host->who.uid, host->who.gid)))
            return -1;
        *folders[i] = open(dir, O_PATH | O_DIRECTORY | O_CLOEXEC);
    }
    return project < 0 || other < 0;
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
    char line[300];
    close(project);
    close(other);
    engine->ops->close(engine);
    sandbox_host_close(&host);
    cds_loop_free(&loop);
    snprintf(line, sizeof(line), "rm -rf %s/*", base);
    return system(line);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_program_in_each_language_does_the_same_as_cold),
        cmocka_unit_test(errors_look_the_same_as_cold),
        cmocka_unit_test(a_file_of_the_project_runs_as_it_is_now),
        cmocka_unit_test(nothing_of_one_run_is_left_for_the_next),
        cmocka_unit_test(another_project_access_or_limit_gets_no_ready_jail),
        cmocka_unit_test(limits_count_from_the_order_on),
        cmocka_unit_test(ready_jails_take_no_place_and_are_bounded),
    };
    int failed = cmocka_run_group_tests_name("usual", tests, usual_setup, teardown);
    failed += cmocka_run_group_tests_name("user namespace", tests, userns_setup, teardown);
    failed += cmocka_run_group_tests_name("rlimits", tests, rlimit_setup, teardown);
    rmdir(base);
    return failed;
}
