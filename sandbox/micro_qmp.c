/* sandbox/micro_qmp.c: see micro_qmp.h. */
#include "sandbox/micro_qmp.h"

#include <errno.h>
#include <stdio.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/socket.h>
#include <unistd.h>

#include "lib/base/cleanup.h"
#include "lib/base/str.h"
#include "lib/json/json.h"

/* x-ignore-shared: the RAM stays in its file, only the devices are written. events: the end is told, nobody has to ask. */
#define CAPABILITIES                                                                                                                                 \
    "{\"execute\":\"migrate-set-capabilities\",\"arguments\":{\"capabilities\":[{\"capability\":\"x-ignore-shared\",\"state\":true},"                \
    "{\"capability\":\"events\",\"state\":true}]}}\n"
static const char greet[] = "{\"execute\":\"qmp_capabilities\"}\n", capabilities[] = CAPABILITIES,
                  load[] = "{\"execute\":\"migrate-incoming\",\"arguments\":{\"uri\":\"fd:" MICRO_QMP_STATE_FD "\"}}\n",
                  getfd[] = "{\"execute\":\"getfd\",\"arguments\":{\"fdname\":\"state\"}}\n",
                  save[] = "{\"execute\":\"migrate\",\"arguments\":{\"uri\":\"fd:state\"}}\n";

static void finish(struct micro_qmp *q, const char *failed)
{
    micro_qmp_done *done = q->done;
    void *user = q->user;
    char text[200];
    cds_strcpy(text, sizeof(text), failed ? failed : "");
    micro_qmp_close(q);
    done(user, failed ? text : NULL);
}

/* A descriptor travels beside the bytes of its command. */
static bool send_command(struct micro_qmp *q, const char *command)
{
    struct iovec bytes = {(void *)(uintptr_t)command, strlen(command)};
    union {
        struct cmsghdr head;
        char room[CMSG_SPACE(sizeof(int))];
    } control = {.room = {0}};
    struct msghdr message = {.msg_iov = &bytes, .msg_iovlen = 1};
    if (command == getfd) {
        message.msg_control = &control;
        message.msg_controllen = sizeof(control.room);
        control.head = (struct cmsghdr){.cmsg_level = SOL_SOCKET, .cmsg_type = SCM_RIGHTS, .cmsg_len = CMSG_LEN(sizeof(int))};
        memcpy(CMSG_DATA(&control.head), &q->pass_fd, sizeof(int));
    }
    return sendmsg(q->fd, &message, MSG_NOSIGNAL) == (ssize_t)bytes.iov_len; /* far less than a socket holds */
}

/* True: go on. */
static bool on_message(struct micro_qmp *q, const cds_json *message)
{
    const cds_json *error = cds_json_get(message, "error"), *data = cds_json_get(message, "data");
    const char *event = cds_json_get_str(message, "event"), *status = cds_json_get_str(data, "status");
    char text[160];
    if (error) {
        const char *desc = cds_json_get_str(error, "desc");
        snprintf(text, sizeof(text), "QEMU refused a command: %.120s", desc ? desc : "?");
        finish(q, text);
        return false;
    }
    if (event) {
        if (cds_streq(event, "MIGRATION") && cds_streq(status, "failed")) {
            finish(q, "QEMU could not save or load the state");
            return false;
        }
        q->migrated = q->migrated || (cds_streq(event, "MIGRATION") && cds_streq(status, "completed"));
    } else if (cds_json_get(message, "QMP") || cds_json_get(message, "return")) {
        q->at++;
        if (q->at <= q->count && !send_command(q, q->commands[q->at - 1])) {
            finish(q, "QEMU does not take commands");
            return false;
        }
    }
    if (q->migrated && q->at > q->count) {
        finish(q, NULL);
        return false;
    }
    return true;
}

static void on_readable(void *user, int fd, uint32_t events)
{
    struct micro_qmp *q = user;
    char *room = cds_buf_reserve(&q->in, 4096);
    ssize_t n = room ? read(fd, room, 4096) : -1;
    if (n < 0 && room && (errno == EAGAIN || errno == EINTR))
        return;
    if (n <= 0) {
        finish(q, room ? "QEMU closed its control socket" : "QEMU said more than a line may hold");
        return;
    }
    cds_buf_commit(&q->in, (size_t)n);
    for (char *end; q->in.len && (end = memchr(q->in.data, '\n', q->in.len));) {
        CDS_JSON_AUTO message = NULL;
        size_t len = (size_t)(end - q->in.data);
        if (cds_json_parse(q->in.data, len, &message, NULL)) {
            finish(q, "QEMU said something that is no JSON");
            return;
        }
        cds_buf_consume(&q->in, len + 1);
        if (!on_message(q, message))
            return;
    }
}

static cds_rc begin(struct micro_qmp *q, struct cds_loop *loop, int fd, micro_qmp_done *done, void *user, struct cds_err *reterr)
{
    q->fd = fd;
    q->in = cds_buf_init(MICRO_QMP_LINE_MAX);
    q->at = 0;
    q->migrated = false;
    q->done = done;
    q->user = user;
    return cds_watch_add(loop, fd, EPOLLIN, on_readable, q, &q->watch, reterr);
}

cds_rc micro_qmp_load(struct micro_qmp *q, struct cds_loop *loop, int fd, micro_qmp_done *done, void *user, struct cds_err *reterr)
{
    *q = (struct micro_qmp){.commands = {greet, capabilities, load}, .count = 3, .pass_fd = -1};
    return begin(q, loop, fd, done, user, reterr);
}

cds_rc micro_qmp_save(struct micro_qmp *q, struct cds_loop *loop, int fd, int state_fd, micro_qmp_done *done, void *user, struct cds_err *reterr)
{
    *q = (struct micro_qmp){.commands = {greet, capabilities, getfd, save}, .count = 4, .pass_fd = state_fd};
    return begin(q, loop, fd, done, user, reterr);
}

void micro_qmp_close(struct micro_qmp *q)
{
    cds_watch_remove(&q->watch);
    cds_close_fd(&q->fd);
    q->fd = -1;
    cds_buf_free(&q->in);
}
