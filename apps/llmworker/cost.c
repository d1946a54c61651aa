#include "apps/llmworker/cost.h"

#include <math.h>

/* Logits of every row: what a step of an answer costs more than one of a prompt, until it was measured. */
static const double with_logits = 1.3, weight = 0.1;

static unsigned point_of(unsigned rows)
{
    unsigned at = 0;
    while (rows > 1 && at < CDS_COST_POINTS - 1) {
        rows >>= 1;
        at++;
    }
    return at;
}

void cds_cost_learn(struct cds_cost *cost, unsigned rows, double spent)
{
    unsigned at = point_of(rows);
    unsigned seen = ++cost->point[at].seen;
    double share = seen < 10 ? 1.0 / seen : weight;
    cost->point[at].rows += share * (rows - cost->point[at].rows);
    cost->point[at].cost += share * (spent - cost->point[at].cost);
}

double cds_cost_of(const struct cds_cost *cost, unsigned rows)
{
    int below = -1, above = -1;
    for (int i = 0; i < CDS_COST_POINTS; i++) {
        if (!cost->point[i].seen)
            continue;
        if (cost->point[i].rows <= rows)
            below = i;
        else if (above < 0)
            above = i;
    }
    if (below < 0 && above < 0)
        return 0;
    if (below < 0 || above < 0) {
        int only = below < 0 ? above : below;
        return cost->point[only].cost * rows / cost->point[only].rows;
    }
    double part = (rows - cost->point[below].rows) / (cost->point[above].rows - cost->point[below].rows);
    return cost->point[below].cost + part * (cost->point[above].cost - cost->point[below].cost);
}

double cds_cost_reach(const struct cds_cost *cost)
{
    double most = 0;
    for (int i = 0; i < CDS_COST_POINTS; i++)
        if (cost->point[i].seen && cost->point[i].rows > most)
            most = cost->point[i].rows;
    return most;
}

double cds_costs_of(const struct cds_costs *costs, unsigned rows)
{
    double known = cds_cost_of(&costs->answers, rows);
    if (cds_cost_reach(&costs->answers) >= rows || cds_cost_reach(&costs->prompts) < rows)
        return known;
    double guess = cds_cost_of(&costs->prompts, rows) * with_logits, least = cds_cost_of(&costs->answers, 1);
    if (known > 0 && guess > known)
        guess = known;
    return guess > least ? guess : least;
}

unsigned cds_costs_draft(const struct cds_costs *costs, unsigned rows, double chance, double each, unsigned most)
{
    /* Kernels work on four rows at a time: a step of five costs nearly what one of eight does. */
    static const unsigned totals[] = {2, 4, 8, 12, 16, 24, 32, 48, 64};
    double base = cds_costs_of(costs, rows), token = base / rows, best = token * 0.1;
    unsigned length = 0;
    if (base <= 0 || chance <= 0)
        return 0;
    for (unsigned i = 0; i < sizeof(totals) / sizeof(*totals) && totals[i] <= rows + most; i++) {
        if (totals[i] <= rows)
            continue;
        unsigned k = totals[i] - rows;
        double right = chance >= 1 ? k : chance * (1 - pow(chance, k)) / (1 - chance);
        double saves = right * token - (cds_costs_of(costs, rows + k) - base) - each * k;
        if (saves > best) {
            best = saves;
            length = k;
        }
    }
    return length;
}
