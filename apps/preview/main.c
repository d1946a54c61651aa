/* apps/preview/main.c: cds-preview: programs of the sandbox that listen on a port, each at an origin of its own, for its owner alone. */
#include "apps/preview/control.h"
#include "lib/service/service.h"

struct app {
    struct previews all;
    struct control *control;
};

static cds_rc start(struct app *app, struct cds_service *service, struct cds_err *err)
{
    app->all.loop = service->loop;
    app->all.config = service->config;
    app->all.client = service->client;
    service->on_header = visit_header;
    cds_rc rc = previews_open(&app->all, err);
    if (!rc)
        rc = control_open(&app->all, &app->control, err);
    return rc ? rc
              : cds_service_listen(service, CDS_OPT_PREVIEW_PORT, (size_t)cds_config_u64(service->config, CDS_OPT_PREVIEW_BODY_MAX_BYTES), visit,
                                   &app->all, err);
}

int main(int argc, char **argv)
{
    struct cds_service service = {.name = NULL};
    static struct app app;
    struct cds_err err;
    if (cds_service_start(&service, "cds-preview", "shows programs of the sandbox that listen on a port to their owners", &argc, argv))
        return 1;
    int status = start(&app, &service, &err) ? cds_service_failed(&service, &err) : cds_service_run(&service, CDS_OPT_PREVIEW_PORT);
    control_close(&app.control);
    cds_http_server_free(&service.server); /* requests end before what they use */
    previews_close(&app.all);
    cds_service_stop(&service);
    return status;
}
