#include <math.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>

#include <cmocka.h>

#include "apps/llmworker/pool.h"

static const float *row_of(void *user, uint32_t token)
{
    const float(*rows)[3] = user;
    return rows[token];
}

static void pooling_takes_the_mean_the_first_or_the_last_token(void **state)
{
    float rows[3][3] = {{1, 2, 3}, {3, 2, 1}, {2, 8, -1}}, got[3];
    cds_pool_tokens(CDS_POOL_MEAN, row_of, rows, 3, 3, got);
    assert_true(got[0] == 2 && got[1] == 4 && got[2] == 1);
    cds_pool_tokens(CDS_POOL_CLS, row_of, rows, 3, 3, got);
    assert_true(got[0] == 1 && got[2] == 3);
    cds_pool_tokens(CDS_POOL_LAST, row_of, rows, 3, 3, got);
    assert_true(got[1] == 8);
}

static void norms_divide_by_what_they_say(void **state)
{
    static const struct {
        int32_t norm;
        float first, second;
    } cases[] = {{CDS_NORM_NONE, 3, -4},
                 {CDS_NORM_MAX, 24570, -32760},
                 {CDS_NORM_TAXICAB, 3.0F / 7, -4.0F / 7},
                 {CDS_NORM_EUCLID, 0.6F, -0.8F},
                 {3, 0.66640F, -0.88854F}};
    for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
        float vector[2] = {3, -4};
        cds_vector_normalize(vector, 2, cases[i].norm);
        assert_true(fabsf(vector[0] - cases[i].first) < 1e-3F);
        assert_true(fabsf(vector[1] - cases[i].second) < 1e-3F);
    }
}

static void a_vector_of_zeros_stays_one(void **state)
{
    for (int32_t norm = CDS_NORM_NONE; norm < 5; norm++) {
        float vector[2] = {0, 0};
        cds_vector_normalize(vector, 2, norm);
        assert_true(vector[0] == 0 && vector[1] == 0);
    }
}

static void names_of_poolings_are_read_and_written(void **state)
{
    enum cds_pooling pooling;
    for (int i = CDS_POOL_NONE; i <= CDS_POOL_RANK; i++) {
        assert_true(cds_pooling_parse(cds_pooling_name(i), &pooling));
        assert_int_equal(pooling, i);
    }
    assert_null(cds_pooling_name(5));
    assert_null(cds_pooling_name(-1));
    assert_false(cds_pooling_parse("max", &pooling));
    assert_false(cds_pooling_parse(NULL, &pooling));
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(pooling_takes_the_mean_the_first_or_the_last_token),
        cmocka_unit_test(norms_divide_by_what_they_say),
        cmocka_unit_test(a_vector_of_zeros_stays_one),
        cmocka_unit_test(names_of_poolings_are_read_and_written),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
