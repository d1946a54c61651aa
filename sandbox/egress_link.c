/* sandbox/egress_link.c: see egress_link.h. */
#include "sandbox/egress_link.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <unistd.h>

#include "lib/base/cleanup.h"
#include "lib/base/clock.h"
#include "lib/base/str.h"
#include "lib/json/json.h"
#include "lib/log/log.h"
#include "lib/metrics/metrics.h"
#include "sandbox/confine/doors.h"

struct egress_link {
    struct cds_loop *loop;
    struct cds_watch *watch;
    struct cds_timer *retry;
    struct egress_door *doors;
    int64_t last_id;
    int fd; /* -1: not connected */
    char path[108];
};

struct egress_door {
    struct egress_link *link;
    struct egress_door *next, **prev;
    int64_t id;
    int fd; /* -1: not here yet */
    char *project, *request_id, *rules;
};

union control {
    char bytes[CMSG_SPACE(sizeof(int))];
    struct cmsghdr align;
};

/* ---- the socket of a job ---- */
/* A socket that listens and is shut down is a closed port, keeps its address, and can listen again. */
static void stop_listening(const struct egress_door *door)
{
    if (door->fd >= 0)
        shutdown(door->fd, SHUT_RD);
}

static bool send_message(const struct egress_link *link, cds_json *message, int fd)
{
    union control control;
    size_t len = 0;
    char *text = message ? cds_json_dumps(message, &len) : NULL;
    struct iovec bytes = {text, len};
    struct msghdr head = {.msg_iov = &bytes, .msg_iovlen = 1};
    if (fd >= 0) {
        memset(&control, 0, sizeof(control));
        head.msg_control = control.bytes;
        head.msg_controllen = sizeof(control.bytes);
        struct cmsghdr *rights = CMSG_FIRSTHDR(&head);
        rights->cmsg_level = SOL_SOCKET;
        rights->cmsg_type = SCM_RIGHTS;
        rights->cmsg_len = CMSG_LEN(sizeof(int));
        memcpy(CMSG_DATA(rights), &fd, sizeof(int));
    }
    bool sent = text && len <= EGRESS_LINK_MESSAGE_MAX && sendmsg(link->fd, &head, MSG_DONTWAIT | MSG_NOSIGNAL) == (ssize_t)len;
    free(text);
    cds_json_unref(message);
    return sent;
}

static void hand_over(const struct egress_door *door)
{
    const struct egress_link *link = door->link;
    cds_json *rules = NULL;
    if (!link || link->fd < 0 || door->fd < 0) {
        stop_listening(door);
        return;
    }
    if (cds_json_parse(door->rules, strlen(door->rules), &rules, NULL))
        rules = cds_json_array();
    cds_json *message = cds_json_pack("{s:s,s:I,s:s,s:s,s:o}", "op", "open", "door", door->id, "project", door->project, "request_id",
                                      door->request_id, "rules", rules);
    if (listen(door->fd, CDS_DOORS_BACKLOG) || !send_message(link, message, door->fd)) {
        cds_log(CDS_LOG_WARN, "the network of a run could not be handed over", CDS_LS("request_id", door->request_id));
        stop_listening(door);
    }
}

/* ---- connection ---- */
static void disconnect(struct egress_link *link)
{
    cds_watch_remove(&link->watch);
    cds_close_fd(&link->fd);
    link->fd = -1;
    for (const struct egress_door *door = link->doors; door; door = door->next)
        stop_listening(door);
    cds_timer_set(link->retry, cds_now_ms() + EGRESS_LINK_RETRY_MS);
}

static void count(const cds_json *note)
{
    static const char *const verdicts[] = {"allowed", "refused", "failed"};
    const char *verdict = cds_json_get_str(note, "verdict");
    for (size_t i = 0; verdict && i < CDS_ARRAY_LEN(verdicts); i++)
        if (cds_streq(verdict, verdicts[i]))
            cds_metric_add(CDS_M_EGRESS_CONNECTIONS, verdicts[i], 1);
    int64_t up = cds_json_get_i64(note, "up_bytes", 0), down = cds_json_get_i64(note, "down_bytes", 0);
    cds_metric_add(CDS_M_EGRESS_BYTES, "up", up > 0 ? up : 0);
    cds_metric_add(CDS_M_EGRESS_BYTES, "down", down > 0 ? down : 0);
}

static void on_egress(void *user, int fd, uint32_t events)
{
    struct egress_link *link = user;
    char text[512];
    cds_json *note = NULL;
    ssize_t n = recv(fd, text, sizeof(text), MSG_DONTWAIT);
    if (n < 0 && (errno == EAGAIN || errno == EINTR))
        return;
    if (n <= 0) {
        cds_log(CDS_LOG_WARN, "cds-egress is gone: jobs have no network until it is back");
        disconnect(link);
        return;
    }
    if (!cds_json_parse(text, (size_t)n, &note, NULL))
        count(note);
    cds_json_unref(note);
}

static void connect_now(void *user)
{
    struct egress_link *link = user;
    struct sockaddr_un to = {.sun_family = AF_UNIX};
    memcpy(to.sun_path, link->path, sizeof(link->path));
    link->fd = socket(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
    if (link->fd < 0 || connect(link->fd, (const struct sockaddr *)&to, sizeof(to)) ||
        cds_watch_add(link->loop, link->fd, EPOLLIN, on_egress, link, &link->watch, NULL)) {
        cds_close_fd(&link->fd);
        link->fd = -1;
        cds_timer_set(link->retry, cds_now_ms() + EGRESS_LINK_RETRY_MS);
        return;
    }
    cds_log(CDS_LOG_INFO, "connected to cds-egress");
    for (const struct egress_door *door = link->doors; door; door = door->next)
        hand_over(door);
}

cds_rc egress_link_new(struct cds_loop *loop, const char *path, struct egress_link **ret, struct cds_err *reterr)
{
    struct egress_link *link = calloc(1, sizeof(*link));
    if (!link || cds_timer_add(loop, UINT64_MAX, connect_now, link, &link->retry)) {
        free(link);
        return cds_fail(reterr, CDS_EXHAUSTED, __func__, "Out of memory.");
    }
    link->loop = loop;
    link->fd = -1;
    cds_strcpy(link->path, sizeof(link->path), path);
    connect_now(link);
    *ret = link;
    return CDS_OK;
}

void egress_link_free(struct egress_link **link)
{
    if (!*link)
        return;
    cds_watch_remove(&(*link)->watch);
    cds_timer_remove(&(*link)->retry);
    cds_close_fd(&(*link)->fd);
    free(*link);
    *link = NULL;
}

bool egress_link_up(const struct egress_link *link)
{
    return link && link->fd >= 0;
}

/* ---- doors ---- */
static void door_free(struct egress_door *door)
{
    free(door->project);
    free(door->request_id);
    free(door->rules);
    free(door);
}

cds_rc egress_door_new(struct egress_link *link, const struct cds_job_network *network, struct egress_door **ret, struct cds_err *reterr)
{
    struct egress_door *door = calloc(1, sizeof(*door));
    if (door)
        *door = (struct egress_door){
            .link = link, .fd = -1, .project = strdup(network->project), .request_id = strdup(network->request_id), .rules = strdup(network->rules)};
    if (!door || !door->project || !door->request_id || !door->rules) {
        if (door)
            door_free(door);
        return cds_fail(reterr, CDS_EXHAUSTED, __func__, "Out of memory.");
    }
    if (link) {
        door->id = ++link->last_id;
        if ((door->next = link->doors))
            door->next->prev = &door->next;
        door->prev = &link->doors;
        link->doors = door;
    }
    *ret = door;
    return CDS_OK;
}

void egress_door_give(struct egress_door *door, int fd)
{
    cds_close_fd(&door->fd);
    door->fd = fd;
    hand_over(door);
}

void egress_door_close(struct egress_door **ref)
{
    struct egress_door *door = *ref;
    if (!door)
        return;
    *ref = NULL;
    if (door->link) {
        *door->prev = door->next;
        if (door->next)
            door->next->prev = door->prev;
    }
    stop_listening(door);
    if (door->link && door->link->fd >= 0 && door->fd >= 0 &&
        !send_message(door->link, cds_json_pack("{s:s,s:I}", "op", "close", "door", door->id), -1)) {
        cds_log(CDS_LOG_WARN, "cds-egress does not listen: the connection to it is made anew");
        disconnect(door->link); /* its end closes all it has of us */
    }
    cds_close_fd(&door->fd);
    door_free(door);
}
