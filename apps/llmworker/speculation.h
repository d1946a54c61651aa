/* apps/llmworker/speculation.h: whether and how an answer may be computed ahead, read from "prepare".
 *
 * A guess at the next tokens is computed together with the last one; the sampler then chooses as it would have chosen without, and what it
 * chose otherwise is thrown away. So the text is the same, and only what the sampler chose counts as generated.
 * Threads: values; cds_speculation_read is a pure function.
 */
#pragma once

#include <stdbool.h>
#include <stdint.h>

#include "lib/json/json.h"

enum { CDS_DRAFT_MAX = 63 };

struct cds_speculation {
    bool lookup;        /**< guesses from the text itself (lookup.h) */
    bool grammar;       /**< text that a grammar leaves no choice about (forced.h) */
    bool draft;         /**< guesses of a draft model, where the text has none */
    bool always;        /**< even when it costs more than it saves; to measure what it is worth */
    uint32_t min, most; /**< a guess of fewer tokens is not used, 0..most; most tokens of a guess, 0: CDS_DRAFT_MAX */
    float confidence;   /**< a draft model stops before a token less likely than this, 0..1 */
};
/** "speculation": {"lookup", "grammar", "draft", "always", "min", "most", "confidence"}; absent: off. @return CDS_OK; CDS_BAD_PARAM */
CDS_MUST_USE cds_rc cds_speculation_read(const cds_json *params, struct cds_speculation *ret, struct cds_err *reterr);
