/* apps/egress/broker.c: messages of the broker: open with a socket and rules, close. */
#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/socket.h>
#include <unistd.h>

#include "apps/egress/egress.h"
#include "lib/base/cleanup.h"
#include "lib/base/str.h"
#include "lib/log/log.h"

union control {
    char bytes[CMSG_SPACE(sizeof(int))];
    struct cmsghdr align;
};

static void act(struct egress_broker *broker, const cds_json *message, int fd)
{
    int64_t id = cds_json_get_i64(message, "door", 0);
    const char *op = cds_json_get_str(message, "op"), *project = cds_json_get_str(message, "project");
    const char *request_id = cds_json_get_str(message, "request_id");
    struct egress_door *known = egress_door_find(broker, id);
    if (known)
        egress_door_free(known);
    if (op && cds_streq(op, "open") && id > 0 && fd >= 0)
        egress_door_open(broker, id, fd, project ? project : "", request_id ? request_id : "", cds_json_get(message, "rules"));
    else if (fd >= 0)
        close(fd);
}

/* False: the broker is gone, or speaks in a way we do not understand. */
static bool take_message(struct egress_broker *broker)
{
    static char text[EGRESS_MESSAGE_MAX]; /* loop thread only */
    union control control;
    struct iovec bytes = {text, sizeof(text)};
    struct msghdr head = {.msg_iov = &bytes, .msg_iovlen = 1, .msg_control = control.bytes, .msg_controllen = sizeof(control.bytes)};
    ssize_t n = recvmsg(broker->fd, &head, MSG_CMSG_CLOEXEC | MSG_DONTWAIT);
    if (n < 0 && (errno == EAGAIN || errno == EINTR))
        return true;
    const struct cmsghdr *rights = n > 0 ? CMSG_FIRSTHDR(&head) : NULL;
    int fd = -1;
    if (rights && rights->cmsg_level == SOL_SOCKET && rights->cmsg_type == SCM_RIGHTS && rights->cmsg_len == CMSG_LEN(sizeof(int)))
        memcpy(&fd, CMSG_DATA(rights), sizeof(fd));
    cds_json *message = NULL;
    if (n <= 0 || (head.msg_flags & MSG_TRUNC) || cds_json_parse(text, (size_t)n, &message, NULL)) {
        if (fd >= 0)
            close(fd);
        return false;
    }
    act(broker, message, fd);
    cds_json_unref(message);
    return true;
}

static void on_broker(void *user, int fd, uint32_t events)
{
    struct egress_broker *broker = user;
    if (take_message(broker))
        return;
    cds_log(CDS_LOG_INFO, "the connection to the sandbox ended");
    egress_broker_free(broker);
}

void egress_broker_add(struct egress *egress, int fd)
{
    struct egress_broker *broker = egress->broker_count < EGRESS_BROKERS ? calloc(1, sizeof(*broker)) : NULL;
    if (!broker || cds_watch_add(egress->loop, fd, EPOLLIN, on_broker, broker, &broker->watch, NULL)) {
        cds_log(CDS_LOG_WARN, "a connection was refused");
        free(broker);
        close(fd);
        return;
    }
    broker->egress = egress;
    broker->fd = fd;
    if ((broker->next = egress->brokers))
        broker->next->prev = &broker->next;
    broker->prev = &egress->brokers;
    egress->brokers = broker;
    egress->broker_count++;
}

void egress_broker_free(struct egress_broker *broker)
{
    while (broker->doors)
        egress_door_free(broker->doors);
    cds_watch_remove(&broker->watch);
    close(broker->fd);
    *broker->prev = broker->next;
    if (broker->next)
        broker->next->prev = broker->prev;
    broker->egress->broker_count--;
    free(broker);
}

void egress_broker_tell(const struct egress_broker *broker, const char *verdict, uint64_t up_bytes, uint64_t down_bytes)
{
    cds_json *note = cds_json_pack("{s:s,s:I,s:I}", "verdict", verdict, "up_bytes", (int64_t)up_bytes, "down_bytes", (int64_t)down_bytes);
    size_t len = 0;
    char *text = cds_json_dumps(note, &len);
    if (text)
        (void)!send(broker->fd, text, len, MSG_DONTWAIT | MSG_NOSIGNAL);
    free(text);
    cds_json_unref(note);
}
