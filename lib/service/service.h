/* lib/service/service.h: what every HTTP process does at its start and end: options, log, loop, signals, listener, drain.
 *
 * Source:  ARCHITECTURE.md section 1; lib/config/options.def.
 * Threads: loop thread only.
 *
 * A process is: cds_service_start → its own parts → cds_service_listen → cds_service_run → frees its own parts → cds_service_stop.
 */
#pragma once

#include "lib/config/config.h"
#include "lib/http/client.h"
#include "lib/http/server.h"

struct cds_service {
    const char *name; /**< "cds-api" */
    struct cds_config *config;
    struct cds_loop *loop;
    struct cds_http_client *client;
    struct cds_http_server *server;
    bool draining;
    /** For cds_service_listen: see cds_http_header_fn; may be NULL. */
    cds_http_header_fn *on_header;
    /** Called once when SIGTERM or SIGINT came, before the server drains; may be NULL. */
    void (*on_drain)(void *user);
    void *user;
};

/** Loads options, starts log and loop, takes SIGTERM and SIGINT. On failure it has told log and supervisor already. */
CDS_MUST_USE cds_rc cds_service_start(struct cds_service *service, const char *name, const char *about, int *argc, char **argv);
/** Opens the port with the configured limits. @param body_max_bytes  0: the configured ceiling */
CDS_MUST_USE cds_rc cds_service_listen(struct cds_service *service, enum cds_opt port, size_t body_max_bytes, cds_http_handler_fn *on_request,
                                       void *user, struct cds_err *reterr);
/** Tells the supervisor that the process serves and runs until it has drained. Returns the exit status 0. */
int cds_service_run(struct cds_service *service, enum cds_opt port);
/** Tells log and supervisor why the process cannot start. Returns the exit status 1. */
int cds_service_failed(const struct cds_service *service, const struct cds_err *err);
/** Frees everything; the caller's own parts are gone already. */
void cds_service_stop(struct cds_service *service);

/** Address to call another service on this machine by: the bind address, or loopback for a wildcard. Returns buf. */
char *cds_service_host(const struct cds_config *config, char *buf, size_t size);
/** "http://host:port" of the service behind that option. Returns buf. */
char *cds_service_url(const struct cds_config *config, enum cds_opt port, char *buf, size_t size);
/** Origin of the page: ui.public_url without a trailing slash, else the page server's own address. Returns buf. */
char *cds_service_origin(const struct cds_config *config, char *buf, size_t size);

/**
 * Origin of previews, with "*" where the name of one stands: preview.origin, or localhost at preview.port.
 * @param buf  at least 300 bytes
 * @return CDS_OK; CDS_BAD_PARAM when preview.origin has no scheme, star, host and perhaps port
 */
CDS_MUST_USE cds_rc cds_service_preview_origin(const struct cds_config *config, char *buf, size_t size, struct cds_err *reterr);
