/* sandbox/term_ring.c: see term_ring.h. */
#include "sandbox/term_ring.h"

#include <stdlib.h>
#include <string.h>

cds_rc term_ring_open(struct term_ring *ring, size_t cap, struct cds_err *reterr)
{
    *ring = (struct term_ring){.data = malloc(cap), .cap = cap};
    return ring->data ? CDS_OK : cds_fail(reterr, CDS_EXHAUSTED, __func__, "No memory for the output of a terminal.");
}

void term_ring_free(struct term_ring *ring)
{
    free(ring->data);
    *ring = (struct term_ring){.data = NULL};
}

uint64_t term_ring_begin(const struct term_ring *ring)
{
    return ring->end > ring->cap ? ring->end - ring->cap : 0;
}

void term_ring_add(struct term_ring *ring, const char *data, size_t len)
{
    if (len > ring->cap) { /* only its end will be left */
        ring->end += len - ring->cap;
        data += len - ring->cap;
        len = ring->cap;
    }
    size_t at = (size_t)(ring->end % ring->cap), first = len < ring->cap - at ? len : ring->cap - at;
    memcpy(ring->data + at, data, first);
    memcpy(ring->data, data + first, len - first);
    ring->end += len;
}

size_t term_ring_read(const struct term_ring *ring, uint64_t from, char *out, size_t max)
{
    if (from < term_ring_begin(ring) || from >= ring->end)
        return 0;
    size_t len = ring->end - from < max ? (size_t)(ring->end - from) : max;
    size_t at = (size_t)(from % ring->cap), first = len < ring->cap - at ? len : ring->cap - at;
    memcpy(out, ring->data + at, first);
    memcpy(out + first, ring->data, len - first);
    return len;
}
