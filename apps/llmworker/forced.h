/* apps/llmworker/forced.h: text that a grammar leaves no choice about. Included by sampler.c and forced.c; includes llama.h with engine.c.
 *
 * A grammar allows characters; a text is forced as long as exactly one byte may come next and the answer may not end. Several tokens can spell the
 * same text; the ones that the tokenizer spells it with are taken without sampling, whether they are computed together or one by one. The last one of
 * them is chosen by the sampler, because a longer token may spell what comes behind too, unless it is the only one that fits. Threads: one owner,
 * that of the engine.
 */
#pragma once

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

struct llama_vocab;
struct cds_shim_grammar;
enum { CDS_FORCED_MAX = 160, CDS_FORCED_TOKENS = 48 };

/** What the vocabulary is asked about; made once for an engine. */
struct cds_spelling;
/** @return NULL: memory is out, or too many tokens begin with a byte that has none of its own, so that nothing can be said */
struct cds_spelling *cds_spelling_new(const struct llama_vocab *vocab);
void cds_spelling_free(struct cds_spelling *spelling);

/** What must come next, as far as it is known. */
struct cds_forced {
    char text[CDS_FORCED_MAX];
    unsigned len;
    bool known;                        /**< text is what the grammar forces in its present state */
    bool whole;                        /**< behind the text something may be chosen, or it ends */
    int32_t tokens[CDS_FORCED_TOKENS]; /**< that spell it, without the last one */
    unsigned at, count;                /**< those from at on are still to come */
};
/** Finds it, from the present state of the grammar. */
void cds_forced_find(struct cds_forced *forced, const struct cds_spelling *spelling, struct cds_shim_grammar *grammar);
/** A token was taken. */
void cds_forced_accept(struct cds_forced *forced, const struct cds_spelling *spelling, int32_t token);
/** The token that comes next; -1: the sampler chooses. */
int32_t cds_forced_next(const struct cds_forced *forced, const struct cds_spelling *spelling, struct cds_shim_grammar *grammar);
