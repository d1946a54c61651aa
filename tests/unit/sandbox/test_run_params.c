/* What run.exec refuses, each with the place in the parameters, and what becomes of what it takes. */
#include "sandbox/run_params.h"
#include "tests/support/test.h"

static struct cds_config *config;
static struct run_params params;
static struct cds_err err;

static cds_rc read_text(const char *text)
{
    static cds_json *kept; /* the parameters borrow from it */
    cds_json_unref(kept);
    kept = NULL;
    err = (struct cds_err){0};
    assert_int_equal(cds_json_parse(text, strlen(text), &kept, &err), CDS_OK);
    run_params_free(&params);
    return run_params_read(kept, config, &params, &err);
}

static void each_bad_parameter_is_refused_with_its_place(void **state)
{
    static const struct {
        const char *text, *pointer;
        cds_rc rc;
    } rows[] = {
        {"{\"code\":\"x\"}", "/params/language", CDS_BAD_PARAM},
        {"{\"language\":\"sh\"}", "", CDS_BAD_PARAM},
        {"{\"language\":\"sh\",\"code\":\"x\",\"path\":\"y\"}", "", CDS_BAD_PARAM},
        {"{\"language\":\"sh\",\"path\":\"../y\"}", "/params/path", CDS_DENIED},
        {"{\"language\":\"sh\",\"code\":\"x\",\"limits\":{\"wall_ms\":0}}", "/params/limits/wall_ms", CDS_BAD_PARAM},
        {"{\"language\":\"sh\",\"code\":\"x\",\"limits\":{\"wall_ms\":-5}}", "/params/limits/wall_ms", CDS_BAD_PARAM},
        {"{\"language\":\"sh\",\"code\":\"x\",\"limits\":{\"wall_ms\":600001}}", "/params/limits/wall_ms", CDS_BAD_PARAM},
        {"{\"language\":\"sh\",\"code\":\"x\",\"limits\":{\"cpu_ms\":99}}", "/params/limits/cpu_ms", CDS_BAD_PARAM},
        {"{\"language\":\"sh\",\"code\":\"x\",\"limits\":{\"wall_ms\":1000,\"cpu_ms\":2000}}", "/params/limits/wall_ms", CDS_BAD_PARAM},
        {"{\"language\":\"sh\",\"code\":\"x\",\"limits\":{\"memory_bytes\":9223372036854775807}}", "/params/limits/memory_bytes", CDS_BAD_PARAM},
        {"{\"language\":\"sh\",\"code\":\"x\",\"limits\":{\"wall_ms\":500.5}}", "/params/limits/wall_ms", CDS_BAD_PARAM},
        {"{\"language\":\"sh\",\"code\":\"x\",\"limits\":{\"cpu_ms\":\"1000\"}}", "/params/limits/cpu_ms", CDS_BAD_PARAM},
        {"{\"language\":\"sh\",\"code\":\"x\",\"limits\":{\"memory_bytes\":null}}", "/params/limits/memory_bytes", CDS_BAD_PARAM},
        {"{\"language\":\"sh\",\"code\":\"x\",\"limits\":[]}", "/params/limits", CDS_BAD_PARAM},
        {"{\"engine\":\"wasm\",\"path\":\"a.wasm\",\"limits\":{\"fuel\":0}}", "/params/limits/fuel", CDS_BAD_PARAM},
        {"{\"engine\":\"wasm\",\"code\":\"x\"}", "/params/code", CDS_BAD_PARAM},
        {"{\"engine\":\"run\",\"language\":\"sh\",\"module\":\"AGFzbQ==\"}", "/params/module", CDS_BAD_PARAM},
        {"{\"engine\":\"wasm\",\"module\":\"not base64\"}", "/params/module", CDS_BAD_PARAM},
        {"{\"engine\":\"micro:python\",\"language\":\"node\",\"code\":\"x\"}", "/params/language", CDS_BAD_PARAM},
        {"{\"engine\":\"micro:sh\",\"code\":\"x\",\"image\":\"../x\"}", "/params/image", CDS_BAD_PARAM},
        {"{\"engine\":\"micro:sh\",\"code\":\"x\",\"image\":7}", "/params/image", CDS_BAD_PARAM},
        {"{\"language\":\"sh\",\"code\":\"x\",\"image\":\"default\"}", "/params/image", CDS_BAD_PARAM},
        {"{\"engine\":\"wasm\",\"path\":\"a.wasm\",\"image\":\"tiny\"}", "/params/image", CDS_BAD_PARAM},
        {"{\"engine\":\"micro:sh\",\"code\":\"x\",\"image\":\"tiny\",\"fallback\":\"run\"}", "/params/fallback", CDS_BAD_PARAM},
        {"{\"language\":\"sh\",\"code\":\"x\",\"argv\":[1]}", "/params/argv", CDS_BAD_PARAM},
        {"{\"language\":\"sh\",\"code\":\"x\",\"env\":[{\"name\":\"1A\",\"value\":\"\"}]}", "/params/env/0", CDS_BAD_PARAM},
        {"{\"language\":\"sh\",\"code\":\"x\",\"env\":[{\"name\":\"A=B\",\"value\":\"\"}]}", "/params/env/0", CDS_BAD_PARAM},
        {"{\"language\":\"sh\",\"code\":\"x\",\"env\":[{\"name\":\"A\"}]}", "/params/env/0", CDS_BAD_PARAM},
        {"{\"language\":\"sh\",\"code\":\"x\",\"files\":[{\"path\":\"/etc/x\",\"content\":\"\"}]}", "/params/files/0", CDS_DENIED},
        {"{\"language\":\"sh\",\"code\":\"x\",\"files\":[{\"path\":\"a\",\"content\":\"\"},{\"path\":\"a\",\"content\":\"\"}]}", "/params/files/1",
         CDS_BAD_PARAM},
        {"{\"language\":\"sh\",\"code\":\"x\",\"files\":[{\"path\":\"a\",\"content\":\"*\",\"encoding\":\"base64\"}]}", "/params/files/0",
         CDS_BAD_PARAM},
        {"{\"language\":\"sh\",\"code\":\"x\",\"project_access\":\"all\"}", "/params/project_access", CDS_BAD_PARAM},
        {"{\"language\":\"sh\",\"path\":\"x\",\"project_access\":\"none\"}", "/params/project_access", CDS_BAD_PARAM},
        {"{\"language\":\"sh\",\"code\":\"x\",\"export\":\"f\"}", "/params/export", CDS_BAD_PARAM},
        {"{\"engine\":\"wasm\",\"path\":\"a.wasm\",\"values\":[]}", "/params/values", CDS_BAD_PARAM},
        {"{\"engine\":\"wasm\",\"path\":\"a.wasm\",\"export\":\"f\",\"values\":[{\"type\":\"i32\",\"value\":4294967296}]}", "/params/values/0",
         CDS_BAD_PARAM},
        {"{\"engine\":\"wasm\",\"path\":\"a.wasm\",\"export\":\"f\",\"values\":[{\"type\":\"i64\",\"value\":\"9223372036854775808\"}]}",
         "/params/values/0", CDS_BAD_PARAM},
        {"{\"engine\":\"wasm\",\"path\":\"a.wasm\",\"export\":\"f\",\"values\":[{\"type\":\"v128\",\"value\":1}]}", "/params/values/0",
         CDS_BAD_PARAM},
    };
    for (size_t i = 0; i < CDS_ARRAY_LEN(rows); i++) {
        cds_rc rc = read_text(rows[i].text);
        if (rc != rows[i].rc || strcmp(err.pointer, rows[i].pointer) != 0 || !err.message[0])
            fail_msg("%s: %d at \"%s\": %s", rows[i].text, rc, err.pointer, err.message);
    }
}

static void a_wall_clock_alone_lowers_the_default_of_cpu_time(void **state)
{
    assert_int_equal(read_text("{\"language\":\"sh\",\"code\":\"x\",\"limits\":{\"wall_ms\":300}}"), CDS_OK);
    assert_int_equal(params.spec.limits.wall_ms, 300);
    assert_int_equal(params.spec.limits.cpu_ms, 300);
}

static void values_keep_their_type_and_all_their_bits(void **state)
{
    assert_int_equal(
        read_text("{\"engine\":\"wasm\",\"path\":\"a.wasm\",\"export\":\"f\",\"values\":[{\"type\":\"i32\",\"value\":4294967295},"
                  "{\"type\":\"i64\",\"value\":\"-9223372036854775808\"},{\"type\":\"f32\",\"value\":1},{\"type\":\"f64\",\"value\":0.5}]}"),
        CDS_OK);
    assert_int_equal(params.spec.value_count, 4);
    assert_int_equal(params.spec.values[0].of.i32, -1);
    assert_true(params.spec.values[1].of.i64 == INT64_MIN);
    assert_true(params.spec.values[2].of.f32 == 1.0F);
    assert_true(params.spec.values[3].of.f64 == 0.5);
}

static void the_engine_names_its_language_and_files_are_decoded(void **state)
{
    assert_int_equal(read_text("{\"engine\":\"micro:node\",\"code\":\"x\",\"fallback\":\"run\",\"env\":[{\"name\":\"A\",\"value\":\"b c\"}],"
                               "\"files\":[{\"path\":\"d/e\",\"content\":\"AAE=\",\"encoding\":\"base64\"}]}"),
                     CDS_OK);
    assert_string_equal(params.engine, "micro");
    assert_string_equal(params.spec.language, "node");
    assert_true(params.may_fall_back);
    assert_string_equal(params.spec.env[0], "A=b c");
    assert_string_equal(params.spec.files[0].path, "d/e");
    assert_int_equal(params.spec.files[0].len, 2);
    assert_memory_equal(params.spec.files[0].data, "\0\1", 2);
}

static int setup(void **state)
{
    static char *argv[] = {(char *)"test", NULL};
    int argc = 1;
    return cds_config_load(&argc, argv, "test", &config, &err);
}

static int teardown(void **state)
{
    run_params_free(&params);
    cds_config_free(&config);
    return 0;
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(each_bad_parameter_is_refused_with_its_place),
        cmocka_unit_test(a_wall_clock_alone_lowers_the_default_of_cpu_time),
        cmocka_unit_test(values_keep_their_type_and_all_their_bits),
        cmocka_unit_test(the_engine_names_its_language_and_files_are_decoded),
    };
    return cmocka_run_group_tests(tests, setup, teardown);
}
