/* Tests of apps/llmserver/disk.c: room to the byte, and what a timer sees in between. */
#include "tests/support/test.h"

#include "apps/llmserver/disk.h"
#include "tests/support/own_clock.h"

enum { MIN_BYTES = 1000 };

static struct cds_loop *loop;
static uint64_t free_bytes;
static int looks;

static uint64_t probe(const char *path)
{
    assert_string_equal(path, "/data/pg");
    looks++;
    return free_bytes;
}

static int make(void **state)
{
    looks = 0;
    return cds_loop_new(&loop, NULL);
}

static int unmake(void **state)
{
    cds_loop_free(&loop);
    return 0;
}

static struct cds_disk *watch(uint64_t bytes)
{
    struct cds_disk *disk = NULL;
    const struct cds_disk_options options = {.loop = loop, .path = "/data/pg", .min_bytes = MIN_BYTES, .free_bytes = probe};
    free_bytes = bytes;
    assert_int_equal(cds_disk_new(&options, &disk, NULL), CDS_OK);
    return disk;
}

static void disk_has_room_from_the_least_on_and_not_one_byte_below(void **state)
{
    struct cds_disk *enough = watch(MIN_BYTES), *short_of = watch(MIN_BYTES - 1);
    struct cds_err err = {0}, untouched = {0};
    assert_int_equal(cds_disk_room(enough, &untouched), CDS_OK);
    assert_string_equal(untouched.message, "");
    assert_int_equal(cds_disk_room(short_of, &err), CDS_EXHAUSTED);
    assert_true(*err.message && *err.hint && err.retry_after_ms > 0);
    assert_string_equal(err.rule, "disk.room");
    assert_null(strstr(err.message, "/data")); /* a user is not told where things lie */
    cds_disk_free(&enough);
    cds_disk_free(&short_of);
    assert_null(enough);
}

static void disk_that_is_not_ours_or_not_known_has_room(void **state)
{
    struct cds_disk *unknown = watch(UINT64_MAX);
    assert_int_equal(cds_disk_room(NULL, NULL), CDS_OK);
    assert_int_equal(cds_disk_room(unknown, NULL), CDS_OK);
    cds_disk_free(&unknown);
}

static void disk_is_looked_at_by_the_timer_and_not_by_requests(void **state)
{
    struct cds_disk *disk = watch(MIN_BYTES);
    free_bytes = 0;
    for (int i = 0; i < 100; i++)
        assert_int_equal(cds_disk_room(disk, NULL), CDS_OK);
    assert_int_equal(looks, 1);
    own_clock_pass(loop, CDS_DISK_LOOK_MS);
    assert_int_equal(looks, 2);
    assert_int_equal(cds_disk_room(disk, NULL), CDS_EXHAUSTED);
    free_bytes = MIN_BYTES;
    own_clock_pass(loop, CDS_DISK_LOOK_MS);
    assert_int_equal(cds_disk_room(disk, NULL), CDS_OK);
    cds_disk_free(&disk);
}

static void disk_without_a_probe_asks_the_file_system(void **state)
{
    struct cds_disk *some = NULL, *all = NULL, *none = NULL;
    struct cds_disk_options options = {.loop = loop, .path = "/tmp", .min_bytes = 1};
    assert_int_equal(cds_disk_new(&options, &some, NULL), CDS_OK);
    assert_int_equal(cds_disk_room(some, NULL), CDS_OK);
    options.min_bytes = UINT64_MAX - 1;
    assert_int_equal(cds_disk_new(&options, &all, NULL), CDS_OK);
    assert_int_equal(cds_disk_room(all, NULL), CDS_EXHAUSTED);
    options.path = "/nonexistent/pg";
    assert_int_equal(cds_disk_new(&options, &none, NULL), CDS_OK);
    assert_int_equal(cds_disk_room(none, NULL), CDS_OK);
    cds_disk_free(&some);
    cds_disk_free(&all);
    cds_disk_free(&none);
}

int main(void)
{
#define ROW(fn) cmocka_unit_test_setup_teardown(fn, make, unmake)
    const struct CMUnitTest tests[] = {
        ROW(disk_has_room_from_the_least_on_and_not_one_byte_below),
        ROW(disk_that_is_not_ours_or_not_known_has_room),
        ROW(disk_is_looked_at_by_the_timer_and_not_by_requests),
        ROW(disk_without_a_probe_asks_the_file_system),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
