/* lib/base/loop.h: one epoll loop: descriptors, timers, signals, wake-ups from other threads.
 *
 * Source:  epoll(7), timerfd_create(2), signalfd(2), eventfd(2).
 * Threads: everything belongs to the thread that calls cds_loop_run, except cds_loop_post, which any thread may call.
 * Safety:  a watch may be removed inside any callback, also its own: freed memory of watches is released after the
 *          running batch of events (MHD and libcurl close each other's sockets inside one batch).
 */
#pragma once

#include <stdbool.h>
#include <stdint.h>

#include "lib/base/err.h"

struct cds_loop;
struct cds_watch;
struct cds_timer;

/** events: EPOLLIN, EPOLLOUT, EPOLLRDHUP, EPOLLHUP, EPOLLERR of epoll_ctl(2). */
typedef void cds_watch_fn(void *user, int fd, uint32_t events);
typedef void cds_timer_fn(void *user);
typedef void cds_post_fn(void *user);
typedef void cds_signal_fn(void *user, int signo);
/** Runs before each wait; returns the most milliseconds the loop may sleep, -1 for no limit. MHD needs this. */
typedef int cds_prepare_fn(void *user);

CDS_MUST_USE cds_rc cds_loop_new(struct cds_loop **ret_loop, struct cds_err *reterr);
void cds_loop_free(struct cds_loop **loop);
/** Runs until cds_loop_stop. */
void cds_loop_run(struct cds_loop *loop);
/** Runs one batch of events, sleeping at most max_ms; for tests and for nesting. */
void cds_loop_once(struct cds_loop *loop, int max_ms);
void cds_loop_stop(struct cds_loop *loop);

/** Watches fd (borrowed; remove the watch before closing it). */
CDS_MUST_USE cds_rc cds_watch_add(struct cds_loop *loop, int fd, uint32_t events, cds_watch_fn *fn, void *user, struct cds_watch **ret_watch,
                                  struct cds_err *reterr);
CDS_MUST_USE cds_rc cds_watch_set(struct cds_watch *watch, uint32_t events);
/** Idempotent on *watch == NULL; sets it to NULL. */
void cds_watch_remove(struct cds_watch **watch);

/** One-shot timer at deadline_ms (cds_now_ms clock); UINT64_MAX: not armed yet. */
CDS_MUST_USE cds_rc cds_timer_add(struct cds_loop *loop, uint64_t deadline_ms, cds_timer_fn *fn, void *user, struct cds_timer **ret_timer);
/** Moves the deadline; UINT64_MAX disarms. A repeating timer sets itself again in its callback. */
void cds_timer_set(struct cds_timer *timer, uint64_t deadline_ms);
void cds_timer_remove(struct cds_timer **timer);

/** Blocks signo in the process and delivers it as a callback (signalfd). Call before threads start. */
CDS_MUST_USE cds_rc cds_loop_signal(struct cds_loop *loop, int signo, cds_signal_fn *fn, void *user, struct cds_err *reterr);
/** Runs fn on the loop thread soon; any thread. At most 65536 wait; CDS_BUSY beyond. */
CDS_MUST_USE cds_rc cds_loop_post(struct cds_loop *loop, cds_post_fn *fn, void *user);
/** Adds a prepare hook (at most 8), and a hook that runs after each batch. */
CDS_MUST_USE cds_rc cds_loop_prepare(struct cds_loop *loop, cds_prepare_fn *prepare, cds_post_fn *after, void *user);
/** Removes the hooks of that user. */
void cds_loop_unprepare(struct cds_loop *loop, const void *user);
