/* apps/llmworker/penalties.h: penalties for repetition that leave some tokens alone. Included by sampler.c and penalties.c.
 *
 * The library's own sampler counts every token that was chosen; this one hides those from it that may repeat themselves.
 * Threads: one owner, that of the engine.
 */
#pragma once

#include "apps/llmworker/sampling.h"

struct llama_vocab;
struct llama_sampler;
/** A sampler for a chain; freed with it. @param context  tokens that count when all of them do. @return NULL: out of memory */
struct llama_sampler *cds_penalties_new(const struct llama_vocab *vocab, const struct cds_sampling *sampling, int32_t context);
