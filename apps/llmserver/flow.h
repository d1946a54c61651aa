/* apps/llmserver/flow.h: inside of a generation: the steps from stage to stage. Included by generation.c, generations.c, flow.c, flow_end.c,
 * results.c, states.c and turns.c only.
 *
 * Threads: loop thread only.
 */
#pragma once

#include "apps/llmserver/generation.h"

/** Live request by its job number, NULL if unknown. */
struct cds_gen *cds_gen_find(const struct cds_llm *app, int64_t job);

/** Sends the prompt to the model process. */
void cds_flow_prepare(struct cds_gen *gen);
/** It has a slot: its tokens are reserved, and then it starts. */
void cds_flow_reserve(struct cds_gen *gen);
/** Tells the model process to stop; the end comes with its numbers. */
void cds_flow_stop(struct cds_gen *gen, const char *ended);
/** The state of its prompt is in its file; err: it is not, and why. */
void cds_flow_saved(struct cds_gen *gen, const struct cds_err *err);
/** A number that keeps prompts of one user (and the shares of one key) together and tells nothing about either. */
int64_t cds_flow_scope(const char *id);
/** The ledger takes too long: the client gets its end now, the booking goes on without it. */
void cds_flow_settle_late(struct cds_gen *gen);
/** Ends with an error; what is held in the ledger is settled with zero. */
void cds_flow_fail(struct cds_gen *gen, const struct cds_err *err, const char *outcome);
/** Ends regularly: writes the answer with gen->end. */
void cds_flow_finish(struct cds_gen *gen);
/** Nothing more for the client: gives back the slot, waits for open ledger calls, frees. */
void cds_flow_over(struct cds_gen *gen);
/** Takes the request out of the queue, out of the model process and out of its slot. */
void cds_flow_leave_model(struct cds_gen *gen);

/* flow_end.c: what the request has used, and its booking. */
struct cds_meter_request cds_flow_ledger_request(const struct cds_gen *gen);
/** Books what gen->end says; the answer goes out when it is booked. */
void cds_flow_settle(struct cds_gen *gen);
/** Books nothing and gives the hold back. */
void cds_flow_settle_zero(struct cds_gen *gen, const char *outcome);
/** The model process is done with it. */
void cds_flow_done(struct cds_gen *gen, const cds_json *params);
