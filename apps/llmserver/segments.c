#include "apps/llmserver/segments.h"

#include <stdlib.h>

struct cds_segment *cds_segments_take(struct cds_segments *segments, enum cds_segment_kind kind, unsigned call, size_t at, bool *ret_new)
{
    struct cds_segment *last = segments->count ? &segments->list[segments->count - 1] : NULL;
    bool same = last && last->kind == kind && (kind != CDS_SEGMENT_CALL || last->call == call);
    *ret_new = !same;
    if (same)
        return last;
    if (segments->count == CDS_SEGMENTS_MAX)
        return NULL;
    if (segments->count == segments->room) {
        unsigned room = segments->room ? segments->room * 2 : 4;
        struct cds_segment *list = realloc(segments->list, room * sizeof(*list));
        if (!list)
            return NULL;
        segments->list = list;
        segments->room = room;
    }
    if (!segments->list)
        return NULL;
    last = &segments->list[segments->count++];
    *last = (struct cds_segment){.kind = kind, .from = at, .to = at, .call = call};
    return last;
}

void cds_segments_free(struct cds_segments *segments)
{
    free(segments->list);
    *segments = (struct cds_segments){0};
}
