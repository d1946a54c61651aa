/* apps/llmworker/drafter.h: a small model of the same vocabulary that guesses what the big one will say. Included by engine.c and drafter.c.
 *
 * Threads: one owner, that of the engine.
 * It has a context of its own, with the sequence numbers of the scheduler; what a sequence says is compared with what it was told last, and
 * only the difference is read. A guess stops before a token that is less likely than the request wants.
 */
#pragma once

#include <stddef.h>
#include <stdint.h>

#include "lib/base/err.h"

struct llama_vocab;
struct cds_drafter;
/** @return CDS_OK; CDS_BAD_PARAM: it cannot be loaded, or its vocabulary is another one; CDS_EXHAUSTED */
CDS_MUST_USE cds_rc cds_drafter_open(const struct llama_vocab *vocab, const char *path, uint32_t cells, uint32_t sequences, uint32_t threads,
                                     struct cds_drafter **ret, struct cds_err *reterr);
void cds_drafter_close(struct cds_drafter **drafter);
void cds_drafter_set_threads(struct cds_drafter *drafter, uint32_t threads); /**< NULL is fine */
/**
 * The likeliest tokens behind the text of a sequence.
 * @return how many, at most `most`; 0 while it still reads (a long text takes several calls), or when nothing is likely enough
 */
unsigned cds_drafter_guess(struct cds_drafter *drafter, int sequence, const int32_t *tokens, size_t count, float confidence, int32_t *ret,
                           unsigned most);
/** CPU time of the last guess, without reading. */
uint64_t cds_drafter_spent_us(const struct cds_drafter *drafter);
