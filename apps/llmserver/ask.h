/* apps/llmserver/ask.h: inside of request.c: its parts and what they share. Included by request.c and ask_*.c only.
 *
 * Threads: pure functions.
 * Every part takes the client's body, writes what the model process needs to `prompt`, and names the member it refuses.
 */
#pragma once

#include "apps/llmserver/request.h"

/** "<name>" must be <expected>. @return CDS_BAD_PARAM */
cds_rc cds_ask_wrong(struct cds_err *reterr, const char *name, const char *expected);
/** A member, with null counted as absent. */
cds_json *cds_ask_member(const cds_json *body, const char *name);
bool cds_ask_is_bool(const cds_json *value);
bool cds_ask_is_number(const cds_json *value);
/** Copies a member that is true or false, when there is one. */
CDS_MUST_USE cds_rc cds_ask_bool(const cds_json *body, const char *name, bool otherwise, bool *ret, struct cds_err *reterr);

/** ask_messages.c */
CDS_MUST_USE cds_rc cds_ask_messages(const cds_json *body, cds_json *prompt, struct cds_err *reterr);
CDS_MUST_USE cds_rc cds_ask_prompts(const cds_json *body, struct cds_ask *ask, cds_json *prompt, struct cds_err *reterr);
/** ask_sampling.c: numbers, order, bias, stops, choices, logprobs. */
CDS_MUST_USE cds_rc cds_ask_sampling(const cds_json *body, struct cds_ask *ask, cds_json *prompt, struct cds_err *reterr);
/** ask_format.c: response_format, json_schema, grammar; reasoning and template. */
CDS_MUST_USE cds_rc cds_ask_format(const cds_json *body, struct cds_ask *ask, cds_json *prompt, struct cds_err *reterr);
CDS_MUST_USE cds_rc cds_ask_reasoning(const cds_json *body, struct cds_ask *ask, cds_json *prompt, struct cds_err *reterr);
/** ask_extras.c: priority, deadline, preload, half-typed prompts, token ids. After the messages and the sampling. */
CDS_MUST_USE cds_rc cds_ask_extras(const cds_json *body, struct cds_ask *ask, cds_json *prompt, struct cds_err *reterr);
/** ask_context.c: what happens when the context is full. */
CDS_MUST_USE cds_rc cds_ask_context(const cds_json *body, struct cds_ask *ask, cds_json *prompt, struct cds_err *reterr);
/** ask_lora.c: adapters of the model that the request has. */
CDS_MUST_USE cds_rc cds_ask_lora(const cds_json *body, cds_json *prompt, struct cds_err *reterr);
/** ask_speculation.c */
CDS_MUST_USE cds_rc cds_ask_speculation(const cds_json *body, struct cds_ask *ask, cds_json *prompt, struct cds_err *reterr);
/** ask_tools.c */
CDS_MUST_USE cds_rc cds_ask_tools(const cds_json *body, struct cds_ask *ask, cds_json *prompt, struct cds_err *reterr);
/** ask_vectors.c: embeddings and ranking. */
bool cds_ask_is_tokens(const cds_json *value);
CDS_MUST_USE cds_rc cds_ask_embed(const cds_json *body, struct cds_ask *ask, cds_json *prompt, struct cds_err *reterr);
CDS_MUST_USE cds_rc cds_ask_rank(const cds_json *body, struct cds_ask *ask, cds_json *prompt, struct cds_err *reterr);
/** ask_words.c: tokens, vocabulary; text around a gap, in both of its forms. */
CDS_MUST_USE cds_rc cds_ask_words(const cds_json *body, const struct cds_ask *ask, cds_json *prompt, struct cds_err *reterr);
CDS_MUST_USE cds_rc cds_ask_infill(const cds_json *body, cds_json *prompt, struct cds_err *reterr);
CDS_MUST_USE cds_rc cds_ask_suffix(const cds_json *body, const struct cds_ask *ask, cds_json *prompt, struct cds_err *reterr);
