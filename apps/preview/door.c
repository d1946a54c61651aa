/* apps/preview/door.c: see door.h. */
#include "apps/preview/door.h"

#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/socket.h>
#include <unistd.h>

#include "lib/base/clock.h"
#include "lib/base/fd.h"
#include "lib/base/str.h"
#include "lib/log/log.h"

/** Somebody who waits until it is open. */
struct opening {
    struct opening *next;
    door_ready_fn *ready;
    void *user;
};

enum door_state { ASKING, OPEN, SHUT };

struct door {
    struct door *next, **prev; /* of all doors that are not shut */
    struct previews *all;
    unsigned refs; /* previews, taken sockets, and itself while it asks */
    enum door_state state;
    int fd;
    struct cds_watch *watch;
    struct cds_timer *late;  /* while it asks */
    struct cds_timer *serve; /* somebody waits and a socket came free */
    struct opening *openings;
    char key[DOOR_KEY_LEN + 1];
    struct socket_slot slots[DOOR_SOCKETS];
    struct door_wait *first, **last;
    unsigned waiting;
};

static void shut_fd(int *fd)
{
    if (*fd >= 0)
        close(*fd);
    *fd = -1;
}

void door_ref(struct door *door)
{
    door->refs++;
}

static void leave(struct door *door)
{
    cds_watch_remove(&door->watch);
    cds_timer_remove(&door->late);
    cds_timer_remove(&door->serve);
    shut_fd(&door->fd);
    door->state = SHUT;
    if (door->prev) {
        *door->prev = door->next;
        if (door->next)
            door->next->prev = door->prev;
        door->prev = NULL;
    }
    for (size_t i = 0; i < DOOR_SOCKETS; i++)
        if (!door->slots[i].busy)
            shut_fd(&door->slots[i].fd);
}

void door_unref(struct door *door)
{
    if (--door->refs)
        return;
    leave(door);
    for (size_t i = 0; i < DOOR_SOCKETS; i++)
        shut_fd(&door->slots[i].fd);
    explicit_bzero(door->key, sizeof(door->key));
    free(door);
}

bool door_has_key(const struct door *door, const char *key)
{
    return cds_streq(door->key, key);
}

bool door_is_open(const struct door *door)
{
    return door->state == OPEN;
}

/* ---- opening ---- */
static void tell(struct door *door, const struct cds_err *err)
{
    while (door->openings) {
        struct opening *opening = door->openings;
        door->openings = opening->next;
        opening->ready(opening->user, err ? NULL : door, err);
        free(opening);
    }
}

static void refuse(struct door *door, const char *why)
{
    struct cds_err err;
    cds_fail(&err, CDS_UNAVAILABLE, __func__, "The program cannot be reached: %s", why);
    cds_err_hint(&err, "Try again in a moment.");
    err.retry_after_ms = 1000;
    leave(door);
    tell(door, &err);
    door_unref(door);
}

static void on_late(void *user)
{
    refuse(user, "The sandbox did not answer in time.");
}

/* The descriptors of one message. @return the bytes of its text, -1: broken, 0: its end */
static ssize_t take_message(struct door *door, char *text, size_t size)
{
    union {
        char space[CMSG_SPACE(sizeof(int) * DOOR_SOCKETS)];
        struct cmsghdr align;
    } control;
    struct iovec iov = {.iov_base = text, .iov_len = size};
    struct msghdr message = {.msg_iov = &iov, .msg_iovlen = 1, .msg_control = control.space, .msg_controllen = sizeof(control.space)};
    ssize_t n = recvmsg(door->fd, &message, MSG_CMSG_CLOEXEC | MSG_DONTWAIT);
    for (struct cmsghdr *head = n >= 0 ? CMSG_FIRSTHDR(&message) : NULL; head; head = CMSG_NXTHDR(&message, head)) {
        if (head->cmsg_level != SOL_SOCKET || head->cmsg_type != SCM_RIGHTS)
            continue;
        size_t count = (head->cmsg_len - CMSG_LEN(0)) / sizeof(int);
        for (size_t i = 0; i < count; i++) {
            int fd;
            memcpy(&fd, CMSG_DATA(head) + i * sizeof(int), sizeof(fd));
            if (i < DOOR_SOCKETS && door->slots[i].fd < 0 && cds_set_nonblock(fd, true) == CDS_OK)
                door->slots[i].fd = fd;
            else
                close(fd);
        }
    }
    return n;
}

static void on_answer(struct door *door)
{
    char text[256];
    ssize_t n = take_message(door, text, sizeof(text) - 1);
    if (n > 0 && text[0] == '+' && door->slots[0].fd >= 0) {
        door->state = OPEN;
        cds_timer_remove(&door->late);
        tell(door, NULL);
        door_unref(door); /* whoever opened it has counted itself */
        return;
    }
    text[n > 0 ? n : 0] = '\0';
    refuse(door, n > 1 && text[0] == '-' && cds_utf8_valid(text, (size_t)n) ? text + 1 : "The sandbox broke off.");
}

/* The loan is over: the job has ended, or the sandbox has. */
static void on_end(struct door *door)
{
    struct previews *all = door->all;
    door_ref(door);
    leave(door);
    for (struct preview *preview = all->list, *next; preview; preview = next) {
        next = preview->next;
        if (preview->door == door)
            preview_end(preview, END_JOB);
    }
    door_unref(door);
}

static void on_serve(void *user);

static void on_event(void *user, int fd, uint32_t events)
{
    struct door *door = user;
    (void)fd, (void)events;
    if (door->state == ASKING)
        on_answer(door);
    else
        on_end(door);
}

static struct door *new_door(struct previews *all, const char *key)
{
    struct door *door = calloc(1, sizeof(*door));
    if (!door)
        return NULL;
    door->all = all;
    door->refs = 1;
    door->fd = -1;
    door->last = &door->first;
    cds_strcpy(door->key, sizeof(door->key), key);
    for (size_t i = 0; i < DOOR_SOCKETS; i++)
        door->slots[i] = (struct socket_slot){.door = door, .fd = -1};
    return door;
}

void door_open(struct previews *all, const char *key, door_ready_fn *ready, void *user)
{
    struct cds_err err;
    struct door *door = all->doors;
    while (door && !door_has_key(door, key))
        door = door->next;
    if (door && door->state == OPEN) {
        ready(user, door, NULL);
        return;
    }
    struct opening *opening = calloc(1, sizeof(*opening));
    if (!door && opening && (door = new_door(all, key))) {
        cds_rc rc = cds_unix_connect(all->doors_path, &door->fd, &err);
        if (!rc && (send(door->fd, key, DOOR_KEY_LEN, MSG_NOSIGNAL) != DOOR_KEY_LEN ||
                    cds_watch_add(all->loop, door->fd, EPOLLIN | EPOLLRDHUP, on_event, door, &door->watch, NULL) ||
                    cds_timer_add(all->loop, cds_now_ms() + DOOR_OPEN_MS, on_late, door, &door->late) ||
                    cds_timer_add(all->loop, UINT64_MAX, on_serve, door, &door->serve)))
            rc = CDS_UNAVAILABLE;
        if (rc) {
            cds_fail(&err, CDS_UNAVAILABLE, __func__, "The sandbox is not reachable at the moment; it is being started again.");
            err.retry_after_ms = 1000;
            door_unref(door);
            free(opening);
            ready(user, NULL, &err);
            return;
        }
        if ((door->next = all->doors))
            door->next->prev = &door->next;
        door->prev = &all->doors;
        all->doors = door;
    }
    if (!opening || !door) {
        free(opening);
        cds_fail(&err, CDS_EXHAUSTED, __func__, "Out of memory.");
        ready(user, NULL, &err);
        return;
    }
    *opening = (struct opening){door->openings, ready, user};
    door->openings = opening;
}

void door_forget(struct previews *all, const void *user)
{
    for (struct door *door = all->doors; door; door = door->next)
        for (struct opening **place = &door->openings; *place;) {
            struct opening *opening = *place;
            if (opening->user == user) {
                *place = opening->next;
                free(opening);
            } else {
                place = &opening->next;
            }
        }
}

/* ---- sockets ---- */
struct socket_slot *door_take(struct door *door)
{
    for (size_t i = 0; i < DOOR_SOCKETS && door->state == OPEN; i++) {
        struct socket_slot *slot = &door->slots[i];
        if (slot->fd >= 0 && !slot->busy) {
            slot->busy = true;
            slot->opened = false;
            door_ref(door);
            return slot;
        }
    }
    return NULL;
}

bool door_wait(struct door *door, struct door_wait *wait)
{
    if (door->waiting == DOOR_WAITING_MAX)
        return false;
    wait->next = NULL;
    wait->prev = door->last;
    *door->last = wait;
    door->last = &wait->next;
    door->waiting++;
    return true;
}

void door_stop_waiting(struct door *door, struct door_wait *wait)
{
    if (!wait->prev)
        return;
    *wait->prev = wait->next;
    if (wait->next)
        wait->next->prev = wait->prev;
    else
        door->last = wait->prev;
    wait->prev = NULL;
    door->waiting--;
}

/* From a timer, since a socket comes back from inside libcurl. */
static void on_serve(void *user)
{
    struct door *door = user;
    door_ref(door);
    while (door->first) {
        struct door_wait *wait = door->first;
        struct socket_slot *slot = door_take(door);
        if (!slot)
            break;
        door_stop_waiting(door, wait);
        wait->on_slot(wait, slot);
    }
    door_unref(door);
}

/* Not connected any more: the next request can connect it. The program reads an orderly end first, then the rest is cut off. */
static bool cut(int fd)
{
    const struct sockaddr nobody = {.sa_family = AF_UNSPEC};
    shutdown(fd, SHUT_RDWR);
    return connect(fd, &nobody, sizeof(nobody)) == 0;
}

void door_give_back(struct socket_slot *slot)
{
    struct door *door = slot->door;
    if (!slot->busy)
        return;
    slot->busy = slot->opened = false;
    slot->owner = NULL;
    if (!cut(slot->fd) || door->state != OPEN)
        shut_fd(&slot->fd);
    if (door->first && door->state == OPEN)
        cds_timer_set(door->serve, cds_now_ms());
    door_unref(door);
}

int door_socket_open(void *user)
{
    struct socket_slot *slot = user;
    if (!slot->busy || slot->opened || slot->door->state != OPEN)
        return -1;
    slot->opened = true;
    return slot->fd;
}

int door_socket_close(void *user, int fd)
{
    (void)fd; /* the slot's */
    door_give_back(user);
    return 0;
}
