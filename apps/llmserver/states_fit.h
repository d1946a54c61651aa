/* apps/llmserver/states_fit.h: with what a state was made, and whether a model is still that.
 *
 * Threads: loop thread only.
 */
#pragma once

#include "apps/llmserver/model.h"

/** Head of a state: {"user", "name", "model", "file_bytes", "library", "settings", "adapters", "tokens", "created"}; owned by the caller.
 *  @param state  what the model process said: {"tokens", "adapters": [{"id", "scale"}]} */
cds_json *cds_states_made_with(const struct cds_model *model, const char *user_id, const char *name, const cds_json *state);
/** @return CDS_OK; CDS_CONFLICT naming what is another now */
CDS_MUST_USE cds_rc cds_states_fit(const struct cds_model *model, const cds_json *head, struct cds_err *reterr);
