/* apps/llmserver/residency.h: which models stay in memory when not all fit: idle ones leave, wanted ones come, two that alternate take turns.
 *
 * With llm.autoload a request for a model that is not loaded loads it and waits. When there is no room, the model that was used longest ago and
 * has no request leaves first; never a pinned one, one that loads, or one that came less than llm.residency_ms ago. When all are busy, the
 * one used longest ago lets its new requests wait as soon as the other has waited for llm.residency_ms: what runs is finished, then they change
 * places, and the requests that gathered meanwhile are served together.
 * Threads: loop thread only.
 */
#pragma once

#include "apps/llmserver/app.h"

enum { CDS_RESIDENCY_LOOK_MS = 100 };

CDS_MUST_USE cds_rc cds_residency_start(struct cds_llm *app, struct cds_err *reterr);
void cds_residency_stop(struct cds_llm *app);
/** Is the model named in llm.pinned (a list of ids)? Exposed for tests. */
bool cds_residency_named(const char *list, const char *id);
