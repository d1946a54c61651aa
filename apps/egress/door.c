/* apps/egress/door.c: the socket of one job: who may come in, and how often. */
#include <errno.h>
#include <stdlib.h>
#include <sys/epoll.h>
#include <sys/socket.h>
#include <unistd.h>

#include "apps/egress/egress.h"
#include "lib/base/cleanup.h"
#include "lib/base/clock.h"
#include "lib/base/str.h"
#include "lib/log/log.h"

enum { SECOND_MS = 1000, AT_ONCE = 16 };

static void on_timer(void *user)
{
    struct egress_door *door = user;
    door->burst = 0;
    door->burst_ms = cds_now_ms();
    if (cds_watch_set(door->watch, EPOLLIN))
        egress_door_free(door);
}

/* Counts one more; false: enough for this second, the others wait in the kernel's queue of that job. */
static bool may_accept(struct egress_door *door)
{
    uint64_t now = cds_now_ms();
    if (now - door->burst_ms >= SECOND_MS) {
        door->burst = 0;
        door->burst_ms = now;
    }
    return door->burst++ < EGRESS_PER_SECOND;
}

static void on_accept(void *user, int fd, uint32_t events)
{
    struct egress_door *door = user;
    for (int i = 0; i < AT_ONCE; i++) {
        if (!may_accept(door)) {
            cds_timer_set(door->timer, door->burst_ms + SECOND_MS);
            if (cds_watch_set(door->watch, 0))
                egress_door_free(door);
            return;
        }
        int client = accept4(fd, NULL, NULL, SOCK_CLOEXEC | SOCK_NONBLOCK);
        if (client < 0) {
            door->burst--;
            if (errno != EAGAIN && errno != EINTR && errno != ECONNABORTED && errno != EMFILE && errno != ENFILE && errno != ENOBUFS)
                egress_door_free(door); /* the broker has closed it */
            return;
        }
        egress_conn_start(door, client);
    }
}

static void take_rules(struct egress_door *door, const cds_json *rules)
{
    struct cds_err err;
    for (size_t i = 0; i < cds_json_size(rules) && door->rule_count < CDS_HOST_RULES_MAX; i++) {
        const cds_json *text = cds_json_at(rules, i);
        if (!cds_json_str(text) || cds_host_rule_parse(cds_json_str(text), cds_json_str_len(text), false, &door->rules[door->rule_count], &err))
            cds_log(CDS_LOG_WARN, "a rule that is none was left out", CDS_LS("project", door->project));
        else
            door->rule_count++;
    }
}

void egress_door_open(struct egress_broker *broker, int64_t id, int fd, const char *project, const char *request_id, const cds_json *rules)
{
    struct egress *egress = broker->egress;
    struct egress_door *door = egress->door_count < EGRESS_DOORS ? calloc(1, sizeof(*door)) : NULL;
    if (!door || cds_timer_add(egress->loop, UINT64_MAX, on_timer, door, &door->timer) ||
        cds_watch_add(egress->loop, fd, EPOLLIN, on_accept, door, &door->watch, NULL)) {
        cds_log(CDS_LOG_ERROR, "the network of a run cannot be served", CDS_LS("request_id", request_id));
        if (door)
            cds_timer_remove(&door->timer);
        free(door);
        close(fd);
        return;
    }
    door->broker = broker;
    door->id = id;
    door->fd = fd;
    cds_strcpy(door->project, sizeof(door->project), project);
    cds_strcpy(door->request_id, sizeof(door->request_id), request_id);
    take_rules(door, rules);
    if ((door->next = broker->doors))
        door->next->prev = &door->next;
    door->prev = &broker->doors;
    broker->doors = door;
    egress->door_count++;
}

void egress_door_free(struct egress_door *door)
{
    while (door->conns)
        egress_conn_end(door->conns);
    cds_watch_remove(&door->watch);
    cds_timer_remove(&door->timer);
    close(door->fd);
    *door->prev = door->next;
    if (door->next)
        door->next->prev = door->prev;
    door->broker->egress->door_count--;
    free(door);
}

struct egress_door *egress_door_find(const struct egress_broker *broker, int64_t id)
{
    struct egress_door *door = broker->doors;
    while (door && door->id != id)
        door = door->next;
    return door;
}
