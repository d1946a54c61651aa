/* apps/llmserver/probe.h: does a model process that has nothing to do still compute? Asked by /readyz, answered by one token.
 *
 * A process that is at work is watched by its frames (model.c). One that idles says nothing, and may have got stuck since: whoever asks whether the
 * server is ready lets it compute one token, at most every CDS_PROBE_AFTER_MS (and twice in llm.silent_ms where that is short), which is nobody's and
 * costs nothing. An answer that does not come makes the server unready after CDS_PROBE_WAIT_MS and is as bad as a silent process after llm.silent_ms.
 * Threads: loop thread only.
 */
#pragma once

#include "apps/llmserver/model.h"

enum {
    CDS_PROBE_AFTER_MS = 5000, /**< at most: a process that said something so lately is not asked */
    CDS_PROBE_WAIT_MS = 2000   /**< it is not ready when a token takes longer */
};

/** Somebody wants to know: asks for a token, unless it is at work or is being asked. @return CDS_OK; CDS_UNAVAILABLE: an answer is overdue */
CDS_MUST_USE cds_rc cds_probe(struct cds_model *model, struct cds_err *reterr);
/** A frame of the process. @return true: it was about the probe */
bool cds_probe_frame(struct cds_model *model, const char *method, const cds_json *params);
