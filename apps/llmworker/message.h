/* apps/llmworker/message.h: what the server may ask for; checks the parameters of "prepare".
 *
 * Threads: pure function. The server has checked its client's request already; these checks keep a wrong frame from harming the process.
 */
#pragma once

#include "apps/llmworker/scheduler.h"
#include "apps/llmworker/text.h"
#include "lib/json/json.h"

enum { CDS_MESSAGES_MAX = 256, CDS_PROMPT_BYTES_MAX = 16 << 20 };

/** One request before its prompt became tokens. Texts and messages are borrowed from the frame. */
struct cds_prepare {
    int64_t id;
    const cds_json *messages; /**< chat: [{"role","content"}]; NULL: prompt is used */
    const char *prompt;
    size_t prompt_len;
    uint32_t max_tokens;
    uint64_t scope, key; /**< whose prompts it may share; whose share of the model it uses, 0: the scope */
    enum cds_job_class priority;
    struct cds_sampling sampling;
    struct cds_text text;
};
/** @return CDS_OK; CDS_BAD_PARAM naming the member; ret->id is set whenever the frame has one, else 0 */
CDS_MUST_USE cds_rc cds_message_prepare(const cds_json *params, struct cds_prepare *ret, struct cds_err *reterr);
