/* apps/llmserver/slices.h: how much of an answer is reserved at a time.
 *
 * A request does not hold its whole max_tokens at once: the first slice is at most 256 tokens, the next ones double up to 2048, so that a
 * user with a small rest can still ask, and a long answer asks the ledger only a few times. The next slice is asked for before the
 * running one is used up, so that generation does not wait for the ledger.
 * Threads: values only.
 */
#pragma once

#include <stdbool.h>
#include <stdint.h>

enum { CDS_SLICE_FIRST = 256, CDS_SLICE_MAX = 2048 };

struct cds_slices {
    uint32_t max_tokens; /**< the answer's ceiling */
    uint32_t granted;    /**< tokens that are reserved */
    uint32_t size;       /**< of the last slice */
    bool asked;          /**< a further slice is under way */
    bool refused;        /**< there will be no further one */
};
/** The first slice; granted is its size. */
struct cds_slices cds_slices_begin(uint32_t max_tokens);
/** Size of the slice to ask for now, 0 when none is needed. Marks it as asked. */
uint32_t cds_slices_due(struct cds_slices *slices, uint32_t generated);
/** The answer to the asked slice: granted or refused. */
void cds_slices_granted(struct cds_slices *slices, uint32_t tokens);
void cds_slices_refused(struct cds_slices *slices);
