#include <ctype.h>
#include <stdlib.h>
#include <string.h>

#include "apps/llmserver/app.h"
#include "apps/llmserver/inspection.h"
#include "apps/llmserver/settings.h"
#include "lib/base/random.h"
#include "lib/base/str.h"
#include "lib/log/log.h"

/** Model of /admin/models/{id}/settings. @return NULL: the path is another one */
static const char *id_in(const char *path, char ret[static CDS_MODEL_ID_MAX + 1])
{
    static const char before[] = "/admin/models/", behind[] = "/settings";
    size_t len = strlen(path), around = sizeof(before) - 1 + sizeof(behind) - 1;
    if (!cds_starts_with(path, before) || len <= around || len - around > CDS_MODEL_ID_MAX || !cds_streq(path + len - (sizeof(behind) - 1), behind))
        return NULL;
    for (size_t i = 0; i < len - around; i++)
        ret[i] = (char)tolower((unsigned char)path[sizeof(before) - 1 + i]);
    ret[len - around] = '\0';
    return ret;
}

static cds_rc change(struct cds_llm *app, const struct cds_http_req *req, const char *user_id, struct cds_model *model, struct cds_err *err)
{
    size_t len;
    const char *body = cds_http_body(req, &len);
    CDS_JSON_AUTO changes = NULL;
    cds_rc rc = cds_json_parse(body, len, &changes, err);
    if (rc == CDS_OK)
        rc = cds_settings_change(model, changes, err);
    if (rc != CDS_OK)
        return rc;
    cds_log(CDS_LOG_INFO, "settings of a model changed", CDS_LS("request_id", cds_http_request_id(req)), CDS_LS("user_id", user_id),
            CDS_LS("model", model->id));
    cds_admin_model_changed(app, model);
    return CDS_OK;
}

/** A change that waits for files of the folder to be read: it may name an adapter among them. */
struct cds_admin_change {
    struct cds_admin_change *next;
    struct cds_http_req *req; /**< NULL: the client left */
    char model[CDS_MODEL_ID_MAX + 1], user_id[CDS_UUID_LEN + 1];
};

static void answer(struct cds_llm *app, struct cds_http_req *req, const char *user_id, const char *id, bool put)
{
    struct cds_err err = {0};
    struct cds_model *model = cds_models_find(app, id);
    cds_rc rc = model ? CDS_OK : cds_fail(&err, CDS_NOT_FOUND, __func__, "There is no model \"%s\" here.", id);
    if (!model)
        cds_err_pointer(&err, "/model");
    else if (put)
        rc = change(app, req, user_id, model, &err);
    if (rc == CDS_OK && model)
        cds_admin_reply(req, user_id, 200, cds_settings_show(model));
    else
        cds_routes_fail(req, user_id, &err);
}

static void on_gone(void *user)
{
    struct cds_admin_change *waiting = user;
    waiting->req = NULL; /* unlinked with the others */
}

void cds_admin_settings_files_read(struct cds_llm *app)
{
    struct cds_admin_change *all = app->admin_changes;
    app->admin_changes = NULL;
    while (all) {
        struct cds_admin_change *one = all;
        all = one->next;
        if (one->req) {
            cds_http_set_user(one->req, NULL, NULL, NULL);
            answer(app, one->req, one->user_id, one->model, true);
        }
        free(one);
    }
}

bool cds_admin_settings_route(struct cds_llm *app, struct cds_http_req *req, const struct cds_credential *credential)
{
    char id[CDS_MODEL_ID_MAX + 1];
    const char *method = cds_http_method(req), *user_id = credential->claims.user_id;
    bool get = cds_streq(method, "GET"), put = cds_streq(method, "PUT");
    struct cds_err err = {0};
    if ((!get && !put) || !id_in(cds_routes_path(req), id))
        return false;
    if (cds_credential_need(credential, CDS_ROLE_ADMIN, "settings of a model", &err) != CDS_OK ||
        cds_credential_model(credential, id, &err) != CDS_OK) {
        cds_routes_fail(req, user_id, &err);
        return true;
    }
    if (put)
        cds_models_scan(app);
    struct cds_admin_change *waiting = put && !cds_inspection_idle(app) ? calloc(1, sizeof(*waiting)) : NULL;
    if (!waiting) {
        answer(app, req, user_id, id, put);
        return true;
    }
    *waiting = (struct cds_admin_change){.next = app->admin_changes, .req = req};
    cds_strcpy(waiting->model, sizeof(waiting->model), id);
    cds_strcpy(waiting->user_id, sizeof(waiting->user_id), user_id);
    app->admin_changes = waiting;
    cds_http_set_user(req, waiting, on_gone, NULL);
    return true;
}
