/* lib/base/loop.c: see loop.h. Timers are a binary heap over one timeout of epoll_wait. */
#include "lib/base/loop.h"

#include <errno.h>
#include <pthread.h>
#include <signal.h>
#include <stdlib.h>
#include <sys/epoll.h>
#include <sys/eventfd.h>
#include <sys/signalfd.h>
#include <unistd.h>

#include "lib/base/clock.h"

enum { BATCH = 64, HOOKS = 8, POSTS_MAX = 65536, SIGNALS = 32 };

struct cds_watch {
    struct cds_loop *loop;
    int fd;
    cds_watch_fn *fn; /* NULL once removed: later events of the same batch are skipped */
    void *user;
    struct cds_watch *next_dead;
};

struct cds_timer {
    struct cds_loop *loop;
    uint64_t deadline_ms;
    size_t place; /* index in the heap, SIZE_MAX when not armed */
    cds_timer_fn *fn;
    void *user;
};

struct post {
    struct post *next;
    cds_post_fn *fn;
    void *user;
};

struct hook {
    cds_prepare_fn *prepare;
    cds_post_fn *after;
    void *user;
};

struct cds_loop {
    int epoll_fd, event_fd, signal_fd;
    bool stop;
    struct cds_watch *wake, *signals, *dead;
    struct cds_timer **heap;
    size_t timers, timers_cap; /* armed ones, room */
    size_t timers_made;        /* armed or not, never above the room */
    struct hook hooks[HOOKS];
    size_t hook_count;
    sigset_t signal_set;
    struct {
        cds_signal_fn *fn;
        void *user;
    } on_signal[SIGNALS];
    pthread_mutex_t lock; /* guards the posts */
    struct post *first, *last;
    size_t posts;
};

/* ---- timers ---- */
static void heap_put(struct cds_loop *loop, size_t i, struct cds_timer *timer)
{
    loop->heap[i] = timer;
    timer->place = i;
}

static void heap_up(struct cds_loop *loop, size_t i)
{
    struct cds_timer *timer = loop->heap[i];
    while (i && loop->heap[(i - 1) / 2]->deadline_ms > timer->deadline_ms) {
        heap_put(loop, i, loop->heap[(i - 1) / 2]);
        i = (i - 1) / 2;
    }
    heap_put(loop, i, timer);
}

static void heap_down(struct cds_loop *loop, size_t i)
{
    struct cds_timer *timer = loop->heap[i];
    for (size_t child; (child = 2 * i + 1) < loop->timers; i = child) {
        if (child + 1 < loop->timers && loop->heap[child + 1]->deadline_ms < loop->heap[child]->deadline_ms)
            child++;
        if (loop->heap[child]->deadline_ms >= timer->deadline_ms)
            break;
        heap_put(loop, i, loop->heap[child]);
    }
    heap_put(loop, i, timer);
}

static void heap_take(struct cds_timer *timer)
{
    struct cds_loop *loop = timer->loop;
    size_t i = timer->place;
    if (i == SIZE_MAX)
        return;
    timer->place = SIZE_MAX;
    struct cds_timer *tail = loop->heap[--loop->timers];
    if (tail == timer)
        return;
    heap_put(loop, i, tail);
    heap_up(loop, i);
    heap_down(loop, tail->place);
}

/** Room in the heap for one more timer, armed or not: setting a deadline later needs no memory and cannot fail. */
static bool heap_room(struct cds_loop *loop)
{
    if (loop->timers_made < loop->timers_cap)
        return true;
    size_t cap = loop->timers_cap ? loop->timers_cap * 2 : 64;
    struct cds_timer **heap = realloc(loop->heap, cap * sizeof(*heap)); // NOLINT(bugprone-sizeof-expression): a heap of pointers
    if (!heap)
        return false;
    loop->heap = heap;
    loop->timers_cap = cap;
    return true;
}

cds_rc cds_timer_add(struct cds_loop *loop, uint64_t deadline_ms, cds_timer_fn *fn, void *user, struct cds_timer **ret_timer)
{
    struct cds_timer *timer = heap_room(loop) ? calloc(1, sizeof(*timer)) : NULL;
    if (!timer)
        return CDS_EXHAUSTED;
    loop->timers_made++;
    *timer = (struct cds_timer){.loop = loop, .deadline_ms = UINT64_MAX, .place = SIZE_MAX, .fn = fn, .user = user};
    cds_timer_set(timer, deadline_ms);
    *ret_timer = timer;
    return CDS_OK;
}

void cds_timer_set(struct cds_timer *timer, uint64_t deadline_ms)
{
    struct cds_loop *loop = timer->loop;
    heap_take(timer);
    timer->deadline_ms = deadline_ms;
    if (deadline_ms == UINT64_MAX)
        return;
    heap_put(loop, loop->timers, timer);
    heap_up(loop, loop->timers++);
}

void cds_timer_remove(struct cds_timer **timer)
{
    if (!*timer)
        return;
    heap_take(*timer);
    (*timer)->loop->timers_made--;
    free(*timer);
    *timer = NULL;
}

static void run_timers(struct cds_loop *loop)
{
    uint64_t now = cds_now_ms();
    /* As many as were due at the start: a timer that sets itself to "now" must not starve the sockets. */
    for (size_t due = loop->timers; due && loop->timers && loop->heap[0]->deadline_ms <= now; due--) {
        struct cds_timer *timer = loop->heap[0];
        heap_take(timer);
        timer->fn(timer->user);
    }
}

/* ---- watches ---- */
cds_rc cds_watch_add(struct cds_loop *loop, int fd, uint32_t events, cds_watch_fn *fn, void *user, struct cds_watch **ret_watch,
                     struct cds_err *reterr)
{
    struct cds_watch *watch = calloc(1, sizeof(*watch));
    if (!watch)
        return cds_fail(reterr, CDS_EXHAUSTED, __func__, "Out of memory.");
    *watch = (struct cds_watch){.loop = loop, .fd = fd, .fn = fn, .user = user};
    struct epoll_event event = {.events = events, .data.ptr = watch};
    if (epoll_ctl(loop->epoll_fd, EPOLL_CTL_ADD, fd, &event)) {
        cds_rc rc = cds_fail_errno(reterr, errno, __func__, "Cannot watch a descriptor.");
        free(watch);
        return rc;
    }
    *ret_watch = watch;
    return CDS_OK;
}

cds_rc cds_watch_set(struct cds_watch *watch, uint32_t events)
{
    struct epoll_event event = {.events = events, .data.ptr = watch};
    return epoll_ctl(watch->loop->epoll_fd, EPOLL_CTL_MOD, watch->fd, &event) ? CDS_SYSTEM : CDS_OK;
}

void cds_watch_remove(struct cds_watch **watch)
{
    struct cds_watch *w = *watch;
    if (!w)
        return;
    *watch = NULL;
    epoll_ctl(w->loop->epoll_fd, EPOLL_CTL_DEL, w->fd, NULL);
    w->fn = NULL;
    w->next_dead = w->loop->dead;
    w->loop->dead = w;
}

static void bury(struct cds_loop *loop)
{
    while (loop->dead) {
        struct cds_watch *w = loop->dead;
        loop->dead = w->next_dead;
        free(w);
    }
}

/* ---- wake-ups and signals ---- */
static void on_wake(void *user, int fd, uint32_t events)
{
    struct cds_loop *loop = user;
    uint64_t n;
    if (read(fd, &n, sizeof(n)) < 0 && errno != EAGAIN)
        return;
    pthread_mutex_lock(&loop->lock);
    struct post *list = loop->first;
    loop->first = loop->last = NULL;
    loop->posts = 0;
    pthread_mutex_unlock(&loop->lock);
    while (list) {
        struct post *post = list;
        list = post->next;
        post->fn(post->user);
        free(post);
    }
}

cds_rc cds_loop_post(struct cds_loop *loop, cds_post_fn *fn, void *user)
{
    struct post *post = malloc(sizeof(*post));
    if (!post)
        return CDS_EXHAUSTED;
    *post = (struct post){NULL, fn, user};
    pthread_mutex_lock(&loop->lock);
    if (loop->posts >= POSTS_MAX) {
        pthread_mutex_unlock(&loop->lock);
        free(post);
        return CDS_BUSY;
    }
    loop->posts++;
    if (loop->last)
        loop->last->next = post;
    else
        loop->first = post;
    loop->last = post;
    pthread_mutex_unlock(&loop->lock);
    uint64_t one = 1;
    ssize_t n = write(loop->event_fd, &one, sizeof(one));
    (void)n; /* a full counter wakes the loop just the same */
    return CDS_OK;
}

static void on_signalfd(void *user, int fd, uint32_t events)
{
    struct cds_loop *loop = user;
    struct signalfd_siginfo info;
    while (read(fd, &info, sizeof(info)) == sizeof(info))
        if (info.ssi_signo < SIGNALS && loop->on_signal[info.ssi_signo].fn)
            loop->on_signal[info.ssi_signo].fn(loop->on_signal[info.ssi_signo].user, (int)info.ssi_signo);
}

cds_rc cds_loop_signal(struct cds_loop *loop, int signo, cds_signal_fn *fn, void *user, struct cds_err *reterr)
{
    if (signo <= 0 || signo >= SIGNALS)
        return cds_fail(reterr, CDS_BAD_PARAM, __func__, "Signal %d cannot be watched.", signo);
    loop->on_signal[signo].fn = fn;
    loop->on_signal[signo].user = user;
    sigaddset(&loop->signal_set, signo);
    pthread_sigmask(SIG_BLOCK, &loop->signal_set, NULL);
    int fd = signalfd(loop->signal_fd, &loop->signal_set, SFD_CLOEXEC | SFD_NONBLOCK);
    if (fd < 0)
        return cds_fail_errno(reterr, errno, __func__, "Cannot watch signals.");
    if (loop->signal_fd >= 0)
        return CDS_OK;
    loop->signal_fd = fd;
    return cds_watch_add(loop, fd, EPOLLIN, on_signalfd, loop, &loop->signals, reterr);
}

cds_rc cds_loop_prepare(struct cds_loop *loop, cds_prepare_fn *prepare, cds_post_fn *after, void *user)
{
    if (loop->hook_count == HOOKS)
        return CDS_BUSY;
    loop->hooks[loop->hook_count++] = (struct hook){prepare, after, user};
    return CDS_OK;
}

void cds_loop_unprepare(struct cds_loop *loop, const void *user)
{
    size_t kept = 0;
    for (size_t i = 0; i < loop->hook_count; i++)
        if (loop->hooks[i].user != user)
            loop->hooks[kept++] = loop->hooks[i];
    loop->hook_count = kept;
}

/* ---- the loop ---- */
cds_rc cds_loop_new(struct cds_loop **ret_loop, struct cds_err *reterr)
{
    struct cds_loop *loop = calloc(1, sizeof(*loop));
    if (!loop)
        return cds_fail(reterr, CDS_EXHAUSTED, __func__, "Out of memory.");
    sigemptyset(&loop->signal_set);
    pthread_mutex_init(&loop->lock, NULL);
    loop->signal_fd = -1;
    loop->epoll_fd = epoll_create1(EPOLL_CLOEXEC);
    loop->event_fd = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK);
    if (loop->epoll_fd < 0 || loop->event_fd < 0) {
        cds_rc rc = cds_fail_errno(reterr, errno, __func__, "Cannot make an event loop.");
        cds_loop_free(&loop);
        return rc;
    }
    cds_rc rc = cds_watch_add(loop, loop->event_fd, EPOLLIN, on_wake, loop, &loop->wake, reterr);
    if (rc) {
        cds_loop_free(&loop);
        return rc;
    }
    *ret_loop = loop;
    return CDS_OK;
}

void cds_loop_free(struct cds_loop **loop_place)
{
    struct cds_loop *loop = *loop_place;
    if (!loop)
        return;
    *loop_place = NULL;
    cds_watch_remove(&loop->wake);
    cds_watch_remove(&loop->signals);
    bury(loop);
    while (loop->first) {
        struct post *post = loop->first;
        loop->first = post->next;
        free(post);
    }
    if (loop->epoll_fd >= 0)
        close(loop->epoll_fd);
    if (loop->event_fd >= 0)
        close(loop->event_fd);
    if (loop->signal_fd >= 0)
        close(loop->signal_fd);
    pthread_mutex_destroy(&loop->lock);
    free(loop->heap);
    free(loop);
}

static int sleep_ms(struct cds_loop *loop, int max_ms)
{
    int ms = max_ms;
    for (size_t i = 0; i < loop->hook_count; i++) {
        int want = loop->hooks[i].prepare ? loop->hooks[i].prepare(loop->hooks[i].user) : -1;
        if (want >= 0 && (ms < 0 || want < ms))
            ms = want;
    }
    if (loop->timers) {
        int left = cds_ms_left(loop->heap[0]->deadline_ms);
        if (ms < 0 || left < ms)
            ms = left;
    }
    return ms;
}

void cds_loop_once(struct cds_loop *loop, int max_ms)
{
    struct epoll_event events[BATCH];
    int n = epoll_wait(loop->epoll_fd, events, BATCH, sleep_ms(loop, max_ms));
    for (int i = 0; i < n; i++) {
        struct cds_watch *watch = events[i].data.ptr;
        if (watch->fn)
            watch->fn(watch->user, watch->fd, events[i].events);
    }
    run_timers(loop);
    for (size_t i = 0; i < loop->hook_count; i++)
        if (loop->hooks[i].after)
            loop->hooks[i].after(loop->hooks[i].user);
    bury(loop);
}

void cds_loop_run(struct cds_loop *loop)
{
    while (!loop->stop)
        cds_loop_once(loop, -1);
    loop->stop = false;
}

void cds_loop_stop(struct cds_loop *loop)
{
    loop->stop = true;
}
