/* apps/llmworker/cost.h: what a step costs by its number of rows, learned from the steps that were made, and how long a draft pays.
 *
 * A draft of k tokens makes the step k rows longer; each token of it that comes true saves the row of a later step. What rows cost is not a
 * formula: some models compute eight rows in the time of one, others in the time of eight, and sixteen in less.
 * Threads: values only, one owner. Costs in any unit that stays the same (the engine's: microseconds of CPU time).
 */
#pragma once

#include <stdint.h>

enum { CDS_COST_POINTS = 9 };

struct cds_cost {
    struct {
        double rows, cost; /**< smoothed */
        unsigned seen;
    } point[CDS_COST_POINTS]; /**< steps of 1, 2..3, 4..7, ... rows */
};
void cds_cost_learn(struct cds_cost *cost, unsigned rows, double spent);
/** Between two known points a straight line; beyond the last one, rows cost what they cost there. 0: nothing is known. */
double cds_cost_of(const struct cds_cost *cost, unsigned rows);
/** Largest number of rows there is a point for; 0: none. */
double cds_cost_reach(const struct cds_cost *cost);

/** What steps of answers cost, and steps of prompts, which need no logits. */
struct cds_costs {
    struct cds_cost answers, prompts;
};
/** Of a step of answers; where none was made yet, guessed from those of prompts. 0: nothing is known. */
double cds_costs_of(const struct cds_costs *costs, unsigned rows);
/**
 * Length of the draft that saves most.
 * @param rows    of the step without it, >= 1
 * @param chance  that each token of it comes true when those before did, 0..1
 * @param each    further cost of each token of the draft
 * @param most    longest
 * @return 0: none pays
 */
unsigned cds_costs_draft(const struct cds_costs *costs, unsigned rows, double chance, double each, unsigned most);
