/* apps/llmworker/scheduler.h: many requests, one model: which tokens go into the next step.
 *
 * A step is one batch: first one token of every request that generates, then pieces of prompts, at most prefill_busy (prefill_idle when
 * nobody generates) tokens of them together, so that a long prompt never holds up running answers for more than one small step. The oldest
 * waiting prompt gets a quarter of that share, the shortest remaining one the rest.
 *
 * Admission: a started request gets a sequence when the cells for its whole prompt and answer are free, in order of arrival; so a running
 * request never runs out of cells. The cells of ended requests stay filled: a later prompt of the same scope that begins with the same tokens
 * takes them over instead of computing them again (also from a request that is still running).
 *
 * Tokens: a request generates only what was granted to it; at the end of the grant it waits without being computed.
 * Threads: one owner. Events are delivered inside the calls.
 */
#pragma once

#include "apps/llmworker/engine.h"
#include "apps/llmworker/text.h"

enum { CDS_SLOTS_MAX = 64, CDS_JOBS_MAX = 8192, CDS_END_TOKENS_MAX = 16 };

struct cds_sched_limits {
    unsigned slots;                      /**< sequences, 1..CDS_SLOTS_MAX */
    unsigned cells;                      /**< tokens the context holds */
    unsigned prefill_busy, prefill_idle; /**< prompt tokens of one step */
    unsigned jobs;                       /**< requests known at once, at most CDS_JOBS_MAX */
    bool share;                          /**< the model can share and cut sequences */
};

/** A request whose prompt is known. */
struct cds_job_spec {
    int64_t id;
    int32_t *tokens; /**< malloc'ed; owned by the scheduler after a successful add */
    size_t token_count;
    uint32_t max_tokens; /**< most tokens it may generate, >= 1 */
    uint64_t scope;      /**< prompts are shared inside one scope only */
    struct cds_sampling sampling;
    struct cds_text text; /**< with its stop strings */
    int32_t end_tokens[CDS_END_TOKENS_MAX];
    unsigned end_token_count; /**< tokens that end it like an end token of the model */
};

enum cds_job_end { CDS_JOB_STOP, CDS_JOB_LENGTH, CDS_JOB_CANCELLED, CDS_JOB_FAILED };

/** What a request used. */
struct cds_job_report {
    int64_t id;
    enum cds_job_end end;
    uint32_t prompt_tokens;    /**< of the rendered prompt */
    uint32_t cached_tokens;    /**< part of it that was there already */
    uint32_t evaluated_tokens; /**< part of the prompt that was reached, cached included */
    uint32_t completion_tokens;
};

struct cds_sched_sink {
    /** New text (may be empty) after completion_tokens tokens. */
    void (*on_text)(void *user, int64_t id, const char *text, size_t len, uint32_t completion_tokens);
    void (*on_end)(void *user, const struct cds_job_report *report); /**< last event of a request */
    /** A token was chosen; its on_text follows. May be NULL. */
    void (*on_token)(void *user, int64_t id, int32_t token, const void *sampler);
};

/** Work done since the start, for proofs. */
struct cds_sched_counters {
    uint64_t steps, rows, prompt_rows, cached_tokens;
    uint32_t most_generating; /**< requests in one step */
    uint32_t active, waiting;
};

struct cds_sched;
CDS_MUST_USE cds_rc cds_sched_new(const struct cds_sched_limits *limits, const struct cds_engine_ops *ops, void *engine,
                                  const struct cds_sched_sink *sink, void *user, struct cds_sched **ret, struct cds_err *reterr);
void cds_sched_free(struct cds_sched **sched);
/** Remembers a request; nothing is computed before start. @return CDS_OK; CDS_CONFLICT (id known), CDS_BUSY, CDS_CONTEXT_LENGTH */
CDS_MUST_USE cds_rc cds_sched_add(struct cds_sched *sched, const struct cds_job_spec *spec, struct cds_err *reterr);
/** Lets it run for `granted` tokens. Unknown ids are ignored: the request may just have ended. */
void cds_sched_start(struct cds_sched *sched, int64_t id, uint32_t granted);
/** Raises the number of tokens it may generate in all; last: there will be no more. */
void cds_sched_grant(struct cds_sched *sched, int64_t id, uint32_t granted, bool last);
/** Ends it before the next step; on_end is called inside. */
void cds_sched_cancel(struct cds_sched *sched, int64_t id);
/** True while a step would compute something. */
bool cds_sched_runnable(const struct cds_sched *sched);
/** One batch. */
void cds_sched_step(struct cds_sched *sched);
struct cds_sched_counters cds_sched_counters(const struct cds_sched *sched);
