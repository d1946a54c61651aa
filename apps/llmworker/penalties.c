#include "apps/llmworker/penalties.h"

#include <stdlib.h>
#include <string.h>

#include <llama.h>

struct penalties {
    const struct llama_vocab *vocab;
    struct llama_sampler *inner;
    int32_t exempt[CDS_EXEMPT_MAX];
    unsigned exempt_count;
    bool spares_newline;
};

static struct penalties *of(const struct llama_sampler *sampler)
{
    return sampler->ctx;
}

static bool is_exempt(const struct penalties *p, llama_token token)
{
    char text[64];
    for (unsigned i = 0; i < p->exempt_count; i++)
        if (p->exempt[i] == token)
            return true;
    if (!p->spares_newline)
        return false;
    int32_t n = llama_token_to_piece(p->vocab, token, text, sizeof(text), 0, false);
    return n > 0 && memchr(text, '\n', (size_t)n) != NULL;
}

static const char *name(const struct llama_sampler *sampler)
{
    return "penalties";
}

static void accept(struct llama_sampler *sampler, llama_token token)
{
    if (!is_exempt(of(sampler), token))
        llama_sampler_accept(of(sampler)->inner, token);
}

static void apply(struct llama_sampler *sampler, llama_token_data_array *candidates)
{
    llama_sampler_apply(of(sampler)->inner, candidates);
}

static void reset(struct llama_sampler *sampler)
{
    llama_sampler_reset(of(sampler)->inner);
}

static void release(struct llama_sampler *sampler)
{
    llama_sampler_free(of(sampler)->inner);
    free(sampler->ctx);
}

struct llama_sampler *cds_penalties_new(const struct llama_vocab *vocab, const struct cds_sampling *s, int32_t context)
{
    static struct llama_sampler_i calls = {.name = name, .accept = accept, .apply = apply, .reset = reset, .free = release};
    struct llama_sampler *inner = llama_sampler_init_penalties(llama_vocab_n_tokens(vocab), s->repeat_last_n < 0 ? context : s->repeat_last_n,
                                                               s->repeat_penalty, s->frequency_penalty, s->presence_penalty);
    if (!inner || (!s->exempt_count && !s->spares_newline))
        return inner;
    struct penalties *p = calloc(1, sizeof(*p));
    struct llama_sampler *outer = p ? llama_sampler_init(&calls, p) : NULL;
    if (!outer) {
        llama_sampler_free(inner);
        free(p);
        return NULL;
    }
    p->vocab = vocab;
    p->inner = inner;
    memcpy(p->exempt, s->exempt, sizeof(p->exempt));
    p->exempt_count = s->exempt_count;
    p->spares_newline = s->spares_newline;
    return outer;
}
