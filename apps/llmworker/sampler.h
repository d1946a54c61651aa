/* apps/llmworker/sampler.h: chooses the tokens of one answer. Included by engine.c and sampler.c; what the scheduler holds as `sampler`.
 *
 * Order: bias, thinking budget, the request's chain, and then the grammar looks at the one token that was chosen. When it does not allow it,
 * the few tokens the chain left are held against the grammar, then the 256 likeliest, and only when none of them is legal, all. So a grammar
 * costs little even while the model does not follow it.
 * Source:  docs/adr/0042-sampling-and-grammar.md
 * Threads: one owner, that of the engine.
 */
#pragma once

#include "apps/llmworker/sampling.h"

struct llama_vocab;
struct cds_sampler;
struct cds_spelling;

/** What was chosen, for logprobs. */
struct cds_chance {
    int32_t token;
    float logprob;
};
struct cds_picked {
    struct cds_chance chosen, top[CDS_LOGPROBS_MAX]; /**< top: likeliest first */
    unsigned top_count;
};

/** @param room  n_vocab candidates, shared by all samplers of an engine; borrowed
 *  @param spelling  of the vocabulary (forced.h); NULL: nothing is known to be forced; borrowed
 *  @return NULL with the reason: out of memory, a grammar that cannot be used, a token that the model does not have */
struct cds_sampler *cds_sampler_new(const struct llama_vocab *vocab, const struct cds_sampling *sampling, uint32_t context_tokens, void *room,
                                    const struct cds_spelling *spelling, struct cds_err *reterr);
/** Tokens that its grammar leaves no choice about, as the tokenizer spells them. @return how many, at most `most` */
unsigned cds_sampler_forced(struct cds_sampler *sampler, int32_t *ret, unsigned most);
/** Was the last choice none, because the grammar forced it? It was then made without the logits. */
bool cds_sampler_had_no_choice(const struct cds_sampler *sampler);
void cds_sampler_free(struct cds_sampler *sampler);
/** Chooses from the logits of one row and remembers the choice. A grammar without a legal token ends the answer: the token is then an end. */
int32_t cds_sampler_pick(struct cds_sampler *sampler, const float *logits);
/** The chance of a token that stands in the prompt, as if it had been chosen; nothing of the sampler's state changes but its last choice. */
void cds_sampler_tell(struct cds_sampler *sampler, const float *logits, int32_t token);
/** The last choice; NULL when nobody asked for chances. */
const struct cds_picked *cds_sampler_picked(const struct cds_sampler *sampler);
/** Is this control token part of the text? */
bool cds_sampler_preserves(const struct cds_sampler *sampler, int32_t token);
