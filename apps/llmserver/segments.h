/* apps/llmserver/segments.h: in which order thoughts, texts and calls came, for dialects that tell them as a list of items.
 *
 * Threads: one owner.
 */
#pragma once

#include <stdbool.h>
#include <stddef.h>

enum cds_segment_kind { CDS_SEGMENT_REASONING, CDS_SEGMENT_TEXT, CDS_SEGMENT_CALL };
enum { CDS_SEGMENTS_MAX = 1024 };

struct cds_segment {
    enum cds_segment_kind kind;
    size_t from, to; /**< bytes of the choice's text or reasoning */
    unsigned call;   /**< number of the choice's call */
};
struct cds_segments {
    struct cds_segment *list; /**< owned */
    unsigned count, room;
};
/**
 * The segment that the next piece belongs to: the last one, or a new one when the kind (or the call) is another.
 * @param at  bytes of the choice's text or reasoning before the piece
 * @return NULL: there are CDS_SEGMENTS_MAX already, or memory is out
 */
struct cds_segment *cds_segments_take(struct cds_segments *segments, enum cds_segment_kind kind, unsigned call, size_t at, bool *ret_new);
void cds_segments_free(struct cds_segments *segments);
