/* apps/llmserver/audit.h: what an admin changes by HTTP at this server stands in the audit log before it is done, and behind it what came of it.
 *
 * Source:  docs/adr/0073-audit-chain.md. Calls of the gateway's methods have a line of the gateway under the same request id besides.
 * Threads: loop thread only.
 */
#pragma once

#include "apps/llmserver/app.h"

struct cds_audit;
/** One connection of its own. */
CDS_MUST_USE cds_rc cds_audit_new(struct cds_loop *loop, const char *conninfo, struct cds_audit **ret, struct cds_err *reterr);
/** Requests that wait and ends that are still to come are forgotten: the server is gone by then. NULL inside is fine. */
void cds_audit_free(struct cds_audit **audit);

/** What goes on with a request once its line is there. */
typedef void cds_audit_next_fn(struct cds_llm *app, struct cds_http_req *req, const struct cds_credential *credential);
/** Takes over a request that changes something as an admin: next is called when its line is there; without the line it is refused with 503.
 *  @return false for every other request: it is the caller's to answer */
bool cds_audit_first(struct cds_llm *app, struct cds_http_req *req, const struct cds_credential *credential, cds_audit_next_fn *next);

struct cds_audit_act;
/** The act of this request ends with something that goes on when its client leaves, and not with the answer. What goes on keeps it and owes it
 *  cds_audit_done; at the end of the process it is forgotten: a begin without an end. @return NULL: the request is none */
struct cds_audit_act *cds_audit_later(struct cds_llm *app, const struct cds_http_req *req);
/** It ended so; *place is NULL afterwards. The request may be answered already or not. NULL inside is fine. */
void cds_audit_done(struct cds_audit_act **place, cds_rc outcome);
/** The request is answered with this error. No-op when it is no act. */
void cds_audit_failed(const struct cds_http_req *req, cds_rc outcome);
