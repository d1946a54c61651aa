#include "apps/llmworker/drafter.h"

#include <math.h>
#include <stdbool.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include <llama.h>

#include "lib/base/cleanup.h"

/* BATCH: tokens read in one call, so that nobody waits longer than for a small step. */
enum { BATCH = 128 };

struct told {
    int32_t *tokens;
    size_t count, room;
};
struct cds_drafter {
    struct llama_model *model;
    struct llama_context *context;
    struct llama_batch batch;
    int32_t vocabulary;
    uint32_t sequences;
    struct told *told; /**< what each sequence was told */
    uint64_t spent_us;
};

static uint64_t cpu_us(void)
{
    struct timespec t;
    clock_gettime(CLOCK_PROCESS_CPUTIME_ID, &t);
    return (uint64_t)t.tv_sec * 1000000 + (uint64_t)t.tv_nsec / 1000;
}

void cds_drafter_close(struct cds_drafter **drafter)
{
    struct cds_drafter *d = *drafter;
    if (!d)
        return;
    if (d->batch.token)
        llama_batch_free(d->batch);
    if (d->context)
        llama_free(d->context);
    if (d->model)
        llama_model_free(d->model);
    for (uint32_t i = 0; d->told && i < d->sequences; i++)
        free(d->told[i].tokens);
    free(d->told);
    free(d);
    *drafter = NULL;
}

/** Every token must read the same: a guess is a number. */
static cds_rc check_vocabulary(const struct llama_vocab *big, const struct llama_vocab *small, struct cds_err *reterr)
{
    int32_t count = llama_vocab_n_tokens(big);
    if (llama_vocab_n_tokens(small) != count)
        return cds_fail(reterr, CDS_BAD_PARAM, __func__, "The draft model has %d tokens, the model has %d.", llama_vocab_n_tokens(small), count);
    for (llama_token token = 0; token < count; token++) {
        const char *a = llama_vocab_get_text(big, token), *b = llama_vocab_get_text(small, token);
        if (strcmp(a ? a : "", b ? b : "") != 0)
            return cds_fail(reterr, CDS_BAD_PARAM, __func__, "Token %d of the draft model is not that of the model.", token);
    }
    return CDS_OK;
}

static cds_rc open_context(struct cds_drafter *d, uint32_t cells, uint32_t sequences, uint32_t threads, struct cds_err *reterr)
{
    struct llama_context_params params = llama_context_default_params();
    params.n_ctx = cells;
    params.n_batch = params.n_ubatch = BATCH;
    params.n_seq_max = sequences;
    params.n_threads = params.n_threads_batch = (int32_t)threads;
    params.flash_attn_type = LLAMA_FLASH_ATTN_TYPE_AUTO;
    params.kv_unified = true;
    params.no_perf = true;
    d->context = llama_init_from_model(d->model, params);
    d->sequences = sequences;
    d->told = calloc(sequences, sizeof(*d->told));
    d->batch = llama_batch_init(BATCH, 0, 1);
    if (!d->context || !d->told || !d->batch.token)
        return cds_fail(reterr, CDS_EXHAUSTED, __func__, "There is not enough memory for the draft model.");
    return CDS_OK;
}

cds_rc cds_drafter_open(const struct llama_vocab *vocab, const char *path, uint32_t cells, uint32_t sequences, uint32_t threads,
                        struct cds_drafter **ret, struct cds_err *reterr)
{
    CDS_CLEANUP(cds_drafter_close) struct cds_drafter *d = calloc(1, sizeof(*d));
    if (!d)
        return cds_fail(reterr, CDS_EXHAUSTED, __func__, "There is not enough memory.");
    d->model = llama_model_load_from_file(path, llama_model_default_params());
    cds_rc rc = CDS_OK;
    if (!d->model || !llama_model_has_decoder(d->model) || llama_model_has_encoder(d->model))
        rc = cds_fail(reterr, CDS_BAD_PARAM, __func__, "The draft model could not be loaded.");
    else if (llama_model_is_recurrent(d->model) || llama_model_is_hybrid(d->model) || llama_model_n_swa(d->model) != 0)
        rc = cds_fail(reterr, CDS_BAD_PARAM, __func__, "The draft model cannot take back what it said.");
    if (rc == CDS_OK)
        rc = check_vocabulary(vocab, llama_model_get_vocab(d->model), reterr);
    if (rc == CDS_OK)
        rc = open_context(d, cells, sequences, threads, reterr);
    if (rc != CDS_OK)
        // NOLINTNEXTLINE(clang-analyzer-unix.Malloc): freed at its declaration (CDS_CLEANUP)
        return rc;
    d->vocabulary = llama_vocab_n_tokens(vocab);
    *ret = d;
    d = NULL;
    return CDS_OK;
}

void cds_drafter_set_threads(struct cds_drafter *drafter, uint32_t threads)
{
    if (drafter)
        llama_set_n_threads(drafter->context, (int32_t)threads, (int32_t)threads);
}

static bool remember(struct told *told, const int32_t *tokens, size_t count)
{
    if (told->count + count > told->room) {
        size_t room = told->count + count + 256;
        int32_t *grown = realloc(told->tokens, room * sizeof(*grown));
        if (!grown)
            return false;
        told->tokens = grown;
        told->room = room;
    }
    memcpy(told->tokens + told->count, tokens, count * sizeof(*tokens));
    told->count += count;
    return true;
}

/** One batch of a sequence; logits of its last token. @return false: no room, or it failed; everything is forgotten then */
static bool tell(struct cds_drafter *d, int sequence, const int32_t *tokens, size_t count)
{
    struct told *told = &d->told[sequence];
    d->batch.n_tokens = (int32_t)count;
    for (size_t i = 0; i < count; i++) {
        d->batch.token[i] = tokens[i];
        d->batch.pos[i] = (llama_pos)(told->count + i);
        d->batch.n_seq_id[i] = 1;
        d->batch.seq_id[i][0] = sequence;
        d->batch.logits[i] = i + 1 == count;
    }
    if (llama_decode(d->context, d->batch) == 0 && remember(told, tokens, count))
        return true;
    /* Rare: all sequences together filled the context. They are read again when they are needed. */
    llama_memory_clear(llama_get_memory(d->context), false);
    for (uint32_t i = 0; i < d->sequences; i++)
        d->told[i].count = 0;
    return false;
}

/** Forgets what the sequence said otherwise. */
static void cut(struct cds_drafter *d, int sequence, const int32_t *tokens, size_t count)
{
    struct told *told = &d->told[sequence];
    size_t same = 0;
    /* The last token is always told anew: its logits are the first guess. */
    while (same < told->count && same + 1 < count && told->tokens[same] == tokens[same])
        same++;
    if (same < told->count)
        llama_memory_seq_rm(llama_get_memory(d->context), sequence, (llama_pos)same, -1);
    told->count = same;
}

/** The likeliest token, when it is likely enough; -1. */
static int32_t likeliest(const struct cds_drafter *d, float confidence)
{
    const float *logits = llama_get_logits_ith(d->context, -1);
    int32_t best = 0;
    double sum = 0;
    for (int32_t i = 1; i < d->vocabulary; i++)
        best = logits[i] > logits[best] ? i : best;
    for (int32_t i = 0; confidence > 0 && i < d->vocabulary; i++)
        sum += exp((double)(logits[i] - logits[best]));
    return confidence > 0 && 1 / sum < (double)confidence ? -1 : best;
}

unsigned cds_drafter_guess(struct cds_drafter *d, int sequence, const int32_t *tokens, size_t count, float confidence, int32_t *ret, unsigned most)
{
    unsigned n = 0;
    d->spent_us = 0;
    if (sequence < 0 || (uint32_t)sequence >= d->sequences || count == 0)
        return 0;
    cut(d, sequence, tokens, count);
    size_t done = d->told[sequence].count, missing = count - done;
    if (missing > BATCH) {
        (void)tell(d, sequence, tokens + done, BATCH);
        return 0;
    }
    uint64_t began = cpu_us();
    if (!tell(d, sequence, tokens + done, missing))
        return 0;
    while (n < most) {
        int32_t token = likeliest(d, confidence);
        if (token < 0)
            break;
        ret[n++] = token;
        if (n < most && !tell(d, sequence, &token, 1))
            break;
    }
    d->spent_us = cpu_us() - began;
    return n;
}

uint64_t cds_drafter_spent_us(const struct cds_drafter *drafter)
{
    return drafter->spent_us;
}
