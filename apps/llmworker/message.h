/* apps/llmworker/message.h: what the server may ask for; checks the parameters of "prepare".
 *
 * Threads: pure function. The server has checked its client's request already; these checks keep a wrong frame from harming the process.
 */
#pragma once

#include "apps/llmworker/scheduler.h"
#include "apps/llmworker/shape.h"
#include "apps/llmworker/text.h"
#include "lib/json/json.h"

enum {
    CDS_MESSAGES_MAX = 256,
    CDS_PROMPT_BYTES_MAX = 16 << 20,
    CDS_PROMPTS_MAX = 16, /**< prompts of one request */
    CDS_CHOICES_MAX = 32, /**< answers of one request */
    CDS_TOOLS_MAX = 128,
    CDS_CALLS_MAX = 64 /**< tool calls of one answer */
};

/** One request before its prompts became tokens. Texts and JSON values are borrowed from the frame unless they say otherwise. */
struct cds_prepare {
    int64_t id;
    uint32_t max_tokens;
    uint32_t choices;    /**< answers to each prompt */
    uint64_t scope, key; /**< whose prompts it may share; whose share of the model it uses, 0: the scope */
    enum cds_job_class priority;
    struct cds_sampling sampling;
    struct cds_text text;
    struct cds_end_row end_rows[CDS_END_TOKENS_MAX];
    unsigned end_row_count;
    struct cds_speculation speculation;
    /* Chat; NULL: prompts are used. */
    const cds_json *messages; /**< [{"role", "content", "tool_calls"?, "tool_call_id"?, "reasoning_content"?}] */
    const cds_json *tools;    /**< [{"type":"function","function":{...}}], NULL: none */
    const char *tool_choice;  /**< "auto", "required", "none" */
    bool parallel;            /**< several calls in one answer */
    uint32_t max_calls;
    const cds_json *kwargs;    /**< {name: JSON text} for the template */
    const char *chat_template; /**< instead of the model's own */
    bool thinking, continues;  /**< may think; goes on with the last message */
    bool raw;                  /**< thoughts stay in the text */
    const cds_json *schema;    /**< the text is JSON that fits it */
    bool preload;              /**< the prompt is read, nothing is said */
    bool half;                 /**< the last message is not finished, and the answer types on */
    const cds_json *lora;      /**< adapters it names; NULL: those that hold without (adapters.h) */
    bool alone;                /**< the same bit by bit whatever runs beside it (solo.h) */
    bool tells_tokens;         /**< ids of its tokens go out with the text */
    bool documents;            /**< parameters of tools are described to the model */
    const cds_json *tell;      /**< true, or places of tokens of the prompt: their chances are told; NULL: none */
    bool shift;                /**< a prompt that is too long goes on without what is oldest (shift.h), an answer beyond the context too */
    uint32_t keep;             /**< tokens at the beginning of a text prompt that stay */
    /* Text prompts: strings, or lists of token ids. */
    const cds_json *prompts;
    size_t prompt_count;    /**< 1 for a chat */
    const cds_json *infill; /**< instead of them: {"prefix", "suffix", "filename"?, "repository"?, "files"?: [{"filename"?, "text"}]}; infill.h */
    /* Owned; cds_prepare_clear frees them: */
    struct cds_bias *bias;
    cds_json *form;         /**< what the template said about the answer; the shape borrows from it */
    char *grammar;          /**< made from a schema */
    struct cds_shape shape; /**< how the answer is read */
    cds_json *shifted;      /**< the messages that are left; NULL: all of them are */
    uint32_t dropped_messages, dropped_tokens;
};
/** @return CDS_OK; CDS_BAD_PARAM naming the member; ret->id is set whenever the frame has one, else 0. ret owns something on success only */
CDS_MUST_USE cds_rc cds_message_prepare(const cds_json *params, struct cds_prepare *ret, struct cds_err *reterr);
void cds_prepare_clear(struct cds_prepare *prepare);
