/* sandbox/term_ring.h: the last bytes that a terminal wrote, each found by its number since the terminal was opened.
 *
 * Threads: one owner.
 * Memory:  cap bytes, whatever is written.
 */
#pragma once

#include <stddef.h>
#include <stdint.h>

#include "lib/base/err.h"

struct term_ring {
    char *data;   /**< owned */
    size_t cap;   /**< bytes */
    uint64_t end; /**< bytes ever written: number of the next one */
};

/** @return CDS_OK; CDS_EXHAUSTED */
CDS_MUST_USE cds_rc term_ring_open(struct term_ring *ring, size_t cap, struct cds_err *reterr);
void term_ring_free(struct term_ring *ring);
void term_ring_add(struct term_ring *ring, const char *data, size_t len);
/** Number of the oldest byte that is still there. */
uint64_t term_ring_begin(const struct term_ring *ring);
/** Copies up to max bytes from number `from`, which is in begin..end. @return bytes copied */
size_t term_ring_read(const struct term_ring *ring, uint64_t from, char *out, size_t max);
