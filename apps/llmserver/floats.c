#include "apps/llmserver/floats.h"

#include <math.h>
#include <stdio.h>
#include <string.h>

enum { TEXT_MAX = 32, DIGITS = 11 };

/** 0.ddddddddddd: between 2^-8 and 1 neighbouring floats are at least 2^-32 apart, so eleven digits tell them from one another. */
static size_t write_small(float value, char *text)
{
    double size = fabs((double)value);
    uint64_t scaled = (uint64_t)(size * 1e11 + 0.5);
    size_t len = 0;
    if (value < 0)
        text[len++] = '-';
    text[len++] = '0';
    text[len++] = '.';
    for (int i = DIGITS; i-- > 0; scaled /= 10)
        text[len + (size_t)i] = (char)('0' + scaled % 10);
    len += DIGITS;
    while (text[len - 1] == '0')
        len--;
    return len; /* at least 1/256, so a digit stands behind the point */
}

void cds_floats_json(const unsigned char *bytes, size_t count, struct cds_buf *out)
{
    (void)cds_buf_add(out, "[", 1);
    for (size_t i = 0; i < count; i++) {
        char text[TEXT_MAX];
        float value;
        memcpy(&value, bytes + i * sizeof(value), sizeof(value));
        size_t len;
        if (!isfinite(value))
            value = 0;
        if (fabsf(value) < 0.999999F && fabsf(value) >= 1.0F / 256)
            len = write_small(value, text);
        else
            len = (size_t)snprintf(text, sizeof(text), "%.9g", (double)value);
        if (i)
            (void)cds_buf_add(out, ",", 1);
        (void)cds_buf_add(out, text, len);
    }
    (void)cds_buf_add(out, "]", 1);
}
