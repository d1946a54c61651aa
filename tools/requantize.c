/* tools/requantize.c: writes a GGUF model again with weights of Q8_0. Run by the build on the default model; docs/adr/0067-default-model-q8_0.md says
 * why.
 *
 *   requantize SOURCE.gguf TARGET.gguf LIB_DIR
 *
 * TARGET appears whole or not at all. The bytes are the same on every machine: the library rounds with its portable code.
 * Source: llama.h, llama_model_quantize.
 */
#include <stdio.h>
#include <unistd.h>

#include <llama.h>

static void only_faults(enum ggml_log_level level, const char *text, void *user)
{
    (void)user;
    if (level == GGML_LOG_LEVEL_ERROR)
        fputs(text, stderr);
}

int main(int argc, char **argv)
{
    char part[4096];
    if (argc != 4 || snprintf(part, sizeof(part), "%s.part", argv[2]) >= (int)sizeof(part)) {
        fprintf(stderr, "use: requantize SOURCE.gguf TARGET.gguf LIB_DIR\n");
        return 2;
    }
    llama_log_set(only_faults, NULL);
    ggml_backend_load_all_from_path(argv[3]);
    llama_backend_init();
    struct llama_model_quantize_params params = llama_model_quantize_default_params();
    params.ftype = LLAMA_FTYPE_MOSTLY_Q8_0;
    params.allow_requantize = true; /* Q8_0 keeps what the values of Q4_1 are to half a percent of a block's largest */
    if (llama_model_quantize(argv[1], part, &params) != 0) {
        fprintf(stderr, "%s cannot be written again as Q8_0\n", argv[1]);
        unlink(part);
        return 1;
    }
    if (rename(part, argv[2]) != 0) {
        perror(argv[2]);
        return 1;
    }
    return 0;
}
