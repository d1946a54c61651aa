/* apps/api/llm.h: what the calls of llm.* share: one HTTP call to llmserver, and its errors as ours.
 *
 * Threads: loop thread only.
 */
#pragma once

#include "apps/api/call.h"
#include "lib/http/client.h"

enum {
    LLM_EVENT_MAX = 1024 * 1024, /**< bytes of one event, or of a whole answer of the model list */
    LLM_ERROR_MAX = 64 * 1024,   /**< bytes of an error's body */
    LLM_ANSWER_MAX =
        2 * 1024 * 1024 /**< bytes of one answer, thoughts and arguments included: its result must fit a socket that holds a stream back */
};

/** Who asks, and under which id; all borrowed. */
struct llm_caller {
    struct api *api;
    const char *authorization, *request_id;
};
/** Starts a call with the caller's credential and request id. header: one more line, or NULL. Fills in the rest of spec. */
CDS_MUST_USE cds_rc llm_send(const struct llm_caller *caller, const char *method, const char *path, const char *header, const cds_json *body,
                             struct cds_http_call_spec *spec, struct cds_http_call **ret, struct cds_err *err);
/** The same for a call of JSON-RPC. */
CDS_MUST_USE cds_rc llm_post(struct call *call, const char *method, const char *path, const char *header, const cds_json *body,
                             struct cds_http_call_spec *spec, struct cds_http_call **ret, struct cds_err *err);
/** An OpenAI error object, or whatever came with that status, as our error value. */
void llm_error_of(const cds_json *body, int status, struct cds_err *err);
/** llmserver gave no answer. why may be NULL. */
void llm_unreachable(struct cds_err *err, const struct cds_err *why);

/** leaf_llm_stream.c: llm.chat, llm.complete, llm.resume. */
void llm_stream_start(struct call *call);
/** leaf_llm_embed.c: llm.embed. */
void llm_embed_start(struct call *call);
