/* apps/llmserver/events.h: GET /admin/events: changes of models and downloads as server-sent events.
 *
 * Events: "model" and "download", each with the whole state as /admin/models shows it. A reader first gets the present state of all.
 * Threads: loop thread only.
 * Limits: 64 readers; one that does not read 256 KiB is cut off (it reconnects and gets the present state). A comment every 10 s.
 */
#pragma once

#include "apps/llmserver/app.h"

struct cds_events;
enum { CDS_EVENT_READERS_MAX = 64, CDS_EVENT_BUFFER = 256 << 10, CDS_EVENT_ALIVE_MS = 10000 };

CDS_MUST_USE cds_rc cds_events_new(struct cds_loop *loop, struct cds_events **ret, struct cds_err *reterr);
void cds_events_free(struct cds_events **events);
/** Tells all readers; takes value. No-op on NULL events. */
void cds_events_tell(struct cds_events *events, const char *name, cds_json *value);
/** Begins the stream of a request whose credential was checked. first: array of [name, state] to begin with; borrowed. */
void cds_events_read(struct cds_events *events, struct cds_http_req *req, const struct cds_credential *who, const cds_json *first);
/** Cuts readers whose credential no longer holds; unknown: all. */
void cds_events_recheck(struct cds_events *events, const struct cds_standing *standing, bool unknown);
