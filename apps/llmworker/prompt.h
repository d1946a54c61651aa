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
    uint32_t request_tokens; /**< most tokens of prompt and answer together */
    uint32_t piece_max;      /**< longest text of one token, bytes */
    bool add_bos, add_eos;
};
/**
 * @param ret_tokens  malloc'ed
 * @return CDS_OK; CDS_CONTEXT_LENGTH naming both numbers; CDS_BAD_PARAM (the template refuses these messages); CDS_EXHAUSTED
 */
CDS_MUST_USE cds_rc cds_prompt_make(const struct cds_prompter *prompter, const struct cds_prepare *prepare, int32_t **ret_tokens, size_t *ret_count,
                                    struct cds_err *reterr);
