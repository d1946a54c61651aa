/* lib/rpc/frame.h: length-prefixed JSON messages on a unix socket, and a peer that calls and is called over it.
 *
 * Wire:    u32 big-endian length, then that many bytes of one JSON text. Longer than max_bytes: the peer is closed.
 * Threads: loop thread only.
 * Back-pressure: at most out_max bytes wait to be sent (one message may exceed it when nothing waits); cds_peer_send then answers
 *          CDS_BUSY (notifications may be dropped by the caller, answers close the peer). cds_peer_pending tells how full it is.
 * Re-entry: every function may be called inside every callback, cds_peer_close too.
 */
#pragma once

#include "lib/base/loop.h"
#include "lib/rpc/rpc.h"

struct cds_peer;
struct cds_peer_ops {
    /** A request or notification arrived (id NULL: notification). message is borrowed for the call. */
    void (*on_request)(void *user, struct cds_peer *peer, const struct cds_rpc_request *request, cds_json *message);
    /** The other side closed or broke the protocol; the peer is freed after this returns. All open calls have been answered
     *  with CDS_UNAVAILABLE before. reason is a sentence. */
    void (*on_close)(void *user, struct cds_peer *peer, const char *reason);
};
/** Outcome of one call: result (borrowed) or err. */
typedef void cds_peer_done_fn(void *user, cds_json *result, const struct cds_err *err);
/** A notification that belongs to the call (its params carry "call": <call id>). */
typedef void cds_peer_note_fn(void *user, const char *method, cds_json *params);

/** Takes ownership of fd (a stream socket) when it succeeds; makes it non-blocking. */
CDS_MUST_USE cds_rc cds_peer_new(struct cds_loop *loop, int fd, size_t max_bytes, size_t out_max, const struct cds_peer_ops *ops, void *user,
                                 struct cds_peer **ret, struct cds_err *reterr);
/** Closes without calling on_close; open calls are answered with CDS_UNAVAILABLE. */
void cds_peer_close(struct cds_peer **peer);
/** Sends any message (borrowed). @return CDS_OK, CDS_BUSY (out_max), CDS_TOO_LARGE (max_bytes), CDS_UNAVAILABLE (closed), CDS_EXHAUSTED */
CDS_MUST_USE cds_rc cds_peer_send(struct cds_peer *peer, const cds_json *message);
size_t cds_peer_pending(const struct cds_peer *peer);
/**
 * Calls a method of the other side; steals params (adds nothing to it). done is called exactly once, also on deadline or close.
 * Notifications whose params.call equals the id of an open call go to its on_note (NULL: dropped); all others to on_request.
 * deadline_ms is absolute (cds_now_ms); the answer is CDS_TIMED_OUT then, and what comes later is ignored.
 * @return call id > 0, or 0 when it could not be sent (done is not called then)
 */
int64_t cds_peer_call(struct cds_peer *peer, const char *method, cds_json *params, uint64_t deadline_ms, cds_peer_done_fn *done,
                      cds_peer_note_fn *on_note, void *user);
/** Forgets a call: done will not be called. The caller tells the other side itself if that matters ("rpc.cancel"). */
void cds_peer_forget(struct cds_peer *peer, int64_t call);
/** Most calls of one peer that may be open at once; cds_peer_call answers 0 beyond. */
enum { CDS_PEER_CALLS_MAX = 4096 };
