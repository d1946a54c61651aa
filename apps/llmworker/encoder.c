#include "apps/llmworker/encoder.h"

#include <stdio.h>
#include <stdlib.h>

#include <llama.h>

#include "lib/base/str.h"

/** Value of the key "<architecture>.<name>"; "" without it. */
static void meta(const struct llama_model *model, const char *name, char *buf, size_t size)
{
    char architecture[64], key[128];
    buf[0] = '\0';
    if (llama_model_meta_val_str(model, "general.architecture", architecture, sizeof(architecture)) < 0)
        return;
    snprintf(key, sizeof(key), "%s.%s", architecture, name);
    if (llama_model_meta_val_str(model, key, buf, size) < 0)
        buf[0] = '\0';
}

bool cds_encoder_is(const struct llama_model *model, enum cds_pooling *ret_pooling)
{
    char pooling[32], causal[32];
    meta(model, "pooling_type", pooling, sizeof(pooling));
    meta(model, "attention.causal", causal, sizeof(causal));
    int named = *pooling ? atoi(pooling) : CDS_POOL_NONE;
    bool known = cds_pooling_name(named) != NULL && named != CDS_POOL_NONE;
    *ret_pooling = known ? (enum cds_pooling)named : CDS_POOL_MEAN;
    return known || cds_streq(causal, "false");
}

uint32_t cds_encoder_rows(const struct llama_model *model, uint32_t text_tokens)
{
    int32_t trained = llama_model_n_ctx_train(model);
    uint32_t most = trained > 0 && (uint32_t)trained < text_tokens ? (uint32_t)trained : text_tokens;
    return most > CDS_ENCODER_ROWS ? most : CDS_ENCODER_ROWS;
}

void cds_encoder_params(enum cds_pooling pooling, uint32_t rows, struct llama_context_params *params)
{
    params->n_ctx = rows;
    params->n_batch = rows;
    params->n_ubatch = rows;
    params->n_seq_max = CDS_ENCODER_TEXTS;
    params->embeddings = true;
    params->pooling_type = pooling == CDS_POOL_RANK ? LLAMA_POOLING_TYPE_RANK : LLAMA_POOLING_TYPE_NONE;
}

static int encode(void *engine, const struct cds_row *rows, int count)
{
    struct llama_context *context = cds_engine_context(engine);
    /* Texts do not stay: what an earlier batch left in the cache of a causal model is forgotten. */
    if (llama_get_memory(context))
        llama_memory_clear(llama_get_memory(context), false);
    return cds_engine_llama.decode(engine, rows, count);
}

static const float *token(void *engine, int row)
{
    return llama_get_embeddings_ith(cds_engine_context(engine), row);
}

static const float *score(void *engine, int sequence)
{
    return llama_get_embeddings_seq(cds_engine_context(engine), sequence);
}

const struct cds_encoder_ops cds_encoder_llama = {.encode = encode, .token = token, .score = score};
