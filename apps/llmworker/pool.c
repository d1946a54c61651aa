#include "apps/llmworker/pool.h"

#include <math.h>
#include <string.h>

#include "lib/base/str.h"

static const char *const names[] = {"none", "mean", "cls", "last", "rank"};

const char *cds_pooling_name(int pooling)
{
    return pooling >= 0 && pooling < (int)CDS_ARRAY_LEN(names) ? names[pooling] : NULL;
}

bool cds_pooling_parse(const char *name, enum cds_pooling *ret)
{
    for (size_t i = 0; name && i < CDS_ARRAY_LEN(names); i++) {
        if (!cds_streq(name, names[i]))
            continue;
        *ret = (enum cds_pooling)i;
        return true;
    }
    return false;
}

void cds_pool_tokens(enum cds_pooling pooling, const float *(*row)(void *user, uint32_t token), void *user, uint32_t tokens, uint32_t width,
                     float *ret)
{
    if (pooling != CDS_POOL_MEAN) {
        memcpy(ret, row(user, pooling == CDS_POOL_LAST ? tokens - 1 : 0), width * sizeof(*ret));
        return;
    }
    memset(ret, 0, width * sizeof(*ret));
    for (uint32_t t = 0; t < tokens; t++) {
        const float *values = row(user, t);
        for (uint32_t i = 0; i < width; i++)
            ret[i] += values[i];
    }
    for (uint32_t i = 0; i < width; i++)
        ret[i] /= (float)tokens;
}

void cds_vector_normalize(float *vector, uint32_t width, int32_t norm)
{
    double sum = 0;
    if (norm == CDS_NORM_NONE)
        return;
    for (uint32_t i = 0; i < width; i++) {
        double size = fabs((double)vector[i]);
        if (norm == CDS_NORM_MAX)
            sum = size > sum ? size : sum;
        else
            sum += norm == CDS_NORM_TAXICAB ? size : norm == CDS_NORM_EUCLID ? size * size : pow(size, norm);
    }
    if (norm == CDS_NORM_MAX)
        sum /= 32760;
    else if (norm > CDS_NORM_TAXICAB)
        sum = norm == CDS_NORM_EUCLID ? sqrt(sum) : pow(sum, 1.0 / norm);
    for (uint32_t i = 0; i < width && sum > 0; i++)
        vector[i] = (float)((double)vector[i] / sum);
}

double cds_vector_dot(const float *a, const float *b, uint32_t width)
{
    double sum = 0;
    for (uint32_t i = 0; i < width; i++)
        sum += (double)a[i] * (double)b[i];
    return sum;
}
