/* apps/llmserver/states.h: what a model has read of a prompt, kept in a file under a name and put back later: nothing of it is computed twice.
 *
 * A state belongs to the user who saved it: <home>/states/<user>/<name>.state (state_file.h), at most llm.states_per_user of them and
 * llm.states_bytes bytes together. It is saved by a request with "save_state" (its prompt is read and billed, nothing is said), and put back by POST
 * /v1/states/{name}/restore: what begins alike then counts as cached. It is put back only into the model that made it, with the same settings and
 * adapters; a difference is named.
 * One state at a time is on its way between a file and a model process, through the memory file of that process (proc.h).
 * Threads: loop thread only; files are read and written on a thread of its own.
 */
#pragma once

#include "apps/llmserver/generation.h"

struct cds_states;
CDS_MUST_USE cds_rc cds_states_new(struct cds_llm *app, struct cds_states **ret, struct cds_err *reterr);
void cds_states_free(struct cds_states **states);
/** Before the prompt of a request that saves is read. @return CDS_OK with the bytes there is room for; CDS_BUSY: another state is on its way;
 *  CDS_EXHAUSTED: the user has no more room */
CDS_MUST_USE cds_rc cds_states_reserve(struct cds_gen *gen, uint64_t *ret_most_bytes, struct cds_err *reterr);
/** The request is over, or gave it up. No-op for others. */
void cds_states_release(struct cds_llm *app, int64_t job);
/** Its prompt is read, and the model process said what it wrote. cds_flow_saved is called when the file is there, or not. */
void cds_states_save(struct cds_gen *gen, struct cds_model *model, const cds_json *state);
/** The model process answers to a restore. */
void cds_states_restored(struct cds_model *model, const cds_json *params);
/** The process of a model is gone. */
void cds_states_model_down(struct cds_model *model);
/** /v1/states...; true when the path was one of them. */
bool cds_states_route(struct cds_llm *app, struct cds_http_req *req, const struct cds_credential *credential);
