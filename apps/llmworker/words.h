/* apps/llmworker/words.h: questions that are answered without evaluating anything: tokens of a text, text of tokens, the vocabulary, a chat as
 * the template writes it.
 *
 * Threads: one thread (the engine's).
 */
#pragma once

#include "apps/llmworker/prompt.h"

enum { CDS_WORDS_TEXT_MAX = 1 << 20, CDS_WORDS_TOKENS_MAX = 1 << 18 };

/** Is this "prepare" such a question? */
bool cds_words_meant(const cds_json *params);
/**
 * @param ret  the answer as the client reads it; owned by the caller
 * @return CDS_OK; CDS_BAD_PARAM naming the member; CDS_TOO_LARGE; CDS_EXHAUSTED
 */
CDS_MUST_USE cds_rc cds_words_answer(const struct cds_prompter *prompter, const cds_json *params, cds_json **ret, struct cds_err *reterr);
