/* apps/llmworker/inputs.h: what "prepare" asks of a model that encodes, to texts in tokens.
 *
 * Source:  llama.cpp tools/server (format_prompt_rerank: how query and document stand together); docs/adr/0048-embeddings.md
 * Threads: one thread (the engine's).
 */
#pragma once

#include "apps/llmworker/prompt.h"
#include "apps/llmworker/vectors.h"

enum { CDS_INPUTS_MAX = 2048, CDS_RANK_TEMPLATE_MAX = 4096, CDS_RANK_ROOM_MIN = 16, CDS_INPUT_TOKEN_BYTES = 64 };

/** The frame's members, checked; texts are borrowed from it. Pure part of inputs, for tests. */
struct cds_inputs {
    int64_t id;
    enum cds_vectors_kind kind;
    /* Embedding: */
    const cds_json *inputs; /**< strings, or lists of token ids */
    int pooling;            /**< enum cds_pooling; -1: the model's */
    uint32_t dimensions;    /**< 0: all */
    int32_t norm;
    /* Ranking: */
    const char *query;
    const cds_json *documents; /**< strings */
    const char *form;          /**< text with {query} and {document}; NULL: the model's, or the usual one */
    bool chunks;               /**< a document that is too long is cut, and its best part counts; else it is refused */
    uint32_t overlap;          /**< tokens that two parts have in common */
};
/** @return CDS_OK; CDS_BAD_PARAM naming the member; ret->id is set whenever the frame has one */
CDS_MUST_USE cds_rc cds_inputs_read(const cds_json *params, struct cds_inputs *ret, struct cds_err *reterr);
/** Is this "prepare" for a model that encodes? */
bool cds_inputs_meant(const cds_json *params);

/**
 * To tokens.
 * @param facts  of the model
 * @param ret    cds_vectors_spec_clear frees it
 * @return CDS_OK; CDS_BAD_PARAM; CDS_CONTEXT_LENGTH naming the text and both numbers; CDS_TOO_LARGE (the answer would be too long)
 */
CDS_MUST_USE cds_rc cds_inputs_make(const struct cds_prompter *prompter, const struct cds_engine_facts *facts, const struct cds_inputs *inputs,
                                    struct cds_vectors_spec *ret, struct cds_err *reterr);
