/* apps/api/sse.h: takes a Server-Sent Events stream apart, piece by piece.
 *
 * Source:  HTML Living Standard, "Server-sent events", section 9.2.6 (fields, comments, dispatch).
 * Threads: one owner.
 * Limits:  one event holds at most event_max bytes of data; longer is CDS_TOO_LARGE.
 */
#pragma once

#include <stdint.h>

#include "lib/base/buf.h"

struct cds_sse {
    struct cds_buf line, data;
    bool has_data, after_cr;
    int64_t id; /**< last event id that is a number (fields "id"); -1: none yet */
};

/** One event's data, borrowed for the call. Return false to stop the parser: the rest of the piece is dropped. */
typedef bool cds_sse_fn(void *user, const char *data, size_t len);

struct cds_sse cds_sse_init(size_t event_max);
void cds_sse_free(struct cds_sse *sse);
/** @return CDS_OK; CDS_TOO_LARGE (the stream is of no use afterwards) */
CDS_MUST_USE cds_rc cds_sse_feed(struct cds_sse *sse, const char *bytes, size_t len, cds_sse_fn *fn, void *user);
