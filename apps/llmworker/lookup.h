/* apps/llmworker/lookup.h: what a text has said before, as a guess at what it says next.
 *
 * The end of the text is looked for in the text itself; what followed there is expected here. The expectation costs nothing as long as it is
 * only watched, so it is watched all the time: how often it came true in this very answer is the chance that it comes true again, and a draft
 * is worth computing only when that chance is high (cost.h).
 * Source:  A. Saxena, "Prompt lookup decoding" (2023); the chance is Laplace's rule of succession over the runs of this answer.
 * Threads: values only, one owner.
 */
#pragma once

#include <stddef.h>
#include <stdint.h>

/* MIN: tokens the ends must have in common. BACK: how far back it looks. */
enum { CDS_LOOKUP_MIN = 3, CDS_LOOKUP_LONG = 24, CDS_LOOKUP_BACK = 32768 };

struct cds_lookup {
    uint32_t at;           /**< place of the token that is expected next; 0: nothing is expected */
    uint32_t run;          /**< tokens in a row that were as expected */
    uint32_t hits, breaks; /**< tokens of earlier runs, and how many such runs ended */
};
/** The text has grown by its last token. */
void cds_lookup_feed(struct cds_lookup *lookup, const int32_t *tokens, size_t count);
/** The text was changed elsewhere: what is expected has no place any more. */
void cds_lookup_forget(struct cds_lookup *lookup);
/** Chance that the next token is as expected, 0..1; 0 when nothing is. */
double cds_lookup_chance(const struct cds_lookup *lookup);
/** What is expected, at most `most` tokens. @return how many */
unsigned cds_lookup_draft(const struct cds_lookup *lookup, const int32_t *tokens, size_t count, int32_t *ret, unsigned most);
