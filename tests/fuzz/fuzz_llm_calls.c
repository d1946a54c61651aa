// link: app_llmworker
#include <stdlib.h>
#include <string.h>

#include "apps/llmworker/calls.h"
#include "apps/llmworker/think.h"
#include "lib/base/str.h"

/* An answer of the model, in pieces: the first byte is their size. */
int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    if (size < 1 || !cds_utf8_valid((const char *)data + 1, size - 1) || memchr(data + 1, 0, size - 1))
        return 0;
    struct cds_calls calls;
    struct cds_think think;
    CDS_CLEANUP(cds_buf_free) struct cds_buf thought = cds_buf_init(size * 2 + 64);
    CDS_CLEANUP(cds_buf_free) struct cds_buf text = cds_buf_init(size * 2 + 64);
    CDS_JSON_AUTO deltas = cds_json_array();
    cds_calls_begin(&calls);
    cds_think_begin(&think, "<t>", "</t>", data[0] & 1);
    size_t piece = (size_t)(data[0] >> 1) + 1;
    for (size_t at = 1; at < size;) {
        size_t n = size - at < piece ? size - at : piece;
        size_t whole = cds_utf8_complete((const char *)data + at, n);
        n = whole ? whole : (size - at < 4 ? size - at : 4);
        cds_think_feed(&think, (const char *)data + at, n, false, &thought, &text);
        at += cds_calls_feed(&calls, (const char *)data + at, n, false, deltas) ? n : size; /* a name of over 4 KB ends it */
    }
    cds_think_feed(&think, "", 0, true, &thought, &text);
    bool ended = cds_calls_feed(&calls, "", 0, true, deltas);
    if (!ended && calls.held.len == 0)
        abort();
    if (thought.len + text.len > size || calls.count > size)
        abort();
    cds_think_clear(&think);
    cds_calls_clear(&calls);
    return 0;
}
