/* Our agent in a machine that another pid 1 has booted, as msb does: under QEMU, so that a real kernel shows it (tests/support/hosted). Three boots.
 */
#include "tests/support/msb_rig.h"

static struct msb_rig rig;
static struct msb_job job;

static const char *missing(void)
{
    if (access("/usr/bin/qemu-system-x86_64", X_OK))
        return "no qemu (make micro installs it)";
    return access(CDS_BINARY_DIR "/share/micro/root.erofs", R_OK) ? "no images (make micro makes them)" : NULL;
}

static int open_rig(void **state)
{
    struct cds_err err = {0};
    msb_rig_open(&rig, "/nowhere/bin/msb", NULL, false, 2);
    rig.engine->ops->close(rig.engine);
    const struct micro_settings micro = {.image_dir = CDS_BINARY_DIR "/share/micro",
                                         .agent = CDS_BINARY_DIR "/hosted/agent",
                                         .image = "",
                                         .qemu = "/usr/bin/qemu-system-x86_64",
                                         .msb = "/nowhere/bin/msb",
                                         .cache = "",
                                         .memory_mib = 256};
    return cds_micro_engine_new(rig.host, &micro, &rig.engine, &err) ? -1 : 0;
}

static int close_rig(void **state)
{
    msb_rig_close(&rig);
    return 0;
}

static void run(const struct cds_job_spec *spec)
{
    if (missing()) {
        print_message("skipped: %s\n", missing());
        skip();
    }
    msb_rig_run(&rig, spec, &job);
    if (job.result.end == CDS_END_ENGINE_FAILED)
        fail_msg("%s", job.result.reason);
}

static void it_enters_the_image_and_a_program_sees_what_it_sees_in_every_machine(void **state)
{
    const struct cds_job_spec spec =
        msb_rig_spec(&rig, "sh",
                     "id -u; pwd; ls -d /image /cds 2>/dev/null; ls /work /home 2>/dev/null | wc -l; echo x > /tmp/x && cat /tmp/x\n"
                     "echo y > /usr/y 2>/dev/null || echo read-only; cat /sys/fs/cgroup/cgroup.procs 2>/dev/null | wc -l\n"
                     "mount -t tmpfs x /mnt 2>/dev/null || echo no mount; ls /proc | grep -c '^[0-9]'; ls -l /dev/fd | wc -l; exit 7");
    run(&spec);
    assert_int_equal(job.result.end, CDS_END_EXIT);
    assert_int_equal(job.result.exit_code, 7);
    assert_memory_equal(job.out, "1000\n/work\n", 11);
    assert_null(strstr(job.out, "/image"));
    assert_non_null(strstr(job.out, "\nx\nread-only\n"));
    assert_non_null(strstr(job.out, "no mount\n"));
}

static void memory_is_held_by_a_control_group_of_its_own(void **state)
{
    struct cds_job_spec spec = msb_rig_spec(&rig, "python", "print('up', flush=True)\nx = []\nwhile True: x.append(bytearray(1 << 20))");
    spec.limits.memory_bytes = 64 << 20;
    run(&spec);
    assert_string_equal(job.out, "up\n");
    assert_int_equal(job.result.end, CDS_END_MEMORY);
}

static void what_it_changed_in_the_project_comes_back(void **state)
{
    struct cds_job_spec spec = msb_rig_spec(&rig, "sh", "read x; echo $x > made.txt; echo e >&2");
    spec.access = CDS_PROJECT_READ_WRITE;
    spec.stdin_data = "in\n";
    spec.stdin_len = 3;
    run(&spec);
    assert_int_equal(job.result.end, CDS_END_OK);
    assert_string_equal(job.err, "e\n");
    assert_non_null(job.returned);
    assert_int_equal(returned_count(job.returned), 1);
    returned_free(&job.returned);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup_teardown(it_enters_the_image_and_a_program_sees_what_it_sees_in_every_machine, open_rig, close_rig),
        cmocka_unit_test_setup_teardown(memory_is_held_by_a_control_group_of_its_own, open_rig, close_rig),
        cmocka_unit_test_setup_teardown(what_it_changed_in_the_project_comes_back, open_rig, close_rig),
    };
    return RUN_ALL(tests);
}
