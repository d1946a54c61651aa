#include <ctype.h>
#include <string.h>

#include "apps/llmserver/app.h"
#include "apps/llmserver/settings.h"
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

bool cds_admin_settings_route(struct cds_llm *app, struct cds_http_req *req, const struct cds_credential *credential)
{
    char id[CDS_MODEL_ID_MAX + 1];
    const char *method = cds_http_method(req), *user_id = credential->claims.user_id;
    bool get = cds_streq(method, "GET"), put = cds_streq(method, "PUT");
    struct cds_err err = {0};
    if ((!get && !put) || !id_in(cds_routes_path(req), id))
        return false;
    cds_rc rc = cds_credential_need(credential, CDS_ROLE_ADMIN, "settings of a model", &err);
    struct cds_model *model = rc == CDS_OK ? cds_models_find(app, id) : NULL;
    if (rc == CDS_OK && !model) {
        rc = cds_fail(&err, CDS_NOT_FOUND, __func__, "There is no model \"%s\" here.", id);
        cds_err_pointer(&err, "/model");
    }
    if (rc == CDS_OK && model && put)
        rc = change(app, req, user_id, model, &err);
    if (rc == CDS_OK && model)
        cds_admin_reply(req, user_id, 200, cds_settings_show(model));
    else
        cds_routes_fail(req, user_id, &err);
    return true;
}
