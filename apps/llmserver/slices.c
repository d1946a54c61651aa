#include "apps/llmserver/slices.h"

static uint32_t least(uint32_t a, uint32_t b)
{
    return a < b ? a : b;
}

struct cds_slices cds_slices_begin(uint32_t max_tokens)
{
    uint32_t first = least(max_tokens, CDS_SLICE_FIRST);
    return (struct cds_slices){.max_tokens = max_tokens, .granted = first, .size = CDS_SLICE_FIRST};
}

uint32_t cds_slices_due(struct cds_slices *slices, uint32_t generated)
{
    if (slices->asked || slices->refused || slices->granted >= slices->max_tokens)
        return 0;
    /* A quarter of the running slice is left, or less: time enough for a round trip to the ledger. */
    if (generated + slices->size / 4 < slices->granted)
        return 0;
    slices->asked = true;
    return least(least(slices->size * 2, CDS_SLICE_MAX), slices->max_tokens - slices->granted);
}

void cds_slices_granted(struct cds_slices *slices, uint32_t tokens)
{
    slices->granted += least(tokens, slices->max_tokens - slices->granted);
    slices->size = least(slices->size * 2, CDS_SLICE_MAX);
    slices->asked = false;
}

void cds_slices_refused(struct cds_slices *slices)
{
    slices->asked = false;
    slices->refused = true;
}
