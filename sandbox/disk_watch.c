/* sandbox/disk_watch.c: see disk_watch.h. */
#include "sandbox/disk_watch.h"

#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <sys/vfs.h>
#include <unistd.h>

#include "lib/base/clock.h"
#include "sandbox/fs.h"

/* A look may take a tenth of the time at most, so that a project of many small files does not keep a thread busy. */
enum { LOOK_MIN_MS = 200, LOOK_MAX_MS = 5000, LOOK_SHARE = 10, MOST = 2 /* quotas */ };
#define DISK_FLOOR_BYTES (256ULL << 20)

struct disk_watch {
    struct cds_pool *pool;
    const struct cds_job_identity *who;
    struct cds_timer *timer;
    void (*over)(void *user);
    void *user;
    int project_fd;
    bool counting, stopped, begun, fixed;                /* fixed: the limits are the caller's */
    uint64_t began_ms;                                   /* of the look under way */
    struct cds_fs_usage used;                            /* what it found */
    uint64_t free_bytes;                                 /* and that */
    uint64_t bytes_limit, entries_limit, free_bytes_min; /* set by the first look */
};

static void watch_free(struct disk_watch *w)
{
    cds_timer_remove(&w->timer);
    close(w->project_fd);
    free(w);
}

/* Pool thread. */
static void look(void *user)
{
    struct disk_watch *w = user;
    struct statfs fs;
    w->free_bytes = fstatfs(w->project_fd, &fs) ? UINT64_MAX : (uint64_t)fs.f_bavail * (uint64_t)fs.f_bsize;
    w->used = (struct cds_fs_usage){.hidden = true};
    if (cds_fs_identity_enter(w->who, NULL))
        return;
    cds_fs_count(w->project_fd, w->begun || w->fixed ? w->entries_limit : (uint64_t)MOST * CDS_FS_QUOTA_FILES, &w->used);
    cds_fs_identity_leave(w->who);
}

static uint64_t larger(uint64_t a, uint64_t b)
{
    return a > b ? a : b;
}

static uint64_t smaller(uint64_t a, uint64_t b)
{
    return a < b ? a : b;
}

static void looked(void *user)
{
    struct disk_watch *w = user;
    w->counting = false;
    if (w->stopped) {
        watch_free(w);
        return;
    }
    if (!w->begun) {
        w->begun = true;
        if (!w->fixed) {
            /* What one run wrote too much before it was stopped is not the next one's due: there is an end to it. */
            w->bytes_limit = smaller(larger(CDS_FS_QUOTA_BYTES, w->used.bytes), MOST * CDS_FS_QUOTA_BYTES);
            w->entries_limit = smaller(larger(CDS_FS_QUOTA_FILES, w->used.entries), (uint64_t)MOST * CDS_FS_QUOTA_FILES);
        }
        /* On a disk that was nearly full before, runs still work as long as they leave half of the rest. */
        w->free_bytes_min = w->free_bytes / 2 < DISK_FLOOR_BYTES ? w->free_bytes / 2 : DISK_FLOOR_BYTES;
    }
    bool full = w->used.bytes > w->bytes_limit || w->used.entries > w->entries_limit || w->free_bytes < w->free_bytes_min;
    if (full || w->used.hidden) { /* what cannot be counted may be anything */
        w->over(w->user);
        return;
    }
    uint64_t now = cds_now_ms(), pause = larger(LOOK_MIN_MS, (now - w->began_ms) * LOOK_SHARE);
    cds_timer_set(w->timer, now + (pause < LOOK_MAX_MS ? pause : LOOK_MAX_MS));
}

static void begin_look(void *user)
{
    struct disk_watch *w = user;
    w->began_ms = cds_now_ms();
    w->counting = cds_pool_submit(w->pool, look, looked, w) == CDS_OK;
    if (!w->counting) /* all threads are busy: later */
        cds_timer_set(w->timer, w->began_ms + LOOK_MIN_MS);
}

static cds_rc start(struct cds_loop *loop, const struct disk_watch *like, int project_fd, struct disk_watch **ret, struct cds_err *reterr)
{
    struct disk_watch *w = calloc(1, sizeof(*w));
    if (!w)
        return cds_fail(reterr, CDS_EXHAUSTED, __func__, "Out of memory.");
    *w = *like;
    w->project_fd = fcntl(project_fd, F_DUPFD_CLOEXEC, 0);
    if (w->project_fd < 0) {
        int why = errno;
        free(w);
        return cds_fail_errno(reterr, why, __func__, "The project of a run cannot be watched.");
    }
    if (cds_timer_add(loop, UINT64_MAX, begin_look, w, &w->timer)) {
        watch_free(w);
        return cds_fail(reterr, CDS_EXHAUSTED, __func__, "Out of memory.");
    }
    begin_look(w);
    *ret = w;
    return CDS_OK;
}

cds_rc disk_watch_start(struct cds_loop *loop, struct cds_pool *pool, const struct cds_job_identity *who, int project_fd, void (*over)(void *user),
                        void *user, struct disk_watch **ret, struct cds_err *reterr)
{
    return start(loop, &(struct disk_watch){.pool = pool, .who = who, .over = over, .user = user}, project_fd, ret, reterr);
}

cds_rc disk_watch_start_limits(struct cds_loop *loop, struct cds_pool *pool, const struct cds_job_identity *who, int folder_fd, uint64_t bytes_max,
                               uint64_t entries_max, void (*over)(void *user), void *user, struct disk_watch **ret, struct cds_err *reterr)
{
    const struct disk_watch like = {
        .pool = pool, .who = who, .over = over, .user = user, .fixed = true, .bytes_limit = bytes_max, .entries_limit = entries_max};
    return start(loop, &like, folder_fd, ret, reterr);
}

void disk_watch_stop(struct disk_watch **watch)
{
    struct disk_watch *w = *watch;
    *watch = NULL;
    if (!w)
        return;
    w->stopped = true;
    cds_timer_set(w->timer, UINT64_MAX);
    if (!w->counting)
        watch_free(w);
}
