/* apps/llmworker/infill.h: text before and behind a gap, to a prompt whose answer fills the gap.
 *
 * Source:  llama.cpp tools/server (format_prompt_infill), arXiv 2409.12186 (files of a repository before the gap). Cut to the context: the end of
 *          the prefix and the beginning of the suffix stay, three parts to one; other files go first.
 * Threads: pure functions; tokens come from the caller.
 */
#pragma once

#include <stddef.h>
#include <stdint.h>

#include "apps/llmworker/prompt.h"
#include "apps/llmworker/vocabulary.h"

enum { CDS_INFILL_FILES_MAX = 64, CDS_INFILL_CUT = 16 /* texts up to so many times the context are cut to it */ };

/** Tokens of a part; borrowed. */
struct cds_infill_part {
    const int32_t *tokens;
    size_t count;
};
/**
 * @param extra  tokens of other files, in their order
 * @param bos    -1: none
 * @param room   most tokens of the prompt, at least 16
 * @return malloc'ed; NULL: memory is out
 */
int32_t *cds_infill_join(const struct cds_infill_tokens *marks, int32_t bos, struct cds_infill_part prefix, struct cds_infill_part suffix,
                         struct cds_infill_part extra, size_t room, size_t *ret_count);
/** Tokens of prepare->infill. @return CDS_OK; CDS_BAD_PARAM (the model has no tokens for it); CDS_EXHAUSTED */
CDS_MUST_USE cds_rc cds_infill_prompt(const struct cds_prompter *prompter, const struct cds_prepare *prepare, int32_t **ret_tokens, size_t *ret_count,
                                      struct cds_err *reterr);
