/* apps/llmserver/draft.h: which small model guesses for which big one (llm.draft_models).
 *
 * Threads: loop thread only.
 */
#pragma once

#include "apps/llmserver/model.h"

/** The draft model that the configuration names for this one. NULL: none, or there is no such file; why says which, "" when none was named. */
const struct cds_model *cds_draft_of(const struct cds_model *model, char *why, size_t why_size);
/** Memory it adds to that of the model: its weights and a cache of as many cells. */
uint64_t cds_draft_bytes(const struct cds_model *model, uint64_t cells, uint64_t batch);
