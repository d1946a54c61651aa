/* apps/egress/main.c: cds-egress: has the network for jobs of projects with a list of hosts, and nothing else: no secret, no database, no file. */
#include <errno.h>
#include <signal.h>
#include <stdio.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/un.h>
#include <unistd.h>

#include "apps/egress/confine.h"
#include "apps/egress/egress.h"
#include "lib/base/cleanup.h"
#include "lib/base/ready.h"
#include "lib/log/log.h"

enum { BACKLOG = 4, DESCRIPTORS_BESIDE = 512 };

struct server {
    struct egress egress;
    struct cds_config *config;
    struct cds_watch *accept;
    int listen_fd;
    char path[108];
};

static bool may_connect(int fd)
{
    struct ucred who;
    socklen_t len = sizeof(who);
    return !getsockopt(fd, SOL_SOCKET, SO_PEERCRED, &who, &len) && (who.uid == 0 || who.uid == geteuid());
}

static void on_accept(void *user, int fd, uint32_t events)
{
    struct server *server = user;
    int client = accept4(fd, NULL, NULL, SOCK_CLOEXEC | SOCK_NONBLOCK);
    if (client < 0)
        return;
    if (may_connect(client)) {
        egress_broker_add(&server->egress, client);
        return;
    }
    cds_log(CDS_LOG_WARN, "a connection was refused");
    close(client);
}

static void on_signal(void *user, int signo)
{
    cds_loop_stop(((struct server *)user)->egress.loop);
}

/* Messages with their borders kept: a socket and its rules come together or not at all. */
static cds_rc listen_at(struct server *server, struct cds_err *reterr)
{
    struct sockaddr_un at = {.sun_family = AF_UNIX};
    struct stat st;
    char path[600];
    cds_config_path(server->config, "run/egress.sock", path, sizeof(path));
    if (strlen(path) >= sizeof(at.sun_path))
        return cds_fail(reterr, CDS_BAD_PARAM, __func__, "The path %s is too long for a socket.", path);
    memcpy(at.sun_path, path, strlen(path) + 1);
    memcpy(server->path, at.sun_path, sizeof(server->path));
    if (!lstat(path, &st) && S_ISSOCK(st.st_mode))
        unlink(path);
    mode_t before = umask(0177);
    server->listen_fd = socket(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
    int bad = server->listen_fd < 0 || bind(server->listen_fd, (const struct sockaddr *)&at, sizeof(at)) || listen(server->listen_fd, BACKLOG);
    umask(before);
    return bad ? cds_fail_errno(reterr, errno, __func__, "The socket %s cannot be made.", path) : CDS_OK;
}

static void want_descriptors(const struct egress *egress)
{
    struct rlimit have;
    const rlim_t wanted = (rlim_t)egress->connections_max * 3 + DESCRIPTORS_BESIDE;
    if (getrlimit(RLIMIT_NOFILE, &have) || have.rlim_cur >= wanted)
        return;
    const struct rlimit more = {have.rlim_max < wanted ? have.rlim_max : wanted, have.rlim_max};
    setrlimit(RLIMIT_NOFILE, &more);
}

static cds_rc start(struct server *server, struct cds_err *err)
{
    struct egress *egress = &server->egress;
    bool files_closed = false;
    cds_rc rc;
    if ((rc = egress_configure(egress, server->config, err)) || (rc = listen_at(server, err)) || (rc = egress_confine(&files_closed, err)) ||
        (rc = cds_loop_new(&egress->loop, err)) || (rc = cds_loop_signal(egress->loop, SIGTERM, on_signal, server, err)) ||
        (rc = cds_loop_signal(egress->loop, SIGINT, on_signal, server, err)) || (rc = cds_dialer_new(egress->loop, &egress->dialer, err)))
        return rc;
    if (!files_closed)
        cds_log(CDS_LOG_WARN, "this kernel has no Landlock: files stay readable for the process that has the network");
    want_descriptors(egress);
    return cds_watch_add(egress->loop, server->listen_fd, EPOLLIN, on_accept, server, &server->accept, err);
}

static void stop(struct server *server)
{
    cds_watch_remove(&server->accept);
    cds_close_fd(&server->listen_fd); /* its name stays: by now we may not remove it, the next start does */
    while (server->egress.brokers)
        egress_broker_free(server->egress.brokers);
    cds_dialer_free(&server->egress.dialer);
    cds_loop_free(&server->egress.loop);
    cds_config_free(&server->config);
}

int main(int argc, char **argv)
{
    struct server server = {.listen_fd = -1};
    struct cds_err err;
    enum cds_log_level level = CDS_LOG_INFO;
    signal(SIGPIPE, SIG_IGN);
    cds_log_init("cds-egress", CDS_LOG_INFO);
    cds_rc rc = cds_config_load(&argc, argv, "connects jobs to the hosts that their project names", &server.config, &err);
    if (!rc && cds_log_level_parse(cds_config_str(server.config, CDS_OPT_LOG_LEVEL), &level))
        rc = cds_fail(&err, CDS_BAD_PARAM, __func__, "studio.log_level must be debug, info, warn or error.");
    cds_log_init("cds-egress", level);
    if (!rc)
        rc = start(&server, &err);
    if (rc) {
        cds_log_err(CDS_LOG_ERROR, "cds-egress could not start", NULL, &err);
        cds_notify_failed(err.message);
        stop(&server);
        return 1;
    }
    cds_log(CDS_LOG_INFO, "listening", CDS_LS("path", server.path));
    cds_notify_ready();
    cds_loop_run(server.egress.loop);
    stop(&server);
    return 0;
}
