/* apps/llmserver/results.h: answers that are no text: vectors, ranks, tokens. They come as frames of the model process and go out whole.
 *
 * Source:  OpenAI API reference (embeddings), Jina's rerank API, llama.cpp tools/server/README.md (tokenize, detokenize, apply-template)
 * Threads: loop thread only.
 */
#pragma once

#include "apps/llmserver/generation.h"

enum { CDS_RESULTS_TEXT_MAX = 128 << 20 };

/** The model process has counted the texts of a request. */
void cds_results_prepared(struct cds_gen *gen, const cds_json *params);
/** One text's vectors: [job, base64]. */
void cds_results_add(struct cds_gen *gen, const cds_json *event);
/** The answer to a question that needed no evaluation: nothing is reserved, nothing is booked. */
void cds_results_told(struct cds_gen *gen, const cds_json *params);
/** What "done" brings beside numbers of tokens. */
void cds_results_done(struct cds_gen *gen, const cds_json *params);
/** The regular end, with gen->end filled. A request that was ended before it is an error: half of the vectors are no answer. */
void cds_results_write(struct cds_gen *gen);
