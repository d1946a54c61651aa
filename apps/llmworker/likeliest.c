#include "apps/llmworker/likeliest.h"

#include <math.h>
#include <stdlib.h>

enum { BLOCK = 16 };

struct best {
    int32_t token;
    float logit;
};

static int by_token(const void *a, const void *b)
{
    const struct cds_bias *x = a, *y = b;
    return (x->token > y->token) - (x->token < y->token);
}

unsigned cds_bias_sort(struct cds_bias *bias, unsigned count)
{
    unsigned kept = 0;
    qsort(bias, count, sizeof(*bias), by_token);
    for (unsigned i = 0; i < count; i++) {
        if (kept && bias[kept - 1].token == bias[i].token)
            bias[kept - 1].bias += bias[i].bias;
        else
            bias[kept++] = bias[i];
    }
    return kept;
}

/** Nearly every block holds nothing better than what was found before it; that is seen for the whole block at once. */
static bool holds_better(const float *logits, float than)
{
    int better = 0;
    for (int i = 0; i < BLOCK; i++)
        better |= logits[i] > than;
    return better != 0;
}

static void look(const float *logits, int32_t from, int32_t to, struct best *best)
{
    for (int32_t at = from; at < to;) {
        if (to - at >= BLOCK && !holds_better(logits + at, best->logit)) {
            at += BLOCK;
            continue;
        }
        for (int32_t end = to - at >= BLOCK ? at + BLOCK : to; at < end; at++)
            if (logits[at] > best->logit)
                *best = (struct best){at, logits[at]};
    }
}

int32_t cds_likeliest(const float *logits, int32_t count, const struct cds_bias *bias, unsigned bias_count)
{
    struct best best = {0, -INFINITY};
    int32_t at = 0;
    for (unsigned i = 0; i < bias_count; i++) {
        int32_t token = bias[i].token;
        look(logits, at, token, &best);
        float logit = logits[token] + bias[i].bias;
        if (logit > best.logit)
            best = (struct best){token, logit};
        at = token + 1;
    }
    look(logits, at, count, &best);
    return best.token;
}
