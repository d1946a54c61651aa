/* apps/llmworker/encoder.h: the context of a model that makes vectors of texts, or ranks them, instead of generating; includes llama.h with
 * engine.c.
 *
 * A file is such a model when it names a pooling, or says that its attention is not causal. Its context gives the vectors of all tokens (pool.h
 * makes one of them), except for a ranking head, which libllama must pool for.
 * Threads: one owner, that of the engine.
 */
#pragma once

#include <stdbool.h>
#include <stdint.h>

#include "apps/llmworker/engine.h"
#include "apps/llmworker/pool.h"

struct llama_model;
struct llama_context_params;
enum { CDS_ENCODER_TEXTS = 64, CDS_ENCODER_ROWS = 512 };

/** Does the file hold one? @param ret_pooling  how it pools unless a request says otherwise; a file that does not say: mean */
bool cds_encoder_is(const struct llama_model *model, enum cds_pooling *ret_pooling);
/** Rows of its batches: a text is evaluated whole. @param text_tokens  most tokens of one text the server wants */
uint32_t cds_encoder_rows(const struct llama_model *model, uint32_t text_tokens);
void cds_encoder_params(enum cds_pooling pooling, uint32_t rows, struct llama_context_params *params);

/** What vectors.h needs of a model; `engine` is handed through. */
struct cds_encoder_ops {
    /** Evaluates whole texts, each a sequence of its own. @return 0; 2: given up as cds_engine_watch asked; else the model failed */
    int (*encode)(void *engine, const struct cds_row *rows, int count);
    const float *(*token)(void *engine, int row);      /**< vector of a row of the last batch; NULL: there is none */
    const float *(*score)(void *engine, int sequence); /**< what the ranking head says of a text of the last batch; NULL: there is none */
};
extern const struct cds_encoder_ops cds_encoder_llama;
