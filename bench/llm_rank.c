// link: llama
/* bench/llm_rank.c: the straight loop over libllama for ranking, the yardstick for /v1/rerank: same library, same model, no server.
 *
 *   llm_rank MODEL.gguf LIB_DIR THREADS TOGETHER QUERY DOCUMENT...
 *
 * Prints one JSON list with the score of each document, as the model's head gives it, in their order. TOGETHER is how many pairs one batch has: the
 * company of a pair changes the last digits of its score. Each pair is [CLS] QUERY [SEP] DOCUMENT [SEP], as encoders with a vocabulary of word
 * pieces were trained on it.
 *
 * Source: llama.h (LLAMA_POOLING_TYPE_RANK, llama_get_embeddings_seq).
 */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <llama.h>

enum { ROWS_MAX = 512, PAIRS_MAX = 64 };

static void no_log(enum ggml_log_level level, const char *text, void *user)
{
    (void)level, (void)text, (void)user;
}

static void add(struct llama_batch *batch, llama_token token, int position, int sequence)
{
    int i = batch->n_tokens++;
    batch->token[i] = token;
    batch->pos[i] = position;
    batch->n_seq_id[i] = 1;
    batch->seq_id[i][0] = sequence;
    batch->logits[i] = true;
}

/** @return false: the batch is full */
static bool add_pair(const struct llama_vocab *vocab, struct llama_batch *batch, int sequence, const char *query, const char *document)
{
    llama_token tokens[ROWS_MAX];
    const char *texts[] = {query, document};
    int position = 0;
    if (batch->n_tokens == ROWS_MAX)
        return false;
    add(batch, llama_vocab_bos(vocab), position++, sequence);
    for (int t = 0; t < 2; t++) {
        int count = llama_tokenize(vocab, texts[t], (int32_t)strlen(texts[t]), tokens, ROWS_MAX, false, false);
        if (count < 0 || batch->n_tokens + count >= ROWS_MAX)
            return false;
        for (int i = 0; i < count; i++)
            add(batch, tokens[i], position++, sequence);
        add(batch, llama_vocab_sep(vocab), position++, sequence);
    }
    return true;
}

/** Prints the scores of documents[0..count-1]. @return false: too long, or the model gives none */
static bool rank(struct llama_context *context, const struct llama_vocab *vocab, int together, const char *query, char **documents, int count)
{
    struct llama_batch batch = llama_batch_init(ROWS_MAX, 0, 1);
    bool good = true;
    for (int from = 0; good && from < count; from += together) {
        int to = from + together < count ? from + together : count;
        batch.n_tokens = 0;
        for (int d = from; good && d < to; d++)
            good = add_pair(vocab, &batch, d - from, query, documents[d]);
        good = good && llama_encode(context, batch) == 0;
        for (int d = from; good && d < to; d++) {
            const float *score = llama_get_embeddings_seq(context, d - from);
            good = score != NULL;
            printf("%s%.9g", d ? "," : "[", good ? (double)*score : 0);
        }
    }
    llama_batch_free(batch);
    if (good)
        printf("]\n");
    return good;
}

int main(int argc, char **argv)
{
    int threads = argc > 6 ? atoi(argv[3]) : 0, together = argc > 6 ? atoi(argv[4]) : 0;
    if (threads < 1 || together < 1 || together > PAIRS_MAX) {
        fprintf(stderr, "use: llm_rank MODEL.gguf LIB_DIR THREADS TOGETHER(1..%d) QUERY DOCUMENT...\n", PAIRS_MAX);
        return 2;
    }
    llama_log_set(no_log, NULL);
    ggml_backend_load_all_from_path(argv[2]);
    llama_backend_init();
    struct llama_model *model = llama_model_load_from_file(argv[1], llama_model_default_params());
    struct llama_context_params params = llama_context_default_params();
    params.n_ctx = params.n_batch = params.n_ubatch = ROWS_MAX;
    params.n_seq_max = PAIRS_MAX;
    params.n_threads = params.n_threads_batch = threads;
    params.embeddings = true;
    params.pooling_type = LLAMA_POOLING_TYPE_RANK;
    struct llama_context *context = model ? llama_init_from_model(model, params) : NULL;
    bool good = context && rank(context, llama_model_get_vocab(model), together, argv[5], argv + 6, argc - 6);
    if (!good)
        fprintf(stderr, "no scores: the model cannot be loaded, has no head for ranking, or a batch is over %d tokens\n", ROWS_MAX);
    llama_free(context);
    llama_model_free(model);
    llama_backend_free();
    return good ? 0 : 1;
}
