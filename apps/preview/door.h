/* apps/preview/door.h: the sockets in a job's network, as cds-sandboxd lends them: at most CDS requests at once, the others wait.
 *
 * Wire:    sandbox/preview.h: key → "+" with descriptors, or "-" and a sentence. The connection is the loan: it ends with the job.
 * Threads: loop thread only.
 */
#pragma once

#include "apps/preview/preview.h"

enum {
    DOOR_SOCKETS = 16,    /**< most that are taken of one job */
    DOOR_KEY_LEN = 32,    /**< hex digits */
    DOOR_OPEN_MS = 2000,  /**< how long the sandbox may take to answer */
    DOOR_WAITING_MAX = 32 /**< requests of one job that wait for a socket */
};

struct socket_slot {
    struct door *door;
    int fd;            /* -1: none */
    bool busy;         /* taken by a request, until its connection has ended */
    const void *owner; /* who took it, for its own use; NULL: nobody any more */
    bool opened;       /* libcurl or a tunnel has it, and will give it back */
};

/** A request that wants a socket; part of the caller's own record. */
struct door_wait {
    struct door_wait *next, **prev; /**< prev NULL: it does not wait */
    void (*on_slot)(struct door_wait *wait, struct socket_slot *slot);
};

/** Called once when the door of that key is open (err NULL) or is not to be had. */
typedef void door_ready_fn(void *user, struct door *door, const struct cds_err *err);

/** ready is called before this returns when the answer is known. */
void door_open(struct previews *all, const char *key, door_ready_fn *ready, void *user);
/** Whoever waited for door_open is gone. */
void door_forget(struct previews *all, const void *user);
void door_ref(struct door *door);
/** The last one closes it: the sockets go back. */
void door_unref(struct door *door);
bool door_has_key(const struct door *door, const char *key);
/** The job lives and lends. */
bool door_is_open(const struct door *door);

/** A free socket, taken; NULL: none. */
struct socket_slot *door_take(struct door *door);
/** Waits for one in turn. @return false: too many wait */
bool door_wait(struct door *door, struct door_wait *wait);
void door_stop_waiting(struct door *door, struct door_wait *wait);
/** Gives back a socket that was never opened. */
void door_give_back(struct socket_slot *slot);
/* For struct cds_http_behind_rules; socket_user is the slot. */
int door_socket_open(void *slot);
int door_socket_close(void *slot, int fd);
