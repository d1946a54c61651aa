/* lib/http/reply.h: answers that need JSON, kept apart so that server.h stays free of it.
 *
 * Threads: loop thread only.
 */
#pragma once

#include "lib/http/server.h"
#include "lib/json/json.h"
#include "lib/metrics/metrics.h"

/** Compact JSON answer; value is borrowed. */
void cds_http_reply_json(struct cds_http_req *req, int status, const cds_json *value);
/** One SSE event: "event: name\n" (name may be NULL) + "data: <json>\n\n". @return as cds_http_stream_write */
CDS_MUST_USE cds_rc cds_http_sse(struct cds_http_req *req, const char *event, const cds_json *value);
/**
 * /healthz, /readyz, /metrics: true when it answered.
 * @param shown  metrics of this process that /metrics always shows, at zero until their first use (a rule on a name that is missing never
 *               fires); CDS_M_COUNT ends the list, NULL: none; those of HTTP are shown everywhere
 * @param ready  returns CDS_OK or the reason
 */
bool cds_http_ops(struct cds_http_req *req, const enum cds_metric *shown, cds_rc (*ready)(void *user, struct cds_err *err), void *user);
