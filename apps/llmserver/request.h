/* apps/llmserver/request.h: the body of a generation request, checked.
 *
 * Source:  OpenAI API reference (chat/completions, completions); README.md lists what differs.
 * Threads: pure function.
 * Unknown members are ignored; a wrong type, a value out of range, or a member that would silently change the answer because this server
 * does not offer it (tools, logprobs, several choices) is refused, naming the member.
 */
#pragma once

#include "lib/json/json.h"

enum { CDS_ASK_MODEL_MAX = 128, CDS_ASK_MESSAGES_MAX = 256, CDS_ASK_STOP_MAX = 4, CDS_ASK_STOP_BYTES = 256, CDS_ASK_TOKENS_MAX = 1 << 30 };

struct cds_ask {
    bool chat, stream, include_usage;
    char model[CDS_ASK_MODEL_MAX + 1]; /**< lower-cased; "" when none was named */
    uint32_t max_tokens;               /**< 0: the server's default */
    unsigned priority;                 /**< class in the queue: 0 service_tier flex, 2 priority, else 1 */
    cds_json *prompt;                  /**< owned: {"messages":[..]} or {"prompt":".."}, with sampling and stop, as the worker takes it */
};
/**
 * @param chat    /v1/chat/completions, else /v1/completions
 * @param ret     owned members are freed with cds_ask_clear; untouched on failure
 * @return CDS_OK; CDS_BAD_SYNTAX; CDS_BAD_PARAM with reterr->pointer at the member
 */
CDS_MUST_USE cds_rc cds_ask_parse(const char *body, size_t len, bool chat, struct cds_ask *ret, struct cds_err *reterr);
void cds_ask_clear(struct cds_ask *ask);
