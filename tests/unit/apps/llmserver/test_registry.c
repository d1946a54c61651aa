#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <string.h>

#include <cmocka.h>

#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/stat.h>
#include <unistd.h>

#include "apps/llmserver/app.h"
#include "tests/support/own_clock.h"

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

static void put_file(const char *dir, const char *name)
{
    char path[300];
    snprintf(path, sizeof(path), "%s/%s", dir, name);
    int fd = open(path, O_WRONLY | O_CREAT | O_CLOEXEC, 0600);
    assert_true(fd >= 0);
    close(fd);
}

static void folders_are_read_again_when_they_changed_or_a_moment_has_passed(void **state)
{
    static struct cds_llm app;
    char dir[] = "/tmp/cds-models-XXXXXX", command[64];
    struct stat st;
    assert_non_null(mkdtemp(dir));
    snprintf(app.models.dirs[0], sizeof(app.models.dirs[0]), "%s", dir);
    snprintf(app.models.dirs[1], sizeof(app.models.dirs[1]), "%s/none", dir);
    put_file(dir, "a.gguf");
    cds_models_scan(&app);
    assert_int_equal(app.models.count, 1);
    /* A change that the folder tells is seen at once. */
    usleep(20000); /* the clock of the file system is coarse */
    put_file(dir, "b.gguf");
    cds_models_scan(&app);
    assert_int_equal(app.models.count, 2);
    assert_non_null(cds_models_find(&app, "b"));
    /* One that it does not tell is not looked for in the same moment, and is seen in the next. */
    assert_int_equal(stat(dir, &st), 0);
    put_file(dir, "c.gguf");
    const struct timespec as_before[2] = {st.st_atim, st.st_mtim};
    assert_int_equal(utimensat(AT_FDCWD, dir, as_before, 0), 0);
    cds_models_scan(&app);
    assert_int_equal(app.models.count, 2);
    own_clock_ms += CDS_MODELS_FRESH_MS;
    cds_models_scan(&app);
    assert_int_equal(app.models.count, 3);
    cds_models_free(&app);
    snprintf(command, sizeof(command), "rm -r %s", dir);
    assert_int_equal(system(command), 0);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(model_id_is_the_file_name_without_its_quantization),
        cmocka_unit_test(model_id_keeps_what_is_no_quantization),
        cmocka_unit_test(model_id_refuses_names_that_are_no_model),
        cmocka_unit_test(folders_are_read_again_when_they_changed_or_a_moment_has_passed),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
