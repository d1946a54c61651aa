#include "apps/llmworker/infill.h"

#include <stdlib.h>
#include <string.h>

enum { MARKS = 4 /* three around the gap, and BOS */ };

static size_t least(size_t a, size_t b)
{
    return a < b ? a : b;
}

static void put(int32_t *list, size_t *count, const int32_t *tokens, size_t n)
{
    if (n && tokens)
        memcpy(list + *count, tokens, n * sizeof(*list));
    *count += n;
}

int32_t *cds_infill_join(const struct cds_infill_tokens *marks, int32_t bos, struct cds_infill_part prefix, struct cds_infill_part suffix,
                         struct cds_infill_part extra, size_t room, size_t *ret_count)
{
    size_t text = room - MARKS, quarter = text / 4;
    /* Each may have its share, and what the other one leaves of its own. */
    size_t behind = least(suffix.count, quarter + (prefix.count < text - quarter ? text - quarter - prefix.count : 0));
    size_t before = least(prefix.count, text - behind), others = least(extra.count, text - behind - before);
    int32_t *all = malloc(room * sizeof(*all));
    size_t count = 0;
    if (!all)
        return NULL;
    if (bos >= 0)
        put(all, &count, &bos, 1);
    put(all, &count, extra.tokens ? extra.tokens + (extra.count - others) : NULL, others);
    put(all, &count, &marks->prefix, 1);
    put(all, &count, prefix.tokens ? prefix.tokens + (prefix.count - before) : NULL, before);
    put(all, &count, &marks->suffix, 1);
    put(all, &count, suffix.tokens, behind);
    put(all, &count, &marks->middle, 1);
    *ret_count = count;
    return all;
}
