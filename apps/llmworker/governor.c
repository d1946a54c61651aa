#include "apps/llmworker/governor.h"

enum { WAIT_FIRST_MS = 1000, WAIT_MAX_MS = 30000, PROVEN_MS = 5000 };
/* Less than this share of the wanted CPU time is a push; smoothing lets single hiccups pass. */
static const double pushed = 0.75, weight = 0.2;

struct cds_governor cds_governor_begin(uint32_t most)
{
    return (struct cds_governor){.most = most, .now = most, .share = 1, .wait_ms = WAIT_FIRST_MS};
}

uint32_t cds_governor_step(struct cds_governor *g, uint64_t wall_us, uint64_t cpu_us, uint64_t now_ms)
{
    if (g->now > 1 && wall_us > 0) {
        double got = (double)cpu_us / ((double)wall_us * g->now);
        g->share += weight * ((got < 1 ? got : 1) - g->share);
    }
    if (g->now > 1 && g->share < pushed) {
        g->now--;
        g->share = 1;
        g->raise_ms = now_ms + g->wait_ms;
        g->wait_ms = g->wait_ms * 2 < WAIT_MAX_MS ? g->wait_ms * 2 : WAIT_MAX_MS;
    } else if (g->now < g->most && now_ms >= g->raise_ms) {
        g->now++;
        g->share = 1;
        g->raised_ms = now_ms;
        g->raise_ms = now_ms + WAIT_FIRST_MS;
    } else if (g->now == g->most && g->wait_ms > WAIT_FIRST_MS && now_ms - g->raised_ms >= PROVEN_MS) {
        g->wait_ms = WAIT_FIRST_MS;
    }
    return g->now;
}
