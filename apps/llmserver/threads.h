/* apps/llmserver/threads.h: one budget of compute threads for all models, split by demand.
 *
 * Two models that compute with all cores each hold each other up at every token: the threads of a step wait for each other actively. So the
 * budget is split over the models that have requests, in the proportion of these, at least one thread each; a model that works alone has all of
 * it. The governor of each model process (apps/llmworker/governor.h) then makes room for foreign programs.
 * Threads: loop thread only.
 */
#pragma once

#include <stdint.h>

struct cds_llm;

enum { CDS_THREADS_MODELS_MAX = 64 };
/**
 * Splits a budget.
 * @param demand     running requests of each model
 * @param ret_share  threads of each: 0 where the demand is 0, at least 1 elsewhere; their sum is the budget where the budget is enough
 */
void cds_threads_split(uint32_t budget, const uint32_t *demand, uint32_t *ret_share, unsigned count);
/** Tells each model process its share, when it changed. Call it when a request begins or ends, and when a model came up. */
void cds_threads_share(struct cds_llm *app);
