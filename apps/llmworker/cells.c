#include "apps/llmworker/cells.h"

#include <stdlib.h>

cds_rc cds_cells_init(struct cds_cells *cells, uint32_t count, struct cds_err *reterr)
{
    *cells = (struct cds_cells){.count = count, .unused_count = count};
    cells->cell = calloc(count, sizeof(*cells->cell));
    cells->unused = calloc(count, sizeof(*cells->unused));
    if (!cells->cell || !cells->unused)
        return cds_fail(reterr, CDS_EXHAUSTED, __func__, "There is not enough memory for the list of %u cells.", count);
    for (uint32_t i = 0; i < count; i++)
        cells->unused[i] = count - 1 - i;
    return CDS_OK;
}

void cds_cells_clear(struct cds_cells *cells)
{
    free(cells->cell);
    free(cells->unused);
    *cells = (struct cds_cells){0};
}

cds_rc cds_branch_init(const struct cds_cells *cells, struct cds_branch *branch, struct cds_err *reterr)
{
    *branch = (struct cds_branch){0};
    branch->cells = calloc(cells->count, sizeof(*branch->cells));
    if (!branch->cells)
        return cds_fail(reterr, CDS_EXHAUSTED, __func__, "There is not enough memory for a sequence of %u cells.", cells->count);
    return CDS_OK;
}

void cds_branch_clear(struct cds_branch *branch)
{
    free(branch->cells);
    *branch = (struct cds_branch){0};
}

uint32_t cds_branch_common(const struct cds_cells *cells, const struct cds_branch *branch, const int32_t *tokens, uint32_t most)
{
    uint32_t n = 0;
    if (most > branch->filled)
        most = branch->filled;
    while (n < most && cells->cell[branch->cells[n]].token == tokens[n])
        n++;
    return n;
}

uint32_t cds_branch_live_part(const struct cds_cells *cells, const struct cds_branch *branch, uint32_t count)
{
    /* Sharing is by beginnings: behind the first cell that nobody lives in there is no other. */
    uint32_t n = 0;
    while (n < count && n < branch->filled && cells->cell[branch->cells[n]].live)
        n++;
    return n;
}

uint32_t cds_branch_own_tail(const struct cds_cells *cells, const struct cds_branch *branch)
{
    uint32_t n = 0;
    while (n < branch->filled && cells->cell[branch->cells[branch->filled - 1 - n]].holders == 1)
        n++;
    return n;
}

static void take(struct cds_cells *cells, struct cds_cell *cell, bool live)
{
    cell->holders++;
    if (live && cell->live++ == 0)
        cells->live_count++;
}

void cds_branch_append(struct cds_cells *cells, struct cds_branch *branch, int32_t token)
{
    uint32_t at = cells->unused[--cells->unused_count];
    cells->cell[at] = (struct cds_cell){.token = token};
    take(cells, &cells->cell[at], branch->live);
    branch->cells[branch->filled++] = at;
}

void cds_branch_share(struct cds_cells *cells, const struct cds_branch *from, struct cds_branch *to, uint32_t count)
{
    for (uint32_t i = 0; i < count; i++) {
        to->cells[i] = from->cells[i];
        take(cells, &cells->cell[to->cells[i]], to->live);
    }
    to->filled = count;
}

void cds_branch_cut(struct cds_cells *cells, struct cds_branch *branch, uint32_t length)
{
    while (branch->filled > length) {
        uint32_t at = branch->cells[--branch->filled];
        struct cds_cell *cell = &cells->cell[at];
        if (branch->live && --cell->live == 0)
            cells->live_count--;
        if (--cell->holders == 0)
            cells->unused[cells->unused_count++] = at;
    }
}

void cds_branch_set_live(struct cds_cells *cells, struct cds_branch *branch, bool live)
{
    if (branch->live == live)
        return;
    branch->live = live;
    for (uint32_t i = 0; i < branch->filled; i++) {
        struct cds_cell *cell = &cells->cell[branch->cells[i]];
        if (live && cell->live++ == 0)
            cells->live_count++;
        else if (!live && --cell->live == 0)
            cells->live_count--;
    }
}
