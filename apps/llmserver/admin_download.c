/* apps/llmserver/admin_download.c: POST and DELETE /admin/download, GET /admin/events. */
#include <ctype.h>
#include <string.h>

#include "apps/llmserver/admin_inspect.h"
#include "apps/llmserver/downloads.h"
#include "apps/llmserver/events.h"
#include "lib/base/str.h"

static cds_rc wrong(struct cds_err *err, const char *member, const char *why)
{
    cds_fail(err, CDS_BAD_PARAM, "download", "\"%s\" %s.", member, why);
    cds_err_pointer(err, "/%s", member);
    return CDS_BAD_PARAM;
}

/** The source of an entry of the catalogue. */
static const char *from_catalogue(const struct cds_llm *app, const char *id)
{
    for (size_t i = 0; i < cds_json_size(app->catalogue); i++)
        if (cds_streq(cds_json_get_str(cds_json_at(app->catalogue, i), "id"), id))
            return cds_json_get_str(cds_json_at(app->catalogue, i), "source");
    return NULL;
}

/** The catalogue's number is no more than a note; but a model whose note is over the gate need not be asked about at the hub. */
static cds_rc catalogue_gate(const struct cds_llm *app, const char *source, struct cds_err *err)
{
    uint64_t most = cds_config_u64(app->config, CDS_OPT_LLM_PARAMETERS_MAX);
    for (size_t i = 0; i < cds_json_size(app->catalogue); i++) {
        const cds_json *one = cds_json_at(app->catalogue, i);
        int64_t parameters = cds_json_get_i64(one, "parameters", 0);
        if (!cds_streq(cds_json_get_str(one, "source"), source) || !most || parameters <= (int64_t)most)
            continue;
        cds_fail(err, CDS_DENIED, __func__, "%s has %lld parameters; at most %llu are allowed here.", cds_json_get_str(one, "name"),
                 (long long)parameters, (unsigned long long)most);
        cds_err_rule(err, "llm.parameters_max");
        return cds_err_hint(err, "Choose a smaller model, or let an administrator raise llm.parameters_max (0 lifts the gate).");
    }
    return CDS_OK;
}

static cds_rc start(struct cds_llm *app, const struct cds_http_req *req, const char *user_id, struct cds_download **ret, struct cds_err *err)
{
    size_t len;
    char hex[65] = "";
    const char *body = cds_http_body(req, &len);
    CDS_JSON_AUTO json = NULL;
    cds_rc rc = cds_json_parse(body, len, &json, err);
    if (rc != CDS_OK)
        return rc;
    const char *source = cds_json_get_str(json, "source"), *model = cds_json_get_str(json, "model"), *sha256 = cds_json_get_str(json, "sha256");
    if (cds_json_get(json, "sha256") && (!sha256 || strlen(sha256) != 64))
        return wrong(err, "sha256", "must be 64 hex digits");
    for (size_t i = 0; sha256 && i < 64; i++)
        hex[i] = (char)tolower((unsigned char)sha256[i]);
    if (strspn(hex, "0123456789abcdef") != strlen(hex))
        return wrong(err, "sha256", "must be 64 hex digits");
    if (!source && model) {
        source = from_catalogue(app, model);
        if (!source) {
            cds_fail(err, CDS_NOT_FOUND, __func__, "The catalogue has no model \"%.128s\".", model);
            cds_err_pointer(err, "/model");
            return cds_err_hint(err, "GET /admin/models lists the catalogue; any hf: source or address can be given as \"source\".");
        }
    }
    if (!source || !*source || strlen(source) > CDS_SOURCE_BYTES_MAX)
        return wrong(err, "source", "must be hf:owner/repo:quant, hf:owner/repo/file.gguf#branch or the address of a .gguf file, at most 1023 bytes");
    if (app->draining)
        return cds_fail(err, CDS_UNAVAILABLE, __func__, "The model server is shutting down.");
    rc = catalogue_gate(app, source, err);
    if (rc != CDS_OK)
        return rc;
    struct cds_download_ask ask = {.source = source, .sha256 = hex, .user_id = user_id, .req = req};
    return cds_download_start(app->downloads, &ask, ret, err);
}

static cds_rc cancel(struct cds_llm *app, const struct cds_http_req *req, struct cds_download **ret, struct cds_err *err)
{
    size_t len;
    const char *body = cds_http_body(req, &len), *id = cds_http_query(req, "id");
    CDS_JSON_AUTO json = NULL;
    cds_rc rc = id || !len ? CDS_OK : cds_json_parse(body, len, &json, err);
    if (rc != CDS_OK)
        return rc;
    if (!id)
        id = cds_json_get_str(json, "id");
    return id ? cds_download_cancel(app->downloads, id, ret, err) : wrong(err, "id", "must be the id of a download");
}

static void events(struct cds_llm *app, struct cds_http_req *req, const struct cds_credential *credential)
{
    CDS_JSON_AUTO first = cds_json_array();
    CDS_JSON_AUTO downloads = cds_downloads_list(app->downloads);
    cds_models_scan(app);
    for (const struct cds_model *model = app->models.first; model; model = model->next)
        cds_json_append(first, cds_json_pack("[s,o]", "model", cds_admin_model(model)));
    for (size_t i = 0; i < cds_json_size(downloads); i++)
        cds_json_append(first, cds_json_pack("[s,O]", "download", cds_json_at(downloads, i)));
    cds_events_read(app->events, req, credential, first);
}

bool cds_admin_download_route(struct cds_llm *app, struct cds_http_req *req, const struct cds_credential *credential)
{
    const char *path = cds_routes_path(req), *method = cds_http_method(req), *user_id = credential->claims.user_id;
    bool download = cds_streq(path, "/admin/download"), post = cds_streq(method, "POST"), del = cds_streq(method, "DELETE");
    bool follow = cds_streq(path, "/admin/events") && cds_streq(method, "GET");
    struct cds_download *one = NULL;
    struct cds_err err = {0};
    if (!follow && !(download && (post || del)))
        return cds_admin_inspect_route(app, req, credential) || cds_admin_settings_route(app, req, credential);
    cds_rc rc = cds_credential_need(credential, CDS_ROLE_ADMIN, path + 1, &err);
    if (rc == CDS_OK && follow) {
        events(app, req, credential);
        return true;
    }
    if (rc == CDS_OK)
        rc = post ? start(app, req, user_id, &one, &err) : cancel(app, req, &one, &err);
    if (rc == CDS_OK)
        cds_admin_reply(req, user_id, post ? 202 : 200, cds_download_state(one));
    else
        cds_routes_fail(req, user_id, &err);
    return true;
}
