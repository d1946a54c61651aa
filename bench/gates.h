/* bench/gates.h: how the yardsticks of the sandbox tell their gates to tools/bench_gates.mjs, which prints them in one table.
 *
 * Source: docs/performance.md, "The sandbox". The gates themselves (what, how much) stand in that tool only.
 */
#pragma once

#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>

/** @param id  "G1".. @param figure  reached @param spread  p95 / p50 of what was measured; 0: none @param noisy  the machine was too busy to judge */
static inline void gate_say(const char *id, double figure, double spread, bool noisy)
{
    printf("{\"gate\":\"%s\",\"figure\":%.4f,\"spread\":%.2f,\"noisy\":%s}\n", id, figure, spread, noisy ? "true" : "false");
    fflush(stdout);
}

static inline int gate_by_size(const void *a, const void *b)
{
    double x = *(const double *)a, y = *(const double *)b;
    return (x > y) - (x < y);
}

/** @param ms  is sorted by this @param q  0..1 */
static inline double gate_quantile(double *ms, size_t n, double q)
{
    size_t at = (size_t)((double)n * q);
    if (!n)
        return 0;
    qsort(ms, n, sizeof(ms[0]), gate_by_size);
    return ms[at < n ? at : n - 1];
}
