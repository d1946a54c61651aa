/* sandbox/fs_tree.c: listing a folder, deleting a tree, counting a project. Folders are entered by descriptor, never through a link. */
#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <linux/fs.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <time.h>
#include <unistd.h>

#include "lib/base/cleanup.h"
#include "lib/base/str.h"
#include "sandbox/confine/beneath.h"
#include "sandbox/confine/identity.h"
#include "sandbox/fs_priv.h"

static int by_kind_and_name(const void *a, const void *b)
{
    const struct cds_fs_entry *x = a, *y = b;
    bool x_dir = x->info.type == CDS_FS_DIR, y_dir = y->info.type == CDS_FS_DIR;
    return x_dir != y_dir ? y_dir - x_dir : strcmp(x->name, y->name);
}

static bool is_dot(const char *name)
{
    return name[0] == '.' && (name[1] == '\0' || (name[1] == '.' && name[2] == '\0'));
}

static cds_rc add_entry(DIR *dir, const char *name, struct cds_fs_list *list, size_t *cap, struct cds_err *reterr)
{
    struct stat st;
    /* Names that a run made and no path can name, and our own temporary files, are not shown. */
    if (is_dot(name) || cds_starts_with(name, CDS_PATH_TEMP_PREFIX) || !cds_utf8_valid(name, strlen(name)) ||
        fstatat(dirfd(dir), name, &st, AT_SYMLINK_NOFOLLOW))
        return CDS_OK;
    if (list->count == CDS_FS_LIST_MAX)
        return cds_fail(reterr, CDS_TOO_LARGE, __func__, "The folder has more than %d entries.", CDS_FS_LIST_MAX);
    if (list->count == *cap) {
        size_t more = *cap ? *cap * 2 : 64;
        struct cds_fs_entry *entries = realloc(list->entries, more * sizeof(*entries));
        if (!entries)
            return cds_fail(reterr, CDS_EXHAUSTED, __func__, "Out of memory.");
        list->entries = entries;
        *cap = more;
    }
    struct cds_fs_entry *e = &list->entries[list->count++];
    cds_strcpy(e->name, sizeof(e->name), name);
    fs_info_of(&st, &e->info);
    return CDS_OK;
}

cds_rc cds_fs_list(int project, const struct cds_path *path, struct cds_fs_list *ret, struct cds_err *reterr)
{
    int fd = -1;
    size_t cap = 0;
    struct cds_fs_list list = {NULL, 0};
    cds_rc rc = cds_beneath_open(project, path->text, strlen(path->text), O_RDONLY | O_DIRECTORY, &fd, reterr);
    if (rc)
        return rc;
    CDS_CLEANUP(cds_close_dir) DIR *dir = fdopendir(fd);
    if (!dir) {
        close(fd);
        return cds_fail(reterr, CDS_EXHAUSTED, __func__, "Out of memory.");
    }
    for (const struct dirent *e; !rc && (e = readdir(dir));)
        rc = add_entry(dir, e->d_name, &list, &cap, reterr);
    if (rc) {
        cds_fs_list_free(&list);
        return rc;
    }
    if (list.count)
        qsort(list.entries, list.count, sizeof(*list.entries), by_kind_and_name);
    *ret = list;
    return CDS_OK;
}

void cds_fs_list_free(struct cds_fs_list *list)
{
    free(list->entries);
    *list = (struct cds_fs_list){NULL, 0};
}

/* ---- walks ---- */
/* A job owns its folders, so it can take their owner's rights away, nest them without end and change them while we look. A walk therefore keeps
 * a bounded number of descriptors, never trusts a name twice, and takes what vanishes for gone. */
enum { COUNT_DEPTH = CDS_PATH_DEPTH_MAX * 2, DELETE_DEPTH = 16, TRIES = 3, LEFTOVER_AGE_S = 60 };

static int change_mode(int place, mode_t mode)
{
    char path[40];
    snprintf(path, sizeof(path), "/proc/self/fd/%d", place); /* an O_PATH descriptor has no other way */
    return chmod(path, mode);
}

static int open_place(int parent, const char *name)
{
    return cds_beneath_enter(parent, name, O_PATH);
}

/* The path "." asks for the right to search the folder, O_RDONLY for the right to read it. NULL with errno. */
static DIR *open_folder(int place)
{
    int fd = openat(place, ".", O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    DIR *dir = fd >= 0 ? fdopendir(fd) : NULL;
    if (fd >= 0 && !dir) {
        close(fd);
        errno = ENOMEM;
    }
    return dir;
}

/* True when the name is not there any more, or became something else: a change under way, which the next look sees. */
static bool is_change(int why)
{
    return why == ENOENT || why == ENOTDIR || why == ELOOP;
}

/* ---- deleting ---- */
struct removal {
    int top;        /* folder that deep ones are moved into */
    int left;       /* entries that may still be removed */
    unsigned moved; /* folders moved since top was last read */
    unsigned long serial;
};

static int remove_entry(int parent, const char *name, int depth, struct removal *r);

/* Deeper than we go: becomes a neighbour of the first level, so that any depth is reached with few descriptors. 0 or errno. */
static int move_up(int parent, const char *name, struct removal *r)
{
    char temp[64];
    CDS_CLEANUP(cds_close_fd) int place = open_place(parent, name);
    if (place < 0)
        return errno;
    change_mode(place, 0700); /* moving a folder changes its "..", which takes the right to write it */
    do {
        snprintf(temp, sizeof(temp), CDS_PATH_TEMP_PREFIX "deep-%lu", r->serial++);
        if (syscall(SYS_renameat2, parent, name, r->top, temp, RENAME_NOREPLACE) == 0) {
            r->moved++;
            return 0;
        }
    } while (errno == EEXIST && r->left-- > 0);
    return errno;
}

/* Removes what is below one folder. 0 or errno. */
static int empty_folder(int parent, const char *name, int depth, struct removal *r)
{
    struct stat st;
    int why = 0, place = open_place(parent, name);
    if (place < 0)
        return errno;
    /* Its owner may have taken rights from himself; the folder is about to go, so they are not put back. */
    if (fstat(place, &st) == 0 && (st.st_mode & 0700) != 0700)
        change_mode(place, (st.st_mode & 0777) | 0700);
    CDS_CLEANUP(cds_close_dir) DIR *dir = open_folder(place);
    why = errno;
    close(place);
    if (!dir)
        return why;
    if (depth == 0)
        r->top = dirfd(dir);
    do {
        r->moved = depth == 0 ? 0 : r->moved;
        rewinddir(dir);
        for (const struct dirent *e; (e = readdir(dir));)
            if (!is_dot(e->d_name) && (why = r->left-- > 0 ? remove_entry(dirfd(dir), e->d_name, depth + 1, r) : E2BIG))
                return why;
    } while (depth == 0 && r->moved);
    return 0;
}

/* A file, link or whole folder; one that vanishes meanwhile counts as removed. 0 or errno. */
static int remove_entry(int parent, const char *name, int depth, struct removal *r)
{
    int why = 0;
    for (int i = 0; i < TRIES; i++) {
        if (unlinkat(parent, name, 0) == 0 || errno == ENOENT)
            return 0;
        if (errno != EISDIR && errno != EPERM)
            return errno;
        bool deep = depth > DELETE_DEPTH;
        why = deep ? move_up(parent, name, r) : empty_folder(parent, name, depth, r);
        if (!why && (deep || unlinkat(parent, name, AT_REMOVEDIR) == 0))
            return 0;
        why = why ? why : errno;
        if (why == ENOENT)
            return 0;
        if (why != ENOTEMPTY && why != EEXIST && !is_change(why))
            return why;
    }
    return why;
}

static cds_rc delete_failed(int why, const char *path, bool recursive, struct cds_err *reterr)
{
    switch (why) {
    case ENOENT:
        return cds_fail(reterr, CDS_NOT_FOUND, __func__, "There is no %.200s in the project.", path);
    case EXDEV:
        return fs_refuse(reterr, "fs.outside_root", "something else is mounted inside.", path);
    case EACCES:
    case EPERM:
        return fs_refuse(reterr, "fs.rights", "its folder does not allow it to be deleted.", path);
    case E2BIG:
        return cds_fail(reterr, CDS_TOO_LARGE, __func__, "%.160s holds more than %d entries; %d were deleted, delete it again.", path,
                        CDS_FS_DELETE_MAX, CDS_FS_DELETE_MAX);
    case ENOTEMPTY:
    case EEXIST:
        if (recursive) {
            cds_fail(reterr, CDS_BUSY, __func__, "Something was added to %.200s while it was deleted.", path);
            if (reterr)
                reterr->retry_after_ms = 500;
            return CDS_BUSY;
        }
        cds_fail(reterr, CDS_CONFLICT, __func__, "The folder %.200s is not empty.", path);
        return cds_err_hint(reterr, "Delete it with recursive: true.");
    default:
        return cds_fail_errno(reterr, why, __func__, "%.200s cannot be deleted.", path);
    }
}

cds_rc cds_fs_delete(int project, const struct cds_path *path, bool recursive, struct cds_err *reterr)
{
    CDS_CLEANUP(cds_close_fd) int parent = -1;
    struct removal r = {.top = -1, .left = CDS_FS_DELETE_MAX};
    cds_rc rc = fs_open_parent(project, path, &parent, reterr);
    if (rc)
        return rc;
    /* A link is removed itself, whatever it points to. */
    int why = unlinkat(parent, cds_path_name(path), 0) ? errno : 0;
    if (why == EISDIR || why == EPERM) {
        if (recursive)
            why = remove_entry(parent, cds_path_name(path), 0, &r);
        else
            why = unlinkat(parent, cds_path_name(path), AT_REMOVEDIR) ? errno : 0;
    }
    return why ? delete_failed(why, path->text, recursive, reterr) : CDS_OK;
}

/* ---- counting ---- */
/* What a write left that was killed before its rename: nobody sees it and no path can name it. Its age is taken in both directions, because
 * a job can set times. */
static bool is_leftover(const char *name, const struct stat *st, time_t now)
{
    return cds_starts_with(name, CDS_PATH_TEMP_PREFIX) && (st->st_mtim.tv_sec < now - LEFTOVER_AGE_S || st->st_mtim.tv_sec > now + LEFTOVER_AGE_S);
}

struct count {
    struct cds_fs_usage sum;
    uint64_t entries_max;
    time_t now;
};

static void count_folder(int place, int depth, struct count *c);

static void count_entry(int dir, const char *name, int depth, struct count *c)
{
    struct removal r = {.top = -1, .left = CDS_FS_DELETE_MAX};
    struct stat st;
    if (fstatat(dir, name, &st, AT_SYMLINK_NOFOLLOW)) {
        c->sum.hidden |= !is_change(errno);
        return;
    }
    if (is_leftover(name, &st, c->now) && remove_entry(dir, name, 0, &r) == 0)
        return;
    c->sum.entries++;
    c->sum.bytes += (uint64_t)st.st_blocks * 512;
    if (!S_ISDIR(st.st_mode))
        return;
    int place = open_place(dir, name);
    if (place >= 0)
        count_folder(place, depth + 1, c);
    else
        c->sum.hidden |= !is_change(errno) && errno != EXDEV; /* what is mounted here is not the project's */
}

/* Where the right to see everything is not ours, the owner's rights are added for as long as the look takes; *ret_mode is then what to put back. */
static DIR *open_to_count(int place, mode_t *ret_mode)
{
    struct stat st;
    *ret_mode = (mode_t)-1;
    DIR *dir = open_folder(place);
    if (dir || errno != EACCES || fstat(place, &st) || change_mode(place, (st.st_mode & 07777) | 0500))
        return dir;
    *ret_mode = st.st_mode & 07777;
    if (!(dir = open_folder(place)))
        change_mode(place, *ret_mode);
    return dir;
}

/* Closes place. */
static void count_folder(int place, int depth, struct count *c)
{
    mode_t mode = (mode_t)-1;
    errno = ENAMETOOLONG;
    CDS_CLEANUP(cds_close_dir) DIR *dir = depth > COUNT_DEPTH ? NULL : open_to_count(place, &mode);
    c->sum.hidden |= !dir && !is_change(errno);
    close(place);
    for (const struct dirent *e; dir && !c->sum.hidden && c->sum.entries <= c->entries_max && (e = readdir(dir));)
        if (!is_dot(e->d_name))
            count_entry(dirfd(dir), e->d_name, depth, c);
    if (dir && mode != (mode_t)-1)
        fchmod(dirfd(dir), mode);
}

void cds_fs_count(int project, uint64_t entries_max, struct cds_fs_usage *ret)
{
    struct count c = {.entries_max = entries_max, .now = time(NULL)};
    int place = fcntl(project, F_DUPFD_CLOEXEC, 0);
    bool added = cds_fs_identity_see_all();
    if (place >= 0)
        count_folder(place, 0, &c);
    c.sum.hidden |= place < 0;
    if (added)
        cds_fs_identity_see_less();
    *ret = c.sum;
}
