/* apps/llmserver/audit.h: what an admin changes by HTTP at this server stands in the audit log before it is done.
 *
 * Source:  docs/adr/0073-audit-chain.md. Calls of the gateway's methods have a line of the gateway under the same request id besides.
 * Threads: loop thread only.
 */
#pragma once

#include "apps/llmserver/app.h"

struct cds_audit;
/** One connection of its own. */
CDS_MUST_USE cds_rc cds_audit_new(struct cds_loop *loop, const char *conninfo, struct cds_audit **ret, struct cds_err *reterr);
/** Requests that wait are forgotten: the server is gone by then. NULL inside is fine. */
void cds_audit_free(struct cds_audit **audit);

/** What goes on with a request once its line is there. */
typedef void cds_audit_next_fn(struct cds_llm *app, struct cds_http_req *req, const struct cds_credential *credential);
/** Takes over a request that changes something as an admin: next is called when its line is there; without the line it is refused with 503.
 *  @return false for every other request: it is the caller's to answer */
bool cds_audit_first(struct cds_llm *app, struct cds_http_req *req, const struct cds_credential *credential, cds_audit_next_fn *next);
