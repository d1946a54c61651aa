/* apps/api/main.c: cds-api, the JSON-RPC gateway. See README.md for the map of this folder. */
#include <signal.h>
#include <stdlib.h>
#include <string.h>

#include "apps/api/message.h"
#include "lib/base/fd.h"
#include "lib/base/ready.h"
#include "lib/base/str.h"
#include "lib/http/ws.h"
#include "lib/log/log.h"

static void on_drained(void *user)
{
    struct api *api = user;
    cds_loop_stop(api->loop);
}

static void on_signal(void *user, int signo)
{
    struct api *api = user;
    if (api->draining)
        return;
    api->draining = true;
    cds_log(CDS_LOG_INFO, "draining", CDS_LI("signal", signo));
    cds_ws_close_all(api->server, 1001);
    cds_http_server_drain(api->server, (uint32_t)cds_config_u64(api->config, CDS_OPT_HTTP_DRAIN_MS), on_drained, api);
}

static void set_addresses(struct api *api)
{
    const struct cds_config *c = api->config;
    const char *bind = cds_config_str(c, CDS_OPT_BIND), *public_url = cds_config_str(c, CDS_OPT_PUBLIC_URL);
    /* A wildcard is no address to call; the other services are on this machine. */
    const char *host = cds_streq(bind, "0.0.0.0") || cds_streq(bind, "::") ? "127.0.0.1" : bind;
    unsigned ui = (unsigned)cds_config_u64(c, CDS_OPT_UI_PORT);
    snprintf(api->llm_url, sizeof(api->llm_url), "http://%s:%u", host, (unsigned)cds_config_u64(c, CDS_OPT_LLM_PORT));
    if (*public_url)
        snprintf(api->origin, sizeof(api->origin), "%.*s", (int)strcspn(public_url, "\n"), public_url);
    else
        snprintf(api->origin, sizeof(api->origin), "http://%s:%u", host, ui);
    size_t n = strlen(api->origin);
    while (n && api->origin[n - 1] == '/')
        api->origin[--n] = '\0';
    if (cds_starts_with(host, "127."))
        snprintf(api->origin_local, sizeof(api->origin_local), "http://localhost:%u", ui);
}

static cds_rc start(struct api *api, struct cds_err *err)
{
    const struct cds_config *c = api->config;
    char conninfo[1024], auth_url[128];
    int fd = -1;
    cds_rc rc;
    set_addresses(api);
    snprintf(auth_url, sizeof(auth_url), "http://%.*s:%u", (int)(strrchr(api->llm_url, ':') - api->llm_url - 7), api->llm_url + 7,
             (unsigned)cds_config_u64(c, CDS_OPT_AUTH_PORT));
    const struct cds_http_limits limits = {.body_max_bytes = cds_config_u64(c, CDS_OPT_BODY_MAX_BYTES),
                                           .read_ms = (uint32_t)cds_config_u64(c, CDS_OPT_HTTP_READ_MS),
                                           .idle_ms = (uint32_t)cds_config_u64(c, CDS_OPT_HTTP_IDLE_MS),
                                           .connections = (unsigned)cds_config_u64(c, CDS_OPT_HTTP_CONNECTIONS),
                                           .connections_per_ip = (unsigned)cds_config_u64(c, CDS_OPT_HTTP_CONNECTIONS)};
    if ((rc = cds_rpc_table_init(err)) || (rc = cds_loop_new(&api->loop, err)) || (rc = cds_loop_signal(api->loop, SIGTERM, on_signal, api, err)) ||
        (rc = cds_loop_signal(api->loop, SIGINT, on_signal, api, err)) || (rc = cds_http_client_new(api->loop, &api->client, err)) ||
        (rc = cds_credentials_new(api->loop, api->client, auth_url, &api->creds, err)) ||
        (rc = cds_dbq_open(api->loop, cds_db_conninfo(c, conninfo, sizeof(conninfo)), API_DB_QUEUE, &api->db, err)) ||
        (rc = projects_new(&api->projects, err)) || (rc = sandbox_link_new(api, &api->sandbox, err)) || (rc = api_logs_new(api, &api->logs, err)) ||
        (rc = cds_tcp_listen(cds_config_str(c, CDS_OPT_BIND), (uint16_t)cds_config_u64(c, CDS_OPT_API_PORT), &fd, err)) ||
        (rc = cds_http_server_new(api->loop, fd, &limits, NULL, api_on_request, api, &api->server, err)))
        return rc;
    cds_http_trust_request_id(api->server, true); /* only our own page server is in front; ledger ids are checked again by llmserver */
    return CDS_OK;
}

static void stop(struct api *api)
{
    cds_http_server_free(&api->server);
    sandbox_link_free(&api->sandbox);
    cds_dbq_close(&api->db);
    cds_credentials_free(&api->creds);
    cds_http_client_free(&api->client);
    api_logs_free(&api->logs);
    projects_free(&api->projects);
    cds_loop_free(&api->loop);
    cds_config_free(&api->config);
}

int main(int argc, char **argv)
{
    struct api api = {NULL};
    struct cds_err err;
    enum cds_log_level level = CDS_LOG_INFO;
    signal(SIGPIPE, SIG_IGN);
    cds_log_init("cds-api", CDS_LOG_INFO);
    cds_rc rc = cds_config_load(&argc, argv, "the JSON-RPC gateway of CyberDevStudio", &api.config, &err);
    if (!rc && (rc = cds_log_level_parse(cds_config_str(api.config, CDS_OPT_LOG_LEVEL), &level)))
        cds_fail(&err, CDS_BAD_PARAM, __func__, "studio.log_level must be debug, info, warn or error.");
    if (!rc) {
        cds_log_init("cds-api", level);
        rc = start(&api, &err);
    }
    if (rc) {
        cds_log_err(CDS_LOG_ERROR, "cds-api could not start", NULL, &err);
        cds_notify_failed(err.message);
        stop(&api);
        return 1;
    }
    cds_log(CDS_LOG_INFO, "listening", CDS_LI("port", (long long)cds_config_u64(api.config, CDS_OPT_API_PORT)));
    cds_notify_ready();
    cds_loop_run(api.loop);
    stop(&api);
    return 0;
}
