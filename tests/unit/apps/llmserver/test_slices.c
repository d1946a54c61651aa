#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>

#include <cmocka.h>

#include "apps/llmserver/slices.h"

static void slices_begin_with_at_most_256(void **state)
{
    assert_int_equal(cds_slices_begin(100).granted, 100);
    assert_int_equal(cds_slices_begin(256).granted, 256);
    assert_int_equal(cds_slices_begin(5000).granted, 256);
}

static void slices_ask_for_nothing_when_everything_is_granted(void **state)
{
    struct cds_slices s = cds_slices_begin(256);
    assert_int_equal(cds_slices_due(&s, 256), 0);
}

static void slices_double_up_to_2048_and_end_at_the_ceiling(void **state)
{
    struct cds_slices s = cds_slices_begin(9000);
    static const uint32_t sizes[] = {512, 1024, 2048, 2048, 2048, 1064};
    for (size_t i = 0; i < sizeof(sizes) / sizeof(sizes[0]); i++) {
        uint32_t due = cds_slices_due(&s, s.granted);
        assert_int_equal(due, sizes[i]);
        cds_slices_granted(&s, due);
    }
    assert_int_equal(s.granted, 9000);
    assert_int_equal(cds_slices_due(&s, 9000), 0);
}

static void slices_ask_once_and_before_the_end(void **state)
{
    struct cds_slices s = cds_slices_begin(1000);
    assert_int_equal(cds_slices_due(&s, 191), 0);
    assert_int_equal(cds_slices_due(&s, 192), 512);
    assert_int_equal(cds_slices_due(&s, 200), 0);
    cds_slices_granted(&s, 512);
    assert_int_equal(s.granted, 768);
    assert_int_equal(cds_slices_due(&s, 600), 0);
    assert_int_equal(cds_slices_due(&s, 640), 232);
}

static void slices_never_ask_again_after_a_refusal(void **state)
{
    struct cds_slices s = cds_slices_begin(1000);
    assert_int_equal(cds_slices_due(&s, 256), 512);
    cds_slices_refused(&s);
    assert_int_equal(s.granted, 256);
    assert_int_equal(cds_slices_due(&s, 256), 0);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(slices_begin_with_at_most_256),
        cmocka_unit_test(slices_ask_for_nothing_when_everything_is_granted),
        cmocka_unit_test(slices_double_up_to_2048_and_end_at_the_ceiling),
        cmocka_unit_test(slices_ask_once_and_before_the_end),
        cmocka_unit_test(slices_never_ask_again_after_a_refusal),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
