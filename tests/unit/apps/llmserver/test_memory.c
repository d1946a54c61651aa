/* tests/unit/apps/llmserver/test_memory.c: the estimate adds up, and what the kernel says is read. */
#include "tests/support/test.h"

#include "apps/llmserver/memory.h"

static void the_estimate_is_the_sum_of_its_parts_and_grows_with_the_context(void **state)
{
    CDS_JSON_AUTO facts = cds_json_pack("{s:I,s:I,s:I,s:I,s:I,s:I}", "tensor_bytes", 96576768LL, "kv_values", 11520LL, "embedding", 576LL,
                                        "feed_forward", 1536LL, "vocabulary", 49152LL, "data_offset", 1785664LL);
    struct cds_memory_need small = cds_memory_need(facts, 4096, 192), large = cds_memory_need(facts, 8192, 192);
    assert_int_equal(small.cache_bytes, 11520 * 2 * 4096);
    assert_int_equal(small.total_bytes, small.weights_bytes + small.cache_bytes + small.buffers_bytes + small.base_bytes);
    assert_int_equal(large.cache_bytes, 2 * small.cache_bytes);
    assert_true(large.total_bytes > small.total_bytes);
    struct cds_memory_need none = cds_memory_need(NULL, 4096, 192);
    assert_int_equal(none.weights_bytes, 0);
    assert_true(none.total_bytes > 0);
}

static void what_layers_take_of_a_gpu_is_not_taken_here(void **state)
{
    CDS_JSON_AUTO facts =
        cds_json_pack("{s:I,s:I,s:I,s:I,s:I,s:I,s:I,s:I}", "tensor_bytes", 96576768LL, "kv_values", 11520LL, "embedding", 576LL, "feed_forward",
                      1536LL, "vocabulary", 49152LL, "data_offset", 1785664LL, "layers", 30LL, "parameters", 134515008LL);
    struct cds_memory_need need = cds_memory_need(facts, 4096, 192);
    uint64_t each, output;
    cds_memory_layers(facts, need.weights_bytes, &each, &output);
    assert_true(each * 30 + output <= need.weights_bytes && each * 30 + output > need.weights_bytes - 30);
    assert_int_equal(cds_memory_on_gpu(facts, &need, 0), 0);
    assert_int_equal(cds_memory_on_gpu(facts, &need, 10), each * 10 + need.cache_bytes / 30 * 10);
    uint64_t layers = cds_memory_on_gpu(facts, &need, 30), all = cds_memory_on_gpu(facts, &need, 31);
    assert_int_equal(all - layers, output);
    assert_int_equal(cds_memory_on_gpu(facts, &need, UINT32_MAX), all);
    /* Vocabulary, libraries and the buffers of a batch stay here, whatever goes there. */
    assert_true(need.total_bytes - all >= need.buffers_bytes + need.base_bytes);
    assert_true(all + need.buffers_bytes + need.base_bytes + 64 > need.total_bytes);
    struct cds_memory_need none = cds_memory_need(NULL, 4096, 192);
    assert_int_equal(cds_memory_on_gpu(NULL, &none, 31), 0);
}

static void layers_that_depend_on_the_room_of_a_gpu_are_not_sure(void **state)
{
    static const struct {
        const char *wish;
        uint32_t layers;
    } cases[] = {{"[\"max\"]", UINT32_MAX},
                 {"[7]", 7},
                 {"[{\"min\":3,\"max\":9}]", 3},
                 {"[{\"max\":9}]", 0},
                 {"[\"auto\"]", 0},
                 {"[{\"fit_context\":4096}]", 0},
                 {"[0]", 0},
                 {"[-4]", 0}};
    for (size_t i = 0; i < CDS_ARRAY_LEN(cases); i++) {
        CDS_JSON_AUTO list = NULL;
        assert_int_equal(cds_json_parse(cases[i].wish, strlen(cases[i].wish), &list, NULL), CDS_OK);
        assert_int_equal(cds_memory_sure_layers(cds_json_at(list, 0)), cases[i].layers);
    }
}

static void free_memory_is_read_from_the_kernels_text(void **state)
{
    assert_int_equal(cds_memory_available("MemTotal: 10 kB\nMemFree:  1 kB\nMemAvailable:    2048 kB\n"), 2048 * 1024);
    assert_true(cds_memory_available("MemTotal: 10 kB\n") == UINT64_MAX);
    assert_true(cds_memory_available("MemAvailable: lots\n") == UINT64_MAX);
    assert_true(cds_memory_free() > (1 << 20));
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(the_estimate_is_the_sum_of_its_parts_and_grows_with_the_context),
        cmocka_unit_test(what_layers_take_of_a_gpu_is_not_taken_here),
        cmocka_unit_test(layers_that_depend_on_the_room_of_a_gpu_are_not_sure),
        cmocka_unit_test(free_memory_is_read_from_the_kernels_text),
    };
    return RUN_ALL(tests);
}
