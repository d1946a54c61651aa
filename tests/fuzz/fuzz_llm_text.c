// link: app_llmworker
#include <stdlib.h>
#include <string.h>

#include "apps/llmworker/text.h"
#include "lib/base/str.h"

/* "stop\0stop\0\0" and then the text; the text is fed in pieces of the size its first byte says. Whatever comes out is well-formed UTF-8, holds no
 * stop string, and is the same when the text comes in one piece. */
static void run(const struct cds_text *stops, const char *data, size_t size, size_t piece, struct cds_buf *out)
{
    struct cds_text text = *stops;
    for (size_t at = 0; at < size; at += piece) {
        size_t n = size - at < piece ? size - at : piece;
        if (cds_text_feed(&text, data + at, n, out))
            return;
    }
    cds_text_end(&text, out);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    struct cds_text stops;
    const char *p = (const char *)data;
    size_t left = size;
    cds_text_reset(&stops);
    while (left > 0) {
        size_t n = strnlen(p, left);
        bool last = n == 0;
        if (!last && cds_utf8_valid(p, n) && cds_text_add_stop(&stops, p, n) != CDS_OK)
            last = true;
        p += n < left ? n + 1 : n;
        left -= n < left ? n + 1 : n;
        if (last)
            break;
    }
    if (left < 1)
        return 0;
    size_t piece = 1 + (unsigned char)*p % 16;
    struct cds_buf whole = cds_buf_init(1 << 24), parts = cds_buf_init(1 << 24);
    run(&stops, p + 1, left - 1, left, &whole);
    run(&stops, p + 1, left - 1, piece, &parts);
    if (!cds_utf8_valid(parts.data ? parts.data : "", parts.len))
        abort();
    for (unsigned i = 0; i < stops.stop_count; i++)
        if (parts.len && memmem(parts.data, parts.len, stops.stop[i], stops.stop_len[i]))
            abort();
    if (stops.stop_count == 0 && (whole.len != parts.len || (whole.len && memcmp(whole.data, parts.data, whole.len) != 0)))
        abort();
    cds_buf_free(&whole);
    cds_buf_free(&parts);
    return 0;
}
