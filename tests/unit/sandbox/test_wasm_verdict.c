/* tests/unit/sandbox/test_wasm_verdict.c: what a worker says is taken apart like anything that comes out of a jail. */
#include <signal.h>

#include "sandbox/wasm_priv.h"
#include "tests/support/test.h"

static struct cds_job_result judged(enum cds_run_end end, int exit_code, const char *said)
{
    static struct wasm_engine engine;
    struct cds_job_result r = {.end = end, .exit_code = exit_code, .signo = end == CDS_END_SIGNAL ? SIGABRT : 0};
    wasm_verdict(&engine.jail, said, strlen(said), &r);
    return r;
}

static void each_end_has_its_state(void **state)
{
    struct cds_job_result r =
        judged(CDS_END_OK, 0, "{\"step\":\"run\"}\n{\"end\":\"ok\",\"values\":[{\"type\":\"i32\",\"value\":3}],\"aot\":\"made\"}\n");
    assert_int_equal(r.end, CDS_END_OK);
    assert_string_equal(r.values, "[{\"type\":\"i32\",\"value\":3}]");
    r = judged(CDS_END_EXIT, 7, "{\"end\":\"exit\"}\n");
    assert_int_equal(r.end, CDS_END_EXIT);
    assert_int_equal(r.exit_code, 7);
    r = judged(CDS_END_EXIT, 134, "{\"end\":\"trap\",\"reason\":\"unreachable\"}\n");
    assert_int_equal(r.end, CDS_END_EXIT);
    assert_string_equal(r.reason, "The module trapped: unreachable");
    r = judged(CDS_END_EXIT, 134, "{\"end\":\"fuel\"}\n");
    assert_int_equal(r.end, CDS_END_CPU_TIME);
    assert_int_equal(r.exit_code, -1);
    r = judged(CDS_END_EXIT, 125, "{\"end\":\"refused\",\"rule\":\"wasm.import\",\"reason\":\"No.\"}\n");
    assert_int_equal(r.end, CDS_END_REFUSED);
    assert_string_equal(r.rule, "wasm.import");
    r = judged(CDS_END_EXIT, 125, "{\"end\":\"failed\",\"reason\":\"libwasmer.so cannot be used: wasm_store_new\"}\n");
    assert_int_equal(r.end, CDS_END_ENGINE_FAILED);
    assert_non_null(strstr(r.reason, "wasm_store_new"));
}

static void a_worker_that_says_nothing_or_contradicts_its_exit_code_has_failed(void **state)
{
    static const char *const words[] = {
        "",          "\n",   "{\"step\":\"run\"}\n", "{\"end\":\"exit\"}\n", "{\"end\":\"trap\"}\n", "{\"end\":\"refused\"}\n", "{\"end\":\"ok\"",
        "garbage\n", "[]\n", "{\"end\":{}}\n"};
    for (size_t i = 0; i < CDS_ARRAY_LEN(words); i++)
        assert_int_equal(judged(CDS_END_OK, 0, words[i]).end, CDS_END_ENGINE_FAILED);
    assert_int_equal(judged(CDS_END_EXIT, 3, "{\"end\":\"ok\"}\n").end, CDS_END_ENGINE_FAILED);
}

static void values_that_are_none_are_left_out(void **state)
{
    static const char *const values[] = {"{}",
                                         "[1]",
                                         "[{\"type\":\"i128\",\"value\":3}]",
                                         "[{\"type\":\"i32\",\"value\":{}}]",
                                         "[{\"type\":\"i32\",\"value\":3,\"more\":1}]",
                                         "[{\"type\":\"i64\",\"value\":\"1234567890123456789012345\"}]",
                                         "[1,1,1,1,1,1,1,1,1,1,1,1,1,1,1,1,1]"};
    for (size_t i = 0; i < CDS_ARRAY_LEN(values); i++) {
        char said[300];
        snprintf(said, sizeof(said), "{\"end\":\"ok\",\"values\":%s}\n", values[i]);
        struct cds_job_result r = judged(CDS_END_OK, 0, said);
        assert_int_equal(r.end, CDS_END_OK);
        assert_string_equal(r.values, "");
    }
}

static void a_compiler_that_aborts_is_a_refusal_and_a_module_that_does_is_a_signal(void **state)
{
    struct cds_job_result r = judged(CDS_END_SIGNAL, -1, "{\"step\":\"compile\"}\n");
    assert_int_equal(r.end, CDS_END_REFUSED);
    assert_string_equal(r.rule, "wasm.unsupported");
    assert_int_equal(judged(CDS_END_SIGNAL, -1, "{\"step\":\"compile\"}\n{\"step\":\"run\"}\n").end, CDS_END_SIGNAL);
    assert_int_equal(judged(CDS_END_MEMORY, 125, "{\"end\":\"ok\"}\n").end, CDS_END_MEMORY);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(each_end_has_its_state),
        cmocka_unit_test(a_worker_that_says_nothing_or_contradicts_its_exit_code_has_failed),
        cmocka_unit_test(values_that_are_none_are_left_out),
        cmocka_unit_test(a_compiler_that_aborts_is_a_refusal_and_a_module_that_does_is_a_signal),
    };
    return RUN_ALL(tests);
}
