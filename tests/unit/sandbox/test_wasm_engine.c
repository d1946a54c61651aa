/* tests/unit/sandbox/test_wasm_engine.c: the engine with the real library, in the three ways a broker can be started. Without the library the tests
 * are skipped and say so; `make wasmer` builds it. */
#include <fcntl.h>
#include <sys/stat.h>
#include <unistd.h>

#include "lib/base/cleanup.h"
#include "lib/base/clock.h"
#include "lib/base/fd.h"
#include "sandbox/wasm.h"
#include "sandbox/wasm_cache.h"
#include "tests/support/test.h"
#include "tests/support/timely.h"

enum { WAIT_MS = 30000 };
#define LIBRARY CDS_BINARY_DIR "/lib/wasmer/libwasmer.so"
#define WORKER CDS_BINARY_DIR "/bin/cds-wasmworker"
#define HEAD "\0asm\1\0\0\0"
#define ONE_FUNCTION HEAD "\1\4\1\x60\0\0\3\2\1\0"

static const char add[] = HEAD "\1\7\1\x60\2\x7f\x7f\1\x7f\3\2\1\0\7\7\1\3add\0\0\x0a\x09\1\7\0\x20\0\x20\1\x6a\x0b";
static const char loop_code[] = ONE_FUNCTION "\7\6\1\2go\0\0\x0a\x09\1\7\0\3\x40\x0c\0\x0b\x0b";
static const char self_call[] = ONE_FUNCTION "\7\6\1\2go\0\0\x0a\6\1\4\0\x10\0\x0b";
/* memory.grow by 255 pages, then fill all 256 of them */
static const char fill[] = ONE_FUNCTION "\5\3\1\0\1\7\6\1\2go\0\0\x0a\x16\1\x14\0\x41\xff\1\x40\0\x1a\x41\0\x41\1\x41\x80\x80\x80\x08\xfc\x0b\0\x0b";

static char base[] = "/tmp/cds-test-wasm-XXXXXX", cache_dir[64], jail_dir[64], worker_copy[64];
static struct cds_loop *loop;
static struct sandbox_host *host;
static struct cds_engine *engine;
static int project = -1;

static struct fate {
    struct cds_job_result r;
    bool ended;
} f;

static void on_output(void *user, int stream, const char *data, size_t len)
{
}

static void on_end(void *user, const struct cds_job_result *r)
{
    f.r = *r;
    f.ended = true;
}

static struct wasm_cache_counts counts(void)
{
    struct wasm_cache_counts c;
    cds_wasm_engine_counts(engine, &c);
    return c;
}

static void settle(void)
{
    for (uint64_t began = cds_now_ms(); counts().writing && cds_now_ms() - began < WAIT_MS;)
        cds_loop_once(loop, 20);
}

static const struct cds_job_result *run(const char *module, size_t len, const char *export_name, struct cds_run_limits limits)
{
    static const struct cds_job_events events = {on_output, on_end};
    static const struct cds_wasm_value one_two[] = {{CDS_WASM_I32, {.i32 = 1}}, {CDS_WASM_I32, {.i32 = 2}}};
    const struct cds_job_spec spec = {.language = "",
                                      .code = module,
                                      .code_len = len,
                                      .export_name = export_name,
                                      .values = one_two,
                                      .value_count = module == add ? 2 : 0,
                                      .project_fd = project,
                                      .limits = limits};
    struct cds_err err = {0};
    struct cds_job *job = NULL;
    f = (struct fate){.ended = false};
    cds_rc rc = engine->ops->acquire(engine, &spec, &job, &err);
    if (!rc)
        rc = engine->ops->exec(job, &spec, &events, NULL, &err);
    if (rc)
        fail_msg("exec: %s %s", err.message, err.detail);
    for (uint64_t began = cds_now_ms(); !f.ended && cds_now_ms() - began < WAIT_MS;)
        cds_loop_once(loop, 20);
    assert_true(f.ended);
    settle();
    if (f.r.end == CDS_END_ENGINE_FAILED)
        fail_msg("engine: %s", f.r.reason);
    return &f.r;
}

static struct cds_run_limits usual(void)
{
    return (struct cds_run_limits){10000, 8000, 64 << 20, 32768, 64, 16 << 20, 1000000};
}

static void add_gives_3(void)
{
    const struct cds_job_result *r = run(add, sizeof(add) - 1, "add", usual());
    assert_int_equal(r->end, CDS_END_OK);
    assert_string_equal(r->values, "[{\"type\":\"i32\",\"value\":3}]");
}

static unsigned pool; /* workers to keep ready */

static void open_engine(const char *library, const char *worker)
{
    const struct wasm_settings settings = {.library = library, .worker = worker, .cache_dir = cache_dir, .pool = pool};
    struct cds_err err;
    if (cds_wasm_engine_new(host, &settings, &engine, &err))
        fail_msg("%s", err.message);
}

static void reopen(const char *worker)
{
    engine->ops->close(engine);
    open_engine(LIBRARY, worker);
}

static void one_and_two_are_three_first_compiled_and_then_from_kept_code(void **state)
{
    add_gives_3();
    assert_int_equal(counts().kept, 1);
    assert_string_equal(f.r.backend, "wasmer");
    assert_string_equal(f.r.boundary, "language");
    add_gives_3();
    assert_int_equal(counts().from_memory, 1);
    reopen(WORKER);
    add_gives_3();
    assert_int_equal(counts().from_disk, 1);
    assert_int_equal(counts().kept, 0);
}

static void tampered_code_is_compiled_again(void **state)
{
    char command[200];
    add_gives_3();
    engine->ops->close(engine);
    snprintf(command, sizeof(command), "for f in %s/*.aot; do printf X | dd of=$f bs=1 seek=200 conv=notrunc 2>/dev/null; done", cache_dir);
    assert_int_equal(system(command), 0);
    open_engine(LIBRARY, WORKER);
    add_gives_3();
    assert_int_equal(counts().refused, 1);
    assert_int_equal(counts().kept, 1);
}

static void code_of_another_worker_or_another_memory_limit_is_not_taken(void **state)
{
    char command[400];
    struct cds_run_limits more = usual();
    add_gives_3();
    more.memory_bytes *= 2;
    run(add, sizeof(add) - 1, "add", more);
    assert_int_equal(counts().kept, 2);
    /* The worker holds the table of costs: another byte in it may be another price. */
    snprintf(command, sizeof(command), "cp %s %s && echo >>%s", WORKER, worker_copy, worker_copy);
    assert_int_equal(system(command), 0);
    reopen(worker_copy);
    add_gives_3();
    assert_int_equal(counts().from_disk, 0);
    assert_int_equal(counts().kept, 1);
}

static void time_fuel_and_recursion_end_a_module(void **state)
{
    struct cds_run_limits limits = usual();
    assert_int_equal(run(loop_code, sizeof(loop_code) - 1, "go", limits)->end, CDS_END_CPU_TIME);
    assert_non_null(strstr(f.r.reason, "fuel"));
    limits.fuel = UINT64_MAX >> 1;
    limits.wall_ms = 500;
    assert_int_equal(run(loop_code, sizeof(loop_code) - 1, "go", limits)->end, CDS_END_WALL_TIME);
    assert_int_equal(run(self_call, sizeof(self_call) - 1, "go", usual())->exit_code, 134);
    assert_non_null(strstr(f.r.reason, "stack"));
    add_gives_3();
}

static void a_module_can_use_all_the_memory_it_may_have(void **state)
{
    struct cds_run_limits limits = usual();
    limits.memory_bytes = 16 << 20;
    const struct cds_job_result *r = run(fill, sizeof(fill) - 1, "go", limits);
    if (r->end != CDS_END_OK)
        fail_msg("%s %s", cds_run_end_name(r->end), r->reason);
}

static void a_library_without_a_symbol_names_it(void **state)
{
    static const struct cds_job_events events = {on_output, on_end};
    const struct cds_job_spec spec = {
        .language = "", .code = add, .code_len = sizeof(add) - 1, .export_name = "add", .project_fd = project, .limits = usual()};
    struct cds_err err = {0};
    struct cds_job *job;
    engine->ops->close(engine);
    open_engine("/lib/x86_64-linux-gnu/libm.so.6", WORKER);
    f = (struct fate){.ended = false};
    assert_int_equal(engine->ops->acquire(engine, &spec, &job, &err), CDS_OK);
    assert_int_equal(engine->ops->exec(job, &spec, &events, NULL, &err), CDS_OK);
    for (uint64_t began = cds_now_ms(); !f.ended && cds_now_ms() - began < WAIT_MS;)
        cds_loop_once(loop, 20);
    assert_int_equal(f.r.end, CDS_END_ENGINE_FAILED);
    assert_non_null(strstr(f.r.reason, "wasmer_"));
    reopen(WORKER);
}

static void without_the_library_a_module_is_refused_by_rule(void **state)
{
    const struct cds_job_spec spec = {.language = "", .code = add, .code_len = sizeof(add) - 1, .project_fd = project, .limits = usual()};
    struct cds_err err = {0};
    struct cds_job *job;
    engine->ops->close(engine);
    open_engine("/nowhere/libwasmer.so", WORKER);
    assert_int_equal(engine->ops->acquire(engine, &spec, &job, &err), CDS_DENIED);
    assert_string_equal(err.rule, "wasm.no_backend");
    assert_non_null(strstr(err.message, "make wasmer"));
}

static void until_ready(size_t wanted)
{
    for (uint64_t began = cds_now_ms(); cds_wasm_engine_ready(engine) != wanted && cds_now_ms() - began < WAIT_MS;)
        cds_loop_once(loop, 20);
    assert_int_equal(cds_wasm_engine_ready(engine), wanted);
}

static void a_worker_that_waits_takes_kept_code_only_and_only_with_the_same_limits(void **state)
{
    struct cds_run_limits more = usual();
    more.memory_bytes *= 2;
    pool = 2;
    reopen(WORKER);
    pool = 0;
    add_gives_3(); /* compiled: by a worker of its own */
    assert_string_equal(f.r.origin, "cold");
    until_ready(1);
    add_gives_3();
    assert_string_equal(f.r.origin, "pool");
    until_ready(1);
    run(loop_code, sizeof(loop_code) - 1, "go", usual()); /* not kept yet: the one that waits is left alone */
    assert_int_equal(f.r.end, CDS_END_CPU_TIME);
    assert_string_equal(f.r.origin, "cold");
    run(loop_code, sizeof(loop_code) - 1, "go", usual());
    assert_int_equal(f.r.end, CDS_END_CPU_TIME);
    assert_string_equal(f.r.origin, "pool");
    until_ready(1);
    run(add, sizeof(add) - 1, "add", more);
    run(add, sizeof(add) - 1, "add", more);
    assert_string_equal(f.r.values, "[{\"type\":\"i32\",\"value\":3}]");
}

static void a_worker_that_waits_obeys_its_clock_and_ends_with_the_engine(void **state)
{
    struct cds_run_limits limits = usual();
    limits.wall_ms = 500;
    limits.fuel = UINT64_MAX >> 1;
    pool = 1;
    reopen(WORKER);
    pool = 0;
    run(loop_code, sizeof(loop_code) - 1, "go", limits);
    until_ready(1);
    const struct cds_job_result *r = run(loop_code, sizeof(loop_code) - 1, "go", limits);
    assert_int_equal(r->end, CDS_END_WALL_TIME);
    assert_string_equal(r->origin, "pool");
    assert_true(r->wall_ms >= 450);
    test_timely(r->wall_ms, 2000);
    until_ready(1); /* and is ended by close_each */
}

/* A run that begins while the box of the last one still ends takes another control group, which then stays open for the next. */
static void add_gives_3_and_its_box_ends(void)
{
    add_gives_3();
    for (uint64_t until = cds_now_ms() + WAIT_MS; host->ending && cds_now_ms() < until;)
        cds_loop_once(loop, 20);
    assert_int_equal(host->ending, 0);
}

static void twenty_modules_leave_nothing_behind(void **state)
{
    add_gives_3_and_its_box_ends();
    int before = dup(0);
    close(before);
    for (int i = 0; i < 20; i++)
        add_gives_3_and_its_box_ends();
    int after = dup(0);
    close(after);
    assert_int_equal(after, before); /* the lowest free descriptor is the same */
    assert_int_equal(host->active, 0);
}

static int setup(bool userns, bool no_cgroup)
{
    char key[17], path[80];
    snprintf(jail_dir, sizeof(jail_dir), "%s/jail", base);
    snprintf(cache_dir, sizeof(cache_dir), "%s/cache", base);
    snprintf(worker_copy, sizeof(worker_copy), "%s/worker", base);
    snprintf(key, sizeof(key), "wasm%d", (int)getpid());
    snprintf(path, sizeof(path), "%s/project", base);
    const struct sandbox_settings settings = {.base_dir = jail_dir, .cgroup_key = key, .slots = 2, .no_cgroup = no_cgroup, .force_userns = userns};
    struct cds_err err;
    if (mkdir(path, 0777) || chmod(path, 0777) || chmod(base, 0755) || cds_loop_new(&loop, &err) || sandbox_host_open(loop, &settings, &host, &err))
        return -1;
    project = open(path, O_PATH | O_DIRECTORY | O_CLOEXEC);
    return 0;
}

static int usual_setup(void **state)
{
    return setup(false, false);
}

static int userns_setup(void **state)
{
    return setup(true, false);
}

#ifndef __SANITIZE_ADDRESS__
static int rlimit_setup(void **state)
{
    return setup(false, true);
}
#endif

static int teardown(void **state)
{
    char command[300];
    close(project);
    sandbox_host_close(&host);
    cds_loop_free(&loop);
    snprintf(command, sizeof(command), "rm -rf %s/project %s/jail", base, base);
    return system(command);
}

static int open_each(void **state)
{
    open_engine(LIBRARY, WORKER);
    return 0;
}

static int close_each(void **state)
{
    char command[300];
    engine->ops->close(engine);
    snprintf(command, sizeof(command), "rm -rf %s/cache", base);
    return system(command);
}

static void skipped(void **state)
{
    print_message("SKIPPED: %s is not there (make wasmer)\n", LIBRARY);
    skip();
}

#define EACH(test) cmocka_unit_test_setup_teardown(test, open_each, close_each)

int main(void)
{
    const struct CMUnitTest tests[] = {
        EACH(one_and_two_are_three_first_compiled_and_then_from_kept_code),
        EACH(tampered_code_is_compiled_again),
        EACH(code_of_another_worker_or_another_memory_limit_is_not_taken),
        EACH(time_fuel_and_recursion_end_a_module),
        EACH(a_module_can_use_all_the_memory_it_may_have),
        EACH(a_library_without_a_symbol_names_it),
        EACH(without_the_library_a_module_is_refused_by_rule),
        EACH(a_worker_that_waits_takes_kept_code_only_and_only_with_the_same_limits),
        EACH(a_worker_that_waits_obeys_its_clock_and_ends_with_the_engine),
        EACH(twenty_modules_leave_nothing_behind),
    };
    const struct CMUnitTest none[] = {cmocka_unit_test(skipped)};
    if (access(LIBRARY, R_OK))
        return cmocka_run_group_tests_name("without libwasmer", none, NULL, NULL);
    if (!mkdtemp(base))
        return 1;
    int bad = cmocka_run_group_tests_name("as started", tests, usual_setup, teardown);
    bad += cmocka_run_group_tests_name("in a user namespace", tests, userns_setup, teardown);
#ifndef __SANITIZE_ADDRESS__ /* the shadow memory of an instrumented worker is more than its rlimit */
    bad += cmocka_run_group_tests_name("limits by rlimits", tests, rlimit_setup, teardown);
#endif
    rmdir(base);
    return bad;
}
