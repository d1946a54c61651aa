/* apps/llmserver/audit.c: see audit.h. */
#include "apps/llmserver/audit.h"

#include <stdlib.h>

#include "lib/base/cleanup.h"
#include "lib/base/clock.h"
#include "lib/base/str.h"
#include "lib/db/db.h"

enum { QUEUE_MAX = 64, LINE_MS = 4000, PATH_KEPT = 200 };

static const char add_sql[] = "SELECT audit_add('begin', 'llmserver', $1::uuid, nullif($2::text, '')::uuid, left($3::text, 64), $4::uuid, "
                              "jsonb_build_object('path', $5::text))";

struct cds_audit {
    struct cds_dbq *db;
};

/** A request that waits for its line. */
struct waiting {
    struct cds_llm *app;
    struct cds_http_req *req; /**< NULL: the client left */
    struct cds_credential who;
    cds_audit_next_fn *next;
};

cds_rc cds_audit_new(struct cds_loop *loop, const char *conninfo, struct cds_audit **ret, struct cds_err *reterr)
{
    struct cds_audit *audit = calloc(1, sizeof(*audit));
    if (!audit)
        return cds_fail(reterr, CDS_EXHAUSTED, __func__, "There is not enough memory.");
    cds_rc rc = cds_dbq_open(loop, conninfo, QUEUE_MAX, &audit->db, reterr);
    if (rc != CDS_OK) {
        free(audit);
        return rc;
    }
    *ret = audit;
    return CDS_OK;
}

void cds_audit_free(struct cds_audit **audit)
{
    if (!*audit)
        return;
    cds_dbq_close(&(*audit)->db);
    free(*audit);
    *audit = NULL;
}

static void refuse(struct cds_http_req *req, const char *user_id, const char *detail)
{
    struct cds_err err;
    cds_fail(&err, CDS_UNAVAILABLE, __func__, "Nothing was done: the audit log could not be written.");
    cds_err_rule(&err, "audit.unwritten");
    cds_err_hint(&err, "Try again in a moment.");
    cds_err_detail(&err, "%s", detail);
    err.retry_after_ms = 1000;
    cds_routes_fail(req, user_id, &err);
}

static void on_gone(void *user)
{
    ((struct waiting *)user)->req = NULL;
}

static void on_written(void *user, const struct cds_rows *rows, const struct cds_err *err)
{
    struct waiting *waiting = user;
    struct cds_http_req *req = waiting->req;
    if (req) {
        cds_http_set_user(req, NULL, NULL, NULL);
        if (err)
            refuse(req, waiting->who.claims.user_id, err->message);
        else
            waiting->next(waiting->app, req, &waiting->who);
    }
    free(waiting);
}

/* What is only read has no other effect, whoever reads it; somebody who is no admin is refused by the address itself. */
static bool is_act(const struct cds_http_req *req, const struct cds_credential *credential)
{
    const char *method = cds_http_method(req);
    return credential->role == CDS_ROLE_ADMIN && !cds_streq(method, "GET") && !cds_streq(method, "HEAD") &&
           cds_starts_with(cds_routes_path(req), "/admin/");
}

bool cds_audit_first(struct cds_llm *app, struct cds_http_req *req, const struct cds_credential *credential, cds_audit_next_fn *next)
{
    if (!is_act(req, credential))
        return false;
    char action[64], path[PATH_KEPT];
    struct waiting *waiting = calloc(1, sizeof(*waiting));
    if (!waiting) {
        refuse(req, credential->claims.user_id, "out of memory");
        return true;
    }
    *waiting = (struct waiting){app, req, *credential, next};
    cds_strcpy(path, sizeof(path), cds_routes_path(req));
    snprintf(action, sizeof(action), "%.8s %.54s", cds_http_method(req), path);
    const char *params[] = {credential->claims.user_id, credential->claims.key_id, action, cds_http_request_id(req), path};
    cds_http_set_user(req, waiting, on_gone, NULL);
    if (cds_dbq_exec(app->audit->db, add_sql, CDS_ARRAY_LEN(params), params, cds_now_ms() + LINE_MS, on_written, waiting)) {
        cds_http_set_user(req, NULL, NULL, NULL);
        free(waiting);
        refuse(req, credential->claims.user_id, "the queue is full");
    }
    return true;
}
