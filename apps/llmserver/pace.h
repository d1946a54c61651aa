/* apps/llmserver/pace.h: the limits of rate of each request: whose they are, where they come from, what the client is told.
 *
 * Source:  docs/adr/0070-rate-limits.md; draft-ietf-httpapi-ratelimit-headers-11.
 * Threads: loop thread only.
 * A key's limits come with its token. A user's are read from the database (rate_limits), each second what has changed; until the first look nobody is
 * let in, so that no limit is passed because it is not known yet. Who has none of their own has the configured defaults.
 */
#pragma once

#include "apps/llmserver/generation.h"
#include "apps/llmserver/rates.h"

struct cds_pace;
struct cds_pace_options {
    struct cds_loop *loop;
    const char *conninfo;            /**< copied */
    unsigned nodes;                  /**< llmservers that share the limits */
    struct cds_rate_limits defaults; /**< of a user without limits of their own */
};
CDS_MUST_USE cds_rc cds_pace_new(const struct cds_pace_options *options, struct cds_pace **ret, struct cds_err *reterr);
void cds_pace_free(struct cds_pace **pace);

/** A request of this caller comes. On a refusal req gets the headers that say why. @return CDS_OK; CDS_RATE_LIMITED; CDS_UNAVAILABLE; CDS_BUSY */
CDS_MUST_USE cds_rc cds_pace_begin(struct cds_pace *pace, const struct cds_credential *credential, struct cds_http_req *req, struct cds_err *reterr);
/** cds_pace_begin said yes, and there will be no request after all. */
void cds_pace_cancel(struct cds_pace *pace, const struct cds_credential *credential);
/** gen is the request that cds_pace_begin let in. */
void cds_pace_adopt(struct cds_gen *gen);
/** Tokens of the first hold. May make the first slice smaller, so that it fits. @return CDS_OK; CDS_RATE_LIMITED */
CDS_MUST_USE cds_rc cds_pace_first(struct cds_gen *gen, struct cds_err *reterr);
/** A further slice of each answer: as much of `tokens` as there is, at least one. @return CDS_OK with *ret_tokens; CDS_RATE_LIMITED */
CDS_MUST_USE cds_rc cds_pace_more(struct cds_gen *gen, uint32_t tokens, uint32_t *ret_tokens, struct cds_err *reterr);
/** It is over: what it did not use is given back. Once; later calls do nothing. */
void cds_pace_end(struct cds_gen *gen);
/** The headers of its answer, once, before its first byte. */
void cds_pace_tell(struct cds_gen *gen);
