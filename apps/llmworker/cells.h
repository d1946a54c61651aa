/* apps/llmworker/cells.h: which tokens fill the context, and which sequences have them in common: the prefix tree of all prompts and answers.
 *
 * A sequence is the list of the cells of its tokens. A cell that was shared (the library only tags it with one more sequence) stands in
 * several lists, so sequences with a common beginning form a tree without nodes of its own: nothing has to be split, merged or allocated, and
 * the count of used cells is exact. Sharing is by beginnings only, so what a sequence has for itself is always its tail, and giving up a tail
 * never hurts another sequence.
 *
 * A sequence is live while a request owns it, and kept otherwise: kept cells may be given up at any time.
 * Source:  docs/adr/0040-one-scheduler-many-prefixes.md
 * Threads: values only, one owner.
 */
#pragma once

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "lib/base/err.h"

struct cds_cell {
    int32_t token;
    uint16_t holders; /**< sequences that have it */
    uint16_t live;    /**< those of them that a request owns */
};
struct cds_cells {
    struct cds_cell *cell;
    uint32_t *unused; /**< stack of cells nobody holds */
    uint32_t count, unused_count;
    uint32_t live_count; /**< cells that at least one live sequence holds */
};
/** One sequence. */
struct cds_branch {
    uint32_t *cells; /**< room for all cells of the context */
    uint32_t filled; /**< tokens it has */
    bool live;
};

CDS_MUST_USE cds_rc cds_cells_init(struct cds_cells *cells, uint32_t count, struct cds_err *reterr);
void cds_cells_clear(struct cds_cells *cells);
CDS_MUST_USE cds_rc cds_branch_init(const struct cds_cells *cells, struct cds_branch *branch, struct cds_err *reterr);
void cds_branch_clear(struct cds_branch *branch);

/** Tokens the branch and the list have in common from the beginning, at most `most`. */
uint32_t cds_branch_common(const struct cds_cells *cells, const struct cds_branch *branch, const int32_t *tokens, uint32_t most);
/** How many of its first `count` cells some live sequence holds already. */
uint32_t cds_branch_live_part(const struct cds_cells *cells, const struct cds_branch *branch, uint32_t count);
/** Cells at its end that no other sequence holds: what giving it up would free. */
uint32_t cds_branch_own_tail(const struct cds_cells *cells, const struct cds_branch *branch);
/** One more token; the caller has made sure that a cell is unused. */
void cds_branch_append(struct cds_cells *cells, struct cds_branch *branch, int32_t token);
/** The first `count` cells of `from` also belong to `to`, which is empty. */
void cds_branch_share(struct cds_cells *cells, const struct cds_branch *from, struct cds_branch *to, uint32_t count);
/** Forgets everything behind the first `length` tokens. */
void cds_branch_cut(struct cds_cells *cells, struct cds_branch *branch, uint32_t length);
void cds_branch_set_live(struct cds_cells *cells, struct cds_branch *branch, bool live);
