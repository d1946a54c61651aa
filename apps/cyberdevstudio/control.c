/* apps/cyberdevstudio/control.c: the control socket <home>/run/supervisor.sock (0600).
 *
 * Wire:    the client sends one line, "status" or "down"; the answer is one line of JSON. After "status" the supervisor closes; after "down"
 *          the connection stays open until the supervisor has ended, so that its end can be waited for.
 * Limits:  CLIENTS_MAX connections, a line of LINE_MAX_BYTES, CLIENT_MS to send it.
 */
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/socket.h>
#include <unistd.h>

#include "apps/cyberdevstudio/procinfo.h"
#include "apps/cyberdevstudio/supervisor.h"
#include "lib/base/cleanup.h"
#include "lib/base/clock.h"
#include "lib/base/fd.h"
#include "lib/base/str.h"
#include "lib/log/log.h"

enum { CLIENTS_MAX = 16, LINE_MAX_BYTES = 32, CLIENT_MS = 5000, ANSWER_MS = 1000, CHILDREN_MAX = 256 };

struct client {
    struct cds_control *control;
    int fd; /* -1: free slot */
    struct cds_watch *watch;
    struct cds_timer *timer;
    size_t len;
    char line[LINE_MAX_BYTES];
};

struct cds_control {
    struct cds_supervisor *sup;
    int fd;
    struct cds_watch *watch;
    struct client clients[CLIENTS_MAX];
};

/* ---- status ---- */

static cds_json *children_json(const struct cds_proc *list, int count, pid_t pid, uint64_t *rss_bytes, uint64_t *pss_bytes)
{
    cds_json *children = cds_json_array();
    for (int i = 0; i < count; i++) {
        if (list[i].pid == pid)
            *rss_bytes += list[i].rss_bytes;
        if (list[i].zombie || cds_json_size(children) >= CHILDREN_MAX || !cds_proc_is_below(list, count, &list[i], pid))
            continue;
        uint64_t pss = cds_proc_pss_bytes(list[i].pid);
        *rss_bytes += list[i].rss_bytes;
        *pss_bytes += pss;
        cds_json *child = cds_json_object();
        cds_json_set(child, "pid", cds_json_int(list[i].pid));
        cds_json_set(child, "name", cds_json_string(list[i].name));
        cds_json_set(child, "rss_bytes", cds_json_int((int64_t)list[i].rss_bytes));
        cds_json_set(child, "pss_bytes", cds_json_int((int64_t)pss));
        cds_json_append(children, child);
    }
    *pss_bytes += cds_proc_pss_bytes(pid);
    return children;
}

static cds_json *part_json(const struct cds_part *part, const struct cds_proc *list, int count)
{
    const struct cds_supervisor *sup = part->sup;
    bool runs = part->pid > 0;
    uint64_t rss_bytes = 0, pss_bytes = 0;
    cds_json *object = cds_json_object();
    cds_json_set(object, "name", cds_json_string(part->def->name));
    cds_json_set(object, "state", cds_json_string(cds_part_state_name(part->state)));
    cds_json_set(object, "pid", runs ? cds_json_int(part->pid) : cds_json_null());
    cds_json_set(object, "uptime_ms", runs ? cds_json_int((int64_t)(cds_now_ms() - part->started_ms)) : cds_json_null());
    cds_json_set(object, "restarts", cds_json_int(part->restarts));
    cds_json_set(object, "port",
                 part->def->port < CDS_OPT_COUNT ? cds_json_int((int64_t)cds_config_u64(sup->config, part->def->port)) : cds_json_null());
    cds_json *children = runs ? children_json(list, count, part->pid, &rss_bytes, &pss_bytes) : cds_json_array();
    cds_json_set(object, "rss_bytes", cds_json_int((int64_t)rss_bytes));
    cds_json_set(object, "pss_bytes", cds_json_int((int64_t)pss_bytes));
    cds_json_set(object, "message", cds_json_string(part->failure));
    cds_json_set(object, "children", children);
    return object;
}

cds_json *cds_status_json(const struct cds_supervisor *sup)
{
    static struct cds_proc list[CDS_PROC_MAX];
    int count = cds_proc_list(list, CDS_PROC_MAX);
    char url[512];
    cds_json *parts = cds_json_array();
    for (int i = 0; i < CDS_PART_COUNT; i++)
        cds_json_append(parts, part_json(&sup->parts[i], list, count));
    cds_json *object = cds_json_object();
    cds_json_set(object, "state", cds_json_string(sup->stopping ? "stopping" : sup->starting ? "starting" : "running"));
    cds_json_set(object, "pid", cds_json_int(getpid()));
    cds_json_set(object, "version", cds_json_string(CDS_VERSION));
    cds_json_set(object, "home", cds_json_string(sup->home.path));
    cds_json_set(object, "url", cds_json_string(cds_public_url(sup->config, url, sizeof(url))));
    cds_json_set(object, "log", cds_json_string(cds_studiolog_path(sup->log)));
    cds_json_set(object, "uptime_ms", cds_json_int((int64_t)(cds_now_ms() - sup->started_ms)));
    cds_json_set(object, "pss_bytes", cds_json_int((int64_t)cds_proc_pss_bytes(getpid())));
    cds_json *database =
        cds_json_pack("{s:s,s:b}", "version", sup->db_version, "pgml_used", *sup->pgml && cds_config_u64(sup->config, CDS_OPT_ML_PGML) ? 1 : 0);
    cds_json_set(database, "pgml", *sup->pgml ? cds_json_string(sup->pgml) : cds_json_null());
    cds_json_set(object, "database", database);
    cds_json_set(object, "parts", parts);
    return object;
}

/* ---- socket ---- */

static void client_close(struct client *client)
{
    cds_watch_remove(&client->watch);
    cds_timer_remove(&client->timer);
    if (client->fd >= 0)
        close(cds_steal_fd(&client->fd));
}

static void on_client_timer(void *user)
{
    client_close(user);
}

static void answer(struct client *client, cds_json *value)
{
    CDS_JSON_AUTO owned = value;
    struct cds_err err;
    size_t len = 0;
    CDS_CLEANUP(cds_free_ptr) char *text = cds_json_dumps(owned, &len);
    uint64_t deadline_ms = cds_now_ms() + ANSWER_MS;
    if (!text || cds_write_all(client->fd, text, len, deadline_ms, &err) != CDS_OK || cds_write_all(client->fd, "\n", 1, deadline_ms, &err) != CDS_OK)
        cds_log(CDS_LOG_WARN, "a control client did not take its answer");
}

/** @return true when the connection ends here */
static bool obey(struct client *client)
{
    struct cds_supervisor *sup = client->control->sup;
    if (cds_streq(client->line, "status")) {
        answer(client, cds_status_json(sup));
        return true;
    }
    if (!cds_streq(client->line, "down")) {
        answer(client, cds_json_pack("{s:s}", "error", "The control socket knows the lines status and down."));
        return true;
    }
    cds_log(CDS_LOG_INFO, "asked to stop by the control socket");
    answer(client, cds_json_pack("{s:i}", "stopping", (int)getpid()));
    cds_timer_remove(&client->timer);
    /* Held open, unwatched: its end tells the client that we are gone. */
    cds_watch_remove(&client->watch);
    cds_supervisor_stop(sup);
    return false;
}

static void on_client(void *user, int fd, uint32_t events)
{
    struct client *client = user;
    ssize_t n = read(fd, client->line + client->len, sizeof(client->line) - 1 - client->len);
    if (n < 0 && (errno == EINTR || errno == EAGAIN))
        return;
    if (n > 0) {
        client->len += (size_t)n;
        client->line[client->len] = '\0';
        char *newline = strchr(client->line, '\n');
        if (!newline && client->len < sizeof(client->line) - 1)
            return;
        if (newline) {
            *newline = '\0';
            if (!obey(client))
                return;
        }
    }
    client_close(client);
}

static void on_connect(void *user, int fd, uint32_t events)
{
    struct cds_control *control = user;
    struct client *client = NULL;
    CDS_CLEANUP(cds_close_fd) int got = accept4(fd, NULL, NULL, SOCK_CLOEXEC | SOCK_NONBLOCK);
    for (int i = 0; got >= 0 && i < CLIENTS_MAX && !client; i++)
        if (control->clients[i].fd < 0)
            client = &control->clients[i];
    if (!client)
        return;
    struct cds_err err;
    *client = (struct client){.control = control, .fd = cds_steal_fd(&got)};
    if (cds_watch_add(control->sup->loop, client->fd, EPOLLIN, on_client, client, &client->watch, &err) != CDS_OK ||
        cds_timer_add(control->sup->loop, cds_now_ms() + CLIENT_MS, on_client_timer, client, &client->timer) != CDS_OK)
        client_close(client);
}

cds_rc cds_control_listen(struct cds_supervisor *sup, struct cds_err *reterr)
{
    char path[PATH_MAX];
    struct cds_control *control = calloc(1, sizeof(*control));
    if (!control)
        return cds_fail(reterr, CDS_EXHAUSTED, __func__, "There is no memory for the control socket.");
    *control = (struct cds_control){.sup = sup, .fd = -1};
    for (int i = 0; i < CLIENTS_MAX; i++)
        control->clients[i].fd = -1;
    sup->control = control;
    snprintf(path, sizeof(path), "%s/run/supervisor.sock", sup->home.path);
    cds_rc rc = cds_unix_listen(path, 0600, &control->fd, reterr);
    if (rc == CDS_OK)
        rc = cds_watch_add(sup->loop, control->fd, EPOLLIN, on_connect, control, &control->watch, reterr);
    if (rc != CDS_OK)
        cds_control_close(sup);
    return rc;
}

void cds_control_close(struct cds_supervisor *sup)
{
    struct cds_control *control = sup->control;
    char path[PATH_MAX];
    if (!control)
        return;
    for (int i = 0; i < CLIENTS_MAX; i++)
        client_close(&control->clients[i]);
    cds_watch_remove(&control->watch);
    if (control->fd >= 0) {
        snprintf(path, sizeof(path), "%s/run/supervisor.sock", sup->home.path);
        unlink(path);
        close(control->fd);
    }
    free(control);
    sup->control = NULL;
}
