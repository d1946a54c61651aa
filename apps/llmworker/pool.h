/* apps/llmworker/pool.h: from the vectors of a text's tokens to what a client asked for: pooled, cut, normalised.
 *
 * Pooled here and not inside libllama, so that one context serves texts and tokens, and whatever pooling a request names.
 * Source:  llama.cpp common_embd_normalize (what each norm means), src/llama-graph.cpp (poolings); docs/adr/0048-embeddings.md
 * Threads: pure functions.
 */
#pragma once

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

/** As the key pooling_type of a GGUF file counts them. */
enum cds_pooling { CDS_POOL_NONE, CDS_POOL_MEAN, CDS_POOL_CLS, CDS_POOL_LAST, CDS_POOL_RANK };
enum { CDS_NORM_NONE = -1, CDS_NORM_MAX = 0, CDS_NORM_TAXICAB = 1, CDS_NORM_EUCLID = 2, CDS_NORM_MOST = 64, CDS_VECTOR_WIDTH_MAX = 65536 };

/** "none", "mean", "cls", "last", "rank"; NULL: not one. */
const char *cds_pooling_name(int pooling);
/** @return false: not a name */
bool cds_pooling_parse(const char *name, enum cds_pooling *ret);

/** Rows of tokens to one vector. @param row  vector of the token at this place, width numbers; borrowed */
void cds_pool_tokens(enum cds_pooling pooling, const float *(*row)(void *user, uint32_t token), void *user, uint32_t tokens, uint32_t width,
                     float *ret);
/** Divides by its norm: CDS_NORM_NONE leaves it, CDS_NORM_MAX brings the largest number to 32760 (for 16-bit integers), others are p-norms.
 *  A vector of zeros stays one. */
void cds_vector_normalize(float *vector, uint32_t width, int32_t norm);
double cds_vector_dot(const float *a, const float *b, uint32_t width);
