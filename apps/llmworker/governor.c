#include "apps/llmworker/governor.h"

#include <stdio.h>

enum { WAIT_FIRST_MS = 1000, WAIT_MAX_MS = 30000, PROVEN_MS = 5000, TIMES_KEPT_MS = 60000 };
/* Less than this share of the wanted CPU time is a push; smoothing lets single hiccups pass. */
static const double pushed = 0.75, weight = 0.2, seen = 0.3, slower = 1.15;

struct cds_governor cds_governor_begin(uint32_t most)
{
    return (struct cds_governor){.most = most, .now = most, .share = 1, .wait_ms = WAIT_FIRST_MS};
}

/** Threads that leave a core to each thread of others. */
static uint32_t room(const struct cds_governor *g)
{
    if (!g->cores)
        return g->most;
    double busy = g->others / g->cores, left = g->most * (1 - (busy < 1 ? busy : 1));
    return left < 1.5 ? 1 : (uint32_t)(left + 0.5);
}

bool cds_governor_looks(const struct cds_governor *g, uint64_t now_ms)
{
    return g->most > 1 && (!g->looked_ms || now_ms - g->looked_ms >= CDS_GOVERNOR_LOOK_MS);
}

uint32_t cds_governor_queue(struct cds_governor *g, uint32_t runnable, uint32_t cores, uint64_t now_ms)
{
    /* Between two steps our other threads still spin for a while. */
    double others = runnable > g->now ? runnable - g->now : 0;
    g->others += (g->looked_ms ? seen : 1) * (others - g->others);
    g->looked_ms = now_ms;
    g->cores = cores;
    if (g->now > room(g)) {
        g->now = room(g);
        g->share = 1;
        g->raise_ms = now_ms + WAIT_FIRST_MS;
    }
    return g->now;
}

uint32_t cds_governor_runnable(const char *loadavg)
{
    unsigned runnable = 0;
    return sscanf(loadavg, "%*s %*s %*s %u/", &runnable) == 1 ? runnable : 0;
}

void cds_governor_row(struct cds_governor *g, uint32_t rows, uint64_t wall_us, uint64_t now_ms)
{
    if (!rows || g->now > CDS_GOVERNOR_TIMES)
        return;
    double us = (double)wall_us / rows;
    double share = g->row[g->now - 1].ms ? weight : 1;
    g->row[g->now - 1].us += share * (us - g->row[g->now - 1].us);
    g->row[g->now - 1].ms = now_ms ? now_ms : 1;
}

/** One thread less was clearly faster not long ago. */
static bool slower_than_fewer(const struct cds_governor *g, uint64_t now_ms)
{
    if (g->now < 2 || g->now > CDS_GOVERNOR_TIMES || !g->row[g->now - 1].ms || !g->row[g->now - 2].ms)
        return false;
    return now_ms - g->row[g->now - 2].ms < TIMES_KEPT_MS && g->row[g->now - 1].us > g->row[g->now - 2].us * slower;
}

uint32_t cds_governor_step(struct cds_governor *g, uint64_t wall_us, uint64_t cpu_us, uint64_t now_ms)
{
    if (g->now > 1 && wall_us > 0) {
        double got = (double)cpu_us / ((double)wall_us * g->now);
        g->share += weight * ((got < 1 ? got : 1) - g->share);
    }
    if (g->now > 1 && (g->share < pushed || slower_than_fewer(g, now_ms))) {
        g->now--;
        g->share = 1;
        g->raise_ms = now_ms + g->wait_ms;
        g->wait_ms = g->wait_ms * 2 < WAIT_MAX_MS ? g->wait_ms * 2 : WAIT_MAX_MS;
    } else if (g->now < g->most && g->now < room(g) && now_ms >= g->raise_ms) {
        g->now++;
        g->share = 1;
        if (g->now <= CDS_GOVERNOR_TIMES)
            g->row[g->now - 1].ms = 0; /* it gets a fair new try */
        g->raised_ms = now_ms;
        g->raise_ms = now_ms + WAIT_FIRST_MS;
    } else if (g->now == g->most && g->wait_ms > WAIT_FIRST_MS && now_ms - g->raised_ms >= PROVEN_MS) {
        g->wait_ms = WAIT_FIRST_MS;
    }
    return g->now;
}
