// link: llama
/* bench/llm_bare.c: the bare loop over libllama, the yardstick for the model server: same library, same model, same batch, no server.
 *
 *   llm_bare MODEL.gguf LIB_DIR [threads=1] [streams=1] [prompt=64] [answer=128] [context=what they need]
 *
 * Prints one JSON object. CPU time per token at one thread is the figure to compare; wall-clock shows the shape only. first_token_ms counts
 * from the start of the program: with one prompt token it is a bare load.
 */
#include <stdio.h>
#include <stdlib.h>
#include <sys/resource.h>
#include <time.h>

#include <llama.h>

enum { STREAMS_MAX = 64 };

struct plan {
    int threads, streams, prompt, answer, context;
};

static void no_log(enum ggml_log_level level, const char *text, void *user)
{
    (void)level, (void)text, (void)user;
}

static double cpu_ms(void)
{
    struct rusage u;
    getrusage(RUSAGE_SELF, &u);
    return (double)(u.ru_utime.tv_sec + u.ru_stime.tv_sec) * 1e3 + (double)(u.ru_utime.tv_usec + u.ru_stime.tv_usec) / 1e3;
}

static double wall_ms(void)
{
    struct timespec t;
    clock_gettime(CLOCK_MONOTONIC, &t);
    return (double)t.tv_sec * 1e3 + (double)t.tv_nsec / 1e6;
}

static void add(struct llama_batch *batch, llama_token token, int position, int sequence, bool logits)
{
    int i = batch->n_tokens++;
    batch->token[i] = token;
    batch->pos[i] = position;
    batch->n_seq_id[i] = 1;
    batch->seq_id[i][0] = sequence;
    batch->logits[i] = logits;
}

static llama_token likeliest(const float *logits, int count)
{
    int best = 0;
    for (int i = 1; i < count; i++)
        if (logits[i] > logits[best])
            best = i;
    return best;
}

/** Prompts in chunks of 64, as the server does, then all streams in one batch per step. @param first_ms  wall-clock of the first token
 *  @return steps, or -1 */
static int run(struct llama_context *context, const struct llama_vocab *vocab, const struct plan *plan, double *first_ms)
{
    int vocabulary = llama_vocab_n_tokens(vocab), steps = 0;
    llama_token next[STREAMS_MAX];
    struct llama_batch batch = llama_batch_init(64 + STREAMS_MAX, 0, 1);
    srand(1);
    for (int s = 0; s < plan->streams; s++) {
        for (int at = 0; at < plan->prompt;) {
            batch.n_tokens = 0;
            for (int n = 0; n < 64 && at < plan->prompt; n++, at++)
                add(&batch, 300 + rand() % (vocabulary - 400), at, s, at + 1 == plan->prompt);
            if (llama_decode(context, batch) != 0)
                return -1;
            steps++;
        }
        next[s] = likeliest(llama_get_logits_ith(context, batch.n_tokens - 1), vocabulary);
        if (s == 0)
            *first_ms = wall_ms();
    }
    for (int g = 1; g < plan->answer; g++) {
        batch.n_tokens = 0;
        for (int s = 0; s < plan->streams; s++)
            add(&batch, next[s], plan->prompt + g - 1, s, true);
        if (llama_decode(context, batch) != 0)
            return -1;
        steps++;
        for (int s = 0; s < plan->streams; s++)
            next[s] = likeliest(llama_get_logits_ith(context, s), vocabulary);
    }
    llama_batch_free(batch);
    return steps;
}

static int argument(int argc, char **argv, int at, int otherwise, int most)
{
    int value = argc > at ? atoi(argv[at]) : otherwise;
    return value < 1 || value > most ? otherwise : value;
}

int main(int argc, char **argv)
{
    if (argc < 3) {
        fprintf(stderr, "use: llm_bare MODEL.gguf LIB_DIR [threads] [streams] [prompt] [answer] [context]\n");
        return 2;
    }
    double began = wall_ms();
    struct plan plan = {argument(argc, argv, 3, 1, 256), argument(argc, argv, 4, 1, STREAMS_MAX), argument(argc, argv, 5, 64, 4096),
                        argument(argc, argv, 6, 128, 4096), 0};
    plan.context = argument(argc, argv, 7, plan.streams * (plan.prompt + plan.answer), 1 << 20);
    llama_log_set(no_log, NULL);
    ggml_backend_load_all_from_path(argv[2]);
    llama_backend_init();
    struct llama_model *model = llama_model_load_from_file(argv[1], llama_model_default_params());
    struct llama_context_params params = llama_context_default_params();
    params.n_ctx = (uint32_t)plan.context;
    params.n_batch = params.n_ubatch = 64 + STREAMS_MAX;
    params.n_seq_max = (uint32_t)plan.streams;
    params.n_threads = params.n_threads_batch = plan.threads;
    params.kv_unified = true;
    struct llama_context *context = model ? llama_init_from_model(model, params) : NULL;
    if (!context) {
        fprintf(stderr, "the model cannot be loaded\n");
        return 1;
    }
    double cpu = cpu_ms(), wall = wall_ms();
    double first = wall;
    int steps = run(context, llama_model_get_vocab(model), &plan, &first);
    cpu = cpu_ms() - cpu;
    wall = wall_ms() - wall;
    int tokens = plan.streams * plan.answer;
    if (steps > 0)
        printf(
            "{\"bench\":\"llm_bare\",\"threads\":%d,\"streams\":%d,\"prompt_tokens\":%d,\"answer_tokens\":%d,\"steps\":%d,\"cpu_ms_per_token\":%.3f,"
            "\"tokens_per_s\":%.1f,\"first_token_ms\":%.1f}\n",
            plan.threads, plan.streams, plan.prompt, plan.answer, steps, cpu / tokens, tokens / wall * 1e3, first - began);
    llama_free(context);
    llama_model_free(model);
    llama_backend_free();
    return steps > 0 ? 0 : 1;
}
