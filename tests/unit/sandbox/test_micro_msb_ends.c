/* The tier of msb with a stand-in for msb (tests/support/msb), as in test_micro_msb.c: images of users, and machines that are ended while they start.
 */
#include <sys/socket.h>
#include <sys/un.h>

#include "sandbox/fs.h"
#include "tests/support/msb_standin.h"

static void an_image_of_a_users_is_the_root_of_its_machine_and_of_no_other(void **state)
{
    char folder[64], path[80], image[8192 + 4] = {0};
    snprintf(folder, sizeof(folder), "%s/image", rig.base);
    snprintf(path, sizeof(path), "%s/root.erofs", folder);
    int fd = open(path, O_RDONLY | O_CLOEXEC);
    assert_int_equal(read(fd, image, 8192), 8192);
    close(fd);
    for (int i = 0; i < 4; i++)
        image[8192 + i] = "mine"[i];
    msb_rig_put(folder, "mine.erofs", image, sizeof(image));
    snprintf(path, sizeof(path), "%s/mine.erofs", folder);
    fd = open(path, O_RDONLY | O_CLOEXEC);
    const struct cds_job_image mine = {.name = "mine", .digest = "0123", .fd = fd};
    struct cds_job_spec spec = msb_rig_spec(&rig, "sh", "tail -c 4 /opt/image");
    spec.image = &mine;
    msb_rig_run(&rig, &spec, &job);
    assert_string_equal(job.out, "mine");
    assert_string_equal(job.result.backend, "msb-kvm");
    assert_null(((struct micro *)rig.engine)->roots->template.vm); /* msb makes no templates */
    assert_int_equal(unlink(path), 0);
    struct cds_job *none = NULL;
    struct cds_err err;
    assert_int_equal(rig.engine->ops->acquire(rig.engine, &spec, &none, &err), CDS_OK);
    assert_int_equal(rig.engine->ops->exec(none, &spec, &msb_rig_events, &job, &err), CDS_DENIED);
    assert_string_equal(err.rule, "micro.image"); /* what has no name any more is not looked for under it */
    assert_int_equal(msb_rig_scratch(&rig), 0);
    close(fd);
    run("sh", "tail -c 4 /opt/image");
    assert_int_equal(job.out_len, 4);
    assert_string_equal(job.out, "");
}

/* The job is ended, then its machine says that it is ready: the call waits in the socket while msb is killed. */
static void a_machine_that_calls_while_it_is_ended_is_not_heard(void **state)
{
    struct sockaddr_un to = {.sun_family = AF_UNIX};
    const struct micro_ready ready = {MICRO_VERSION, 0};
    struct micro *m = (struct micro *)rig.engine;
    run("sh", "true"); /* which tier works is known from here on */
    const struct cds_job_spec spec = msb_rig_spec(&rig, "sh", "echo 3");
    struct cds_job *started = msb_rig_start(&rig, &spec, &job);
    assert_non_null(m->vms->called); /* msb's own agent takes longer than this test */
    snprintf(to.sun_path, sizeof(to.sun_path), "%.80s/agent.sock", m->vms->scratch);
    struct cds_buf frame = cds_buf_init(256);
    assert_int_equal(micro_frame_add(&frame, MICRO_READY, 0, 0, &ready, sizeof(ready)), CDS_OK);
    int caller = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);
    assert_int_equal(connect(caller, (struct sockaddr *)&to, sizeof(to)), 0);
    assert_int_equal(write(caller, frame.data, frame.len), frame.len);
    rig.engine->ops->kill(started, CDS_END_CANCELLED);
    msb_rig_wait(&rig, &job.ends, 1);
    assert_int_equal(job.result.end, CDS_END_CANCELLED);
    assert_string_equal(job.result.reason, "");
    assert_int_equal(msb_rig_scratch(&rig), 0);
    close(caller);
    cds_buf_free(&frame);
}

static void a_folder_with_more_than_one_delete_takes_away_is_removed_as_a_whole(void **state)
{
    char path[SCRATCH_PATH_MAX];
    struct cds_err err;
    assert_int_equal(scratch_make(rig.host, path, &err), CDS_OK);
    int dir = open(path, O_PATH | O_DIRECTORY | O_CLOEXEC);
    for (int i = 0; i < CDS_FS_DELETE_MAX + 100; i++) {
        char name[16];
        snprintf(name, sizeof(name), "%d", i);
        assert_int_equal(mknodat(dir, name, S_IFREG | 0600, 0), 0);
    }
    close(dir);
    scratch_remove(rig.host, path);
    assert_int_equal(msb_rig_scratch(&rig), 0);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup_teardown(an_image_of_a_users_is_the_root_of_its_machine_and_of_no_other, open_rig, close_rig),
        cmocka_unit_test_setup_teardown(a_machine_that_calls_while_it_is_ended_is_not_heard, open_rig, close_rig),
        cmocka_unit_test_setup_teardown(a_folder_with_more_than_one_delete_takes_away_is_removed_as_a_whole, open_rig, close_rig),
    };
    return RUN_ALL(tests);
}
