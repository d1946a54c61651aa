/* apps/llmserver/wire.h: the objects an OpenAI client reads: chunks and whole answers.
 *
 * Source:  OpenAI API reference; README.md "Wire".
 * Threads: pure functions; results are owned by the caller.
 */
#pragma once

#include "lib/json/json.h"

/** What stays the same in all objects of one answer. Texts are borrowed. */
struct cds_wire {
    bool chat;
    bool include_usage; /**< every chunk but the last then carries "usage": null */
    const char *request_id, *model;
    int64_t created_s;
};
/** The end of an answer. */
struct cds_wire_end {
    const char *finish_reason; /**< "stop" or "length" */
    const char *ended;         /**< "finished", "cancelled", "budget", "deadline": why, in our words */
    const char *notice;        /**< sentence for the user, or NULL */
    uint32_t prompt_tokens, cached_tokens, completion_tokens;
    int64_t cost_micro;
};
/** First chunk of a chat: the role. NULL for text completions, which have none. */
cds_json *cds_wire_role(const struct cds_wire *wire);
cds_json *cds_wire_text(const struct cds_wire *wire, const char *text, size_t len);
/** Empty delta with the finish reason; carries "cds" when no usage chunk follows. */
cds_json *cds_wire_finish(const struct cds_wire *wire, const struct cds_wire_end *end);
/** Last chunk with include_usage: no choices, usage and "cds". */
cds_json *cds_wire_usage(const struct cds_wire *wire, const struct cds_wire_end *end);
/** Answer without streaming. */
cds_json *cds_wire_answer(const struct cds_wire *wire, const char *text, size_t len, const struct cds_wire_end *end);
