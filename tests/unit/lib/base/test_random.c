#include <pthread.h>

#include "lib/base/clock.h"
#include "lib/base/random.h"
#include "tests/support/test.h"

static void request_ids_are_uuid_version_7_and_rise(void **state)
{
    char last[37] = "";
    for (int i = 0; i < 20000; i++) {
        char id[37];
        cds_uuid7(id);
        assert_true(cds_uuid_valid(id));
        assert_int_equal(id[14], '7');
        assert_non_null(strchr("89ab", id[19]));
        assert_true(strcmp(last, id) < 0);
        memcpy(last, id, sizeof(id));
    }
}

static void request_ids_begin_with_the_time(void **state)
{
    char id[37], head[14];
    uint64_t before = cds_wall_ms();
    cds_uuid7(id);
    snprintf(head, sizeof(head), "%.8s%.4s", id, id + 9);
    uint64_t stamp = strtoull(head, NULL, 16);
    assert_true(stamp + 60000 >= before); /* ids of a burst may run a little ahead, never behind */
}

static void *make_many(void *out)
{
    char(*ids)[37] = out;
    for (int i = 0; i < 2000; i++)
        cds_uuid7(ids[i]);
    return NULL;
}

static int order(const void *a, const void *b)
{
    return strcmp(a, b);
}

static void threads_never_get_the_same_request_id(void **state)
{
    static char ids[4 * 2000][37];
    pthread_t threads[4];
    for (int i = 0; i < 4; i++)
        assert_int_equal(pthread_create(&threads[i], NULL, make_many, ids[(size_t)i * 2000]), 0);
    for (int i = 0; i < 4; i++)
        pthread_join(threads[i], NULL);
    qsort(ids, 8000, 37, order);
    for (int i = 1; i < 8000; i++)
        assert_string_not_equal(ids[i - 1], ids[i]);
}

static void texts_that_are_no_uuid_are_refused(void **state)
{
    static const char *const bad[] = {"",
                                      "0190",
                                      "0190163d-8694-739b-aea5-966c26f8ad9",
                                      "0190163d-8694-739b-aea5-966c26f8ad900",
                                      "0190163D-8694-739b-aea5-966c26f8ad90",
                                      "0190163d_8694-739b-aea5-966c26f8ad90",
                                      "../163d-8694-739b-aea5-966c26f8ad90"};
    for (size_t i = 0; i < sizeof(bad) / sizeof(*bad); i++)
        assert_false(cds_uuid_valid(bad[i]));
    assert_false(cds_uuid_valid(NULL));
}

static void times_are_written_as_rfc_3339(void **state)
{
    char buf[25];
    assert_string_equal(cds_time_rfc3339(0, buf), "1970-01-01T00:00:00.000Z");
    assert_string_equal(cds_time_rfc3339(1709208000123u, buf), "2024-02-29T12:00:00.123Z");
}

static void a_passed_deadline_leaves_nothing(void **state)
{
    assert_int_equal(cds_ms_left(0), 0);
    assert_int_equal(cds_ms_left(UINT64_MAX), INT32_MAX);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(request_ids_are_uuid_version_7_and_rise), cmocka_unit_test(request_ids_begin_with_the_time),
        cmocka_unit_test(threads_never_get_the_same_request_id),   cmocka_unit_test(texts_that_are_no_uuid_are_refused),
        cmocka_unit_test(times_are_written_as_rfc_3339),           cmocka_unit_test(a_passed_deadline_leaves_nothing),
    };
    return RUN_ALL(tests);
}
