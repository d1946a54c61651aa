/* sandbox/fs_watch.c: see fs_watch.h. */
#include "sandbox/fs_watch.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/inotify.h>
#include <sys/stat.h>
#include <unistd.h>

#include "lib/base/cleanup.h"
#include "lib/base/clock.h"
#include "lib/base/str.h"
#include "sandbox/confine/beneath.h"

enum {
    EVENTS = IN_CREATE | IN_MOVED_TO | IN_MOVED_FROM | IN_DELETE | IN_CLOSE_WRITE | IN_ATTRIB | IN_MODIFY | IN_ONLYDIR | IN_EXCL_UNLINK,
    READ_BYTES = 16384
};

struct folder {
    int wd;
    char *path; /* "" is the project */
};

struct fs_watch {
    struct cds_loop *loop;
    const struct cds_job_identity *who;
    int project_fd, inotify_fd;
    struct cds_watch *readable;
    struct cds_timer *bundle;
    fs_watch_fn *told;
    void *user;
    struct folder folders[FS_WATCH_DIRS];
    size_t folder_count;
    struct fs_changes changes;
};

const char *fs_change_name(enum fs_change change)
{
    static const char *const names[] = {"created", "changed", "deleted"};
    return names[change];
}

/* ---- the bundle ---- */
static void note(struct fs_watch *w, enum fs_change what, bool folder, const char *path)
{
    struct fs_changes *c = &w->changes;
    bool first = c->count == 0 && !c->overflow;
    size_t at = 0;
    while (at < c->count && strcmp(c->list[at].path, path) != 0)
        at++;
    if (at == c->count) {
        char *copy = at < FS_WATCH_PATHS ? strdup(path) : NULL;
        if (copy)
            c->list[c->count++] = (struct fs_changed){what, folder, copy};
        else
            c->overflow = true;
    } else if (!(c->list[at].what == FS_CREATED && what == FS_CHANGED)) { /* a new file that is written to is still new */
        c->list[at].what = what;
        c->list[at].folder = folder;
    }
    if (first)
        cds_timer_set(w->bundle, cds_now_ms() + FS_WATCH_BUNDLE_MS);
}

static void overflow(struct fs_watch *w)
{
    if (w->changes.count == 0 && !w->changes.overflow)
        cds_timer_set(w->bundle, cds_now_ms() + FS_WATCH_BUNDLE_MS);
    w->changes.overflow = true;
}

static void clear(struct fs_changes *changes)
{
    while (changes->count)
        free(changes->list[--changes->count].path);
    changes->overflow = false;
}

static void on_bundle(void *user)
{
    struct fs_watch *w = user;
    if (w->changes.count || w->changes.overflow)
        w->told(w->user, &w->changes);
    clear(&w->changes);
}

/* ---- folders ---- */
static bool join(char *out, const char *folder, const char *name)
{
    int n = snprintf(out, CDS_PATH_MAX + 1, "%s%s%s", folder, *folder ? "/" : "", name);
    struct cds_path path;
    return n > 0 && n <= CDS_PATH_MAX && !cds_path_parse_below(out, (size_t)n, &path, NULL);
}

static void add_folder(struct fs_watch *w, const char *path, bool tell);

/* What was there before the watch was: told as new, since nobody else will. */
static void add_content(struct fs_watch *w, int fd, const char *path, bool tell)
{
    char below[CDS_PATH_MAX + 1];
    struct stat st;
    CDS_CLEANUP(cds_close_dir) DIR *dir = fdopendir(fd);
    if (!dir) {
        close(fd);
        overflow(w);
        return;
    }
    for (const struct dirent *e; (e = readdir(dir));) {
        if (cds_streq(e->d_name, ".") || cds_streq(e->d_name, "..") || !join(below, path, e->d_name) ||
            fstatat(dirfd(dir), e->d_name, &st, AT_SYMLINK_NOFOLLOW))
            continue;
        if (tell)
            note(w, FS_CREATED, S_ISDIR(st.st_mode), below);
        if (S_ISDIR(st.st_mode))
            add_folder(w, below, tell);
    }
}

/* Depth is bounded by the path parser in join. */
static void add_folder(struct fs_watch *w, const char *path, bool tell)
{
    char link[64];
    int fd = -1;
    if (w->folder_count == FS_WATCH_DIRS) {
        overflow(w);
        return;
    }
    if (cds_beneath_open(w->project_fd, path, strlen(path), O_RDONLY | O_DIRECTORY, &fd, NULL))
        return; /* gone again, or closed to the job */
    snprintf(link, sizeof(link), "/proc/self/fd/%d", fd);
    int wd = inotify_add_watch(w->inotify_fd, link, EVENTS);
    char *copy = wd >= 0 ? strdup(path) : NULL;
    if (!copy) {
        close(fd);
        overflow(w);
        return;
    }
    w->folders[w->folder_count++] = (struct folder){wd, copy};
    add_content(w, fd, path, tell);
}

static void drop_folder(struct fs_watch *w, size_t at)
{
    inotify_rm_watch(w->inotify_fd, w->folders[at].wd);
    free(w->folders[at].path);
    w->folders[at] = w->folders[--w->folder_count];
}

/* A folder that was moved away takes its watches along, under a name that is not true any more. */
static void drop_below(struct fs_watch *w, const char *path)
{
    size_t len = strlen(path);
    for (size_t i = w->folder_count; i-- > 0;)
        if (!strncmp(w->folders[i].path, path, len) && (w->folders[i].path[len] == '/' || w->folders[i].path[len] == '\0'))
            drop_folder(w, i);
}

/* ---- events ---- */
static void on_event(struct fs_watch *w, const struct inotify_event *e)
{
    char path[CDS_PATH_MAX + 1];
    size_t at = 0;
    bool folder = e->mask & IN_ISDIR;
    if (e->mask & IN_Q_OVERFLOW) {
        overflow(w);
        return;
    }
    while (at < w->folder_count && w->folders[at].wd != e->wd)
        at++;
    if (at == w->folder_count)
        return; /* of a folder that was let go */
    if (e->mask & IN_IGNORED) {
        drop_folder(w, at);
        return;
    }
    if (e->len == 0 || !join(path, w->folders[at].path, e->name))
        return;
    if (e->mask & (IN_DELETE | IN_MOVED_FROM)) {
        if (folder)
            drop_below(w, path);
        note(w, FS_DELETED, folder, path);
    } else if (e->mask & (IN_CREATE | IN_MOVED_TO)) {
        note(w, FS_CREATED, folder, path);
        if (folder) {
            drop_below(w, path);
            add_folder(w, path, true);
        }
    } else if (!folder) {
        note(w, FS_CHANGED, false, path);
    }
}

static void on_readable(void *user, int fd, uint32_t events)
{
    struct fs_watch *w = user;
    char buffer[READ_BYTES] __attribute__((aligned(__alignof__(struct inotify_event))));
    ssize_t n = read(fd, buffer, sizeof(buffer));
    if (n <= 0 || cds_fs_identity_enter(w->who, NULL))
        return;
    for (ssize_t at = 0; at < n;) {
        const struct inotify_event *e = (const struct inotify_event *)(buffer + at);
        on_event(w, e);
        at += (ssize_t)(sizeof(*e) + e->len);
    }
    cds_fs_identity_leave(w->who);
}

cds_rc fs_watch_start(struct cds_loop *loop, const struct cds_job_identity *who, int project_fd, fs_watch_fn *told, void *user, struct fs_watch **ret,
                      struct cds_err *reterr)
{
    struct fs_watch *w = calloc(1, sizeof(*w));
    if (!w)
        return cds_fail(reterr, CDS_EXHAUSTED, __func__, "Out of memory.");
    w->loop = loop;
    w->who = who;
    w->told = told;
    w->user = user;
    w->project_fd = fcntl(project_fd, F_DUPFD_CLOEXEC, 0);
    w->inotify_fd = inotify_init1(IN_CLOEXEC | IN_NONBLOCK);
    cds_rc rc = CDS_OK;
    if (w->project_fd < 0 || w->inotify_fd < 0)
        rc = cds_fail_errno(reterr, errno, __func__, "The project cannot be watched.");
    if (!rc)
        rc = cds_watch_add(loop, w->inotify_fd, EPOLLIN, on_readable, w, &w->readable, reterr);
    if (!rc && cds_timer_add(loop, UINT64_MAX, on_bundle, w, &w->bundle))
        rc = cds_fail(reterr, CDS_EXHAUSTED, __func__, "Out of memory.");
    if (!rc && !(rc = cds_fs_identity_enter(who, reterr))) {
        add_folder(w, "", false);
        cds_fs_identity_leave(who);
    }
    if (!rc && w->folder_count == 0) {
        rc = cds_fail(reterr, CDS_EXHAUSTED, __func__, "The kernel has no more watches for this project.");
        cds_err_hint(reterr, "An admin can raise fs.inotify.max_user_watches and fs.inotify.max_user_instances.");
    }
    if (rc) {
        fs_watch_stop(&w);
        return rc;
    }
    *ret = w;
    return CDS_OK;
}

void fs_watch_stop(struct fs_watch **watch)
{
    struct fs_watch *w = *watch;
    *watch = NULL;
    if (!w)
        return;
    cds_watch_remove(&w->readable);
    cds_timer_remove(&w->bundle);
    for (size_t i = 0; i < w->folder_count; i++)
        free(w->folders[i].path);
    clear(&w->changes);
    cds_close_fd(&w->inotify_fd);
    cds_close_fd(&w->project_fd);
    free(w);
}
