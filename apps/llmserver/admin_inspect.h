/* apps/llmserver/admin_inspect.h: POST /admin/inspect: what the header of a model says that is still at its server.
 *
 * A cds-fetch of its own reads it (apps/fetch/look.h); it ends with its caller. At most CDS_LOOKS_MAX at the same time, more is 503.
 * Threads: loop thread only.
 */
#pragma once

#include "apps/llmserver/app.h"

enum { CDS_LOOKS_MAX = 4, CDS_LOOK_MS = 60000 };

/** True when the path was /admin/inspect. */
bool cds_admin_inspect_route(struct cds_llm *app, struct cds_http_req *req, const struct cds_credential *credential);
/** Ends the processes, at the end of the server, when no request is left. */
void cds_admin_inspect_stop(struct cds_llm *app);
