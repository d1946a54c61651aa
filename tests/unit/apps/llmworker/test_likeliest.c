/* The likeliest token of a row, against a list of all tokens that is gone through one by one. */
#include <math.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "apps/llmworker/likeliest.h"

enum { MOST = 1000, BIASES = 40, ROWS = 4000 };

static uint32_t state = 1;

static uint32_t random_below(uint32_t n)
{
    state = state * 1664525 + 1013904223;
    return (uint32_t)(((uint64_t)state * n) >> 32);
}

/** What the library's greedy sampler says of all tokens with their biases. */
static int32_t one_by_one(const float *logits, int32_t count, const struct cds_bias *bias, unsigned bias_count)
{
    float list[MOST];
    int32_t best = 0;
    memcpy(list, logits, (size_t)count * sizeof(*list));
    for (unsigned i = 0; i < bias_count; i++)
        list[bias[i].token] += bias[i].bias;
    for (int32_t i = 1; i < count; i++)
        if (list[i] > list[best])
            best = i;
    return best;
}

static void is_the_one_that_is_found_one_by_one(void **unused)
{
    for (int row = 0; row < ROWS; row++) {
        float logits[MOST];
        struct cds_bias bias[BIASES];
        int32_t count = 1 + (int32_t)random_below(row % 2 ? 40 : MOST);
        unsigned biases = random_below(BIASES);
        for (int32_t i = 0; i < count; i++) /* few values, so that many are equal */
            logits[i] = (float)random_below(row % 3 ? 50 : 1000000) / 8 - (row % 5 ? 0 : 100000);
        for (unsigned i = 0; i < biases; i++)
            bias[i] = (struct cds_bias){(int32_t)random_below((uint32_t)count), random_below(4) ? (float)random_below(100) / 4 - 12 : -INFINITY};
        int32_t wanted = one_by_one(logits, count, bias, biases);
        biases = cds_bias_sort(bias, biases);
        assert_int_equal(cds_likeliest(logits, count, bias, biases), wanted);
    }
}

static void may_stand_at_either_end_and_beside_what_is_ruled_out(void **unused)
{
    for (int32_t count = 1; count < 70; count++)
        for (int32_t at = 0; at < count; at++) {
            float logits[70];
            struct cds_bias ruled_out = {(at + 1) % count, -INFINITY};
            for (int32_t i = 0; i < count; i++)
                logits[i] = i == at ? 3 : i == ruled_out.token ? 4 : -1;
            if (count > 1)
                assert_int_equal(cds_likeliest(logits, count, &ruled_out, 1), at);
            logits[at] = 5;
            assert_int_equal(cds_likeliest(logits, count, NULL, 0), at);
        }
}

static void is_the_first_of_equals_and_the_first_of_all_when_none_may_be(void **unused)
{
    float logits[40] = {0};
    struct cds_bias bias[40];
    assert_int_equal(cds_likeliest(logits, 40, NULL, 0), 0);
    logits[17] = logits[33] = 1;
    assert_int_equal(cds_likeliest(logits, 40, NULL, 0), 17);
    for (int32_t i = 0; i < 40; i++)
        bias[i] = (struct cds_bias){i, -INFINITY};
    assert_int_equal(cds_likeliest(logits, 40, bias, 40), 0);
}

static void biases_of_one_token_are_added_up_in_the_order_of_tokens(void **unused)
{
    struct cds_bias bias[] = {{9, 1}, {2, -INFINITY}, {9, 0.5F}, {4, 3}, {2, 7}};
    assert_int_equal(cds_bias_sort(bias, 5), 3);
    assert_int_equal(bias[0].token, 2);
    assert_true(isinf(bias[0].bias) && bias[0].bias < 0);
    assert_int_equal(bias[1].token, 4);
    assert_true(bias[1].bias == 3);
    assert_int_equal(bias[2].token, 9);
    assert_true(bias[2].bias == 1.5F);
    assert_int_equal(cds_bias_sort(NULL, 0), 0);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(is_the_one_that_is_found_one_by_one),
        cmocka_unit_test(may_stand_at_either_end_and_beside_what_is_ruled_out),
        cmocka_unit_test(is_the_first_of_equals_and_the_first_of_all_when_none_may_be),
        cmocka_unit_test(biases_of_one_token_are_added_up_in_the_order_of_tokens),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
