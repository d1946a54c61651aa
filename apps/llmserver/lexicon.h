/* apps/llmserver/lexicon.h: questions about the words of a model that is not loaded: tokenize, detokenize, vocabulary, template.
 *
 * A process of its own reads the vocabulary of the file and nothing else (no weights, no context), answers, and ends when nobody asked it for
 * CDS_LEXICON_IDLE_MS, or when the model is loaded. One that has a question and says nothing for llm.silent_ms is killed. Its memory is checked and
 * told like that of a model. Threads: loop thread only.
 */
#pragma once

#include "apps/llmserver/generation.h"

enum { CDS_LEXICON_IDLE_MS = 30000 };

/** May this request be answered without loading the model? */
bool cds_lexicon_serves(const struct cds_model *model, const struct cds_ask *ask);
/** Asks the process, which is started when there is none. The request fails when it cannot be. */
void cds_lexicon_ask(struct cds_gen *gen);
/** The process ends; what waits for it gets an error. */
void cds_lexicon_stop(struct cds_model *model);
/** {"pid", "resident_bytes", "need_bytes"}, or null when there is none; owned by the caller. */
cds_json *cds_lexicon_show(const struct cds_model *model);
