#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <string.h>

#include <cmocka.h>

#include "apps/llmserver/model.h"

static void names(const char *file, const char *id, const char *alias)
{
    char got_id[CDS_MODEL_ID_MAX + 1], got_alias[CDS_MODEL_ID_MAX + 1];
    assert_true(cds_model_name(file, got_id, got_alias));
    assert_string_equal(got_id, id);
    assert_string_equal(got_alias, alias);
}

static void model_id_is_the_file_name_without_its_quantization(void **state)
{
    names("SmolLM2-135M-Instruct.Q4_1.gguf", "smollm2-135m-instruct", "smollm2-135m-instruct.q4_1");
    names("Llama-3.2-1B-Instruct-Q4_K_M.gguf", "llama-3.2-1b-instruct", "llama-3.2-1b-instruct-q4_k_m");
    names("qwen2.5-0.5b.IQ2_XS.GGUF", "qwen2.5-0.5b", "qwen2.5-0.5b.iq2_xs");
    names("tiny-f16.gguf", "tiny", "tiny-f16");
}

static void model_id_keeps_what_is_no_quantization(void **state)
{
    names("phi-2.gguf", "phi-2", "phi-2");
    names("my model (1).gguf", "my-model--1-", "my-model--1-");
    names("q4_0.gguf", "q4_0", "q4_0");
    names("model-quick.gguf", "model-quick", "model-quick");
}

static void model_id_refuses_names_that_are_no_model(void **state)
{
    char id[CDS_MODEL_ID_MAX + 1], alias[CDS_MODEL_ID_MAX + 1], longest[CDS_MODEL_ID_MAX + 7];
    assert_false(cds_model_name(".gguf", id, alias));
    assert_false(cds_model_name("readme.md", id, alias));
    assert_false(cds_model_name(".hidden.gguf", id, alias));
    memset(longest, 'a', CDS_MODEL_ID_MAX + 1);
    strcpy(longest + CDS_MODEL_ID_MAX + 1, ".gguf");
    assert_false(cds_model_name(longest, id, alias));
    assert_true(cds_model_name(longest + 1, id, alias));
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(model_id_is_the_file_name_without_its_quantization),
        cmocka_unit_test(model_id_keeps_what_is_no_quantization),
        cmocka_unit_test(model_id_refuses_names_that_are_no_model),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
