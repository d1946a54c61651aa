/* The watch over what a run writes into its project: sandbox/disk_watch.h. */
#include "tests/support/drain.h"
#include "tests/support/test.h"

#include <fcntl.h>
#include <sys/stat.h>
#include <unistd.h>

#include "lib/base/clock.h"
#include "sandbox/disk_watch.h"
#include "sandbox/fs.h"

enum { PATIENCE_MS = 120000, QUIET_MS = 900 };

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
    /* As the broker works: the project belongs to the jobs' uid, and looking has the rights of that. */
    cds_job_identity_find(false, &s->who);
    if (s->who.change && chown(s->dir, s->who.uid, s->who.gid))
        return -1;
    s->dir_fd = open(s->dir, O_PATH | O_DIRECTORY | O_CLOEXEC);
    *state = s;
    return s->dir_fd < 0;
}

static int close_scene(void **state)
{
    struct scene *s = *state;
    disk_watch_stop(&s->watch);
    test_drain(s->loop, s->pool); /* a look under way frees itself on the loop */
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

/* Nothing of it can be reached by a name any more, yet the job goes on writing through its current folder. */
static void a_run_that_locks_the_folders_above_it_is_counted_all_the_same(void **state)
{
    struct scene *s = *state;
    assert_int_equal(mkdirat(s->dir_fd, "a", 0755) | mkdirat(s->dir_fd, "a/b", 0755), 0);
    if (s->who.change)
        assert_int_equal(fchownat(s->dir_fd, "a", s->who.uid, s->who.gid, 0) | fchownat(s->dir_fd, "a/b", s->who.uid, s->who.gid, 0), 0);
    int inside = openat(s->dir_fd, "a/b", O_PATH | O_DIRECTORY | O_CLOEXEC);
    assert_int_equal(fchmodat(s->dir_fd, "a", 0, 0), 0);
    watch(s);
    wait_for(s, false);
    int fd = openat(inside, "big", O_WRONLY | O_CREAT | O_CLOEXEC, 0644);
    assert_int_equal(posix_fallocate(fd, 0, CDS_FS_QUOTA_BYTES + (1 << 20)), 0);
    wait_for(s, true);
    assert_int_equal(unlinkat(inside, "big", 0), 0);
    assert_int_equal(fchmodat(s->dir_fd, "a", 0755, 0) | unlinkat(s->dir_fd, "a/b", AT_REMOVEDIR) | unlinkat(s->dir_fd, "a", AT_REMOVEDIR), 0);
    close(inside);
    close(fd);
}

static void a_run_that_nests_folders_deeper_than_the_count_goes_is_stopped(void **state)
{
    enum { DEEP = 140 };
    struct scene *s = *state;
    int dirs[DEEP + 1] = {s->dir_fd};
    watch(s);
    wait_for(s, false);
    for (int i = 0; i < DEEP; i++) {
        assert_int_equal(mkdirat(dirs[i], "d", 0755), 0);
        dirs[i + 1] = openat(dirs[i], "d", O_PATH | O_DIRECTORY | O_CLOEXEC);
    }
    wait_for(s, true);
    for (int i = DEEP; i-- > 0;) {
        close(dirs[i + 1]);
        assert_int_equal(unlinkat(dirs[i], "d", AT_REMOVEDIR), 0);
    }
}

/* What run after run wrote before it was stopped does not add up for ever. */
static void a_run_in_a_project_of_twice_the_quota_is_stopped_at_once(void **state)
{
    struct scene *s = *state;
    grow(s, "big", 2 * CDS_FS_QUOTA_BYTES + (1 << 20));
    watch(s);
    wait_for(s, true);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup_teardown(a_project_that_grows_past_the_quota_is_reported_once, open_scene, close_scene),
        cmocka_unit_test_setup_teardown(a_project_below_the_quota_is_left_alone, open_scene, close_scene),
        cmocka_unit_test_setup_teardown(a_run_in_a_full_project_may_go_on_while_it_does_not_grow, open_scene, close_scene),
        cmocka_unit_test_setup_teardown(nothing_is_reported_after_stop, open_scene, close_scene),
        cmocka_unit_test_setup_teardown(a_run_that_locks_the_folders_above_it_is_counted_all_the_same, open_scene, close_scene),
        cmocka_unit_test_setup_teardown(a_run_that_nests_folders_deeper_than_the_count_goes_is_stopped, open_scene, close_scene),
        cmocka_unit_test_setup_teardown(a_run_in_a_project_of_twice_the_quota_is_stopped_at_once, open_scene, close_scene),
    };
    return RUN_ALL(tests);
}
