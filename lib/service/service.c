/* lib/service/service.c: see service.h. */
#include "lib/service/service.h"

#include <signal.h>
#include <stdio.h>
#include <string.h>

#include "lib/base/fd.h"
#include "lib/base/ready.h"
#include "lib/base/str.h"
#include "lib/http/ws.h"
#include "lib/log/log.h"

enum { WS_GOING_AWAY = 1001, PREVIEW_HOST_MAX = 200 };

static void on_drained(void *user)
{
    cds_loop_stop(((struct cds_service *)user)->loop);
}

static void on_signal(void *user, int signo)
{
    struct cds_service *service = user;
    if (service->draining)
        return;
    service->draining = true;
    cds_log(CDS_LOG_INFO, "draining", CDS_LI("signal", signo));
    if (service->on_drain)
        service->on_drain(service->user);
    if (!service->server) {
        cds_loop_stop(service->loop);
        return;
    }
    cds_ws_close_all(service->server, WS_GOING_AWAY);
    cds_http_server_drain(service->server, (uint32_t)cds_config_u64(service->config, CDS_OPT_HTTP_DRAIN_MS), on_drained, service);
}

int cds_service_failed(const struct cds_service *service, const struct cds_err *err)
{
    char text[64];
    snprintf(text, sizeof(text), "%s could not start", service->name);
    cds_log_err(CDS_LOG_ERROR, text, NULL, err);
    cds_notify_failed(err->message);
    return 1;
}

static cds_rc start(struct cds_service *service, const char *about, int *argc, char **argv, struct cds_err *err)
{
    enum cds_log_level level;
    cds_rc rc = cds_config_load(argc, argv, about, &service->config, err);
    if (rc)
        return rc;
    if (cds_log_level_parse(cds_config_str(service->config, CDS_OPT_LOG_LEVEL), &level))
        return cds_fail(err, CDS_BAD_PARAM, __func__, "studio.log_level must be debug, info, warn or error.");
    cds_log_init(service->name, level);
    if ((rc = cds_loop_new(&service->loop, err)) || (rc = cds_loop_signal(service->loop, SIGTERM, on_signal, service, err)) ||
        (rc = cds_loop_signal(service->loop, SIGINT, on_signal, service, err)))
        return rc;
    return cds_http_client_new(service->loop, &service->client, err);
}

cds_rc cds_service_start(struct cds_service *service, const char *name, const char *about, int *argc, char **argv)
{
    struct cds_err err;
    service->name = name;
    signal(SIGPIPE, SIG_IGN);
    cds_log_init(name, CDS_LOG_INFO);
    cds_rc rc = start(service, about, argc, argv, &err);
    if (rc) {
        cds_service_failed(service, &err);
        cds_service_stop(service);
    }
    return rc;
}

cds_rc cds_service_listen(struct cds_service *service, enum cds_opt port, size_t body_max_bytes, cds_http_handler_fn *on_request, void *user,
                          struct cds_err *reterr)
{
    const struct cds_config *c = service->config;
    const struct cds_http_limits limits = {.body_max_bytes = body_max_bytes ? body_max_bytes : cds_config_u64(c, CDS_OPT_BODY_MAX_BYTES),
                                           .read_ms = (uint32_t)cds_config_u64(c, CDS_OPT_HTTP_READ_MS),
                                           .idle_ms = (uint32_t)cds_config_u64(c, CDS_OPT_HTTP_IDLE_MS),
                                           .connections = (unsigned)cds_config_u64(c, CDS_OPT_HTTP_CONNECTIONS),
                                           .connections_per_ip = (unsigned)cds_config_u64(c, CDS_OPT_HTTP_CONNECTIONS)};
    int fd = -1;
    cds_rc rc = cds_tcp_listen(cds_config_str(c, CDS_OPT_BIND), (uint16_t)cds_config_u64(c, port), &fd, reterr);
    return rc ? rc : cds_http_server_new(service->loop, fd, &limits, service->on_header, on_request, user, &service->server, reterr);
}

int cds_service_run(struct cds_service *service, enum cds_opt port)
{
    cds_log(CDS_LOG_INFO, "listening", CDS_LI("port", (long long)cds_config_u64(service->config, port)));
    cds_notify_ready();
    cds_loop_run(service->loop);
    return 0;
}

void cds_service_stop(struct cds_service *service)
{
    cds_http_server_free(&service->server);
    cds_http_client_free(&service->client);
    cds_loop_free(&service->loop);
    cds_config_free(&service->config);
}

char *cds_service_host(const struct cds_config *config, char *buf, size_t size)
{
    const char *bind = cds_config_str(config, CDS_OPT_BIND);
    snprintf(buf, size, "%s", cds_streq(bind, "0.0.0.0") || cds_streq(bind, "::") ? "127.0.0.1" : bind);
    return buf;
}

char *cds_service_url(const struct cds_config *config, enum cds_opt port, char *buf, size_t size)
{
    char host[64];
    cds_service_host(config, host, sizeof(host));
    bool v6 = strchr(host, ':') != NULL;
    snprintf(buf, size, "http://%s%s%s:%u", v6 ? "[" : "", host, v6 ? "]" : "", (unsigned)cds_config_u64(config, port));
    return buf;
}

char *cds_service_origin(const struct cds_config *config, char *buf, size_t size)
{
    const char *public_url = cds_config_str(config, CDS_OPT_PUBLIC_URL);
    if (!*public_url)
        return cds_service_url(config, CDS_OPT_UI_PORT, buf, size);
    snprintf(buf, size, "%s", public_url);
    size_t n = strlen(buf);
    while (n && buf[n - 1] == '/')
        buf[--n] = '\0';
    return buf;
}

/* Small letters, digits, dots and hyphens, and a port: what may stand in a Content-Security-Policy, too. */
static bool is_preview_origin(const char *text)
{
    uint64_t port = 0;
    const char *at = cds_starts_with(text, "https://*.") ? text + 10 : (cds_starts_with(text, "http://*.") ? text + 9 : NULL);
    size_t host = at ? strspn(at, "abcdefghijklmnopqrstuvwxyz0123456789.-") : 0;
    if (!host || host > PREVIEW_HOST_MAX || at[0] == '.' || at[host - 1] == '.')
        return false;
    return at[host] == '\0' || (at[host] == ':' && cds_parse_u64(at + host + 1, 1, 65535, &port) == CDS_OK);
}

cds_rc cds_service_preview_origin(const struct cds_config *config, char *buf, size_t size, struct cds_err *reterr)
{
    const char *given = cds_config_str(config, CDS_OPT_PREVIEW_ORIGIN);
    if (*given)
        snprintf(buf, size, "%s", given);
    else
        snprintf(buf, size, "http://*.localhost:%u", (unsigned)cds_config_u64(config, CDS_OPT_PREVIEW_PORT));
    size_t n = strlen(buf);
    if (n && buf[n - 1] == '/')
        buf[--n] = '\0';
    if (n + 1 < size && is_preview_origin(buf))
        return CDS_OK;
    cds_fail(reterr, CDS_BAD_PARAM, __func__, "preview.origin is not an address with a star for the name of a preview.");
    return cds_err_hint(reterr, "Write it like https://*.preview.example.org, in small letters.");
}
