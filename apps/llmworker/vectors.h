/* apps/llmworker/vectors.h: requests for vectors of texts, or for ranks, on a model that encodes.
 *
 * A step is one batch of whole texts: one of each request in turn, until CDS_VECTORS_ROWS tokens or CDS_ENCODER_TEXTS texts are together (a longer
 * text goes alone). So a request with a thousand texts does not hold up one with a single one, and a cancel takes effect within a step.
 * Vectors are handed on as they come, in the order of the texts; of a ranking each document keeps the best score of its texts.
 * Threads: one owner. Events are delivered inside the calls, never while the engine computes: add, start and cancel may be called from there and
 *          take effect when the step is over.
 */
#pragma once

#include "apps/llmworker/encoder.h"
#include "lib/json/json.h"

enum {
    CDS_VECTORS_ROWS = 512,
    CDS_VECTORS_TEXTS_MAX = 16384,    /**< texts of one request; a long document may be several */
    CDS_VECTORS_VALUES_MAX = 4 << 20, /**< numbers of one answer */
    CDS_VECTORS_JOBS_MAX = 8192
};

enum cds_vectors_kind {
    CDS_VECTORS_EMBED,  /**< a vector for each text */
    CDS_VECTORS_RANK,   /**< a score of the ranking head for each owner */
    CDS_VECTORS_COSINE, /**< the first text is the query: how alike each owner is */
};

struct cds_vectors_text {
    int32_t *tokens; /**< owned */
    uint32_t count;
    uint32_t owner; /**< which document it belongs to */
};
struct cds_vectors_spec {
    int64_t id;
    enum cds_vectors_kind kind;
    bool each_token; /**< CDS_VECTORS_EMBED: a vector for each token */
    enum cds_pooling pooling;
    uint32_t width;                 /**< numbers of a vector that are kept */
    int32_t norm;                   /**< pool.h */
    uint32_t owners;                /**< documents to be ranked */
    struct cds_vectors_text *texts; /**< owned */
    size_t text_count;
};
void cds_vectors_spec_clear(struct cds_vectors_spec *spec);

enum cds_vectors_end { CDS_VECTORS_DONE, CDS_VECTORS_CANCELLED, CDS_VECTORS_FAILED };
struct cds_vectors_report {
    int64_t id;
    enum cds_vectors_end end;
    uint32_t prompt_tokens, evaluated_tokens; /**< of all texts; of those that were evaluated */
    const float *scores;                      /**< of a ranking, one for each owner; borrowed; NULL without */
    uint32_t owners;
};
struct cds_vectors_sink {
    /** The next text of a request: count vectors of width numbers, borrowed. */
    void (*on_vectors)(void *user, int64_t id, const float *values, uint32_t count, uint32_t width);
    void (*on_end)(void *user, const struct cds_vectors_report *report); /**< last event of a request */
};
struct cds_vectors_counters {
    uint64_t steps, rows, texts, cancelled, aborted_steps;
    uint32_t most_texts; /**< in one step */
    uint32_t active, waiting;
};

struct cds_vectors;
/** @param width  numbers of the model's vectors; rows: most tokens of one batch */
CDS_MUST_USE cds_rc cds_vectors_new(const struct cds_encoder_ops *ops, void *engine, uint32_t width, uint32_t rows, unsigned jobs,
                                    const struct cds_vectors_sink *sink, void *user, struct cds_vectors **ret, struct cds_err *reterr);
void cds_vectors_free(struct cds_vectors **vectors);
/** Remembers a request; takes the texts of spec on success. @return CDS_OK; CDS_CONFLICT (id known), CDS_BUSY, CDS_EXHAUSTED */
CDS_MUST_USE cds_rc cds_vectors_add(struct cds_vectors *vectors, struct cds_vectors_spec *spec, struct cds_err *reterr);
/** Unknown ids are ignored: the request may just have ended. */
void cds_vectors_start(struct cds_vectors *vectors, int64_t id);
void cds_vectors_cancel(struct cds_vectors *vectors, int64_t id);
bool cds_vectors_runnable(const struct cds_vectors *vectors);
void cds_vectors_step(struct cds_vectors *vectors);
/** While the engine computes: every request of this step was cancelled. */
bool cds_vectors_step_is_dead(const struct cds_vectors *vectors);
struct cds_vectors_counters cds_vectors_counters(const struct cds_vectors *vectors);
