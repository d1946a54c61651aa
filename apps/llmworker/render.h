/* apps/llmworker/render.h: a chat to text: template, tools, schema; and how the answer to it has to be read.
 *
 * Threads: one thread (the engine's).
 */
#pragma once

#include "apps/llmworker/guard.h"
#include "apps/llmworker/prompt.h"

/**
 * Renders the messages with their control texts broken by a mark (guard.h); fills in prepare's grammar of tool calls, stops and shape.
 * @param ret_mark  where the text has to be cut
 * @param ret_text  malloc'ed
 */
CDS_MUST_USE cds_rc cds_render_chat(const struct cds_prompter *prompter, struct cds_prepare *prepare, char ret_mark[static CDS_MARK_LEN + 1],
                                    char **ret_text, struct cds_err *reterr);
/** Turns prepare's schema, if it has one, into its grammar. @return CDS_OK; CDS_BAD_PARAM naming the member */
CDS_MUST_USE cds_rc cds_render_grammar(struct cds_prepare *prepare, struct cds_err *reterr);
