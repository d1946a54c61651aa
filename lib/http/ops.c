/* lib/http/ops.c: the three addresses every process answers: /healthz, /readyz, /metrics. */
#include "lib/base/str.h"
#include "lib/http/reply.h"
#include "lib/http/server_priv.h"

enum { METRICS_MAX = 512 * 1024 };

static void reply_ready(struct cds_http_req *req, cds_rc (*ready)(void *user, struct cds_err *err), void *user)
{
    struct cds_err why = {0};
    cds_rc rc = ready ? ready(user, &why) : CDS_OK;
    if (rc) {
        why.code = rc;
        http_reply_err_as(req, 503, &why); /* probes look at the status only; the reason keeps its own code */
        return;
    }
    CDS_JSON_AUTO answer = cds_json_pack("{s:s}", "status", "ready");
    cds_http_reply_json(req, 200, answer);
}

static void reply_metrics(struct cds_http_req *req, const enum cds_metric *shown)
{
    enum cds_metric always[CDS_M_COUNT + 4] = {CDS_M_HTTP_REQUESTS, CDS_M_HTTP_SECONDS, CDS_M_HTTP_CONNECTIONS};
    size_t count = 3;
    while (shown && *shown != CDS_M_COUNT && count < CDS_M_COUNT + 3)
        always[count++] = *shown++;
    always[count] = CDS_M_COUNT;
    struct cds_buf text = cds_buf_init(METRICS_MAX);
    size_t len = 0;
    if (cds_metrics_text(&text, always)) {
        struct cds_err err;
        cds_buf_free(&text);
        cds_fail(&err, CDS_EXHAUSTED, __func__, "The metrics do not fit into memory.");
        cds_http_reply_err(req, &err);
        return;
    }
    char *body = cds_buf_steal(&text, &len);
    http_give_body(req, 200, "text/plain; version=0.0.4; charset=utf-8", body, len);
}

bool cds_http_ops(struct cds_http_req *req, const enum cds_metric *shown, cds_rc (*ready)(void *user, struct cds_err *err), void *user)
{
    const char *path = cds_http_path(req);
    bool health = cds_streq(path, "/healthz"), readiness = cds_streq(path, "/readyz"), metrics = cds_streq(path, "/metrics");
    if ((!health && !readiness && !metrics) || (!cds_streq(cds_http_method(req), "GET") && !cds_streq(cds_http_method(req), "HEAD")))
        return false;
    cds_http_add_header(req, "Cache-Control", "no-store");
    if (health) {
        CDS_JSON_AUTO answer = cds_json_pack("{s:s}", "status", "ok");
        cds_http_reply_json(req, 200, answer);
    } else if (readiness) {
        reply_ready(req, ready, user);
    } else {
        reply_metrics(req, shown);
    }
    return true;
}
