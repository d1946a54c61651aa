/* apps/llmserver/audit.c: see audit.h. */
#include "apps/llmserver/audit.h"

#include <stdlib.h>
#include <string.h>

#include "lib/base/cleanup.h"
#include "lib/base/clock.h"
#include "lib/base/random.h"
#include "lib/base/str.h"
#include "lib/db/db.h"
#include "lib/http/reply.h"
#include "lib/log/log.h"

enum { QUEUE_MAX = 64, LINE_MS = 4000, PATH_KEPT = 200, ACTION_KEPT = 64, OBJECT_KEPT = 128 };

static const char add_sql[] = "SELECT audit_add($1::text, 'llmserver', $2::uuid, nullif($3::text, '')::uuid, $4::text, $5::uuid, $6::jsonb)";
enum { ADD_PARAMS = 6 };

/** An act whose begin stands in the log and whose end does not yet. */
struct cds_audit_act {
    struct cds_audit_act *next, **back;
    struct cds_audit *audit;
    const struct cds_http_req *req; /**< NULL: the request is over */
    bool later;                     /**< cds_audit_done will say how it ended, and not the answer */
    bool told;                      /**< it has, while the request is still being answered */
    cds_rc outcome;
    char user_id[CDS_UUID_LEN + 1], key_id[CDS_UUID_LEN + 1], request_id[CDS_UUID_LEN + 1], action[ACTION_KEPT + 1];
};

struct cds_audit {
    struct cds_dbq *db;
    struct cds_audit_act *acts; /**< as many as there are requests and downloads at a time */
};

/** A request that waits for its line. */
struct waiting {
    struct cds_llm *app;
    struct cds_http_req *req; /**< NULL: the client left */
    struct cds_credential who;
    cds_audit_next_fn *next;
    struct cds_audit_act *act; /**< owned until the line is there */
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
    for (struct cds_audit_act *act; (act = (*audit)->acts);) {
        (*audit)->acts = act->next;
        free(act);
    }
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

/* ---- lines ---- */
static cds_rc add(struct cds_audit *audit, const struct cds_audit_act *act, const char *phase, cds_json *detail /* owned */, cds_dbq_done_fn *done,
                  void *user)
{
    CDS_JSON_AUTO value = detail;
    CDS_CLEANUP(cds_free_ptr) char *text = value ? cds_json_dumps(value, NULL) : NULL;
    if (!text)
        return CDS_EXHAUSTED;
    const char *params[ADD_PARAMS] = {phase, act->user_id, act->key_id, act->action, act->request_id, text};
    return cds_dbq_exec(audit->db, add_sql, ADD_PARAMS, params, cds_now_ms() + LINE_MS, done, user);
}

static void on_ended(void *user, const struct cds_rows *rows, const struct cds_err *err)
{
    if (err)
        cds_log(CDS_LOG_ERROR, "audit", CDS_LS("error", "The end of an act could not be written into the audit log; its begin stands there."),
                CDS_LS("detail", err->message));
}

/* The act is over: its last line, and nothing is kept of it. */
static void end(struct cds_audit_act *act, cds_rc outcome, int status)
{
    cds_json *detail = cds_json_pack("{s:s}", "end", cds_rc_name(outcome));
    struct cds_err err;
    if (status)
        cds_json_set(detail, "status", cds_json_int(status));
    if (add(act->audit, act, "end", detail, on_ended, NULL)) {
        cds_fail(&err, CDS_BUSY, __func__, "The queue of statements is full.");
        on_ended(NULL, NULL, &err);
    }
    if ((*act->back = act->next))
        act->next->back = act->back;
    free(act);
}

static void on_request_end(void *user, int status)
{
    struct cds_audit_act *act = user;
    act->req = NULL;
    if (!act->later)
        end(act, !status && !act->told ? CDS_CANCELLED : act->outcome, status);
}

void cds_audit_failed(const struct cds_http_req *req, cds_rc outcome)
{
    struct cds_audit_act *act = cds_http_end_user(req, on_request_end);
    if (act && !act->told)
        act->outcome = outcome;
}

struct cds_audit_act *cds_audit_later(struct cds_llm *app, const struct cds_http_req *req)
{
    struct cds_audit_act *act = app->audit ? app->audit->acts : NULL;
    while (act && act->req != req)
        act = act->next;
    if (act)
        act->later = true;
    return act;
}

void cds_audit_done(struct cds_audit_act **place, cds_rc outcome)
{
    struct cds_audit_act *act = *place;
    *place = NULL;
    if (!act)
        return;
    act->later = false;
    act->told = true;
    act->outcome = outcome;
    if (!act->req)
        end(act, outcome, 0);
}

/* ---- begin ---- */
static void on_gone(void *user)
{
    ((struct waiting *)user)->req = NULL;
}

static void on_written(void *user, const struct cds_rows *rows, const struct cds_err *err)
{
    struct waiting *waiting = user;
    struct cds_http_req *req = waiting->req;
    struct cds_audit_act *act = waiting->act;
    if (err) {
        free(act);
    } else {
        act->req = req;
        act->back = &act->audit->acts;
        if ((act->next = act->audit->acts))
            act->next->back = &act->next;
        act->audit->acts = act;
    }
    if (req) {
        cds_http_set_user(req, NULL, NULL, NULL);
        if (!err)
            cds_http_on_end(req, on_request_end, act);
        if (err)
            refuse(req, waiting->who.claims.user_id, err->message);
        else
            waiting->next(waiting->app, req, &waiting->who);
    } else if (!err) {
        end(act, CDS_CANCELLED, 0); /* nothing was done */
    }
    free(waiting);
}

/* What the body names, when it is an id or the name of a model: nothing else of a body is kept. */
static cds_json *detail_of(const struct cds_http_req *req, const char *path)
{
    static const char *const members[] = {"model", "id"};
    size_t len;
    const char *body = cds_http_body(req, &len);
    CDS_JSON_AUTO json = NULL;
    cds_json *detail = cds_json_pack("{s:s}", "path", path);
    if (!len || cds_json_parse(body, len, &json, NULL) != CDS_OK)
        return detail;
    for (size_t i = 0; i < CDS_ARRAY_LEN(members); i++) {
        const char *name = cds_json_get_str(json, members[i]);
        if (name && strlen(name) <= OBJECT_KEPT)
            cds_json_set(detail, members[i], cds_json_string(name));
    }
    return detail;
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
    char path[PATH_KEPT];
    struct waiting *waiting = calloc(1, sizeof(*waiting));
    struct cds_audit_act *act = calloc(1, sizeof(*act));
    if (!waiting || !act) {
        free(waiting);
        free(act);
        refuse(req, credential->claims.user_id, "out of memory");
        return true;
    }
    *waiting = (struct waiting){app, req, *credential, next, act};
    cds_strcpy(path, sizeof(path), cds_routes_path(req));
    act->audit = app->audit;
    snprintf(act->action, sizeof(act->action), "%.8s %.54s", cds_http_method(req), path);
    cds_strcpy(act->user_id, sizeof(act->user_id), credential->claims.user_id);
    cds_strcpy(act->key_id, sizeof(act->key_id), credential->claims.key_id);
    cds_strcpy(act->request_id, sizeof(act->request_id), cds_http_request_id(req));
    cds_http_set_user(req, waiting, on_gone, NULL);
    if (add(app->audit, act, "begin", detail_of(req, path), on_written, waiting)) {
        cds_http_set_user(req, NULL, NULL, NULL);
        free(waiting);
        free(act);
        refuse(req, credential->claims.user_id, "the queue is full");
    }
    return true;
}
