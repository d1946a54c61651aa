/* apps/llmworker/pairs.h: a query and its documents to the texts that a ranking evaluates.
 *
 * With a ranking head each text holds query and document: <bos> query <eos> <sep> document <eos>, as far as the model has these tokens, or as the
 * template says (the request's, or the file's "rerank"). With cosine the query is the first text and each document one of its own.
 * A document that does not fit is refused, or cut into parts that overlap; each part is a text, and the best one counts.
 * Source:  llama.cpp tools/server (format_prompt_rerank); node-llama-cpp's rank context (overflow)
 * Threads: one thread (the engine's).
 */
#pragma once

#include "apps/llmworker/inputs.h"

/** ret->texts is filled as far as it got, also on failure. @return as cds_inputs_make */
CDS_MUST_USE cds_rc cds_pairs_make(const struct cds_prompter *prompter, const struct cds_engine_facts *facts, const struct cds_inputs *inputs,
                                   struct cds_vectors_spec *ret, struct cds_err *reterr);
