/* apps/llmserver/request.h: the body of a generation request, checked.
 *
 * Source:  OpenAI API reference (chat/completions, completions); llama.cpp tools/server/README.md (the other samplers); README.md lists what
 *          differs.
 * Threads: pure functions.
 * Unknown members are ignored; a wrong type, a value out of range, or something that would silently change the answer because it cannot be
 * done is refused, naming the member.
 */
#pragma once

#include "lib/json/json.h"
#include "lib/json/schema.h"

enum {
    CDS_ASK_MODEL_MAX = 128,
    CDS_ASK_MESSAGES_MAX = 256,
    CDS_ASK_STOP_MAX = 4,
    CDS_ASK_STOP_BYTES = 256,
    CDS_ASK_TOKENS_MAX = 1 << 30,
    CDS_ASK_CHOICES_MAX = 32, /**< answers of one request, all its prompts together */
    CDS_ASK_PROMPTS_MAX = 16,
    CDS_ASK_BIAS_MAX = 1024,
    CDS_ASK_TOP_LOGPROBS_MAX = 20,
    CDS_ASK_TOOLS_MAX = 128,
    CDS_ASK_TEMPLATE_MAX = 65536,
    CDS_ASK_GRAMMAR_NAME_MAX = 31,
    CDS_ASK_INPUTS_MAX = 2048, /**< texts of one embedding request, documents of one ranking */
    CDS_ASK_DIMENSIONS_MAX = 65536
};

/** What is asked of a model; tasks.h has their paths. */
enum cds_task {
    CDS_TASK_TEXT,
    CDS_TASK_CHAT,
    CDS_TASK_INFILL,
    /* What makes no text: */
    CDS_TASK_EMBED,
    CDS_TASK_RANK,
    CDS_TASK_TOKENIZE,
    CDS_TASK_DETOKENIZE,
    CDS_TASK_VOCABULARY,
    CDS_TASK_TEMPLATE
};
/** Does it generate text? */
static inline bool cds_task_generates(enum cds_task task)
{
    return task <= CDS_TASK_INFILL;
}

struct cds_ask {
    enum cds_task task;
    bool chat, stream, include_usage, echo;
    bool evaluates;                    /**< max_tokens 0: the prompt is evaluated and nothing is generated */
    bool resumable;                    /**< the client may leave the stream and come back (replay.h) */
    char model[CDS_ASK_MODEL_MAX + 1]; /**< lower-cased; "" when none was named */
    uint32_t max_tokens;               /**< of one answer; 0: the server's default */
    unsigned prompts;                  /**< 1 for a chat */
    unsigned per_prompt, shown;        /**< answers made to each prompt, and how many of them are shown (the best ones) */
    bool logprobs;
    unsigned priority;                               /**< class in the queue: 0 service_tier flex, 2 priority, else 1 */
    uint32_t time_ms;                                /**< longest time from the first token on; 0: no limit of its own */
    uint32_t deadline_ms;                            /**< longest time of the whole request; 0: no limit of its own */
    char save_state[65];                             /**< name under which the state of its prompt is kept; "": it is not */
    bool deterministic;                              /**< the same bit by bit whatever runs beside it */
    bool needs_draft;                                /**< speculation by a draft model was asked for by name */
    bool always_guesses;                             /**< speculation even where it costs more than it saves */
    bool own_template;                               /**< the request brings the text of a chat template */
    char grammar_name[CDS_ASK_GRAMMAR_NAME_MAX + 1]; /**< a built-in grammar that must be looked up; "": none */
    struct cds_schema *schema;                       /**< owned: the finished text must be JSON that fits it; NULL: any text */
    /* Embedding and ranking: */
    bool base64;                    /**< vectors as little-endian floats in base64 */
    bool cosine;                    /**< ranks by the cosine of vectors */
    bool return_documents, sigmoid; /**< with the texts; scores brought between 0 and 1 */
    unsigned top;                   /**< so many of the best documents are told */
    cds_json *prompt;               /**< owned: {"messages":[..]} or {"prompts":[..]}, with sampling and stop, as the worker takes it */
};
/**
 * @param ret     owned members are freed with cds_ask_clear; untouched on failure
 * @return CDS_OK; CDS_BAD_SYNTAX; CDS_BAD_PARAM with reterr->pointer at the member
 */
CDS_MUST_USE cds_rc cds_ask_parse(const char *body, size_t len, enum cds_task task, struct cds_ask *ret, struct cds_err *reterr);
/** The same for a body that was parsed already; borrowed. */
CDS_MUST_USE cds_rc cds_ask_read(const cds_json *json, enum cds_task task, struct cds_ask *ret, struct cds_err *reterr);
void cds_ask_clear(struct cds_ask *ask);
/** "off", "lookup", "draft" or "auto" as the worker takes it; owned by the caller; NULL: none of them. */
cds_json *cds_ask_speculation_of(const char *type);
