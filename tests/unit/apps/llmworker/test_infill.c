#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "apps/llmworker/infill.h"

static const struct cds_infill_tokens marks = {.prefix = 1000, .suffix = 1001, .middle = 1002, .file = -1, .repository = -1};

/** Numbers from..to-1. */
static struct cds_infill_part part(int32_t *list, int32_t from, int32_t to)
{
    for (int32_t i = from; i < to; i++)
        list[i - from] = i;
    return (struct cds_infill_part){list, (size_t)(to - from)};
}

static void the_gap_stands_between_prefix_and_suffix(void **state)
{
    int32_t a[3], b[2], c[1];
    static const int32_t expected[] = {7, 300, 1000, 1, 2, 3, 1001, 100, 101, 1002};
    size_t count;
    int32_t *got = cds_infill_join(&marks, 7, part(a, 1, 4), part(b, 100, 102), part(c, 300, 301), 32, &count);
    assert_int_equal(count, 10);
    assert_memory_equal(got, expected, sizeof(expected));
    free(got);
    got = cds_infill_join(&marks, -1, (struct cds_infill_part){0}, (struct cds_infill_part){0}, (struct cds_infill_part){0}, 16, &count);
    assert_int_equal(count, 3);
    free(got);
}

static void a_prompt_is_cut_around_the_gap_three_parts_to_one(void **state)
{
    int32_t a[500], b[500], c[10];
    size_t count;
    int32_t *got = cds_infill_join(&marks, 7, part(a, 0, 500), part(b, 500, 1000), part(c, 2000, 2010), 104, &count);
    assert_int_equal(count, 104);
    assert_int_equal(got[1], 1000);
    assert_int_equal(got[2], 425); /* the last 75 of the prefix */
    assert_int_equal(got[76], 499);
    assert_int_equal(got[77], 1001);
    assert_int_equal(got[78], 500); /* the first 25 of the suffix */
    assert_int_equal(got[102], 524);
    assert_int_equal(got[103], 1002);
    free(got);
}

static void what_one_side_leaves_the_other_one_takes_and_the_rest_is_for_files(void **state)
{
    int32_t a[500], b[500], c[100];
    size_t count;
    int32_t *got = cds_infill_join(&marks, -1, part(a, 0, 500), part(b, 500, 505), part(c, 2000, 2100), 104, &count);
    assert_int_equal(count, 103);
    assert_int_equal(got[1], 405); /* 95 of the prefix */
    free(got);
    got = cds_infill_join(&marks, -1, part(a, 0, 5), part(b, 500, 1000), part(c, 2000, 2100), 104, &count);
    assert_int_equal(got[0], 1000);
    assert_int_equal(got[count - 2], 594); /* 95 of the suffix */
    free(got);
    got = cds_infill_join(&marks, -1, part(a, 0, 5), part(b, 500, 505), part(c, 2000, 2100), 104, &count);
    assert_int_equal(got[0], 2010); /* the last 90 of the files */
    assert_int_equal(count, 103);
    free(got);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(the_gap_stands_between_prefix_and_suffix),
        cmocka_unit_test(a_prompt_is_cut_around_the_gap_three_parts_to_one),
        cmocka_unit_test(what_one_side_leaves_the_other_one_takes_and_the_rest_is_for_files),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
