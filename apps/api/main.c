/* apps/api/main.c: cds-api, the JSON-RPC gateway. See README.md for the map of this folder. */
#include <stdio.h>

#include "apps/api/message.h"
#include "lib/base/str.h"
#include "lib/service/service.h"

static cds_rc start(struct api *api, struct cds_service *service, struct cds_err *err)
{
    const struct cds_config *c = service->config;
    char conninfo[CDS_DB_CONNINFO_MAX], host[64];
    cds_rc rc;
    api->config = service->config;
    api->loop = service->loop;
    api->client = service->client;
    cds_service_url(c, CDS_OPT_LLM_PORT, api->llm_url, sizeof(api->llm_url));
    cds_service_url(c, CDS_OPT_AUTH_PORT, api->auth_url, sizeof(api->auth_url));
    cds_service_origin(c, api->origin, sizeof(api->origin));
    if (cds_starts_with(cds_service_host(c, host, sizeof(host)), "127."))
        snprintf(api->origin_local, sizeof(api->origin_local), "http://localhost:%u", (unsigned)cds_config_u64(c, CDS_OPT_UI_PORT));
    if ((rc = cds_rpc_table_init(err)) || (rc = cds_credentials_new(api->loop, api->client, api->auth_url, &api->creds, err)) ||
        (rc = cds_db_conninfo_as(c, CDS_DB_APP, conninfo, err)) || (rc = cds_dbq_open(api->loop, conninfo, API_DB_QUEUE, &api->db, err)) ||
        (rc = cds_standing_new(api->loop, conninfo, api_access_changed, api, &api->standing, err)) || (rc = projects_new(&api->projects, err)) ||
        (rc = sandbox_link_new(api, &api->sandbox, err)) || (rc = preview_link_new(api, &api->previews, err)) ||
        (rc = api_logs_new(api, &api->logs, err)) || (rc = cds_service_listen(service, CDS_OPT_API_PORT, 0, api_on_request, api, err)))
        return rc;
    cds_credentials_follow(api->creds, api->standing);
    /* Only our own page server is in front; ledger ids are checked again by llmserver (docs/adr/0005-request-id.md). */
    cds_http_trust_request_id(service->server, true);
    cds_http_openai_below(service->server, "/v1/");
    cds_http_anthropic_below(service->server, "/v1/messages");
    return CDS_OK;
}

static void stop(struct api *api)
{
    preview_link_free(&api->previews);
    sandbox_link_free(&api->sandbox);
    cds_dbq_close(&api->db);
    cds_credentials_free(&api->creds);
    cds_standing_free(&api->standing);
    api_logs_free(&api->logs);
    projects_free(&api->projects);
}

int main(int argc, char **argv)
{
    struct cds_service service = {.name = NULL};
    struct api api = {.loop = NULL};
    struct cds_err err;
    if (cds_service_start(&service, "cds-api", "the JSON-RPC gateway of CyberDevStudio", &argc, argv))
        return 1;
    int status = start(&api, &service, &err) ? cds_service_failed(&service, &err) : cds_service_run(&service, CDS_OPT_API_PORT);
    cds_http_server_free(&service.server); /* requests end before what they use */
    stop(&api);
    cds_service_stop(&service);
    return status;
}
