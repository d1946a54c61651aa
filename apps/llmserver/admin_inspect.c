#include "apps/llmserver/admin_inspect.h"

#include <stdlib.h>
#include <string.h>

#include "apps/llmserver/downloads.h"
#include "apps/llmserver/helper.h"
#include "apps/llmserver/memory.h"
#include "lib/base/clock.h"
#include "lib/base/random.h"
#include "lib/base/str.h"
#include "lib/config/fetch_command.h"
#include "lib/log/log.h"

enum { REAP_MS = 5000, BATCH_ROWS = 256 /* as in model.c */ };

struct cds_look {
    struct cds_look *next;
    struct cds_llm *app;
    struct cds_http_req *req; /* NULL: the client left */
    struct cds_helper *helper;
    cds_json *answer; /* owned; what the process said */
    char user_id[CDS_UUID_LEN + 1];
};

static void look_free(struct cds_look *look)
{
    cds_json_unref(look->answer);
    free(look);
}

static void unlink_look(struct cds_look *look)
{
    struct cds_look **link = &look->app->looks;
    while (*link != look)
        link = &(*link)->next;
    *link = look->next;
    look_free(look);
}

static void on_line(void *user, const cds_json *line)
{
    struct cds_look *look = user;
    cds_json_unref(look->answer);
    look->answer = cds_json_copy(line);
}

static void read_error(const cds_json *error, struct cds_err *err)
{
    const char *message = cds_json_get_str(error, "message"), *hint = cds_json_get_str(error, "hint"), *rule = cds_json_get_str(error, "rule");
    cds_fail(err, cds_rc_from_openai(cds_json_get_str(error, "code")), "inspect", "%s", message ? message : "The header could not be read.");
    if (hint && *hint)
        cds_err_hint(err, "%s", hint);
    if (rule && *rule)
        cds_err_rule(err, rule);
}

static void on_looked(void *user, int status)
{
    struct cds_look *look = user;
    struct cds_err err = {0};
    const cds_json *error = cds_json_get(look->answer, "error"), *facts = cds_json_get(look->answer, "facts");
    if (!look->req) {
        unlink_look(look);
        return;
    }
    cds_http_set_user(look->req, NULL, NULL, NULL);
    if (facts) {
        uint64_t cells = cds_config_u64(look->app->config, CDS_OPT_LLM_CONTEXT);
        cds_json_set(look->answer, "need_bytes", cds_json_int((int64_t)cds_memory_need(facts, cells, BATCH_ROWS).total_bytes));
        cds_admin_reply(look->req, look->user_id, 200, cds_json_ref(look->answer));
    } else {
        if (error)
            read_error(error, &err);
        else
            cds_fail(&err, CDS_TIMED_OUT, __func__, "The header of the model could not be read within %d s.", CDS_LOOK_MS / 1000);
        cds_routes_fail(look->req, look->user_id, &err);
    }
    unlink_look(look);
}

static void on_gone(void *user)
{
    struct cds_look *look = user;
    look->req = NULL;
    cds_helper_stop(look->helper);
}

static cds_rc read_source(const struct cds_http_req *req, char ret[static CDS_SOURCE_BYTES_MAX + 1], struct cds_err *err)
{
    size_t len;
    const char *body = cds_http_body(req, &len);
    CDS_JSON_AUTO json = NULL;
    cds_rc rc = cds_json_parse(body, len, &json, err);
    if (rc != CDS_OK)
        return rc;
    const char *source = cds_json_get_str(json, "source");
    if (!source || !*source || strlen(source) > CDS_SOURCE_BYTES_MAX) {
        cds_fail(err, CDS_BAD_PARAM, __func__,
                 "\"source\" must be hf:owner/repo:quant, hf:owner/repo/file.gguf#branch or the address of a .gguf file, at most %d bytes.",
                 CDS_SOURCE_BYTES_MAX);
        cds_err_pointer(err, "/source");
        return CDS_BAD_PARAM;
    }
    cds_strcpy(ret, CDS_SOURCE_BYTES_MAX + 1, source);
    return CDS_OK;
}

static cds_rc start(struct cds_llm *app, struct cds_http_req *req, const char *user_id, const char *source, struct cds_err *err)
{
    static const struct cds_helper_ops ops = {.on_line = on_line, .on_exit = on_looked};
    static struct cds_fetch_command command; /* large, and only one is built at a time */
    char shown[CDS_SOURCE_BYTES_MAX + 1];
    unsigned running = 0;
    for (const struct cds_look *one = app->looks; one; one = one->next)
        running++;
    if (running >= CDS_LOOKS_MAX) {
        cds_fail(err, CDS_BUSY, __func__, "%u headers are being read already, as many as there may be.", running);
        err->retry_after_ms = 2000;
        return CDS_BUSY;
    }
    struct cds_look *look = calloc(1, sizeof(*look));
    if (!look)
        return cds_fail(err, CDS_EXHAUSTED, __func__, "There is not enough memory for the request.");
    *look = (struct cds_look){.app = app, .req = req};
    cds_strcpy(look->user_id, sizeof(look->user_id), user_id);
    cds_fetch_command(app->config, app->models.fetch, app->models.dirs[0], "look", source, "", CDS_LOOK_MS, &command);
    cds_rc rc = cds_helper_start(app->loop, command.argv, cds_now_ms() + CDS_LOOK_MS + REAP_MS, &ops, look, &look->helper, err);
    if (rc != CDS_OK) {
        free(look);
        return rc;
    }
    look->next = app->looks;
    app->looks = look;
    cds_http_set_user(req, look, on_gone, NULL);
    cds_fetch_shown(source, shown, sizeof(shown));
    cds_log(CDS_LOG_INFO, "inspection of a remote model", CDS_LS("request_id", cds_http_request_id(req)), CDS_LS("user_id", user_id),
            CDS_LS("source", shown));
    return CDS_OK;
}

bool cds_admin_inspect_route(struct cds_llm *app, struct cds_http_req *req, const struct cds_credential *credential)
{
    char source[CDS_SOURCE_BYTES_MAX + 1];
    const char *user_id = credential->claims.user_id;
    struct cds_err err = {0};
    if (!cds_streq(cds_routes_path(req), "/admin/inspect") || !cds_streq(cds_http_method(req), "POST"))
        return false;
    cds_rc rc = cds_credential_need(credential, CDS_ROLE_ADMIN, "admin/inspect", &err);
    if (rc == CDS_OK)
        rc = read_source(req, source, &err);
    if (rc == CDS_OK && app->draining)
        rc = cds_fail(&err, CDS_UNAVAILABLE, __func__, "The model server is shutting down.");
    if (rc == CDS_OK)
        rc = start(app, req, user_id, source, &err);
    if (rc != CDS_OK)
        cds_routes_fail(req, user_id, &err);
    return true;
}

void cds_admin_inspect_stop(struct cds_llm *app)
{
    while (app->looks) {
        struct cds_look *look = app->looks;
        app->looks = look->next;
        cds_helper_free(&look->helper);
        look_free(look);
    }
}
