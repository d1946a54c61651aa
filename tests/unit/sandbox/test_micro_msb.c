/* The tier of msb with a stand-in for msb (tests/support/msb): no machine of msb boots without virtualisation. What is shown is all that is ours:
 * which tier is taken, the command line, the jail, frames, ends, what comes back, and that nothing is left. NOT SHOWN: that msb's own machine runs
 * our agent. */
#include <sys/prctl.h>

#include "tests/support/msb_standin.h"

/* ---- which tier ---- */
static struct cds_engine_report reports[MICRO_TIERS];
static unsigned probed;

static void on_probed(void *user, const struct cds_engine_report *all, size_t count)
{
    assert_int_equal(count, MICRO_TIERS);
    memcpy(reports, all, sizeof(reports));
    probed++;
}

static void probe(void)
{
    struct cds_err err;
    probed = 0;
    assert_int_equal(rig.engine->ops->probe(rig.engine, on_probed, NULL, &err), CDS_OK);
    msb_rig_wait(&rig, &probed, 1);
}

static void msb_is_the_strongest_tier_once_its_doctor_is_content_and_a_machine_has_said_ready(void **state)
{
    probe();
    if (!reports[0].works)
        fail_msg("%s", reports[0].reason);
    assert_string_equal(reports[0].backend, "msb-kvm");
    assert_string_equal(reports[0].boundary, "hardware");
    assert_string_equal(reports[0].reason, "");
    assert_false(reports[1].works || reports[2].works);
    assert_non_null(strstr(reports[1].reason, "/nowhere/qemu"));
    assert_non_null(strstr(reports[2].remedy, "micro.qemu"));
    assert_int_equal(msb_rig_scratch(&rig), 0);
}

static void a_job_says_that_msb_held_it_and_where_its_machine_came_from(void **state)
{
    run("sh", "echo $((1 + 2))");
    assert_int_equal(job.result.end, CDS_END_OK);
    assert_string_equal(job.out, "3\n");
    assert_string_equal(job.result.backend, "msb-kvm");
    assert_string_equal(job.result.boundary, "hardware");
    assert_string_equal(job.result.origin, "cold");
    assert_true(job.result.phases.acquire_us > 0 && job.result.phases.teardown_us > 0);
}

static void msb_whose_doctor_fails_gets_no_job_and_the_refusal_names_each_tier(void **state)
{
    struct msb_rig other;
    struct msb_job refused;
    msb_rig_open(&other, "/usr/bin/false", NULL, false, 2);
    const struct cds_job_spec spec = msb_rig_spec(&other, "sh", "echo 3");
    msb_rig_run(&other, &spec, &refused);
    assert_int_equal(refused.result.end, CDS_END_REFUSED);
    assert_string_equal(refused.result.rule, "micro.no_backend");
    assert_non_null(strstr(refused.result.reason, "msb doctor: ended with exit code 1"));
    assert_non_null(strstr(refused.result.reason, "/nowhere/qemu"));
    assert_string_equal(refused.out, "");
    msb_rig_close(&other);
}

/* By the step of its jail that failed, by its silence; and what it prints meanwhile is not kept. */
static void a_doctor_that_cannot_start_or_does_not_end_is_a_reason_too(void **state)
{
    char path[80], folder[64];
    struct msb_rig other;
    for (int i = 0; i < 2; i++) {
        msb_rig_open(&other, "/usr/bin/yes", NULL, false, 2);
        struct micro *m = (struct micro *)other.engine;
        if (i == 0) {
            snprintf(folder, sizeof(folder), "%s/image", other.base);
            msb_rig_put(folder, "msb", "no program", 10);
            snprintf(path, sizeof(path), "%s/msb", folder);
            assert_int_equal(chmod(path, 0755), 0);
            snprintf(m->msb, sizeof(m->msb), "%s", path);
        }
        const struct cds_job_spec spec = msb_rig_spec(&other, "sh", "echo 3");
        msb_rig_run(&other, &spec, &job);
        assert_int_equal(job.result.end, CDS_END_REFUSED);
        const char *reason = m->tiers[MICRO_TIER_MSB].reason;
        if (!strstr(reason, i == 0 ? "msb doctor: the step \"exec\" of msb's jail was refused" : "msb doctor: nothing was heard of it for 5 s"))
            fail_msg("%s", reason);
        if (i == 0)
            assert_int_equal(unlink(path), 0);
        msb_rig_close(&other);
    }
}

static void a_template_or_spare_of_another_tier_is_never_a_machine_of_this_one(void **state)
{
    struct micro_vm vm = {.qemu_fd = -1};
    struct micro m = {.template = {.state_fd = 0, .kvm = false}};
    assert_true(micro_template_ready(&m.template, MICRO_TIER_TCG));
    assert_false(micro_template_ready(&m.template, MICRO_TIER_KVM));
    assert_false(micro_template_ready(&m.template, MICRO_TIER_MSB));
    struct micro_spare *spare = calloc(1, sizeof(*spare));
    *spare = (struct micro_spare){.engine = &m, .prev = &m.pool.spares, .vm = &vm, .language = MICRO_SH, .ready = true};
    m.pool.spares = spare;
    assert_null(micro_pool_take(&m, MICRO_SH, MICRO_TIER_MSB));
    assert_int_equal(m.pool.used_ms[MICRO_SH], 0); /* nor is one kept ready because of it */
    assert_null(micro_pool_take(&m, MICRO_SH, MICRO_TIER_KVM));
    assert_ptr_equal(micro_pool_take(&m, MICRO_SH, MICRO_TIER_TCG), &vm);
    assert_null(m.pool.spares);
}

static void where_neither_program_is_there_a_job_is_refused_at_once(void **state)
{
    struct msb_rig other;
    struct cds_job *none;
    struct cds_err err = {0};
    msb_rig_open(&other, "/nowhere/bin/msb", NULL, false, 2);
    const struct cds_job_spec spec = msb_rig_spec(&other, "sh", "echo 3");
    assert_int_equal(other.engine->ops->acquire(other.engine, &spec, &none, &err), CDS_DENIED);
    assert_string_equal(err.rule, "micro.no_backend");
    assert_non_null(strstr(err.hint, "make micro"));
    msb_rig_close(&other);
}

static void what_msb_cannot_read_is_named_and_no_other_tier_takes_the_job(void **state)
{
    char image[64];
    struct cds_job *none;
    struct cds_err err = {0};
    snprintf(image, sizeof(image), "%s/image/root.erofs", rig.base);
    run("sh", "echo 3");
    assert_int_equal(unlink(image), 0);
    const struct cds_job_spec spec = msb_rig_spec(&rig, "sh", "echo 3");
    assert_int_equal(rig.engine->ops->acquire(rig.engine, &spec, &none, &err), CDS_OK);
    assert_int_equal(rig.engine->ops->exec(none, &spec, &msb_rig_events, &job, &err), CDS_DENIED);
    assert_string_equal(err.rule, "micro.image");
    assert_non_null(strstr(err.message, "root.erofs"));
    assert_int_equal(msb_rig_scratch(&rig), 0);
}

/* ---- what reaches a program, and what comes from it ---- */
static void output_exit_code_and_signal_come_back(void **state)
{
    run("python", "import sys\nprint('a')\nprint('b', file=sys.stderr)\nsys.exit(5)");
    assert_int_equal(job.result.end, CDS_END_EXIT);
    assert_int_equal(job.result.exit_code, 5);
    assert_string_equal(job.out, "a\n");
    assert_string_equal(job.err, "b\n");
    run("sh", "kill -9 $$");
    assert_int_equal(job.result.end, CDS_END_SIGNAL);
    assert_int_equal(job.result.signo, 9);
}

static void input_arguments_variables_and_files_reach_it(void **state)
{
    static const char *const args[] = {"a b", "$x"}, *const env[] = {"COLOUR=blue"};
    static const struct cds_job_file file = {"d/extra.txt", "along", 5};
    struct cds_job_spec spec = msb_rig_spec(&rig, "sh", "read x; echo \"$x|$1|$2|$COLOUR|$(cat /tmp/d/extra.txt)|$(pwd)\"");
    spec.stdin_data = "in\n";
    spec.stdin_len = 3;
    spec.args = args;
    spec.arg_count = 2;
    spec.env = env;
    spec.env_count = 1;
    spec.files = &file;
    spec.file_count = 1;
    msb_rig_run(&rig, &spec, &job);
    assert_string_equal(job.out, "in|a b|$x|blue|along|/work\n");
}

static void what_is_typed_into_a_terminal_is_written_to_it_while_it_runs(void **state)
{
    struct cds_err err;
    struct cds_job_spec spec = msb_rig_spec(&rig, "sh", "echo ready; read x; echo \"got $x\"");
    spec.rows = 24;
    spec.cols = 80;
    struct cds_job *started = msb_rig_start(&rig, &spec, &job);
    msb_rig_wait(&rig, &job.pieces, 1);
    assert_string_equal(job.out, "ready\n"); /* streamed: it has not ended */
    assert_int_equal(job.ends, 0);
    assert_int_equal(rig.engine->ops->write(started, "key\n", 4, &err), CDS_OK);
    msb_rig_wait(&rig, &job.ends, 1);
    assert_string_equal(job.out, "ready\ngot key\n");
}

/* ---- limits ---- */
static void the_wall_clock_and_cpu_time_end_it(void **state)
{
    struct cds_job_spec spec = msb_rig_spec(&rig, "sh", "echo up; sleep 60");
    spec.limits.wall_ms = 3000;
    msb_rig_run(&rig, &spec, &job);
    assert_int_equal(job.result.end, CDS_END_WALL_TIME);
    assert_string_equal(job.out, "up\n");
    spec = msb_rig_spec(&rig, "sh", "while :; do :; done");
    spec.limits.cpu_ms = 500;
    msb_rig_run(&rig, &spec, &job);
    assert_int_equal(job.result.end, CDS_END_CPU_TIME);
}

static void a_flood_is_cut_at_the_ceiling_and_waits_while_it_is_held(void **state)
{
    struct cds_job_spec spec = msb_rig_spec(&rig, "sh", "head -c 8000000 /dev/zero | tr '\\0' x; echo end >&2");
    msb_rig_run(&rig, &spec, &job);
    assert_int_equal(job.result.end, CDS_END_OK);
    assert_int_equal(job.out_len, 65536);
    assert_int_equal(job.result.dropped_bytes, 8000000 + 4 - 65536);
    spec = msb_rig_spec(&rig, "sh", "i=0; while [ $i -lt 100 ]; do echo $i; i=$((i+1)); sleep 0.02; done");
    struct cds_job *held = msb_rig_start(&rig, &spec, &job);
    msb_rig_wait(&rig, &job.pieces, 1);
    rig.engine->ops->hold(held, true);
    const unsigned before = job.pieces;
    for (uint64_t until = cds_now_ms() + 300; cds_now_ms() < until;)
        cds_loop_once(rig.loop, 20);
    assert_int_equal(job.pieces, before);
    rig.engine->ops->hold(held, false);
    msb_rig_wait(&rig, &job.ends, 1);
    assert_non_null(strstr(job.out, "\n99\n"));
}

static void each_verdict_has_its_name(void **state)
{
    static const struct {
        const char *said;
        enum cds_run_end end;
    } rows[] = {{"#standin exit 0 0 0 0", CDS_END_OK},      {"#standin exit 1 0 1 0", CDS_END_MEMORY}, {"#standin exit -1 9 1 0", CDS_END_MEMORY},
                {"#standin exit 1 0 0 1", CDS_END_TASKS},   {"#standin exit -1 25 0 0", CDS_END_DISK}, {"#standin exit -1 24 0 0", CDS_END_CPU_TIME},
                {"#standin exit -1 11 0 0", CDS_END_SIGNAL}};
    for (size_t i = 0; i < sizeof(rows) / sizeof(*rows); i++) {
        run("sh", rows[i].said);
        if (job.result.end != rows[i].end)
            fail_msg("%s: %s (%s)", rows[i].said, cds_run_end_name(job.result.end), job.result.reason);
    }
}

static void jobs_wait_for_a_place_as_those_of_every_engine(void **state)
{
    struct msb_job second;
    struct cds_job *third;
    struct cds_err err = {0};
    const struct cds_job_spec spec = msb_rig_spec(&rig, "sh", "read x");
    struct cds_job_spec open = spec;
    open.rows = open.cols = 10;
    struct cds_job *a = msb_rig_start(&rig, &open, &job), *b = msb_rig_start(&rig, &open, &second);
    assert_int_equal(rig.engine->ops->acquire(rig.engine, &spec, &third, &err), CDS_BUSY);
    assert_true(err.retry_after_ms > 0);
    rig.engine->ops->kill(a, CDS_END_CANCELLED);
    rig.engine->ops->kill(b, CDS_END_CANCELLED);
    msb_rig_wait(&rig, &job.ends, 1);
    msb_rig_wait(&rig, &second.ends, 1);
    assert_int_equal(job.result.end, CDS_END_CANCELLED);
    assert_int_equal(second.result.end, CDS_END_CANCELLED);
    run("sh", "echo 3");
    assert_string_equal(job.out, "3\n");
}

/* ---- the project ---- */
static void put(const char *name, const char *text)
{
    char folder[64], path[128];
    snprintf(folder, sizeof(folder), "%s/project", rig.base);
    msb_rig_put(folder, name, text, strlen(text));
    snprintf(path, sizeof(path), "%s/%s", folder, name);
    assert_int_equal(rig.host->who.change ? chown(path, rig.host->who.uid, rig.host->who.gid) : 0, 0);
}

static const char *get(const char *name)
{
    static char text[256];
    char path[128];
    snprintf(path, sizeof(path), "%s/project/%s", rig.base, name);
    memset(text, 0, sizeof(text));
    FILE *f = fopen(path, "r");
    if (!f)
        return NULL;
    (void)!fread(text, 1, sizeof(text) - 1, f);
    fclose(f);
    return text;
}

static void a_program_works_on_a_copy_and_what_it_changed_comes_back(void **state)
{
    struct cds_err err;
    char path[128];
    put("kept.txt", "kept");
    put("changed.txt", "old");
    put("gone.txt", "gone");
    struct cds_job_spec spec =
        msb_rig_spec(&rig, "sh", "cat kept.txt; echo new > changed.txt; rm gone.txt; mkdir d; echo made > d/made.txt; ln -s / link");
    spec.access = CDS_PROJECT_READ_WRITE;
    msb_rig_run(&rig, &spec, &job);
    assert_int_equal(job.result.end, CDS_END_OK);
    assert_string_equal(job.out, "kept");
    assert_string_equal(get("changed.txt"), "old"); /* the project itself was never shown */
    assert_non_null(job.returned);
    assert_int_equal(cds_fs_identity_enter(&rig.host->who, &err), CDS_OK);
    while (returned_apply(job.returned, rig.project, "run-msb"))
        ;
    cds_fs_identity_leave(&rig.host->who);
    assert_string_equal(get("changed.txt"), "new\n");
    assert_string_equal(get("d/made.txt"), "made\n");
    assert_string_equal(get("kept.txt"), "kept");
    assert_null(get("gone.txt"));
    cds_json *told = returned_json(job.returned, NULL);
    assert_int_equal(cds_json_get_i64(told, "refused", 0), 1); /* the link */
    cds_json_unref(told);
    returned_free(&job.returned);
    static const char *const left[] = {"kept.txt", "changed.txt", "d/made.txt"};
    for (size_t i = 0; i < 3; i++) {
        snprintf(path, sizeof(path), "%s/project/%s", rig.base, left[i]);
        assert_int_equal(unlink(path), 0);
    }
    snprintf(path, sizeof(path), "%s/project/d", rig.base);
    assert_int_equal(rmdir(path), 0);
}

/* ---- msb that is gone, broken or somebody else's ---- */
static void expect_failed(const char *code, const char *reason)
{
    struct cds_job_spec spec = msb_rig_spec(&rig, "sh", code);
    spec.access = CDS_PROJECT_READ_WRITE;
    msb_rig_run(&rig, &spec, &job);
    if (job.result.end != CDS_END_ENGINE_FAILED || !strstr(job.result.reason, reason))
        fail_msg("%s: %s: %s", code, cds_run_end_name(job.result.end), job.result.reason);
    assert_false(job.result.never_started);
    assert_null(job.returned);
    assert_string_equal(job.result.backend, "msb-kvm");
}

static void msb_that_ends_in_mid_run_is_an_engine_that_failed_with_its_own_words(void **state)
{
    expect_failed("#standin crash", "run: msb ended by signal 11");
    assert_string_equal(job.out, "before");
    expect_failed("#standin leave", "run: msb ended with exit code 1: failed to start \"msb-standin\"; other: the machine was taken away");
}

static void frames_that_break_the_rules_end_the_machine(void **state)
{
    expect_failed("#standin garbage", "run: protocol: ");
    struct cds_job_spec spec = msb_rig_spec(&rig, "sh", "#standin more");
    msb_rig_run(&rig, &spec, &job); /* behind the end nobody may speak */
    assert_int_equal(job.result.end, CDS_END_ENGINE_FAILED);
    assert_non_null(strstr(job.result.reason, "protocol: bytes after the last frame"));
}

static void msb_that_fills_its_folder_is_ended(void **state)
{
    expect_failed("#standin fill", "msb has written more to its folder than it may");
    expect_failed("#standin many", "msb has written more to its folder than it may");
}

static void a_tree_that_refuses_to_die_dies_with_its_jail(void **state)
{
    const struct cds_job_spec spec = msb_rig_spec(&rig, "sh", "#standin stubborn");
    struct cds_job *started = msb_rig_start(&rig, &spec, &job);
    msb_rig_wait(&rig, &job.pieces, 1);
    for (uint64_t until = cds_now_ms() + 120000; msb_rig_processes(&rig) < 40 && cds_now_ms() < until;)
        cds_loop_once(rig.loop, 20);
    assert_true(msb_rig_processes(&rig) >= 40); /* itself, init, and 3 + 9 + 27 of them */
    rig.engine->ops->kill(started, CDS_END_CANCELLED);
    msb_rig_wait(&rig, &job.ends, 1);
    assert_int_equal(job.result.end, CDS_END_CANCELLED);
    assert_int_equal(msb_rig_processes(&rig), 0);
    assert_int_equal(msb_rig_scratch(&rig), 0);
}

static void expect(const char *text)
{
    if (!strstr(job.out, text))
        fail_msg("%s is missing in %s", text, job.out);
}

static void a_program_in_the_place_of_msb_sees_its_own_folders_and_nothing_of_the_host(void **state)
{
    char uid[32];
    setenv("CDS_SECRET", "secret", 1);
    run("sh", "#standin confess");
    unsetenv("CDS_SECRET");
    expect(
        "\"env\": {\"PATH\": \"/usr/bin:/bin\", \"LANG\": \"C.UTF-8\", \"HOME\": \"/work/home\", \"MSB_HOME\": \"/work/home\", \"TMPDIR\": \"/tmp\", "
        "\"TOKIO_WORKER_THREADS\": \"2\"");
    assert_null(strstr(job.out, "secret"));
    snprintf(uid, sizeof(uid), "\"uid\": %u,", (unsigned)rig.host->who.inside_uid);
    expect(uid);
    expect("\"net\": 1,"); /* a loopback that is down */
    expect("\"internet\": \"Network is unreachable\"");
    expect("\"host\": \"No such file or directory\"");
    expect("\"opt\": [\"agent\", \"image\", \"msb\"]");
    expect("\"work\": [\"home\", \"root\"]"); /* the socket was taken away when the agent had called */
    expect("\"write_agent\": \"Read-only file system\"");
    expect("\"write_image\": \"Permission denied\"");
    expect("\"kvm\": true");
    expect("\"open\": [3]"); /* its own socket */
}

static void a_broker_that_is_killed_leaves_no_machine_and_the_next_one_no_folder(void **state)
{
    int ready[2], status;
    char byte;
    assert_int_equal(pipe(ready), 0);
    pid_t broker = fork();
    if (broker == 0) {
        prctl(PR_SET_PDEATHSIG, SIGKILL, 0, 0, 0);
        msb_rig_open(&rig, STANDIN, NULL, false, 2);
        (void)!write(ready[1], rig.base, sizeof(rig.base));
        const struct cds_job_spec spec = msb_rig_spec(&rig, "sh", "#standin stubborn");
        msb_rig_start(&rig, &spec, &job);
        msb_rig_wait(&rig, &job.pieces, 1);
        (void)!write(ready[1], "x", 1);
        for (;;)
            cds_loop_once(rig.loop, 1000);
    }
    struct msb_rig left = {.project = -1};
    assert_int_equal(read(ready[0], left.base, sizeof(left.base)), sizeof(left.base));
    assert_int_equal(read(ready[0], &byte, 1), 1);
    assert_true(msb_rig_processes(&left) > 0);
    assert_int_equal(msb_rig_scratch(&left), 1);
    kill(broker, SIGKILL);
    waitpid(broker, &status, 0);
    for (uint64_t until = cds_now_ms() + 120000; msb_rig_processes(&left) && cds_now_ms() < until;)
        usleep(20000);
    assert_int_equal(msb_rig_processes(&left), 0);
    char dir[64];
    struct cds_err err;
    snprintf(dir, sizeof(dir), "%s/jail", left.base);
    const struct sandbox_settings settings = {.base_dir = dir, .cgroup_key = msb_rig_key, .slots = 2};
    assert_int_equal(cds_loop_new(&left.loop, &err), CDS_OK);
    assert_int_equal(sandbox_host_open(left.loop, &settings, &left.host, &err), CDS_OK);
    assert_int_equal(msb_rig_scratch(&left), 0);
    const struct micro_settings none = {.image_dir = "", .agent = "", .image = "", .qemu = "", .msb = "", .cache = "", .memory_mib = 256};
    assert_int_equal(cds_micro_engine_new(left.host, &none, &left.engine, &err), CDS_OK);
    msb_rig_close(&left);
    close(ready[0]);
    close(ready[1]);
}

static void it_works_in_a_user_namespace_too(void **state)
{
    struct msb_rig other;
    if (access("/dev/kvm", F_OK)) {
        print_message("skipped: no /dev/kvm to show to a jail that is not root's\n");
        skip();
    }
    msb_rig_open(&other, STANDIN, NULL, true, 2);
    const struct cds_job_spec spec = msb_rig_spec(&other, "sh", "echo $((1 + 2))");
    msb_rig_run(&other, &spec, &job);
    if (job.result.end != CDS_END_OK)
        fail_msg("%s: %s", cds_run_end_name(job.result.end), job.result.reason);
    assert_string_equal(job.out, "3\n");
    msb_rig_close(&other);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup_teardown(msb_is_the_strongest_tier_once_its_doctor_is_content_and_a_machine_has_said_ready, open_rig, close_rig),
        cmocka_unit_test_setup_teardown(a_job_says_that_msb_held_it_and_where_its_machine_came_from, open_rig, close_rig),
        cmocka_unit_test(msb_whose_doctor_fails_gets_no_job_and_the_refusal_names_each_tier),
        cmocka_unit_test(a_doctor_that_cannot_start_or_does_not_end_is_a_reason_too),
        cmocka_unit_test(a_template_or_spare_of_another_tier_is_never_a_machine_of_this_one),
        cmocka_unit_test(where_neither_program_is_there_a_job_is_refused_at_once),
        cmocka_unit_test_setup_teardown(what_msb_cannot_read_is_named_and_no_other_tier_takes_the_job, open_rig, close_rig),
        cmocka_unit_test_setup_teardown(output_exit_code_and_signal_come_back, open_rig, close_rig),
        cmocka_unit_test_setup_teardown(input_arguments_variables_and_files_reach_it, open_rig, close_rig),
        cmocka_unit_test_setup_teardown(what_is_typed_into_a_terminal_is_written_to_it_while_it_runs, open_rig, close_rig),
        cmocka_unit_test_setup_teardown(the_wall_clock_and_cpu_time_end_it, open_rig, close_rig),
        cmocka_unit_test_setup_teardown(a_flood_is_cut_at_the_ceiling_and_waits_while_it_is_held, open_rig, close_rig),
        cmocka_unit_test_setup_teardown(each_verdict_has_its_name, open_rig, close_rig),
        cmocka_unit_test_setup_teardown(jobs_wait_for_a_place_as_those_of_every_engine, open_rig, close_rig),
        cmocka_unit_test_setup_teardown(a_program_works_on_a_copy_and_what_it_changed_comes_back, open_rig, close_rig),
        cmocka_unit_test_setup_teardown(msb_that_ends_in_mid_run_is_an_engine_that_failed_with_its_own_words, open_rig, close_rig),
        cmocka_unit_test_setup_teardown(frames_that_break_the_rules_end_the_machine, open_rig, close_rig),
        cmocka_unit_test_setup_teardown(msb_that_fills_its_folder_is_ended, open_rig, close_rig),
        cmocka_unit_test_setup_teardown(a_tree_that_refuses_to_die_dies_with_its_jail, open_rig, close_rig),
        cmocka_unit_test_setup_teardown(a_program_in_the_place_of_msb_sees_its_own_folders_and_nothing_of_the_host, open_rig, close_rig),
        cmocka_unit_test(a_broker_that_is_killed_leaves_no_machine_and_the_next_one_no_folder),
        cmocka_unit_test(it_works_in_a_user_namespace_too),
    };
    return RUN_ALL(tests);
}
