/* apps/llmserver/main.c: cds-llmserver, the OpenAI API over local models. See README.md for the map of this folder. */
#include <errno.h>
#include <limits.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "apps/llmserver/admin_inspect.h"
#include "apps/llmserver/app.h"
#include "apps/llmserver/audit.h"
#include "apps/llmserver/catalogue.h"
#include "apps/llmserver/downloads.h"
#include "apps/llmserver/events.h"
#include "apps/llmserver/generation.h"
#include "apps/llmserver/grammars.h"
#include "apps/llmserver/once.h"
#include "apps/llmserver/pace.h"
#include "apps/llmserver/poison.h"
#include "apps/llmserver/residency.h"
#include "apps/llmserver/states.h"
#include "lib/base/clock.h"
#include "lib/base/fd.h"
#include "lib/base/str.h"
#include "lib/db/db.h"
#include "lib/log/log.h"
#include "lib/service/service.h"

enum { FINISH_MS = 10000, STOP_MS = 3000 };

/** The id under which this server holds reservations: kept over restarts, so that the next start can clean up behind a crash. */
static cds_rc node_id(const struct cds_config *config, char ret[static CDS_UUID_LEN + 1], struct cds_err *err)
{
    char path[4096], dir[4096];
    cds_config_path(config, "run/llmserver.node", path, sizeof(path));
    cds_config_path(config, "run", dir, sizeof(dir));
    CDS_CLEANUP(cds_buf_free) struct cds_buf text = cds_buf_init(256);
    cds_rc rc = cds_read_file(path, &text, err);
    if (rc == CDS_OK && text.len == CDS_UUID_LEN && cds_uuid_valid(text.data)) {
        memcpy(ret, text.data, CDS_UUID_LEN + 1);
        return CDS_OK;
    }
    cds_uuid7(ret);
    rc = cds_mkdir_p(dir, 0700, err);
    if (rc == CDS_OK)
        rc = cds_write_file_atomic(path, ret, CDS_UUID_LEN, 0600, err);
    return rc;
}

/** Loads the configured model; the port is open by then, and a model that does not start leaves the server up to say so. */
static void load_first(void *user)
{
    struct cds_llm *app = user;
    struct cds_model *model = NULL;
    struct cds_err err = {0};
    const char *path = cds_config_str(app->config, CDS_OPT_LLM_MODEL);
    cds_models_scan(app);
    if (cds_streq(path, "none"))
        return;
    if (*path) {
        if (cds_models_add_file(app, path, &model, &err) != CDS_OK) {
            cds_log_err(CDS_LOG_ERROR, "the configured model cannot be used", NULL, &err);
            return;
        }
    } else {
        model = cds_models_find(app, "");
    }
    if (model)
        cds_model_load(model);
    else
        cds_log(CDS_LOG_WARN, "there is no model file", CDS_LS("folder", app->models.dirs[0]));
}

static void on_drain(void *user)
{
    struct cds_llm *app = user;
    app->draining = true;
}

static cds_rc start(struct cds_llm *app, struct cds_service *service, struct cds_err *err)
{
    const struct cds_config *c = service->config;
    char conninfo[CDS_DB_CONNINFO_MAX], auth_url[128], node[CDS_UUID_LEN + 1], journal[4096], cluster[4096];
    cds_rc rc = cds_db_conninfo_as(c, CDS_DB_APP, conninfo, err);
    if (rc == CDS_OK)
        rc = node_id(c, node, err);
    if (rc != CDS_OK)
        return rc;
    app->config = service->config;
    app->loop = service->loop;
    app->client = service->client;
    service->on_drain = on_drain;
    service->user = app;
    cds_models_init(app);
    char program_dir[PATH_MAX], grammars[PATH_MAX];
    cds_program_dir(program_dir, sizeof(program_dir));
    snprintf(grammars, sizeof(grammars), "%.4000s/../share/grammars", program_dir);
    rc = cds_grammars_open(grammars, &app->grammars, err);
    app->poison = calloc(1, sizeof(*app->poison));
    if (rc == CDS_OK && !app->poison)
        rc = cds_fail(err, CDS_EXHAUSTED, __func__, "There is not enough memory.");
    if (rc != CDS_OK)
        return rc;
    struct cds_meter_options meter = {
        .loop = app->loop,
        .conninfo = conninfo,
        .node = node,
        .price_in = (int64_t)cds_config_u64(c, CDS_OPT_PRICE_IN),
        .price_out = (int64_t)cds_config_u64(c, CDS_OPT_PRICE_OUT),
        .journal_path = cds_config_path(c, "run/llmserver.journal", journal, sizeof(journal)),
        .disk_path = *cds_config_str(c, CDS_OPT_DB_URL) ? NULL : cds_config_path(c, "pg", cluster, sizeof(cluster)),
        .disk_min_bytes = cds_config_u64(c, CDS_OPT_DB_DISK_MIN),
    };
    cds_service_url(c, CDS_OPT_AUTH_PORT, auth_url, sizeof(auth_url));
    rc = cds_meter_new(&meter, &app->meter, err);
    const struct cds_pace_options pace = {
        .loop = app->loop,
        .conninfo = conninfo,
        .nodes = (unsigned)cds_config_u64(c, CDS_OPT_LLM_RATE_NODES),
        .defaults = {.requests_per_minute = (uint32_t)cds_config_u64(c, CDS_OPT_LLM_RATE_REQUESTS),
                     .tokens_per_minute = cds_config_u64(c, CDS_OPT_LLM_RATE_TOKENS),
                     .concurrent_requests = (uint32_t)cds_config_u64(c, CDS_OPT_LLM_RATE_CONCURRENT)},
    };
    if (rc == CDS_OK)
        rc = cds_pace_new(&pace, &app->pace, err);
    if (rc == CDS_OK)
        rc = cds_credentials_new(app->loop, app->client, auth_url, &app->creds, err);
    if (rc == CDS_OK)
        rc = cds_standing_new(app->loop, conninfo, cds_access_changed, app, &app->standing, err);
    if (rc == CDS_OK)
        cds_credentials_follow(app->creds, app->standing);
    if (rc == CDS_OK)
        rc = cds_audit_new(app->loop, conninfo, &app->audit, err);
    if (rc == CDS_OK)
        rc = cds_events_new(app->loop, &app->events, err);
    struct cds_replay_limits kept = {(size_t)cds_config_u64(c, CDS_OPT_LLM_RESUME_BYTES), cds_config_u64(c, CDS_OPT_LLM_RESUME_MS),
                                     cds_config_u64(c, CDS_OPT_LLM_RESUME_GRACE_MS)};
    if (rc == CDS_OK)
        rc = cds_replays_new(app->loop, &kept, &app->replays, err);
    if (rc == CDS_OK)
        rc = cds_onces_new(app, conninfo, node, &app->onces, err);
    if (rc == CDS_OK)
        rc = cds_states_new(app, &app->states, err);
    if (rc == CDS_OK)
        rc = cds_downloads_new(app, &app->downloads, err);
    if (rc == CDS_OK)
        rc = cds_residency_start(app, err);
    if (rc == CDS_OK)
        cds_catalogue_read(app);
    if (rc == CDS_OK)
        rc = cds_service_listen(service, CDS_OPT_LLM_PORT, 0, cds_routes_on_request, app, err);
    if (rc == CDS_OK)
        rc = cds_loop_post(app->loop, load_first, app);
    if (rc != CDS_OK)
        return rc;
    app->server = service->server;
    /* Callers are the gateway and clients of this port; an id that the ledger knows already is replaced (flow.c). */
    cds_http_trust_request_id(app->server, true);
    cds_http_openai_below(app->server, "/v1/");
    cds_http_anthropic_below(app->server, "/v1/messages");
    return CDS_OK;
}

/** Connections are closed: running answers stop, everything is booked, the model processes end. */
static void finish(struct cds_llm *app)
{
    uint64_t deadline = cds_now_ms() + FINISH_MS;
    app->draining = true;
    cds_gen_stop_all(app);
    while ((cds_gen_count(app) > 0 || !cds_meter_idle(app->meter) || !cds_onces_idle(app->onces)) && cds_now_ms() < deadline)
        cds_loop_once(app->loop, 100);
    cds_models_stop(app);
    deadline = cds_now_ms() + STOP_MS;
    for (bool any = true; any && cds_now_ms() < deadline;) {
        any = false;
        for (const struct cds_model *model = app->models.first; model; model = model->next)
            any = any || model->proc || model->lexicon;
        if (any)
            cds_loop_once(app->loop, 100);
    }
}

int main(int argc, char **argv)
{
    struct cds_service service = {0};
    struct cds_llm app = {0};
    struct cds_err err = {0};
    if (cds_service_start(&service, "cds-llmserver", "the OpenAI API of CyberDevStudio over local models", &argc, argv))
        return 1;
    int status;
    if (start(&app, &service, &err) != CDS_OK) {
        status = cds_service_failed(&service, &err);
    } else {
        status = cds_service_run(&service, CDS_OPT_LLM_PORT);
        finish(&app);
    }
    cds_http_server_free(&service.server); /* requests end before what they use */
    if (app.creds)
        cds_credentials_free(&app.creds);
    cds_standing_free(&app.standing);
    cds_meter_free(&app.meter);
    cds_pace_free(&app.pace);
    cds_residency_stop(&app);
    cds_states_free(&app.states);
    cds_downloads_free(&app.downloads);
    cds_admin_inspect_stop(&app);
    cds_models_free(&app);
    cds_audit_free(&app.audit); /* acts of loads and downloads end before */
    cds_grammars_free(&app.grammars);
    free(app.poison);
    cds_events_free(&app.events);
    cds_replays_free(&app.replays);
    cds_onces_free(&app.onces);
    cds_json_unref(app.catalogue);
    cds_service_stop(&service);
    return status;
}
