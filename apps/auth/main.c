/* apps/auth/main.c: cds-auth: sign-in, sessions, access tokens. The only process that sees a password. */
#include <stdio.h>

#include "apps/auth/service.h"
#include "lib/base/str.h"
#include "lib/service/service.h"

static const char about[] = "Signs users in and issues access tokens. Commands: (none) serves; "
                            "\"user add --email MAIL --role ROLE [--name NAME]\" adds a user, the password is the first line of standard input; "
                            "\"key create\" and \"key rotate\" make API keys.";

/* A refused option of a command is one plain sentence for the person at the keyboard, not a log line. */
static int run_command(int argc, char **argv)
{
    CDS_CLEANUP(cds_config_free) struct cds_config *config = NULL;
    struct cds_err err = {0};
    if (cds_config_load(&argc, argv, about, &config, &err)) {
        fprintf(stderr, "%s\n", err.message);
        return 2;
    }
    if (cds_streq(argv[1], "user"))
        return cds_auth_user_command(config, argc, argv);
    if (cds_streq(argv[1], "key"))
        return cds_auth_key_command(config, argc, argv);
    fprintf(stderr, "Unknown command %s; --help lists commands and options.\n", argv[1]);
    return 2;
}

int main(int argc, char **argv)
{
    struct cds_service service = {0};
    struct cds_auth *auth = NULL;
    struct cds_err err = {0};
    for (int i = 1; i < argc; i++)
        if (!cds_starts_with(argv[i], "--"))
            return run_command(argc, argv);
    if (cds_service_start(&service, "cds-auth", about, &argc, argv))
        return 1;
    cds_rc rc = cds_auth_open(service.config, service.loop, &auth, &err);
    if (!rc)
        rc = cds_service_listen(&service, CDS_OPT_AUTH_PORT, CDS_AUTH_BODY_MAX, cds_auth_handle, auth, &err);
    if (!rc) {
        const char *bind = cds_config_str(service.config, CDS_OPT_BIND);
        cds_http_trust_request_id(service.server, cds_starts_with(bind, "127.") || cds_streq(bind, "::1"));
    }
    int status = rc ? cds_service_failed(&service, &err) : cds_service_run(&service, CDS_OPT_AUTH_PORT);
    cds_http_server_free(&service.server); /* requests end before what they use */
    cds_auth_free(&auth);
    cds_service_stop(&service);
    return status;
}
