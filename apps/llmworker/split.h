/* apps/llmworker/split.h: which steps are cheaper in two batches: the prompts first, the answers then.
 *
 * The library's attention for 64 rows and more works on tiles of 64 rows by 64 cells and leaves a tile out only if none of its rows looks at any of
 * its cells. Rows of many answers in one tile look at the cells of all of them, and each cell is then computed for each row: while a prompt entered
 * beside long answers that was more work than all weights together. Below 64 rows it goes row by row and cell by cell and leaves out what a row
 * does not see; so answers get a batch of their own, which costs reading the weights once more.
 * Source:  ggml's ops.cpp, ggml_compute_forward_flash_attn_ext; docs/adr/0068-answers-beside-prompts.md
 * Threads: values only.
 */
#pragma once

#include <stdint.h>

#include "apps/llmworker/engine.h"

enum { CDS_TILE = 64 };

/** What one tile costs, in rows of the weights. @param width, layers, parameters  of the model; 0 parameters: 0 */
double cds_split_tile(uint32_t width, uint32_t layers, uint64_t parameters);
/**
 * @param tile       of cds_split_tile; 0: never split
 * @param ret_order  `count` numbers of rows, those of the first batch before those of the second, each in the order of `rows`
 * @return rows of the first batch, which need no logits; 0: the step stays one batch
 */
int cds_split_step(const struct cds_row *rows, int count, double tile, int32_t *ret_order);
/**
 * How many rows of prompts go beside answers: as many as fill one tile of rows with them where the step will be one batch, since each tile of rows is
 * computed against all cells that one of its rows looks at, and one row alone in a second tile costs as much as 64.
 * @param answers rows of running answers and their guesses, `count` of them
 * @param most    rows of prompts that a step may have
 * @return 1..most
 */
unsigned cds_split_share(const struct cds_row *answers, int count, double tile, unsigned most);
