/* apps/llmworker/shim.h: what libllama-common can do for one model: chat templates, grammars, tool calls. shim.cpp is the only C++ file of
 * the product.
 *
 * Threads: one thread. Strings in, strings out; no C++ type or exception crosses this line.
 * Callers limit sizes and nesting before: a catch block does not help against a stack that ran out.
 */
#pragma once

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#ifdef __cplusplus
extern "C" {
#endif

struct cds_shim;
/** Compiles a Jinja template ("chatml": a built-in one). @return NULL on failure, with the reason in why */
struct cds_shim *cds_shim_open(const char *chat_template, const char *bos, const char *eos, char *why, size_t why_size);
void cds_shim_close(struct cds_shim *shim);
/** Does the template know tools? */
bool cds_shim_knows_tools(const struct cds_shim *shim);
/**
 * Renders a chat.
 * @param ask_json  {"messages", "tools"?, "tool_choice"?: "auto"|"required"|"none", "parallel_tool_calls"?, "kwargs"?: {name: JSON text},
 *                  "thinking"?: bool, "continue"?: bool, "add_bos"?, "add_eos"?}
 * @return malloc'ed JSON text {"prompt", "grammar", "grammar_lazy", "triggers": [pattern], "preserved": [text], "stops": [text],
 *         "parser", "format": for cds_shim_parser_new, "thinks": bool, "thinking_start", "thinking_end", "generation_prompt"}; NULL with the reason
 */
char *cds_shim_apply(const struct cds_shim *shim, const char *ask_json, char *why, size_t why_size);
/** JSON schema to GBNF, malloc'ed; NULL with the reason. */
char *cds_shim_schema(const char *schema_json, char *why, size_t why_size);

/** Reads an answer with tool calls and thoughts in the model's own format. */
struct cds_shim_parser;
/** parser, format and generation_prompt are those of cds_shim_apply. */
struct cds_shim_parser *cds_shim_parser_new(const char *parser_blob, int format, const char *generation_prompt, char *why, size_t why_size);
void cds_shim_parser_free(struct cds_shim_parser *parser);
/**
 * What the whole text so far says more than at the last call.
 * @return malloc'ed JSON text [{"reasoning"} | {"content"} | {"call", "name"?, "id"?, "arguments"}]; NULL with the reason
 */
char *cds_shim_parse(struct cds_shim_parser *parser, const char *text, size_t len, bool partial, char *why, size_t why_size);

/* The grammar sampler of libllama throws; here it answers false. */
struct llama_vocab;
struct llama_token_data_array;
struct llama_sampler;
struct cds_shim_grammar;
struct cds_shim_grammar *cds_shim_grammar_new(const struct llama_vocab *vocab, const char *gbnf, bool lazy, const char *const *patterns,
                                              size_t pattern_count, const char *prefill, char *why, size_t why_size);
void cds_shim_grammar_free(struct cds_shim_grammar *grammar);
/** One in the same state, that goes its own way. NULL: it failed */
struct cds_shim_grammar *cds_shim_grammar_clone(const struct cds_shim_grammar *grammar);
/** May this token come next? */
bool cds_shim_grammar_allows(struct cds_shim_grammar *grammar, int32_t token);
/** Sets the logits of what may not come next to -INFINITY. @return false when the grammar failed */
bool cds_shim_grammar_mask(struct cds_shim_grammar *grammar, struct llama_token_data_array *candidates);
bool cds_shim_grammar_accept(struct cds_shim_grammar *grammar, int32_t token);

/** Ends a thought after so many tokens by force. Freed with llama_sampler_free. */
struct llama_sampler *cds_shim_thinking_budget(const struct llama_vocab *vocab, const int32_t *start, size_t start_count, const int32_t *end,
                                               size_t end_count, int32_t budget, bool begun);

#ifdef __cplusplus
}
#endif
