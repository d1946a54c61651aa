/* apps/llmserver/dialect.h: one API's way to ask and to answer; how a text is made is the same for all of them.
 *
 * Source:  OpenAI API reference (chat, completions, responses); Anthropic API reference (messages); docs/adr/0050-one-generation-many-dialects.md.
 * Threads: loop thread only.
 * A dialect turns the caller's body into one of chat/completions, and what the model says into its own events and objects. It knows nothing of
 * queue, money or connections.
 */
#pragma once

#include "apps/llmserver/request.h"
#include "lib/base/buf.h"
#include "lib/json/json.h"

struct cds_gen;
struct cds_http_req;

struct cds_dialect {
    const char *path;   /**< of its address, for the log */
    enum cds_task task; /**< what it asks of a model; one that makes no text has nothing of what follows (results.h) */
    bool chat;          /**< it has messages; else prompts */
    bool keeps;         /**< a stream tells its texts again at its end */
    const char *alive;  /**< what says "the model is at work" in a stream: an event or a comment, with its empty line */
    /** Body of chat/completions from the caller's (an object); NULL: it is one. counting: only the tokens of the prompt are asked for.
     *  @return CDS_OK; CDS_BAD_PARAM with a pointer into the caller's body */
    cds_rc (*to_chat)(const cds_json *body, bool counting, cds_json **ret, struct cds_err *reterr);
    /** An error about the chat body as one about the caller's. NULL: they are the same. */
    void (*own_names)(struct cds_err *err);
    /** First events of a stream. */
    void (*begin)(struct cds_gen *gen, struct cds_buf *events);
    /** A piece of text, or one delta of the model process (choice.h), and the chances of its tokens (or NULL). events NULL: the answer is not
     *  streamed, only kept. */
    void (*text)(struct cds_gen *gen, unsigned index, const char *text, size_t len, const cds_json *chances, struct cds_buf *events);
    void (*delta)(struct cds_gen *gen, unsigned index, const cds_json *delta, const cds_json *chances, struct cds_buf *events);
    /** Last events, with gen->end filled. */
    void (*end)(struct cds_gen *gen, struct cds_buf *events);
    /** Last events of a stream that failed. */
    void (*fail)(struct cds_gen *gen, const struct cds_err *err, struct cds_buf *events);
    /** The whole answer; owned by the caller; NULL: it is too long or memory is out. */
    cds_json *(*answer)(struct cds_gen *gen);
    /** The answer to "how many tokens?"; NULL: this dialect has no such question. */
    cds_json *(*counted)(const struct cds_gen *gen);
};

extern const struct cds_dialect cds_dialect_chat, cds_dialect_text, cds_dialect_infill; /**< dialect_openai.c */
extern const struct cds_dialect cds_dialect_responses;                                  /**< responses_wire.c */
extern const struct cds_dialect cds_dialect_messages;                                   /**< messages_wire.c */

/** responses_ask.c, messages_ask.c */
CDS_MUST_USE cds_rc cds_responses_to_chat(const cds_json *body, bool counting, cds_json **ret, struct cds_err *reterr);
void cds_responses_own_names(struct cds_err *err);
CDS_MUST_USE cds_rc cds_messages_to_chat(const cds_json *body, bool counting, cds_json **ret, struct cds_err *reterr);
void cds_messages_own_names(struct cds_err *err);

/** Appends one event, "event: name" (NULL: without) and its data; steals value, NULL is one that could not be made and fails the buffer. */
void cds_dialect_event(struct cds_buf *events, const char *name, cds_json *value);
/** A member of the chat body, and what the caller called it. */
struct cds_dialect_name {
    const char *chat, *own;
};
/** Pointer and sentence of an error in the caller's names. The first of count names that fits is taken. */
void cds_dialect_rename(struct cds_err *err, const struct cds_dialect_name *names, size_t count);
/** "<place>" must be <expected>; the pointer is place with "/" between its parts ("input[2].content" is /input/2/content). @return CDS_BAD_PARAM */
cds_rc cds_dialect_wrong(struct cds_err *reterr, const char *expected, const char *place, ...) CDS_PRINTF(3, 4);
/** Text of parts: a string, or a list of objects whose "type" is one of types (NULL behind the last) and whose "text" is a string.
 *  @return owned string; NULL: it is something else */
cds_json *cds_dialect_text_of(const cds_json *content, const char *const *types);
