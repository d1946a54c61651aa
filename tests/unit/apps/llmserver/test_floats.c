#include <math.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "apps/llmserver/floats.h"
#include "lib/json/json.h"

static void text_is(const float *values, size_t count, const char *expected)
{
    struct cds_buf out = cds_buf_init(4096);
    cds_floats_json((const unsigned char *)values, count, &out);
    assert_int_equal(out.len, strlen(expected));
    assert_memory_equal(out.data, expected, out.len);
    cds_buf_free(&out);
}

static void floats_are_written_as_a_list(void **state)
{
    text_is(NULL, 0, "[]");
    text_is((const float[]){0.5F, -0.25F, 0, 1, -3}, 5, "[0.5,-0.25,0,1,-3]");
}

static void what_is_no_number_becomes_zero(void **state)
{
    text_is((const float[]){NAN, INFINITY, -INFINITY}, 3, "[0,0,0]");
}

/** Every exponent, and the edges between the two ways of writing. */
static void each_float_is_read_as_the_same_float(void **state)
{
    uint32_t seed = 7;
    for (int i = 0; i < 200000; i++) {
        seed = seed * 1664525 + 1013904223;
        float value, got;
        memcpy(&value, &seed, sizeof(value));
        if (i < 4000)
            value = nextafterf(1.0F / 256, i % 2 ? 0 : 1) + (float)i * 1e-10F;
        else if (i % 4)
            value = (float)((int32_t)seed) / 2147483648.0F; /* the numbers vectors are made of */
        if (!isfinite(value))
            continue;
        struct cds_buf out = cds_buf_init(64);
        cds_floats_json((const unsigned char *)&value, 1, &out);
        assert_false(out.failed);
        CDS_JSON_AUTO list = NULL;
        assert_int_equal(cds_json_parse(out.data, out.len, &list, NULL), CDS_OK);
        got = (float)cds_json_num(cds_json_at(list, 0), 99);
        if (got != value)
            fail_msg("%.9g was written %.*s", (double)value, (int)out.len, out.data);
        cds_buf_free(&out);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(floats_are_written_as_a_list),
        cmocka_unit_test(what_is_no_number_becomes_zero),
        cmocka_unit_test(each_float_is_read_as_the_same_float),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
