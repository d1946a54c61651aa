#include <ctype.h>
#include <stdlib.h>
#include <string.h>

#include "apps/llmserver/adapters.h"
#include "apps/llmserver/app.h"
#include "apps/llmserver/audit.h"
#include "apps/llmserver/backend.h"
#include "apps/llmserver/catalogue.h"
#include "apps/llmserver/downloads.h"
#include "apps/llmserver/events.h"
#include "apps/llmserver/inspection.h"
#include "apps/llmserver/lexicon.h"
#include "apps/llmserver/system.h"
#include "apps/llmserver/tasks.h"
#include "apps/llmserver/turns.h"
#include "lib/base/str.h"
#include "lib/http/reply.h"
#include "lib/log/log.h"

/** A load or unload call that is answered when the model got there. */
struct cds_admin_wait {
    struct cds_admin_wait *next;
    struct cds_llm *app;
    struct cds_http_req *req; /**< NULL: the client left */
    struct cds_model *model;
    struct cds_audit_act *act; /**< NULL: none */
    bool load;
    char user_id[CDS_UUID_LEN + 1];
};

/** A list of models that is answered when every new file was read. */
struct cds_admin_list {
    struct cds_credential who;
    struct cds_admin_list *next;
    struct cds_http_req *req; /**< NULL: the client left */
    bool admin;
    char user_id[CDS_UUID_LEN + 1];
};

/* --- what models look like ---------------------------------------------------------------------------------------------- */

/** A count that is not known before the file was read. */
static cds_json *count_or_null(int64_t count)
{
    return count > 0 ? cds_json_int(count) : cds_json_null();
}

static cds_json *facts(const struct cds_model *model)
{
    static const char *const poolings[] = {"none", "mean", "cls", "last", "rank"};
    int64_t in_file = cds_inspection_count(model, "parameters"), pooling = cds_inspection_count(model, "pooling");
    bool chats = cds_model_kind(model) == CDS_KIND_CHAT;
    cds_json *facts =
        cds_json_pack("{s:s,s:I,s:o,s:o}", "state", cds_model_state_name(model->state), "size_bytes", (long long)model->file_bytes, "parameters",
                      count_or_null(in_file > 0 ? in_file : model->parameters), "context_tokens", count_or_null(model->request_tokens));
    cds_json_set(facts, "kind", model->file.facts ? cds_json_string(cds_model_kind_name(cds_model_kind(model))) : cds_json_null());
    cds_json_set(facts, "infill", model->infill ? cds_json_bool(model->infill == CDS_INFILL_YES) : chats ? cds_json_null() : cds_json_bool(false));
    cds_json_set(facts, "adapters", cds_adapters_show(model));
    cds_json_set(facts, "dimensions", chats ? cds_json_null() : count_or_null(cds_inspection_count(model, "embedding")));
    cds_json_set(facts, "pooling", chats || pooling < 0 || pooling > 4 ? cds_json_null() : cds_json_string(poolings[pooling]));
    return facts;
}

static cds_json *public_model(const struct cds_model *model)
{
    return cds_json_pack("{s:s,s:s,s:i,s:s,s:o}", "id", model->id, "object", "model", "created", 0, "owned_by", "cyberdevstudio", "cds",
                         facts(model));
}

/** What /v1/models shows: models whose file was read and is fine, and whatever is in use. */
static bool is_listed(const struct cds_model *model)
{
    return model->state == CDS_MODEL_LOADING || model->state == CDS_MODEL_LOADED ||
           (model->file.state == CDS_FILE_FINE && cds_adapters_is_model(model));
}

static cds_json *refusal_of(const struct cds_model *model)
{
    struct cds_err err = {0};
    if (model->file.state != CDS_FILE_FINE || cds_inspection_allows(model, &err) == CDS_OK)
        return cds_json_null();
    return cds_json_pack("{s:s,s:s,s:s}", "rule", err.rule, "message", err.message, "hint", err.hint);
}

cds_json *cds_admin_model(const struct cds_model *model)
{
    static const char *const file_states[] = {"unread", "reading", "fine", "corrupt"};
    const char *file = strrchr(model->path, '/');
    cds_json *one = facts(model);
    cds_json_set(one, "id", cds_json_string(model->id));
    cds_json_set(one, "alias", cds_json_string(model->alias));
    cds_json_set(one, "file", cds_json_string(file ? file + 1 : model->path));
    cds_json_set(one, "description", *model->description ? cds_json_string(model->description) : cds_json_null());
    cds_json_set(one, "percent", cds_json_int(model->state == CDS_MODEL_LOADING ? model->percent : 0));
    bool failed = model->state == CDS_MODEL_FAILED || (model->state == CDS_MODEL_UNLOADED && model->failure.code);
    cds_json_set(one, "failure", failed ? cds_json_string(model->failure.message) : cds_json_null());
    cds_json_set(one, "file_state", cds_json_string(file_states[model->file.state]));
    cds_json_set(one, "corrupt", model->file.state == CDS_FILE_CORRUPT ? cds_json_string(model->file.problem) : cds_json_null());
    cds_json_set(one, "facts", model->file.facts ? cds_json_ref(model->file.facts) : cds_json_null());
    cds_json_set(one, "refused", refusal_of(model));
    cds_json_set(one, "unloading", cds_json_bool(model->unloading));
    cds_json_set(one, "vocabulary_process", cds_lexicon_show(model));
    cds_json_set(one, "need_bytes", model->proc ? cds_json_int((int64_t)model->need_bytes) : cds_json_null());
    cds_json_set(one, "gpu_bytes", model->proc ? cds_json_int((int64_t)model->gpu_bytes) : cds_json_null());
    return one;
}

static cds_json *status_of(const struct cds_model *model)
{
    cds_json *one = cds_admin_model(model);
    cds_json_set(one, "resident_bytes", model->proc ? cds_system_resident(cds_proc_pid(model->proc)) : cds_json_null());
    cds_json_set(one, "cells", cds_json_int(model->cells));
    cds_json_set(one, "pid", model->proc ? cds_json_int(cds_proc_pid(model->proc)) : cds_json_null());
    cds_json_set(one, "drafts", cds_json_bool(model->drafts));
    cds_json_set(one, "draft_problem", *model->draft_problem ? cds_json_string(model->draft_problem) : cds_json_null());
    cds_json_set(one, "restarts", cds_json_int((int64_t)model->restarts));
    cds_json_set(one, "active", cds_json_int(model->running));
    cds_json_set(one, "queued", cds_json_int(model->queue.count));
    cds_json_set(one, "queue", cds_turns_list(model));
    cds_json_set(one, "compute", cds_backend_show(model));
    cds_json_set(one, "work", model->work ? cds_json_ref(model->work) : cds_json_object());
    return one;
}

enum which { LISTED, ALL, USED };

static cds_json *list(struct cds_llm *app, cds_json *(*show)(const struct cds_model *), enum which which)
{
    cds_json *all = cds_json_array();
    cds_models_scan(app);
    for (const struct cds_model *model = app->models.first; model; model = model->next)
        if (which == ALL || (which == LISTED ? is_listed(model) : model->state != CDS_MODEL_UNLOADED || model->lexicon))
            cds_json_append(all, show(model));
    return all;
}

/* --- answers ------------------------------------------------------------------------------------------------------------ */

void cds_admin_reply(struct cds_http_req *req, const char *user_id, int status, cds_json *value)
{
    CDS_JSON_AUTO answer = value;
    cds_routes_log(req, user_id, status);
    cds_http_reply_json(req, status, answer);
}

static void reply(struct cds_http_req *req, const char *user_id, cds_json *value)
{
    cds_admin_reply(req, user_id, 200, value);
}

/** An API key for some models sees only those. */
static cds_json *own_models(struct cds_llm *app, const struct cds_credential *who)
{
    CDS_JSON_AUTO all = list(app, public_model, LISTED);
    cds_json *own = cds_json_array();
    for (size_t i = 0; i < cds_json_size(all); i++)
        if (cds_credential_model(who, cds_json_get_str(cds_json_at(all, i), "id"), NULL) == CDS_OK)
            cds_json_append(own, cds_json_ref(cds_json_at(all, i)));
    return own;
}

static cds_json *list_answer(struct cds_llm *app, const struct cds_credential *who, bool admin)
{
    return admin ? cds_json_pack("{s:o,s:o,s:o}", "models", list(app, cds_admin_model, ALL), "downloads", cds_downloads_list(app->downloads),
                                 "catalogue", cds_catalogue_list(app))
                 : cds_json_pack("{s:s,s:o}", "object", "list", "data", own_models(app, who));
}

static void on_list_gone(void *user)
{
    struct cds_admin_list *wait = user;
    wait->req = NULL; /* unlinked with the others */
}

/** Answers now, or when the files that appeared since the last look were read. */
static void show_list(struct cds_llm *app, struct cds_http_req *req, const struct cds_credential *who, bool admin)
{
    const char *user_id = who->claims.user_id;
    cds_models_scan(app);
    struct cds_admin_list *wait = cds_inspection_idle(app) ? NULL : calloc(1, sizeof(*wait));
    if (!wait) {
        reply(req, user_id, list_answer(app, who, admin));
        return;
    }
    *wait = (struct cds_admin_list){.next = app->admin_lists, .req = req, .admin = admin, .who = *who};
    cds_strcpy(wait->user_id, sizeof(wait->user_id), user_id);
    app->admin_lists = wait;
    cds_http_set_user(req, wait, on_list_gone, NULL);
}

void cds_admin_files_read(struct cds_llm *app)
{
    if (!cds_inspection_idle(app))
        return;
    cds_admin_settings_files_read(app);
    struct cds_admin_list *waits = app->admin_lists;
    app->admin_lists = NULL;
    while (waits) {
        struct cds_admin_list *wait = waits;
        waits = wait->next;
        if (wait->req) {
            cds_http_set_user(wait->req, NULL, NULL, NULL);
            reply(wait->req, wait->user_id, list_answer(app, &wait->who, wait->admin));
        }
        free(wait);
    }
}

static void answer_wait(struct cds_admin_wait *wait)
{
    const struct cds_model *model = wait->model;
    struct cds_http_req *req = wait->req;
    struct cds_err err = {0};
    if (wait->load && model->state != CDS_MODEL_LOADED) {
        err = model->failure;
        if (err.code == CDS_OK)
            cds_fail(&err, CDS_CONFLICT, __func__, "The model %s was unloaded while it was being loaded.", model->id);
    }
    cds_audit_done(&wait->act, err.code);
    if (!req)
        return; /* the client left */
    cds_http_set_user(req, NULL, NULL, NULL);
    if (err.code) {
        cds_routes_fail(req, wait->user_id, &err);
    } else {
        reply(req, wait->user_id, cds_json_pack("{s:s,s:s}", "model", model->id, "state", cds_model_state_name(model->state)));
    }
}

void cds_admin_model_changed(struct cds_llm *app, struct cds_model *model)
{
    cds_events_tell(app->events, "model", cds_admin_model(model));
    for (struct cds_admin_wait **link = &app->admin_waits; *link;) {
        struct cds_admin_wait *wait = *link;
        if (wait->model != model || model->state == CDS_MODEL_LOADING) {
            link = &wait->next;
            continue;
        }
        *link = wait->next;
        answer_wait(wait);
        free(wait);
    }
}

static void on_gone(void *user)
{
    struct cds_admin_wait *wait = user;
    wait->req = NULL; /* unlinked when the model gets there */
}

static void wait_for(struct cds_llm *app, struct cds_http_req *req, const struct cds_credential *credential, struct cds_model *model, bool load)
{
    struct cds_err err = {0};
    struct cds_admin_wait *wait = calloc(1, sizeof(*wait));
    if (!wait) {
        cds_fail(&err, CDS_EXHAUSTED, __func__, "There is not enough memory for the request.");
        cds_routes_fail(req, credential->claims.user_id, &err);
        return;
    }
    *wait = (struct cds_admin_wait){.next = app->admin_waits, .app = app, .req = req, .model = model, .load = load, .act = cds_audit_later(app, req)};
    cds_strcpy(wait->user_id, sizeof(wait->user_id), credential->claims.user_id);
    app->admin_waits = wait;
    cds_http_set_user(req, wait, on_gone, NULL);
    cds_log(CDS_LOG_INFO, load ? "load asked" : "unload asked", CDS_LS("request_id", cds_http_request_id(req)),
            CDS_LS("user_id", credential->claims.user_id), CDS_LS("model", model->id));
    enum cds_model_state before = model->state;
    if (load)
        cds_model_load(model);
    else
        cds_model_unload(model);
    /* Already there, without a change that would have told. */
    bool there = load ? model->state != CDS_MODEL_LOADING : model->state == CDS_MODEL_UNLOADED && !model->proc;
    if (there && model->state == before)
        cds_admin_model_changed(app, model);
}

/** Body {"model": "id"} to a model that the caller may use. */
static cds_rc named_model(struct cds_llm *app, const struct cds_http_req *req, const struct cds_credential *credential, struct cds_model **ret,
                          struct cds_err *err)
{
    size_t len;
    const char *body = cds_http_body(req, &len);
    CDS_JSON_AUTO json = NULL;
    cds_rc rc = cds_json_parse(body, len, &json, err);
    if (rc != CDS_OK)
        return rc;
    const char *name = cds_json_get_str(json, "model");
    char id[CDS_MODEL_ID_MAX + 1] = "";
    if (!name || !*name || strlen(name) > CDS_MODEL_ID_MAX) {
        cds_fail(err, CDS_BAD_PARAM, __func__, "\"model\" must be the id of a model, at most %d bytes.", CDS_MODEL_ID_MAX);
        cds_err_pointer(err, "/model");
        return CDS_BAD_PARAM;
    }
    for (size_t i = 0; name[i]; i++)
        id[i] = (char)tolower((unsigned char)name[i]);
    *ret = cds_models_find(app, id);
    if (*ret)
        return cds_credential_model(credential, (*ret)->id, err);
    cds_fail(err, CDS_NOT_FOUND, __func__, "There is no model \"%s\" here.", id);
    cds_err_pointer(err, "/model");
    return cds_err_hint(err, "Put its GGUF file into the folder models of the data folder; GET /v1/models lists what is there.");
}

static void load_or_unload(struct cds_llm *app, struct cds_http_req *req, const struct cds_credential *credential, bool load)
{
    struct cds_err err = {0};
    struct cds_model *model = NULL;
    cds_rc rc = named_model(app, req, credential, &model, &err);
    if (rc == CDS_OK && load && model->unloading)
        rc = cds_fail(&err, CDS_CONFLICT, __func__, "The model %s is being unloaded; load it again in a moment.", model->id);
    if (rc == CDS_OK && app->draining)
        rc = cds_fail(&err, CDS_UNAVAILABLE, __func__, "The model server is shutting down.");
    if (rc != CDS_OK) {
        cds_routes_fail(req, credential->claims.user_id, &err);
        return;
    }
    wait_for(app, req, credential, model, load);
}

static void show_status(struct cds_llm *app, struct cds_http_req *req, const struct cds_credential *credential)
{
    struct cds_err err = {0};
    bool ledger = cds_meter_ready(app->meter, &err) == CDS_OK;
    reply(req, credential->claims.user_id,
          cds_json_pack("{s:s,s:b,s:b,s:i,s:I,s:I,s:o,s:o}", "version", CDS_VERSION, "ledger_ready", ledger, "draining", app->draining, "requests",
                        (int)cds_gen_count(app), "slots", (long long)cds_config_u64(app->config, CDS_OPT_LLM_SLOTS), "queue_limit",
                        (long long)cds_config_u64(app->config, CDS_OPT_LLM_QUEUE), "system", cds_system_show(app), "models",
                        list(app, status_of, USED)));
}

static void show_one(struct cds_llm *app, struct cds_http_req *req, const struct cds_credential *credential, const char *id)
{
    struct cds_err err = {0};
    const struct cds_model *model = strlen(id) <= CDS_MODEL_ID_MAX && *id ? cds_models_find(app, id) : NULL;
    if (model && is_listed(model) && cds_credential_model(credential, model->id, NULL) == CDS_OK) {
        reply(req, credential->claims.user_id, public_model(model));
        return;
    }
    cds_fail(&err, CDS_NOT_FOUND, __func__, "There is no model \"%.128s\" here.", id);
    cds_routes_fail(req, credential->claims.user_id, &err);
}

bool cds_admin_route(struct cds_llm *app, struct cds_http_req *req, const struct cds_credential *credential)
{
    static const char one[] = "/v1/models/", admin[] = "/admin/";
    const char *path = cds_routes_path(req), *method = cds_http_method(req), *user_id = credential->claims.user_id;
    bool get = cds_streq(method, "GET"), post = cds_streq(method, "POST");
    struct cds_err err = {0};
    if (get && cds_streq(path, "/v1/models")) {
        show_list(app, req, credential, false);
        return true;
    }
    if (get && cds_starts_with(path, one)) {
        show_one(app, req, credential, path + sizeof(one) - 1);
        return true;
    }
    if (!cds_starts_with(path, admin))
        return false;
    const char *name = path + sizeof(admin) - 1;
    bool load = post && cds_streq(name, "load"), unload = post && cds_streq(name, "unload");
    bool models = get && cds_streq(name, "models"), status = get && cds_streq(name, "status");
    if (!load && !unload && !models && !status)
        return cds_admin_download_route(app, req, credential);
    if (cds_credential_need(credential, CDS_ROLE_ADMIN, path + 1, &err) != CDS_OK)
        cds_routes_fail(req, user_id, &err);
    else if (load || unload)
        load_or_unload(app, req, credential, load);
    else if (models)
        show_list(app, req, credential, true);
    else
        show_status(app, req, credential);
    return true;
}
