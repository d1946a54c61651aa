/* sandbox/preview.c: see preview.h. */
#include "sandbox/preview.h"

#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/socket.h>
#include <unistd.h>

#include "lib/base/cleanup.h"
#include "lib/base/clock.h"
#include "lib/base/fd.h"
#include "lib/base/random.h"
#include "lib/log/log.h"
#include "sandbox/confine/doors.h"
#include "sandbox/listen.h"

/** One job whose sockets may be lent. */
struct preview_door {
    struct preview_door *next, **prev;
    struct preview_desk *desk;
    const struct cds_engine_ops *ops;
    struct cds_job *job;
    int fd; /* of the borrower; -1: none */
    struct cds_watch *watch;
    char key[PREVIEW_KEY_LEN + 1];
};

/** A connection that has not said its key. */
struct asking {
    struct preview_desk *desk;
    int fd; /* -1: free */
    struct cds_watch *watch;
    struct cds_timer *timer;
    char key[PREVIEW_KEY_LEN];
    size_t len;
};

struct preview_desk {
    struct broker *broker;
    int listen_fd;
    struct cds_watch *accept;
    struct preview_door *doors;
    struct asking asking[PREVIEW_ASKING_MAX];
    char path[600];
};

/* ---- ports ---- */
static void read_ports(pid_t pid, const char *file, struct proc_tcp_ports *ports)
{
    static char text[PROC_TCP_BYTES];
    char path[64];
    snprintf(path, sizeof(path), "/proc/%d/net/%s", (int)pid, file);
    CDS_CLEANUP(cds_close_fd) int fd = open(path, O_RDONLY | O_CLOEXEC);
    size_t len = 0;
    ssize_t n = 1;
    while (fd >= 0 && n > 0 && len < sizeof(text)) {
        n = read(fd, text + len, sizeof(text) - len);
        len += n > 0 ? (size_t)n : 0;
    }
    proc_tcp_read(text, len, ports); /* without IPv6 in the kernel there is no tcp6 */
}

cds_rc preview_ports(const struct cds_engine_ops *ops, struct cds_job *job, struct proc_tcp_ports *ret, struct cds_err *reterr)
{
    struct proc_tcp_ports found = {.count = 0}, all = {.count = 0};
    pid_t pid = ops->doors && ops->doors(job) ? ops->network_pid(job) : 0;
    (void)reterr;
    if (pid > 0) {
        read_ports(pid, "tcp", &all);
        read_ports(pid, "tcp6", &all);
    }
    found.more = all.more;
    for (size_t i = 0; i < all.count; i++)
        if (all.port[i] != CDS_DOORS_EGRESS_PORT) /* ours: the way out, not a program of the job */
            found.port[found.count++] = all.port[i];
    *ret = found;
    return CDS_OK;
}

/* ---- loans ---- */
/* Whoever had them may have left a connection: it is cut, so that the next one finds them free. */
static void take_back(const struct preview_door *door)
{
    const struct cds_jail_doors *doors = door->ops->doors(door->job);
    const struct sockaddr nobody = {.sa_family = AF_UNSPEC};
    for (unsigned i = 0; doors && i < doors->preview_count; i++)
        (void)!connect(doors->preview[i], &nobody, sizeof(nobody));
}

static void end_loan(struct preview_door *door)
{
    cds_watch_remove(&door->watch);
    cds_close_fd(&door->fd);
    door->fd = -1;
}

static void on_borrower(void *user, int fd, uint32_t events)
{
    struct preview_door *door = user;
    (void)fd, (void)events; /* it has nothing more to say: bytes end the loan like its end does */
    end_loan(door);
    take_back(door);
}

static bool send_doors(int fd, const struct cds_jail_doors *doors)
{
    union {
        char space[CMSG_SPACE(sizeof(int) * CDS_DOORS_PREVIEW)];
        struct cmsghdr align;
    } control = {.space = {0}};
    struct iovec word = {.iov_base = (void *)(uintptr_t) "+", .iov_len = 1};
    size_t bytes = sizeof(int) * doors->preview_count;
    struct msghdr message = {.msg_iov = &word, .msg_iovlen = 1, .msg_control = control.space, .msg_controllen = CMSG_SPACE(bytes)};
    struct cmsghdr *head = CMSG_FIRSTHDR(&message);
    head->cmsg_level = SOL_SOCKET;
    head->cmsg_type = SCM_RIGHTS;
    head->cmsg_len = CMSG_LEN(bytes);
    memcpy(CMSG_DATA(head), doors->preview, bytes);
    return sendmsg(fd, &message, MSG_NOSIGNAL | MSG_DONTWAIT) == 1;
}

static void refuse(int fd, const char *why)
{
    char text[160];
    int len = snprintf(text, sizeof(text), "-%s", why);
    (void)!send(fd, text, (size_t)len, MSG_NOSIGNAL | MSG_DONTWAIT);
    close(fd);
}

static struct preview_door *find_key(struct preview_desk *desk, const char *key)
{
    struct preview_door *found = NULL;
    for (struct preview_door *door = desk->doors; door; door = door->next) {
        unsigned char differs = 0; /* of a key nothing is told by how long the look takes */
        for (size_t i = 0; i < PREVIEW_KEY_LEN; i++)
            differs |= (unsigned char)(door->key[i] ^ key[i]);
        if (!differs)
            found = door;
    }
    return found;
}

/* Takes over fd. */
static void lend(struct preview_desk *desk, int fd, const char *key)
{
    struct preview_door *door = find_key(desk, key);
    const struct cds_jail_doors *doors = door ? door->ops->doors(door->job) : NULL;
    if (!doors) {
        refuse(fd, "The program has ended.");
    } else if (door->fd >= 0) {
        refuse(fd, "The sockets of this program are lent already.");
    } else if (!send_doors(fd, doors) || cds_watch_add(desk->broker->loop, fd, EPOLLIN | EPOLLRDHUP, on_borrower, door, &door->watch, NULL)) {
        cds_log(CDS_LOG_WARN, "the sockets of a job could not be lent");
        close(fd);
    } else {
        door->fd = fd;
    }
}

cds_rc preview_grant(struct broker *broker, const struct cds_engine_ops *ops, struct cds_job *job, const char **ret_key, struct cds_err *reterr)
{
    struct preview_desk *desk = broker->previews;
    for (struct preview_door *door = desk->doors; door; door = door->next)
        if (door->job == job) {
            *ret_key = door->key;
            return CDS_OK;
        }
    struct preview_door *door = calloc(1, sizeof(*door));
    if (!door)
        return cds_fail(reterr, CDS_EXHAUSTED, __func__, "Out of memory.");
    unsigned char bytes[PREVIEW_KEY_LEN / 2];
    cds_random(bytes, sizeof(bytes));
    for (size_t i = 0; i < sizeof(bytes); i++)
        snprintf(door->key + 2 * i, 3, "%02x", bytes[i]);
    door->desk = desk;
    door->ops = ops;
    door->job = job;
    door->fd = -1;
    if ((door->next = desk->doors))
        door->next->prev = &door->next;
    door->prev = &desk->doors;
    desk->doors = door;
    *ret_key = door->key;
    return CDS_OK;
}

static void remove_door(struct preview_door *door)
{
    end_loan(door);
    if ((*door->prev = door->next))
        door->next->prev = door->prev;
    explicit_bzero(door->key, sizeof(door->key));
    free(door);
}

void preview_job_gone(struct broker *broker, const struct cds_job *job)
{
    struct preview_door *door = broker->previews ? broker->previews->doors : NULL;
    while (door && door->job != job)
        door = door->next;
    if (door && job)
        remove_door(door);
}

/* ---- who asks ---- */
static void forget(struct asking *asking)
{
    cds_watch_remove(&asking->watch);
    cds_timer_remove(&asking->timer);
    cds_close_fd(&asking->fd);
    *asking = (struct asking){.desk = asking->desk, .fd = -1};
}

static void on_late(void *user)
{
    forget(user);
}

static void on_key(void *user, int fd, uint32_t events)
{
    struct asking *asking = user;
    ssize_t n = recv(fd, asking->key + asking->len, sizeof(asking->key) - asking->len, MSG_DONTWAIT);
    (void)events;
    if (n <= 0) {
        forget(asking);
        return;
    }
    asking->len += (size_t)n;
    if (asking->len < sizeof(asking->key))
        return;
    char key[PREVIEW_KEY_LEN];
    memcpy(key, asking->key, sizeof(key));
    cds_watch_remove(&asking->watch);
    asking->fd = -1; /* goes on to lend */
    forget(asking);
    lend(asking->desk, fd, key);
}

static void on_accept(void *user, int fd, uint32_t events)
{
    struct preview_desk *desk = user;
    struct asking *free_one = NULL;
    int client = accept4(fd, NULL, NULL, SOCK_CLOEXEC | SOCK_NONBLOCK);
    (void)events;
    if (client < 0)
        return;
    for (size_t i = 0; i < PREVIEW_ASKING_MAX && !free_one; i++)
        if (desk->asking[i].fd < 0)
            free_one = &desk->asking[i];
    if (!broker_may_connect(desk->broker, client) || !free_one) {
        cds_log(CDS_LOG_WARN, "a connection for previews was refused");
        close(client);
        return;
    }
    free_one->fd = client;
    if (cds_watch_add(desk->broker->loop, client, EPOLLIN, on_key, free_one, &free_one->watch, NULL) ||
        cds_timer_add(desk->broker->loop, cds_now_ms() + PREVIEW_ASKING_MS, on_late, free_one, &free_one->timer))
        forget(free_one);
}

cds_rc preview_listen(struct broker *broker, const char *path, struct cds_err *reterr)
{
    struct preview_desk *desk = calloc(1, sizeof(*desk));
    if (!desk)
        return cds_fail(reterr, CDS_EXHAUSTED, __func__, "Out of memory.");
    desk->broker = broker;
    desk->listen_fd = -1;
    for (size_t i = 0; i < PREVIEW_ASKING_MAX; i++)
        desk->asking[i] = (struct asking){.desk = desk, .fd = -1};
    broker->previews = desk;
    snprintf(desk->path, sizeof(desk->path), "%s", path);
    cds_rc rc = cds_unix_listen(path, 0660, &desk->listen_fd, reterr);
    return rc ? rc : cds_watch_add(broker->loop, desk->listen_fd, EPOLLIN, on_accept, desk, &desk->accept, reterr);
}

void preview_stop(struct broker *broker)
{
    struct preview_desk *desk = broker->previews;
    if (!desk)
        return;
    cds_watch_remove(&desk->accept);
    if (desk->listen_fd >= 0) {
        unlink(desk->path);
        close(desk->listen_fd);
    }
    for (size_t i = 0; i < PREVIEW_ASKING_MAX; i++)
        forget(&desk->asking[i]);
    while (desk->doors)
        remove_door(desk->doors);
    free(desk);
    broker->previews = NULL;
}
