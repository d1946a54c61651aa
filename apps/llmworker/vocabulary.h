/* apps/llmworker/vocabulary.h: the tokens of a model: texts to tokens and back, what each token is, the special ones; includes llama.h with
 * engine.c.
 *
 * Threads: one owner, that of the engine.
 */
#pragma once

#include "apps/llmworker/engine.h"
#include "lib/json/json.h"

enum { CDS_VOCABULARY_PAGE = 1024 };

/** Tokens of text around a gap; -1: the model has none. */
struct cds_infill_tokens {
    int32_t prefix, suffix, middle, file, repository;
};
void cds_vocabulary_infill(const struct cds_engine *engine, struct cds_infill_tokens *ret);
/** Prefix, suffix and middle are there. */
bool cds_vocabulary_can_infill(const struct cds_engine *engine);
/** BOS, EOS or separator as the tokenizer sets them; -1: it sets none there. */
int32_t cds_vocabulary_bos(const struct cds_engine *engine);
int32_t cds_vocabulary_eos(const struct cds_engine *engine);
int32_t cds_vocabulary_separator(const struct cds_engine *engine);
/** {"bos", "eos", "eot", "sep", "nl", "pad", "mask", "fim_pre", ...: token id}; those the model does not have are left out. */
cds_json *cds_vocabulary_special(const struct cds_engine *engine);
/** [{"id","piece","text","attributes":[...],"score","ends"}] of count tokens from that one on. */
cds_json *cds_vocabulary_list(const struct cds_engine *engine, uint32_t from, uint32_t count);
/** The text of tokens. @param special  control tokens by name, else they are left out. @return malloc'ed, ret_len bytes; NULL: memory is out */
char *cds_vocabulary_text(const struct cds_engine *engine, const int32_t *tokens, size_t count, bool special, size_t *ret_len);
/** A piece of text as JSON: a string, or the list of its bytes when it is no UTF-8 by itself. */
cds_json *cds_vocabulary_piece(const struct cds_engine *engine, int32_t token);
