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
        cmocka_unit_test(free_memory_is_read_from_the_kernels_text),
    };
    return RUN_ALL(tests);
}
