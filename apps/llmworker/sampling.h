/* apps/llmworker/sampling.h: how one request chooses its tokens, read from "prepare".
 *
 * Source:  llama.cpp tools/server/README.md (names, ranges and defaults of the parameters).
 * Threads: values; cds_sampling_read is a pure function.
 */
#pragma once

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "lib/json/json.h"

enum {
    CDS_BIAS_MAX = 1024,
    CDS_BREAKERS_MAX = 16,
    CDS_EXEMPT_MAX = 64,
    CDS_ORDER_MAX = 16,
    CDS_LOGPROBS_MAX = 20,
    CDS_TRIGGERS_MAX = 16,
    CDS_PRESERVED_MAX = 64
};

/** Steps of the chain; their order is the request's. */
enum cds_sampler_step {
    CDS_STEP_PENALTIES,
    CDS_STEP_DRY,
    CDS_STEP_TOP_N_SIGMA,
    CDS_STEP_TOP_K,
    CDS_STEP_TYPICAL,
    CDS_STEP_TOP_P,
    CDS_STEP_MIN_P,
    CDS_STEP_XTC,
    CDS_STEP_TEMPERATURE,
    CDS_STEPS
};

struct cds_bias {
    int32_t token;
    float bias; /**< added to the logit; -INFINITY: never */
};

/** Texts and lists are borrowed: they live as long as the frame and the cds_prepare they came in. */
struct cds_sampling {
    float temperature; /**< 0: always the likeliest token */
    float dynatemp_range, dynatemp_exponent;
    float top_p, min_p, typical_p, top_n_sigma; /**< 1, 0, 1 and below 0: off */
    float xtc_probability, xtc_threshold;
    int32_t top_k; /**< 0: no limit */
    uint32_t min_keep;
    float presence_penalty, frequency_penalty, repeat_penalty; /**< 0, 0 and 1: off */
    int32_t repeat_last_n;                                     /**< tokens that are looked at; below 0: all of the context */
    int32_t exempt[CDS_EXEMPT_MAX];                            /**< tokens that may repeat themselves */
    unsigned exempt_count;
    bool spares_newline;            /**< so may every token with a line break */
    float dry_multiplier, dry_base; /**< 0: off */
    int32_t dry_allowed_length, dry_last_n;
    const char *dry_breakers[CDS_BREAKERS_MAX];
    unsigned dry_breaker_count;
    int32_t mirostat; /**< 0, 1 or 2 */
    float mirostat_tau, mirostat_eta;
    uint32_t seed;
    enum cds_sampler_step order[CDS_ORDER_MAX];
    unsigned order_count;
    const struct cds_bias *bias; /**< every token at most once counts */
    unsigned bias_count;
    bool ignore_eos;   /**< tokens that end an answer are never chosen */
    bool wants_chance; /**< the chance of each token is needed: logprobs, or the best of several answers */
    uint32_t logprobs; /**< likeliest tokens to tell beside it, 0..CDS_LOGPROBS_MAX */
    /* What the text must look like: */
    const char *grammar;                    /**< GBNF with the rule root; NULL: anything */
    bool grammar_lazy;                      /**< holds only from the first trigger on */
    const char *triggers[CDS_TRIGGERS_MAX]; /**< patterns over the text so far; the grammar is fed from their first group on */
    unsigned trigger_count;
    const char *grammar_prefill;              /**< end of the prompt that the grammar covers too; NULL: none */
    const char *preserved[CDS_PRESERVED_MAX]; /**< control tokens that belong to the text */
    unsigned preserved_count;
    /* How long it may think: */
    int32_t thinking_budget; /**< tokens; below 0: no limit */
    bool thinking_begun;     /**< the prompt ends inside a thought */
    const char *thinking_start, *thinking_end;
};

/**
 * Numbers, order and penalties.
 * @param ret_bias  malloc'ed list that ret->bias points at, NULL without one; the caller frees it
 * @return CDS_OK; CDS_BAD_PARAM naming the member; CDS_EXHAUSTED
 */
CDS_MUST_USE cds_rc cds_sampling_read(const cds_json *params, struct cds_sampling *ret, struct cds_bias **ret_bias, struct cds_err *reterr);
