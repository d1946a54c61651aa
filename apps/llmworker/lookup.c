#include "apps/llmworker/lookup.h"

/* Older runs count less: a text changes its character. */
enum { RUNS_KEPT = 256 };

/** Tokens the ends of the text at `at` and at its end have in common, both excluded; at most CDS_LOOKUP_LONG. */
static uint32_t common_end(const int32_t *tokens, size_t count, size_t at)
{
    uint32_t n = 0;
    while (n < CDS_LOOKUP_LONG && n < at && tokens[at - 1 - n] == tokens[count - 1 - n])
        n++;
    return n;
}

/** The place behind the longest earlier copy of the end; of equally long ones the latest. 0: none. */
static uint32_t search(const int32_t *tokens, size_t count)
{
    size_t least = count > CDS_LOOKUP_BACK ? count - CDS_LOOKUP_BACK : 0;
    uint32_t best = CDS_LOOKUP_MIN - 1, found = 0;
    for (size_t at = count - 1; at > least && best < CDS_LOOKUP_LONG; at--) {
        if (tokens[at - 1] != tokens[count - 1])
            continue;
        uint32_t n = common_end(tokens, count, at);
        if (n > best) {
            best = n;
            found = (uint32_t)at;
        }
    }
    return found;
}

void cds_lookup_feed(struct cds_lookup *lookup, const int32_t *tokens, size_t count)
{
    if (count < 2)
        return;
    if (lookup->at && lookup->at < count - 1 && tokens[lookup->at] == tokens[count - 1]) {
        lookup->at++;
        lookup->run++;
        return;
    }
    if (lookup->at) {
        lookup->hits += lookup->run;
        lookup->breaks++;
        lookup->run = 0;
        if (lookup->hits + lookup->breaks > RUNS_KEPT) {
            lookup->hits /= 2;
            lookup->breaks = (lookup->breaks + 1) / 2;
        }
    }
    lookup->at = search(tokens, count);
}

void cds_lookup_forget(struct cds_lookup *lookup)
{
    lookup->at = 0;
    lookup->run = 0;
}

double cds_lookup_chance(const struct cds_lookup *lookup)
{
    double right = (double)lookup->hits + lookup->run;
    return lookup->at ? (right + 1) / (right + lookup->breaks + 2) : 0;
}

unsigned cds_lookup_draft(const struct cds_lookup *lookup, const int32_t *tokens, size_t count, int32_t *ret, unsigned most)
{
    if (!lookup->at || lookup->at >= count)
        return 0;
    /* What repeats itself goes on repeating: behind the end of the text the draft is its own source. */
    for (unsigned i = 0; i < most; i++) {
        size_t from = lookup->at + i;
        ret[i] = from < count ? tokens[from] : ret[from - count];
    }
    return most;
}
