/* A run is told of when nothing of it lives any more; its box, with init and the namespaces, may take a moment longer. */
#include <sys/stat.h>
#include <unistd.h>

#include "sandbox/job_priv.h"
#include "tests/support/jail_rig.h"
#include "tests/support/test.h"

enum { QUIET_US = 20000, TRIES = 15 };

static struct jail_rig rig;

struct fate {
    struct cds_job_result r;
    off_t size_at_end; /* of the project's file "f" */
    bool ended, box_was_gone;
};

static off_t size_of_f(void)
{
    struct stat st;
    return fstatat(rig.project, "f", &st, 0) ? -1 : st.st_size;
}

static void on_output(void *user, int stream, const char *data, size_t len)
{
}

static void on_end(void *user, const struct cds_job_result *r)
{
    struct fate *f = user;
    *f = (struct fate){.r = *r, .size_at_end = size_of_f(), .ended = true, .box_was_gone = !((struct jail_engine *)rig.engine)->jobs};
}

static struct fate run(const char *code)
{
    static const struct cds_job_events events = {on_output, on_end};
    const struct cds_job_spec spec = jail_rig_spec(&rig, "sh", code);
    struct fate f = {.ended = false};
    struct cds_err err = {0};
    if (!jail_rig_start(&rig, &spec, &events, &f, &err))
        fail_msg("exec: %s %s", err.message, err.detail);
    jail_rig_wait(&rig, &f.ended);
    assert_true(f.ended);
    return f;
}

static void wait_for_boxes(void)
{
    assert_true(jail_rig_wait_for_boxes(&rig));
    assert_null(((struct jail_engine *)rig.engine)->jobs);
}

static void what_a_run_left_behind_writes_nothing_after_its_end(void **state)
{
    for (int i = 0; i < TRIES; i++) {
        struct fate f = run("for i in 1 2 3 4 5 6; do (while :; do echo x; done >>f) & done; sleep 0.02; exit 7");
        assert_int_equal(f.r.end, CDS_END_EXIT);
        assert_int_equal(f.r.exit_code, 7);
        usleep(QUIET_US);
        assert_int_equal(f.size_at_end, size_of_f());
        unlinkat(rig.project, "f", 0);
    }
    wait_for_boxes();
}

static void a_box_comes_to_its_end_after_its_run_and_leaves_nothing(void **state)
{
    for (int i = 0; i < TRIES; i++)
        assert_int_equal(run("exit 0").r.end, CDS_END_OK); /* there is one place only: it is free at once */
    wait_for_boxes();
    assert_int_equal(rig.host->active, 0);
}

static void a_run_waits_for_its_own_box_while_too_many_others_end(void **state)
{
    rig.host->ending += JOB_ENDING_MAX;
    struct fate f = run("sleep 30 & exit 3");
    rig.host->ending -= JOB_ENDING_MAX;
    assert_true(f.box_was_gone);
    assert_int_equal(f.r.exit_code, 3);
    assert_int_equal(rig.host->ending, 0);
}

static void an_engine_that_closes_takes_the_boxes_along(void **state)
{
    struct cds_err err = {0};
    run("exit 0");
    rig.engine->ops->close(rig.engine);
    assert_int_equal(rig.host->ending, 0);
    assert_int_equal(cds_run_engine_new(rig.host, 0, &rig.engine, &err), CDS_OK);
}

static int usual_setup(void **state)
{
    return jail_rig_open(&rig, &(struct jail_rig_options){.key = "testjobend", .slots = 1});
}

static int userns_setup(void **state)
{
    return jail_rig_open(&rig, &(struct jail_rig_options){.key = "testjobend", .slots = 1, .force_userns = true});
}

static int rlimit_setup(void **state)
{
    return jail_rig_open(&rig, &(struct jail_rig_options){.key = "testjobend", .slots = 1, .no_cgroup = true});
}

static int teardown(void **state)
{
    jail_rig_close(&rig);
    return 0;
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(what_a_run_left_behind_writes_nothing_after_its_end),
        cmocka_unit_test(a_box_comes_to_its_end_after_its_run_and_leaves_nothing),
        cmocka_unit_test(a_run_waits_for_its_own_box_while_too_many_others_end),
        cmocka_unit_test(an_engine_that_closes_takes_the_boxes_along),
    };
    int bad = cmocka_run_group_tests_name("as started", tests, usual_setup, teardown);
    bad += cmocka_run_group_tests_name("in a user namespace", tests, userns_setup, teardown);
    bad += cmocka_run_group_tests_name("limits by rlimits", tests, rlimit_setup, teardown);
    return bad;
}
