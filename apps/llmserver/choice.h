/* apps/llmserver/choice.h: one answer of a request as it comes in: its text, thoughts, tool calls and chances.
 *
 * Source:  OpenAI API reference (chat completion object, legacy completions "logprobs").
 * Threads: loop thread only.
 */
#pragma once

#include "lib/base/buf.h"
#include "lib/json/json.h"

enum { CDS_CHOICE_CALLS_MAX = 64, CDS_CHOICE_TEXT_MAX = 4 << 20, CDS_CALL_ID_MAX = 39 };

struct cds_call {
    char id[CDS_CALL_ID_MAX + 1];
    cds_json *name; /**< owned */
    struct cds_buf arguments;
};
struct cds_choice {
    struct cds_buf text, reasoning;
    struct cds_call *calls; /**< owned; room for CDS_CHOICE_CALLS_MAX once there is one */
    unsigned call_count;
    cds_json *ids; /**< owned list of token ids that were not told yet; NULL: none, or nobody asked */
    uint64_t thought_from_ms, thought_to_ms, text_from_ms, text_to_ms; /**< cds_now_ms clock: first and last piece; 0: none */
    cds_json *chances;                                                 /**< owned list of [[bytes], logprob, [[[bytes], logprob]...]]; NULL: none */
    uint32_t tokens;
    int stop;                  /**< number of the stop string that ended it, -1: none */
    size_t characters;         /**< of the tokens whose chances were told, for text_offset */
    const char *finish_reason; /**< "stop", "length", "tool_calls"; static */
    double score;              /**< sum of logprobs */
};
void cds_choice_init(struct cds_choice *choice);
void cds_choice_clear(struct cds_choice *choice);
/**
 * One delta of the model process: {"content"}, {"reasoning"} or {"call", "name"?, "arguments"?}. Keeps it when `keep` says so.
 * @param ret_delta  the same as OpenAI's delta; owned by the caller; NULL when there is nothing to say or memory is out
 */
void cds_choice_take(struct cds_choice *choice, const cds_json *delta, bool keep, cds_json **ret_delta);
/** Takes note of the time a piece came. */
void cds_choice_saw(struct cds_choice *choice, bool thought);
/** Keeps chances for the whole answer. Borrowed. */
void cds_choice_keep_chances(struct cds_choice *choice, const cds_json *list);
/** The message of a whole chat answer; owned by the caller. */
cds_json *cds_choice_message(const struct cds_choice *choice);
/** Chances as the client reads them: content[] for a chat, four lists for text (offsets go on from choice->characters). NULL list: JSON null.
 *  Owned by the caller. */
cds_json *cds_choice_logprobs(struct cds_choice *choice, const cds_json *list, bool chat);
/** Text of bytes that may be no UTF-8: what is not becomes U+FFFD. */
cds_json *cds_choice_token_text(const cds_json *bytes);
