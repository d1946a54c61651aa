/* apps/auth/main.c: cds-auth: sign-in, sessions, access tokens. The only process that sees a password. */
#include <signal.h>
#include <stdio.h>
#include <string.h>

#include "apps/auth/service.h"
#include "lib/base/fd.h"
#include "lib/base/ready.h"
#include "lib/base/str.h"
#include "lib/log/log.h"

static const char about[] = "Signs users in and issues access tokens. Commands: (none) serves; "
                            "user add --email MAIL --role ROLE [--name NAME] adds a user, password on standard input.";

static void on_drained(void *user)
{
    cds_loop_stop(user);
}

static void on_signal(void *user, int signo)
{
    struct cds_auth *auth = user;
    if (auth->draining) { /* asked twice: at once */
        cds_loop_stop(auth->loop);
        return;
    }
    auth->draining = true;
    cds_http_server_drain(auth->server, (uint32_t)cds_config_u64(auth->config, CDS_OPT_HTTP_DRAIN_MS), on_drained, auth->loop);
}

static int failed(const struct cds_err *err)
{
    cds_log_err(CDS_LOG_ERROR, err->message, NULL, err);
    cds_notify_failed(err->message);
    return 1;
}

static cds_rc listen_http(struct cds_auth *auth, struct cds_err *reterr)
{
    const struct cds_config *config = auth->config;
    const char *bind = cds_config_str(config, CDS_OPT_BIND);
    unsigned connections = (unsigned)cds_config_u64(config, CDS_OPT_HTTP_CONNECTIONS);
    const struct cds_http_limits limits = {
        .body_max_bytes = CDS_AUTH_BODY_MAX,
        .read_ms = (uint32_t)cds_config_u64(config, CDS_OPT_HTTP_READ_MS),
        .idle_ms = (uint32_t)cds_config_u64(config, CDS_OPT_HTTP_IDLE_MS),
        .connections = connections,
        .connections_per_ip = connections, /* all come through the page's proxy */
    };
    int fd = -1;
    cds_rc rc = cds_tcp_listen(bind, (uint16_t)cds_config_u64(config, CDS_OPT_AUTH_PORT), &fd, reterr);
    if (!rc)
        rc = cds_http_server_new(auth->loop, fd, &limits, NULL, cds_auth_handle, auth, &auth->server, reterr);
    if (!rc)
        cds_http_trust_request_id(auth->server, cds_starts_with(bind, "127.") || cds_streq(bind, "::1") || cds_streq(bind, "localhost"));
    return rc;
}

static int serve(struct cds_config *config)
{
    struct cds_loop *loop = NULL;
    struct cds_auth *auth = NULL;
    struct cds_err err = {0};
    cds_rc rc = cds_loop_new(&loop, &err);
    /* Signals are blocked before the first worker thread exists, so that all of them reach the loop. */
    sigset_t ours;
    sigemptyset(&ours);
    sigaddset(&ours, SIGTERM);
    sigaddset(&ours, SIGINT);
    sigprocmask(SIG_BLOCK, &ours, NULL);
    signal(SIGPIPE, SIG_IGN);
    if (!rc)
        rc = cds_auth_open(config, loop, &auth, &err);
    if (!rc)
        rc = listen_http(auth, &err);
    if (!rc)
        rc = cds_loop_signal(loop, SIGTERM, on_signal, auth, &err);
    if (!rc)
        rc = cds_loop_signal(loop, SIGINT, on_signal, auth, &err);
    int status = 0;
    if (rc) {
        status = failed(&err);
    } else {
        cds_log(CDS_LOG_INFO, "ready", CDS_LI("port", cds_config_u64(config, CDS_OPT_AUTH_PORT)), CDS_LS("kid", cds_signer_kid(auth->signer)));
        cds_notify_ready();
        cds_loop_run(loop);
    }
    cds_auth_free(&auth);
    cds_loop_free(&loop);
    return status;
}

int main(int argc, char **argv)
{
    CDS_CLEANUP(cds_config_free) struct cds_config *config = NULL;
    struct cds_err err = {0};
    enum cds_log_level level = CDS_LOG_INFO;
    cds_log_init("cds-auth", level);
    cds_rc rc = cds_config_load(&argc, argv, about, &config, &err);
    if (!rc && cds_log_level_parse(cds_config_str(config, CDS_OPT_LOG_LEVEL), &level))
        rc = cds_fail(&err, CDS_BAD_PARAM, __func__, "The option studio.log_level is debug, info, warn or error.");
    if (rc)
        return failed(&err);
    cds_log_init("cds-auth", level);
    if (argc > 1 && cds_streq(argv[1], "user"))
        return cds_auth_user_command(config, argc, argv);
    if (argc > 1) {
        cds_fail(&err, CDS_BAD_PARAM, __func__, "Unknown argument %.100s; --help lists the options.", argv[1]);
        return failed(&err);
    }
    return serve(config);
}
