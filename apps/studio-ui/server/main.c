/* apps/studio-ui/server/main.c: cds-studio-ui: the built page and a same-origin reverse proxy to api and auth. */
#include <signal.h>
#include <stdlib.h>
#include <string.h>

#include "apps/studio-ui/server/files.h"
#include "lib/base/clock.h"
#include "lib/base/fd.h"
#include "lib/base/ready.h"
#include "lib/base/str.h"
#include "lib/config/config.h"
#include "lib/http/proxy.h"
#include "lib/http/reply.h"
#include "lib/http/ws.h"
#include "lib/log/log.h"

enum { CALL_MS = 3600000, AUTH_MS = 30000, TUNNEL_BUFFER = 1024 * 1024 };

struct ui {
    struct cds_loop *loop;
    struct cds_config *config;
    struct cds_http_server *server;
    struct cds_http_client *client;
    struct files *files;
    char host[64], api_url[128], auth_url[128];
    bool draining;
};

/* Nothing from elsewhere, no inline script, no frame. Monaco writes <style> elements at run time, hence 'unsafe-inline' for styles only
 * (docs/adr/0009-content-security-policy.md). */
static const char csp[] = "default-src 'none'; script-src 'self'; style-src 'self' 'unsafe-inline'; img-src 'self' data:; font-src 'self'; "
                          "connect-src 'self'; worker-src 'self'; manifest-src 'self'; form-action 'self'; base-uri 'none'; "
                          "frame-ancestors 'none'";

static void add_security_headers(struct cds_http_req *req)
{
    cds_http_add_header(req, "Content-Security-Policy", csp);
    cds_http_add_header(req, "X-Content-Type-Options", "nosniff");
    cds_http_add_header(req, "Referrer-Policy", "no-referrer");
    cds_http_add_header(req, "Cross-Origin-Opener-Policy", "same-origin");
    cds_http_add_header(req, "Cross-Origin-Resource-Policy", "same-origin");
    cds_http_add_header(req, "Permissions-Policy", "camera=(), geolocation=(), microphone=(), payment=(), usb=()");
}

/* Addresses that the page itself routes; anything else unknown is a JSON 404, never the page. */
static bool is_page_route(const char *path)
{
    static const char *const routes[] = {"/", "/setup", "/login", "/code", "/run", "/chat", "/logs", "/account"};
    for (size_t i = 0; i < CDS_ARRAY_LEN(routes); i++)
        if (cds_streq(path, routes[i]))
            return true;
    return false;
}

static bool is_api_path(const char *path)
{
    static const char *const exact[] = {"/rpc", "/admin/load", "/admin/unload", "/admin/status", "/admin/models"};
    for (size_t i = 0; i < CDS_ARRAY_LEN(exact); i++)
        if (cds_streq(path, exact[i]))
            return true;
    return cds_starts_with(path, "/rpc/") || cds_starts_with(path, "/v1/");
}

static void not_found(struct cds_http_req *req)
{
    struct cds_err err;
    cds_fail(&err, CDS_NOT_FOUND, __func__, "There is nothing at this address.");
    cds_err_hint(&err, "Start at /.");
    cds_http_reply_err(req, &err);
}

static cds_rc ready(void *user, struct cds_err *err)
{
    return CDS_OK; /* the page is in the table of files, or the process would not run; api and auth have their own /readyz */
}

static void page(struct ui *ui, struct cds_http_req *req)
{
    const char *path = cds_http_path(req), *method = cds_http_method(req);
    if (!cds_streq(method, "GET") && !cds_streq(method, "HEAD")) {
        struct cds_err err;
        cds_http_add_header(req, "Allow", "GET, HEAD");
        cds_fail(&err, CDS_BAD_REQUEST, __func__, "The page is read with GET.");
        cds_http_reply_err(req, &err);
        return;
    }
    add_security_headers(req);
    if (!files_serve(ui->files, req, is_page_route(path) ? "/index.html" : path))
        not_found(req);
}

static void on_request(void *user, struct cds_http_req *req)
{
    struct ui *ui = user;
    const char *path = cds_http_path(req);
    if (cds_http_ops(req, ready, ui))
        return;
    if (cds_streq(path, "/ws") || cds_streq(path, "/stream/logs"))
        cds_http_tunnel(req, ui->loop, ui->host, (uint16_t)cds_config_u64(ui->config, CDS_OPT_API_PORT), "the API gateway", TUNNEL_BUFFER);
    else if (is_api_path(path))
        cds_http_proxy(req, ui->client, ui->api_url, "the API gateway", cds_now_ms() + CALL_MS);
    else if (cds_starts_with(path, "/auth/") || cds_streq(path, "/.well-known/jwks.json"))
        cds_http_proxy(req, ui->client, ui->auth_url, "the sign-in service", cds_now_ms() + AUTH_MS);
    else
        page(ui, req);
}

static void on_drained(void *user)
{
    cds_loop_stop(((struct ui *)user)->loop);
}

static void on_signal(void *user, int signo)
{
    struct ui *ui = user;
    if (ui->draining)
        return;
    ui->draining = true;
    cds_log(CDS_LOG_INFO, "draining", CDS_LI("signal", signo));
    cds_ws_close_all(ui->server, 1001);
    cds_http_server_drain(ui->server, (uint32_t)cds_config_u64(ui->config, CDS_OPT_HTTP_DRAIN_MS), on_drained, ui);
}

static void find_page(const struct ui *ui, char *dir, size_t size)
{
    char program[512];
    const char *set = cds_config_str(ui->config, CDS_OPT_UI_DIR);
    if (*set)
        snprintf(dir, size, "%s", set);
    else
        snprintf(dir, size, "%s/../share/ui", cds_program_dir(program, sizeof(program)));
    size_t n = strlen(dir);
    while (n > 1 && dir[n - 1] == '/')
        dir[--n] = '\0';
}

static cds_rc start(struct ui *ui, struct cds_err *err)
{
    const struct cds_config *c = ui->config;
    const char *bind = cds_config_str(c, CDS_OPT_BIND);
    char dir[1100];
    int fd = -1;
    cds_rc rc;
    snprintf(ui->host, sizeof(ui->host), "%s", cds_streq(bind, "0.0.0.0") || cds_streq(bind, "::") ? "127.0.0.1" : bind);
    snprintf(ui->api_url, sizeof(ui->api_url), "http://%s:%u", ui->host, (unsigned)cds_config_u64(c, CDS_OPT_API_PORT));
    snprintf(ui->auth_url, sizeof(ui->auth_url), "http://%s:%u", ui->host, (unsigned)cds_config_u64(c, CDS_OPT_AUTH_PORT));
    find_page(ui, dir, sizeof(dir));
    const struct cds_http_limits limits = {.body_max_bytes = cds_config_u64(c, CDS_OPT_BODY_MAX_BYTES),
                                           .read_ms = (uint32_t)cds_config_u64(c, CDS_OPT_HTTP_READ_MS),
                                           .idle_ms = (uint32_t)cds_config_u64(c, CDS_OPT_HTTP_IDLE_MS),
                                           .connections = (unsigned)cds_config_u64(c, CDS_OPT_HTTP_CONNECTIONS),
                                           .connections_per_ip = (unsigned)cds_config_u64(c, CDS_OPT_HTTP_CONNECTIONS)};
    if ((rc = files_open(dir, &ui->files, err)) || (rc = cds_loop_new(&ui->loop, err)) ||
        (rc = cds_loop_signal(ui->loop, SIGTERM, on_signal, ui, err)) || (rc = cds_loop_signal(ui->loop, SIGINT, on_signal, ui, err)) ||
        (rc = cds_http_client_new(ui->loop, &ui->client, err)) || (rc = cds_tcp_listen(bind, (uint16_t)cds_config_u64(c, CDS_OPT_UI_PORT), &fd, err)))
        return rc;
    return cds_http_server_new(ui->loop, fd, &limits, NULL, on_request, ui, &ui->server, err);
}

static void stop(struct ui *ui)
{
    cds_http_server_free(&ui->server);
    cds_http_client_free(&ui->client);
    files_free(&ui->files);
    cds_loop_free(&ui->loop);
    cds_config_free(&ui->config);
}

int main(int argc, char **argv)
{
    struct ui ui = {NULL};
    struct cds_err err;
    enum cds_log_level level = CDS_LOG_INFO;
    signal(SIGPIPE, SIG_IGN);
    cds_log_init("cds-studio-ui", CDS_LOG_INFO);
    cds_rc rc = cds_config_load(&argc, argv, "serves the page of CyberDevStudio and forwards its calls", &ui.config, &err);
    if (!rc && (rc = cds_log_level_parse(cds_config_str(ui.config, CDS_OPT_LOG_LEVEL), &level)))
        cds_fail(&err, CDS_BAD_PARAM, __func__, "studio.log_level must be debug, info, warn or error.");
    if (!rc) {
        cds_log_init("cds-studio-ui", level);
        rc = start(&ui, &err);
    }
    if (rc) {
        cds_log_err(CDS_LOG_ERROR, "cds-studio-ui could not start", NULL, &err);
        cds_notify_failed(err.message);
        stop(&ui);
        return 1;
    }
    cds_log(CDS_LOG_INFO, "listening", CDS_LI("port", (long long)cds_config_u64(ui.config, CDS_OPT_UI_PORT)));
    cds_notify_ready();
    cds_loop_run(ui.loop);
    stop(&ui);
    return 0;
}
