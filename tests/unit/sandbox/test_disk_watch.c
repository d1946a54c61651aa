/* The watch over what a run writes into its project: sandbox/disk_watch.h. */
#include "tests/support/test.h"

#include <fcntl.h>
#include <sys/stat.h>
#include <unistd.h>

#include "lib/base/clock.h"
#include "sandbox/disk_watch.h"
#include "sandbox/fs.h"

enum { PATIENCE_MS = 20000, QUIET_MS = 900 };

struct scene {
    struct cds_loop *loop;
    struct cds_pool *pool;
    struct disk_watch *watch;
    struct cds_job_identity who;
    char dir[64];
    int dir_fd;
    unsigned called;
};

static void on_over(void *user)
{
    ((struct scene *)user)->called++;
}

static int open_scene(void **state)
{
    struct scene *s = calloc(1, sizeof(*s));
    if (!s)
        return -1;
    snprintf(s->dir, sizeof(s->dir), "/tmp/cds-disk-XXXXXX");
    if (!mkdtemp(s->dir) || cds_loop_new(&s->loop, NULL) || cds_pool_new(s->loop, 1, 8, &s->pool, NULL))
        return -1;
    s->dir_fd = open(s->dir, O_PATH | O_DIRECTORY | O_CLOEXEC);
    *state = s;
    return s->dir_fd < 0;
}

static int close_scene(void **state)
{
    struct scene *s = *state;
    disk_watch_stop(&s->watch);
    for (uint64_t end = cds_now_ms() + 50; cds_now_ms() < end;) /* a look under way frees itself on the loop */
        cds_loop_once(s->loop, 10);
    cds_pool_free(&s->pool);
    cds_loop_free(&s->loop);
    unlinkat(s->dir_fd, "big", 0);
    unlinkat(s->dir_fd, "more", 0);
    close(s->dir_fd);
    rmdir(s->dir);
    free(s);
    return 0;
}

/* Allocated, not written: the watch counts blocks. */
static void grow(const struct scene *s, const char *name, uint64_t bytes)
{
    int fd = openat(s->dir_fd, name, O_WRONLY | O_CREAT | O_CLOEXEC, 0644);
    assert_true(fd >= 0);
    assert_int_equal(posix_fallocate(fd, 0, (off_t)bytes), 0);
    close(fd);
}

static void watch(struct scene *s)
{
    assert_int_equal(disk_watch_start(s->loop, s->pool, &s->who, s->dir_fd, on_over, s, &s->watch, NULL), CDS_OK);
}

/* Runs the loop until the watch has spoken, or for long enough that it had several looks. */
static void wait_for(struct scene *s, bool expected)
{
    for (uint64_t end = cds_now_ms() + (expected ? PATIENCE_MS : QUIET_MS); cds_now_ms() < end && !(expected && s->called);)
        cds_loop_once(s->loop, 20);
    assert_int_equal(s->called, expected);
}

static void a_project_that_grows_past_the_quota_is_reported_once(void **state)
{
    struct scene *s = *state;
    watch(s);
    wait_for(s, false);
    grow(s, "big", CDS_FS_QUOTA_BYTES + (1 << 20));
    wait_for(s, true);
    wait_for(s, true);
}

static void a_project_below_the_quota_is_left_alone(void **state)
{
    struct scene *s = *state;
    watch(s);
    grow(s, "big", CDS_FS_QUOTA_BYTES / 2);
    wait_for(s, false);
}

static void a_run_in_a_full_project_may_go_on_while_it_does_not_grow(void **state)
{
    struct scene *s = *state;
    grow(s, "big", CDS_FS_QUOTA_BYTES + (1 << 20));
    watch(s);
    wait_for(s, false);
    grow(s, "more", 1 << 20);
    wait_for(s, true);
}

static void nothing_is_reported_after_stop(void **state)
{
    struct scene *s = *state;
    watch(s);
    wait_for(s, false);
    grow(s, "big", CDS_FS_QUOTA_BYTES + (1 << 20));
    disk_watch_stop(&s->watch);
    assert_null(s->watch);
    disk_watch_stop(&s->watch);
    wait_for(s, false);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup_teardown(a_project_that_grows_past_the_quota_is_reported_once, open_scene, close_scene),
        cmocka_unit_test_setup_teardown(a_project_below_the_quota_is_left_alone, open_scene, close_scene),
        cmocka_unit_test_setup_teardown(a_run_in_a_full_project_may_go_on_while_it_does_not_grow, open_scene, close_scene),
        cmocka_unit_test_setup_teardown(nothing_is_reported_after_stop, open_scene, close_scene),
    };
    return RUN_ALL(tests);
}
