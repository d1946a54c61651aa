/* apps/studio-ui/server/main.c: cds-studio-ui: the built page and a same-origin reverse proxy to api and auth. */
#include <stdio.h>
#include <string.h>

#include "apps/studio-ui/server/files.h"
#include "lib/base/clock.h"
#include "lib/base/str.h"
#include "lib/http/proxy.h"
#include "lib/http/reply.h"
#include "lib/http/ws.h"
#include "lib/service/service.h"

enum { CALL_MS = 3620000 /* longer than the gateway's own deadline, which has the better words */, AUTH_MS = 30000, TUNNEL_BUFFER = 1024 * 1024 };

struct ui {
    struct cds_loop *loop;
    struct cds_config *config;
    struct cds_http_client *client;
    struct files *files;
    char host[64], api_url[128], auth_url[128], csp[700];
};

/* Nothing from elsewhere, no inline script, no frame. Monaco writes <style> elements at run time, hence 'unsafe-inline' for styles only
 * (docs/adr/0009-content-security-policy.md). */
static const char csp[] = "default-src 'none'; script-src 'self'; style-src 'self' 'unsafe-inline'; img-src 'self' data:; font-src 'self'; "
                          "connect-src 'self'; worker-src 'self'; manifest-src 'self'; form-action 'self' %s; base-uri 'none'; "
                          "frame-ancestors 'none'";

static void add_security_headers(const struct ui *ui, struct cds_http_req *req)
{
    cds_http_add_header(req, "Content-Security-Policy", ui->csp);
    cds_http_add_header(req, "Referrer-Policy", "no-referrer");
    cds_http_add_header(req, "Cross-Origin-Opener-Policy", "same-origin");
    cds_http_add_header(req, "Cross-Origin-Resource-Policy", "same-origin");
    cds_http_add_header(req, "Permissions-Policy", "camera=(), geolocation=(), microphone=(), payment=(), usb=()");
}

/* Addresses that the page itself routes; anything else unknown is a JSON 404, never the page. */
static bool is_page_route(const char *path)
{
    static const char *const routes[] = {"/",     "/setup", "/login", "/code",    "/run",   "/terminal",
                                         "/chat", "/logs",  "/usage", "/account", "/admin", "/invite"};
    for (size_t i = 0; i < CDS_ARRAY_LEN(routes); i++)
        if (cds_streq(path, routes[i]))
            return true;
    return false;
}

static bool is_api_path(const char *path)
{
    static const char *const exact[] = {"/rpc",          "/admin/load",     "/admin/unload",  "/admin/status",
                                        "/admin/models", "/admin/download", "/admin/inspect", "/admin/events"};
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
    add_security_headers(ui, req);
    if (!files_serve(ui->files, req, is_page_route(path) ? "/index.html" : path))
        not_found(req);
}

static void on_request(void *user, struct cds_http_req *req)
{
    struct ui *ui = user;
    const char *path = cds_http_path(req);
    if (cds_http_ops(req, NULL, ready, ui))
        return;
    if (cds_streq(path, "/ws") || cds_streq(path, "/stream/logs") || (cds_streq(path, "/v1/responses") && cds_http_wants_ws(req)))
        cds_http_tunnel(req, ui->loop, ui->host, (uint16_t)cds_config_u64(ui->config, CDS_OPT_API_PORT), "the API gateway", TUNNEL_BUFFER);
    else if (is_api_path(path))
        cds_http_proxy(req, ui->client, ui->api_url, "the API gateway", cds_now_ms() + CALL_MS);
    else if (cds_starts_with(path, "/auth/") || cds_streq(path, "/.well-known/jwks.json"))
        cds_http_proxy(req, ui->client, ui->auth_url, "the sign-in service", cds_now_ms() + AUTH_MS);
    else
        page(ui, req);
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

static cds_rc start(struct ui *ui, struct cds_service *service, struct cds_err *err)
{
    char dir[1100], previews[300];
    ui->config = service->config;
    ui->loop = service->loop;
    ui->client = service->client;
    cds_service_host(ui->config, ui->host, sizeof(ui->host));
    cds_service_url(ui->config, CDS_OPT_API_PORT, ui->api_url, sizeof(ui->api_url));
    cds_service_url(ui->config, CDS_OPT_AUTH_PORT, ui->auth_url, sizeof(ui->auth_url));
    find_page(ui, dir, sizeof(dir));
    cds_rc rc = cds_service_preview_origin(ui->config, previews, sizeof(previews), err);
    snprintf(ui->csp, sizeof(ui->csp), csp, rc ? "" : previews); /* a ticket goes to its preview as a form */
    if (rc || (rc = files_open(dir, &ui->files, err)) || (rc = cds_service_listen(service, CDS_OPT_UI_PORT, 0, on_request, ui, err)))
        return rc;
    cds_http_openai_below(service->server, "/v1/");
    return CDS_OK;
}

int main(int argc, char **argv)
{
    struct cds_service service = {.name = NULL};
    struct ui ui = {.loop = NULL};
    struct cds_err err;
    if (cds_service_start(&service, "cds-studio-ui", "serves the page of CyberDevStudio and forwards its calls", &argc, argv))
        return 1;
    int status = start(&ui, &service, &err) ? cds_service_failed(&service, &err) : cds_service_run(&service, CDS_OPT_UI_PORT);
    cds_http_server_free(&service.server); /* requests end before what they use */
    files_free(&ui.files);
    cds_service_stop(&service);
    return status;
}
