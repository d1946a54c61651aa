/* lib/rpc/frame_peer.h: the inside of a peer, shared by frame.c (bytes) and frame_calls.c (calls and messages). Private to lib/rpc.
 *
 * Threads: loop thread only.
 */
#pragma once

#include "lib/rpc/frame.h"

struct open_call {
    int64_t id;
    uint64_t deadline_ms;
    cds_peer_done_fn *done;
    cds_peer_note_fn *on_note;
    void *user;
};

struct cds_peer {
    struct cds_loop *loop;
    struct cds_watch *watch;
    struct cds_timer *timer; /**< earliest deadline of the open calls */
    const struct cds_peer_ops *ops;
    void *user;
    int fd;
    size_t max_bytes, out_max;
    struct cds_buf in;      /**< received, not yet a whole frame */
    struct cds_buf out;     /**< to be sent; the first out_sent bytes are gone already */
    struct cds_buf scratch; /**< the message being written */
    size_t out_sent;
    bool want_write; /**< EPOLLOUT is watched */
    bool closed;     /**< descriptor gone; nothing is sent or received any more */
    bool silent;     /**< the user closed it: on_close is not called */
    unsigned busy;   /**< callbacks on the stack; memory goes when it falls to 0 */
    int64_t last_id;
    struct open_call *calls; /**< rising ids */
    size_t call_count, call_cap;
};

/** Around everything that may call back: the peer stays in memory until the matching leave. */
void cds_peer_enter(struct cds_peer *peer);
void cds_peer_leave(struct cds_peer *peer);
/** Closes, answers the open calls and tells on_close unless the user closed the peer. Only inside enter and leave. */
void cds_peer_break(struct cds_peer *peer, const char *reason);
/** Handles one received JSON text; breaks the peer when it is no JSON-RPC message. */
void cds_peer_message(struct cds_peer *peer, const char *text, size_t len);
/** Answers every open call with CDS_UNAVAILABLE. */
void cds_peer_fail_calls(struct cds_peer *peer);
/** Timer callback: answers the calls whose deadline has passed. */
void cds_peer_expire(void *user);
