/* apps/llmserver/poison.h: requests under which the model process died; one that was there twice is not tried again.
 *
 * Source:  docs/adr/0042-sampling-and-grammar.md
 * Threads: loop thread only.
 * A fingerprint is a hash of user, model and body; it is forgotten CDS_POISON_KEEP_MS after the last death, and the oldest one when there are too
 * many. A request that only ran beside the guilty one is among the suspects too: it is refused only when that happens to it twice.
 */
#pragma once

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "lib/base/err.h"

enum { CDS_POISON_MAX = 512, CDS_POISON_DEATHS = 2, CDS_POISON_KEEP_MS = 600000 };

struct cds_poison {
    struct {
        uint64_t fingerprint, at_ms;
        unsigned deaths;
    } suspects[CDS_POISON_MAX];
};
uint64_t cds_poison_fingerprint(const char *user_id, const char *model_id, const char *body, size_t len);
/** The process died while this request was in its hands. */
void cds_poison_add(struct cds_poison *poison, uint64_t fingerprint, uint64_t now_ms);
/** @return CDS_OK; CDS_BAD_PARAM: it was there at two deaths */
CDS_MUST_USE cds_rc cds_poison_check(const struct cds_poison *poison, uint64_t fingerprint, uint64_t now_ms, struct cds_err *reterr);
