/* tests/unit/apps/llmworker/test_offload.c: how many layers of a model go to the GPU. */
#include "tests/support/test.h"

#include <stdio.h>

#include "apps/llmworker/offload.h"

#define MIB ((uint64_t)1 << 20)
/* 10 layers of 100 MiB, an output of 50, a cell of 10 KiB (1 KiB in each layer), buffers of 30, 20 that stay free. */
#define MODEL                                                                                                                                        \
    "\"count\":10,\"layer_bytes\":104857600,\"output_bytes\":52428800,\"cell_bytes\":10240,\"buffer_bytes\":31457280,\"reserve_bytes\":20971520"

static struct cds_offload of(const char *layers)
{
    char text[512];
    struct cds_offload o;
    struct cds_err err;
    snprintf(text, sizeof(text), "{\"layers\":%s,%s}", layers, MODEL);
    assert_int_equal(cds_offload_read(text, &o, &err), CDS_OK);
    return o;
}

static uint32_t chosen(const char *layers, uint32_t cells, uint64_t mib)
{
    struct cds_offload o = of(layers);
    uint32_t count = 9999;
    struct cds_err err;
    assert_int_equal(cds_offload_choose(&o, cells, mib * MIB, &count, &err), CDS_OK);
    return count;
}

static void offload_auto_takes_the_layers_that_fit_beside_buffers_reserve_and_their_cells(void **state)
{
    assert_int_equal(chosen("\"auto\"", 0, 50), 0);  /* buffers and reserve alone */
    assert_int_equal(chosen("\"auto\"", 0, 149), 0); /* 99 for a layer of 100 */
    assert_int_equal(chosen("\"auto\"", 0, 150), 1);
    assert_int_equal(chosen("\"auto\"", 0, 1049), 9);
    assert_int_equal(chosen("\"auto\"", 0, 1050), 10); /* all, and not the output */
    assert_int_equal(chosen("\"auto\"", 0, 1099), 10);
    assert_int_equal(chosen("\"auto\"", 0, 1100), 11);     /* and the output */
    assert_int_equal(chosen("\"auto\"", 102400, 1050), 5); /* 100 MiB of cells in each layer */
}

static void offload_fits_the_context_that_is_named(void **state)
{
    assert_int_equal(chosen("{\"fit_context\":102400}", 0, 1050), 5);
    assert_int_equal(chosen("{\"fit_context\":0}", 102400, 1100), 11);
}

static void offload_by_number_and_max_ask_nothing(void **state)
{
    assert_int_equal(chosen("7", 0, 0), 7);
    assert_int_equal(chosen("0", 0, 5000), 0);
    assert_int_equal(chosen("1000", 0, 0), 11);
    assert_int_equal(chosen("\"max\"", 0, 0), 11);
}

static void offload_in_a_range_takes_what_fits_and_refuses_less_than_its_least(void **state)
{
    struct cds_err err;
    uint32_t count;
    assert_int_equal(chosen("{\"min\":2,\"max\":5}", 0, 5000), 5);
    assert_int_equal(chosen("{\"min\":2,\"max\":5}", 0, 350), 3);
    assert_int_equal(chosen("{\"max\":5}", 0, 60), 0);
    assert_int_equal(chosen("{\"min\":500}", 0, 1100), 11);
    struct cds_offload o = of("{\"min\":4}");
    assert_int_equal(cds_offload_choose(&o, 0, 350 * MIB, &count, &err), CDS_EXHAUSTED);
    assert_string_equal(err.rule, "llm.gpu_layers");
    assert_non_null(strstr(err.message, "4 layers"));
    assert_non_null(strstr(err.message, "only 3 fit"));
}

static void offload_that_cannot_be_read_is_refused(void **state)
{
    static const char *const bad[] = {"{\"layers\":\"all\"}",
                                      "{\"layers\":-1}",
                                      "{\"layers\":1025}",
                                      "{\"layers\":1.5}",
                                      "{\"layers\":[1]}",
                                      "{\"layers\":true}",
                                      "{\"layers\":{\"min\":-1}}",
                                      "{\"layers\":{\"min\":3,\"max\":2}}",
                                      "{\"layers\":{\"fit_context\":131073}}",
                                      "{"};
    for (size_t i = 0; i < CDS_ARRAY_LEN(bad); i++) {
        struct cds_offload o;
        struct cds_err err;
        assert_int_not_equal(cds_offload_read(bad[i], &o, &err), CDS_OK);
    }
}

static void offload_of_a_model_that_is_not_known_is_all(void **state)
{
    struct cds_offload o;
    struct cds_err err;
    uint32_t count = 0;
    assert_int_equal(cds_offload_read(NULL, &o, &err), CDS_OK);
    assert_int_equal(cds_offload_choose(&o, 4096, 100 * MIB, &count, &err), CDS_OK);
    assert_int_equal(count, 1024);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(offload_auto_takes_the_layers_that_fit_beside_buffers_reserve_and_their_cells),
        cmocka_unit_test(offload_fits_the_context_that_is_named),
        cmocka_unit_test(offload_by_number_and_max_ask_nothing),
        cmocka_unit_test(offload_in_a_range_takes_what_fits_and_refuses_less_than_its_least),
        cmocka_unit_test(offload_that_cannot_be_read_is_refused),
        cmocka_unit_test(offload_of_a_model_that_is_not_known_is_all),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
