/* sandbox/main.c: cds-sandboxd: start, probe, accept, end. See README.md for the map of this folder. */
#include <errno.h>
#include <fcntl.h>
#include <pwd.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <unistd.h>

#include "lib/base/cleanup.h"
#include "lib/base/fd.h"
#include "lib/base/ready.h"
#include "lib/base/str.h"
#include "lib/log/log.h"
#include "sandbox/egress_link.h"
#include "sandbox/image_desk.h"
#include "sandbox/job_pool.h"
#include "sandbox/listen.h"
#include "sandbox/micro.h"
#include "sandbox/preview.h"
#include "sandbox/probe.h"
#include "sandbox/run.h"
#include "sandbox/term.h"
#include "sandbox/wasm.h"

struct server {
    struct broker broker;
    struct cds_config *config;
    struct cds_watch *accept;
    int listen_fd;
    bool keeps; /* compiled modules in the data folder */
    char socket_path[600], preview_path[600], jail_dir[600];
};

static void on_accept(void *user, int fd, uint32_t events)
{
    struct server *server = user;
    struct cds_err err;
    int client = accept4(fd, NULL, NULL, SOCK_CLOEXEC | SOCK_NONBLOCK);
    if (client < 0)
        return;
    if (!broker_may_connect(&server->broker, client) || server->broker.client_count >= BROKER_CLIENTS) {
        cds_log(CDS_LOG_WARN, "a connection was refused");
        close(client);
    } else if (broker_add_client(&server->broker, client, &err)) {
        cds_log_err(CDS_LOG_ERROR, "a connection could not be served", NULL, &err);
        close(client);
    }
}

static void on_signal(void *user, int signo)
{
    cds_loop_stop(((struct server *)user)->broker.loop);
}

/* Each job has pipes, a terminal or a report, and the sockets of its network. */
static void want_descriptors(const struct cds_config *config)
{
    enum { PER_JOB = 16 + 1 + CDS_DOORS_PREVIEW, OTHERS = 1024 };
    const uint64_t jobs = cds_config_u64(config, CDS_OPT_RUN_SLOTS) + cds_config_u64(config, CDS_OPT_TERM_SLOTS) + JAIL_POOL_MAX;
    const rlim_t wanted = jobs * PER_JOB + OTHERS;
    struct rlimit have;
    if (getrlimit(RLIMIT_NOFILE, &have) || have.rlim_cur >= wanted)
        return;
    struct rlimit more = {wanted, have.rlim_max < wanted ? wanted : have.rlim_max};
    if (!setrlimit(RLIMIT_NOFILE, &more))
        return;
    more = (struct rlimit){have.rlim_max < wanted ? have.rlim_max : wanted, have.rlim_max};
    setrlimit(RLIMIT_NOFILE, &more);
    cds_log(CDS_LOG_WARN, "fewer open files are allowed than all places for runs and terminals may need; set LimitNOFILE or ulimit -n higher",
            CDS_LI("allowed", (int64_t)more.rlim_cur), CDS_LI("wanted", (int64_t)wanted));
}

/* Letters and digits that belong to this data folder, so that two studios do not sweep each other's cgroups. */
static void folder_key(const char *home, char out[static 17])
{
    uint64_t hash = 14695981039346656037u;
    for (const char *p = home; *p; p++)
        hash = (hash ^ (unsigned char)*p) * 1099511628211u;
    snprintf(out, 17, "%016llx", (unsigned long long)hash);
}

/* Where nothing is kept it is a probe: it must not touch what a studio that is running keeps. */
static cds_rc open_wasm(struct server *server, unsigned pool, struct cds_err *err)
{
    struct broker *broker = &server->broker;
    char dir[512], library[600], worker[600], cache[600];
    const char *given = cds_config_str(server->config, CDS_OPT_RUN_WASMER_LIB);
    cds_program_dir(dir, sizeof(dir));
    snprintf(library, sizeof(library), "%s/../lib/wasmer/libwasmer.so", dir);
    snprintf(worker, sizeof(worker), "%s/cds-wasmworker", dir);
    cds_config_path(server->config, "cache/wasm", cache, sizeof(cache));
    const struct wasm_settings settings = {
        .library = *given ? given : library, .worker = worker, .cache_dir = server->keeps ? cache : NULL, .pool = pool};
    cds_rc rc = cds_wasm_engine_new(broker->host, &settings, &broker->engines[broker->engine_count], err);
    if (!rc)
        broker->engine_count++;
    return rc;
}

static cds_rc open_micro(struct server *server, struct cds_err *err)
{
    struct broker *broker = &server->broker;
    const struct cds_config *c = server->config;
    char program[512], images[600], agent[600], msb[600], cache[600];
    cds_program_dir(program, sizeof(program));
    snprintf(images, sizeof(images), "%.500s/../share/micro", program);
    snprintf(agent, sizeof(agent), "%.500s/../lib/micro/agent", program);
    snprintf(msb, sizeof(msb), "%.500s/../share/micro/msb/bin/msb", program);
    cds_config_path(c, "run/micro-tiers.json", cache, sizeof(cache));
    const struct micro_settings settings = {.image_dir = images,
                                            .agent = agent,
                                            .image = cds_config_str(c, CDS_OPT_MICRO_IMAGE),
                                            .qemu = cds_config_str(c, CDS_OPT_MICRO_QEMU),
                                            .msb = msb,
                                            .cache = cache,
                                            .memory_mib = (unsigned)(cds_config_u64(c, CDS_OPT_MICRO_MEMORY_BYTES) >> 20),
                                            .pool = (unsigned)cds_config_u64(c, CDS_OPT_MICRO_POOL),
                                            .pool_ttl_ms = (unsigned)cds_config_u64(c, CDS_OPT_MICRO_POOL_MS),
                                            .templates = true};
    cds_rc rc = cds_micro_engine_new(broker->host, &settings, &broker->engines[broker->engine_count], err);
    if (!rc)
        broker->engine_count++;
    return rc;
}

static cds_rc open_engines(struct server *server, const char *jail_dir, const char *key, unsigned pool, struct cds_err *err)
{
    struct broker *broker = &server->broker;
    const struct sandbox_settings settings = {
        .base_dir = jail_dir, .cgroup_key = key, .slots = (unsigned)cds_config_u64(server->config, CDS_OPT_RUN_SLOTS)};
    cds_rc rc = sandbox_host_open(broker->loop, &settings, &broker->host, err);
    if (!rc && !(rc = cds_run_engine_new(broker->host, pool, &broker->engines[broker->engine_count], err)))
        broker->engine_count++;
    if (!rc)
        rc = open_wasm(server, pool, err);
    return rc ? rc : open_micro(server, err);
}

static cds_rc open_folders(struct server *server, struct cds_err *err)
{
    struct broker *broker = &server->broker;
    char path[600], program[512];
    cds_config_path(server->config, "projects", path, sizeof(path));
    cds_rc rc = cds_mkdir_p(path, 0700, err);
    if (rc)
        return rc;
    broker->projects_fd = open(path, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    if (broker->projects_fd < 0)
        return cds_fail_errno(err, errno, __func__, "The folder of projects %s cannot be opened.", path);
    snprintf(broker->templates_dir, sizeof(broker->templates_dir), "%s/../share/templates", cds_program_dir(program, sizeof(program)));
    const struct passwd *pw = getpwnam(cds_config_str(server->config, CDS_OPT_RUN_USER));
    broker->services_uid = pw ? pw->pw_uid : geteuid();
    cds_config_path(server->config, "run", path, sizeof(path));
    if ((rc = cds_mkdir_p(path, 0711, err)))
        return rc;
    cds_config_path(server->config, "run/jail", server->jail_dir, sizeof(server->jail_dir));
    cds_config_path(server->config, "run/preview-doors.sock", server->preview_path, sizeof(server->preview_path));
    cds_config_path(server->config, "run/sandboxd.sock", server->socket_path, sizeof(server->socket_path));
    return CDS_OK;
}

/* Before anything of a former start is swept away: it may be alive. */
static cds_rc check_alone(const struct server *server, struct cds_err *err)
{
    CDS_CLEANUP(cds_close_fd) int fd = -1;
    if (cds_unix_connect(server->socket_path, &fd, NULL))
        return CDS_OK;
    cds_fail(err, CDS_CONFLICT, __func__, "Another cds-sandboxd works in this data folder.");
    return cds_err_hint(err, "End it first, or choose another folder with --studio.home=FOLDER.");
}

static cds_rc open_egress(struct server *server, struct cds_err *err)
{
    struct broker *broker = &server->broker;
    char path[600];
    cds_rc rc = egress_link_new(broker->loop, cds_config_path(server->config, "run/egress.sock", path, sizeof(path)), &broker->egress, err);
    if (!rc)
        broker->host->egress = broker->egress;
    return rc;
}

static cds_rc start(struct server *server, struct cds_err *err)
{
    struct broker *broker = &server->broker;
    char key[17];
    cds_rc rc;
    want_descriptors(server->config);
    folder_key(cds_config_home(server->config), key);
    server->keeps = true;
    if ((rc = cds_loop_new(&broker->loop, err)) || (rc = cds_loop_signal(broker->loop, SIGTERM, on_signal, server, err)) ||
        (rc = cds_loop_signal(broker->loop, SIGINT, on_signal, server, err)) || (rc = open_folders(server, err)) || (rc = check_alone(server, err)) ||
        (rc = open_engines(server, server->jail_dir, key, (unsigned)cds_config_u64(server->config, CDS_OPT_RUN_POOL), err)) ||
        (rc = open_egress(server, err)) || (rc = cds_pool_new(broker->loop, 2, BROKER_FS_QUEUE, &broker->readers, err)) ||
        (rc = cds_pool_new(broker->loop, 1, BROKER_FS_QUEUE, &broker->writer, err)) || (rc = fs_queue_new(&broker->changes, err)) ||
        (rc = image_desk_new(broker, &broker->images, err)) || (rc = preview_listen(broker, server->preview_path, err)) ||
        (rc = cds_unix_listen(server->socket_path, 0660, &server->listen_fd, err)))
        return rc;
    return cds_watch_add(broker->loop, server->listen_fd, EPOLLIN, on_accept, server, &server->accept, err);
}

static void stop(struct server *server)
{
    struct broker *broker = &server->broker;
    cds_watch_remove(&server->accept);
    if (server->listen_fd >= 0) {
        unlink(server->socket_path);
        close(server->listen_fd);
    }
    cds_pool_free(&broker->readers);
    cds_pool_free(&broker->writer);
    fs_queue_free(&broker->changes);
    while (broker->clients) {
        struct client *client = broker->clients;
        cds_peer_close(&client->peer);
        broker_client_closed(client);
    }
    terms_free(broker);
    image_desk_free(&broker->images);
    preview_stop(broker);
    while (broker->engine_count) {
        struct cds_engine *engine = broker->engines[--broker->engine_count];
        engine->ops->close(engine);
    }
    probe_free(broker);
    egress_link_free(&broker->egress);
    sandbox_host_close(&broker->host);
    cds_close_fd(&broker->projects_fd);
    cds_loop_free(&broker->loop);
    cds_config_free(&server->config);
}

/* ---- --probe: for `cyberdevstudio doctor` ---- */
static void remove_probe_folder(const char *dir)
{
    static const char *const below[] = {"/root", "/empty", ""};
    char path[64];
    for (size_t i = 0; i < CDS_ARRAY_LEN(below); i++) {
        snprintf(path, sizeof(path), "%s%s", dir, below[i]);
        rmdir(path);
    }
}

/* The engine keeps an empty folder beside its root: the project of the tries. */
static bool probe_empty_project(struct server *server, const char *dir, struct cds_err *err)
{
    char path[64];
    snprintf(path, sizeof(path), "%s/empty", dir);
    CDS_CLEANUP(cds_close_fd) int fd = open(path, O_PATH | O_DIRECTORY | O_CLOEXEC);
    if (fd < 0) {
        cds_fail_errno(err, errno, __func__, "The folder of the probe cannot be opened.");
        return false;
    }
    return probe_all(&server->broker, fd);
}

static int probe(struct server *server)
{
    char dir[] = "/tmp/cds-probe-XXXXXX", key[17];
    struct cds_err err = {0};
    bool works = false;
    if (!mkdtemp(dir)) {
        fprintf(stderr, "cds-sandboxd: no temporary folder for the probe.\n");
        return 1;
    }
    /* A key of its own: opening an engine ends what has its key, and the studio of this folder may have runs going on. */
    snprintf(key, sizeof(key), "probe%d", (int)getpid());
    cds_rc rc = cds_loop_new(&server->broker.loop, &err);
    if (!rc && chmod(dir, 0755) == 0)
        rc = open_engines(server, dir, key, 0, &err);
    if (!rc && !(works = probe_empty_project(server, dir, &err)) && err.message[0])
        rc = err.code;
    if (rc)
        fprintf(stderr, "cds-sandboxd: %s %s\n", err.message, err.hint);
    stop(server);
    remove_probe_folder(dir);
    return works ? 0 : 1;
}

int main(int argc, char **argv)
{
    struct server server = {.listen_fd = -1, .broker = {.projects_fd = -1}};
    struct cds_err err;
    enum cds_log_level level = CDS_LOG_INFO;
    signal(SIGPIPE, SIG_IGN);
    cds_log_init("cds-sandboxd", CDS_LOG_INFO);
    cds_rc rc =
        cds_config_load(&argc, argv, "runs programs and keeps the files of projects; --probe tests the sandbox and exits", &server.config, &err);
    if (!rc && cds_log_level_parse(cds_config_str(server.config, CDS_OPT_LOG_LEVEL), &level))
        rc = cds_fail(&err, CDS_BAD_PARAM, __func__, "studio.log_level must be debug, info, warn or error.");
    cds_log_init("cds-sandboxd", level);
    server.broker.config = server.config;
    if (!rc && argc > 1 && cds_streq(argv[1], "--probe"))
        return probe(&server);
    if (!rc)
        rc = start(&server, &err);
    if (rc) {
        cds_log_err(CDS_LOG_ERROR, "cds-sandboxd could not start", NULL, &err);
        cds_notify_failed(err.message);
        stop(&server);
        return 1;
    }
    cds_log(CDS_LOG_INFO, "listening", CDS_LS("path", server.socket_path));
    cds_notify_ready();
    cds_loop_run(server.broker.loop);
    stop(&server);
    return 0;
}
