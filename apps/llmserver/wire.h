/* apps/llmserver/wire.h: the objects an OpenAI client reads: chunks and whole answers.
 *
 * Source:  OpenAI API reference; README.md "Wire".
 * Threads: pure functions; results are owned by the caller, arguments of type cds_json are stolen.
 */
#pragma once

#include "lib/json/json.h"

/** What stays the same in all objects of one answer. Texts are borrowed. */
struct cds_wire {
    bool chat;
    bool include_usage; /**< every chunk but the last then carries "usage": null */
    const char *request_id, *model;
    const char *fingerprint; /**< of model and library: with it, a seed means the same text again */
    int64_t created_s;
};
/** The end of an answer. */
struct cds_wire_end {
    const char *finish_reason; /**< of the first choice, for log and metrics: "stop", "length", "tool_calls" */
    const char *ended;         /**< "finished", "cancelled", "budget", "deadline": why, in our words */
    const char *notice;        /**< sentence for the user, or NULL */
    uint32_t prompt_tokens, cached_tokens, completion_tokens, reasoning_tokens;
    uint32_t validated_tokens, refuted_tokens; /**< guessed ahead: the sampler chose them too, or not; never billed beside the others */
    uint32_t forced_tokens;                    /**< part of the validated ones: a grammar left no choice about them */
    uint32_t dropped_messages, dropped_tokens; /**< what was left out because the context was full */
    struct {
        int64_t from_ms, to_ms;
    } thought, text;   /**< of the first choice, from the arrival of the request on; told when there was a thought */
    const char *state; /**< name of the state that was saved; NULL: none was */
    uint32_t state_tokens;
    uint64_t state_bytes;
    int64_t cost_micro;
    unsigned soft_percent; /**< a budget of the caller has passed this soft limit; 0: none has */
    char soft_budget[48];  /**< which: "user tokens month" */
};
/** First chunk of a choice of a chat: the role. NULL for text completions, which have none. */
cds_json *cds_wire_role(const struct cds_wire *wire, unsigned index);
/** Text of a choice. @param logprobs  NULL: null */
cds_json *cds_wire_text(const struct cds_wire *wire, unsigned index, const char *text, size_t len, cds_json *logprobs);
/** Any delta of a chat. */
cds_json *cds_wire_delta(const struct cds_wire *wire, unsigned index, cds_json *delta, cds_json *logprobs);
/** Empty delta with the finish reason; the last one carries "cds" when no usage chunk follows. */
cds_json *cds_wire_finish(const struct cds_wire *wire, unsigned index, const char *reason, bool last, const struct cds_wire_end *end);
/** Last chunk with include_usage: no choices, usage and "cds". */
cds_json *cds_wire_usage(const struct cds_wire *wire, const struct cds_wire_end *end);
/** One choice of an answer without streaming; body: the message of a chat, or the text. */
cds_json *cds_wire_choice(const struct cds_wire *wire, unsigned index, cds_json *body, cds_json *logprobs, const char *reason);
/** Our own member "cds": cost, request id, why it ended. */
cds_json *cds_wire_own(const struct cds_wire *wire, const struct cds_wire_end *end);
/** Answer without streaming. */
cds_json *cds_wire_answer(const struct cds_wire *wire, cds_json *choices, const struct cds_wire_end *end);
/** The member "cds" of an answer: what it cost, its request id, how it ended. */
cds_json *cds_wire_own(const struct cds_wire *wire, const struct cds_wire_end *end);
