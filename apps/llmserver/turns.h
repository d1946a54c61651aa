/* apps/llmserver/turns.h: whose turn it is: how many may wait, who begins next, and what a waiting request is told.
 *
 * Slots go out through queue.h. A key that has two requests less running than another one (or a request of a higher class) begins even while
 * all slots are taken: the model process puts back the newest request of the greedy key (docs/adr/0040). So a small key waits for a step, not
 * for somebody's long answer. At most twice as many requests as slots are in the model process.
 * Source:  docs/adr/0041-turns-of-keys.md
 * Threads: loop thread only.
 */
#pragma once

#include "apps/llmserver/generation.h"

/**
 * May one more request of this key wait for the model?
 * @param ret_place  its place in the queue if it may
 * @return CDS_OK; CDS_RATE_LIMITED (this key has its share waiting), CDS_BUSY (everybody together); both with retry_after_ms
 */
CDS_MUST_USE cds_rc cds_turns_admit(const struct cds_llm *app, const struct cds_model *model, const char *key, unsigned *ret_place,
                                    struct cds_err *reterr);
/** A prepared request waits for its turn, or begins at once. */
void cds_turns_wait(struct cds_gen *gen);
/** Gives free slots to waiting requests. */
void cds_turns_pump(struct cds_model *model);
/** A request gives its slot back. */
void cds_turns_release(struct cds_gen *gen);
/** Place of a queued request, 1 is the next one; 0: it does not wait. */
unsigned cds_turns_place(const struct cds_gen *gen);
/** The waiting requests of a model, at most 100 of them: [{"user_id","class","place","tokens","waited_ms"}]. */
cds_json *cds_turns_list(const struct cds_model *model);
