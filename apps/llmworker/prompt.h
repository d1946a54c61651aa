/* apps/llmworker/prompt.h: a request's messages to tokens: template, guard, tokenizer.
 *
 * Threads: one thread (the engine's).
 */
#pragma once

#include "apps/llmworker/engine.h"
#include "apps/llmworker/message.h"
#include "apps/llmworker/shim.h"

/** What prompts are made with; borrowed. */
struct cds_prompter {
    const struct cds_engine *engine;
    struct cds_shim *shim;   /**< NULL: chat is refused */
    const char *bos, *eos;   /**< for templates that come with a request */
    uint32_t vocabulary;     /**< tokens of the model */
    uint32_t request_tokens; /**< most tokens of prompt and answer together */
    uint32_t piece_max;      /**< longest text of one token, bytes */
    bool add_bos, add_eos;
};
/**
 * Tokens of one prompt. For a chat it also fills in how the answer must look and how it is read (sampling, stops, shape).
 *
 * @param index       which of its prompts
 * @param ret_tokens  malloc'ed
 * @return CDS_OK; CDS_CONTEXT_LENGTH naming both numbers; CDS_BAD_PARAM (the template refuses these messages, the schema cannot be used);
 *         CDS_EXHAUSTED
 */
CDS_MUST_USE cds_rc cds_prompt_make(const struct cds_prompter *prompter, struct cds_prepare *prepare, size_t index, int32_t **ret_tokens,
                                    size_t *ret_count, struct cds_err *reterr);
/** Refuses texts that cannot fit before they are tokenized. @return CDS_OK; CDS_CONTEXT_LENGTH */
CDS_MUST_USE cds_rc cds_prompt_check_bytes(const struct cds_prompter *prompter, size_t bytes, struct cds_err *reterr);
