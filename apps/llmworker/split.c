#include "apps/llmworker/split.h"

/** What a second batch costs, in rows: a few rows alone are dearer than among many. */
enum { SECOND_BATCH_ROWS = 8 };

double cds_split_tile(uint32_t width, uint32_t layers, uint64_t parameters)
{
    /* 64 x 64 products of q and k and as many of the result and v, of all heads of all layers; a row is two operations per parameter. */
    return parameters ? (double)CDS_TILE * CDS_TILE * 4 * width * layers / (2.0 * (double)parameters) : 0;
}

/** The tiles of cells that answers look at are computed for all rows of the step, unless the answers get a batch of their own. */
static bool answers_are_dear(const struct cds_row *rows, int count, double tile)
{
    int tiles = 0;
    for (int i = 0; i < count; i++)
        /* A guess stands behind its answer and looks at the same cells. */
        if (rows[i].sample && (i == 0 || !rows[i - 1].sample || rows[i - 1].sequence != rows[i].sequence))
            tiles += rows[i].position / CDS_TILE + 1;
    return tiles * tile >= SECOND_BATCH_ROWS;
}

int cds_split_step(const struct cds_row *rows, int count, double tile, int32_t *ret_order)
{
    int answers = 0;
    if (count < CDS_TILE)
        return 0;
    for (int i = 0; i < count; i++) {
        if (rows[i].tell)
            return 0; /* logits of the first batch would be gone */
        answers += rows[i].sample;
    }
    if (answers == 0 || answers == count || answers >= CDS_TILE || !answers_are_dear(rows, count, tile))
        return 0;
    int first = 0, second = count - answers;
    for (int i = 0; i < count; i++)
        ret_order[rows[i].sample ? second++ : first++] = i;
    return first;
}

unsigned cds_split_share(const struct cds_row *answers, int count, double tile, unsigned most)
{
    if (tile <= 0 || count < 1 || count > CDS_TILE / 2 || most > CDS_TILE || most + (unsigned)count <= CDS_TILE)
        return most;
    return answers_are_dear(answers, count, tile) ? most : CDS_TILE - (unsigned)count;
}
