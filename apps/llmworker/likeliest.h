/* apps/llmworker/likeliest.h: the likeliest token of a row of logits, for requests that want nothing else (temperature 0).
 *
 * The library's samplers work on a list of all tokens, 12 bytes each, that has to be written first: at temperature 0 that was more than half of what
 * a token cost beside the model. Here the logits are read once.
 * Source:  docs/adr/0082-the-likeliest-token.md
 * Threads: pure functions.
 */
#pragma once

#include "apps/llmworker/sampling.h"

/** Puts biases in the order of their tokens and adds up those of the same one. @return how many there are now */
unsigned cds_bias_sort(struct cds_bias *bias, unsigned count);
/** The token with the highest logit, biases added; of equals the first, 0 when every one is ruled out.
 *  @param bias  sorted by cds_bias_sort; tokens in 0..count-1 */
int32_t cds_likeliest(const float *logits, int32_t count, const struct cds_bias *bias, unsigned bias_count);
