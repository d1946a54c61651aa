/* apps/llmserver/downloads.h: models on their way here, each fetched by a process of its own.
 *
 * States: resolving -> inspecting -> downloading -> verifying -> done | failed | cancelled. What was interrupted keeps its pieces: asking for the
 *         same source again goes on there.
 * Source: apps/fetch/README.md (cds-fetch pull); docs/adr/0044.
 * Threads: loop thread only.
 */
#pragma once

#include "apps/llmserver/app.h"

struct cds_downloads;
struct cds_download;
enum { CDS_DOWNLOADS_KEPT = 64 /**< ended ones that are still shown */, CDS_SOURCE_BYTES_MAX = 1023 };

CDS_MUST_USE cds_rc cds_downloads_new(struct cds_llm *app, struct cds_downloads **ret, struct cds_err *reterr);
/** Ends the processes; their pieces stay. */
void cds_downloads_free(struct cds_downloads **downloads);

/** What an admin asked for. */
struct cds_download_ask {
    const char *source, *sha256; /**< sha256 "": not given; borrowed */
    const char *user_id;
    const struct cds_http_req *req; /**< NULL: none; a new download takes its act (audit.h) */
};
/** Starts, or finds the one that runs for this source. @return CDS_OK; CDS_BUSY; CDS_BAD_PARAM; CDS_SYSTEM */
CDS_MUST_USE cds_rc cds_download_start(struct cds_downloads *downloads, const struct cds_download_ask *ask, struct cds_download **ret,
                                       struct cds_err *reterr);
/** Ends it by id. keep: its pieces stay. @return CDS_OK; CDS_NOT_FOUND; CDS_CONFLICT: it has ended already */
CDS_MUST_USE cds_rc cds_download_cancel(struct cds_downloads *downloads, const char *id, struct cds_download **ret, struct cds_err *reterr);
/** Its state; owned by the caller. */
cds_json *cds_download_state(const struct cds_download *download);
/** Array of all states, the newest first; owned by the caller. */
cds_json *cds_downloads_list(const struct cds_downloads *downloads);
