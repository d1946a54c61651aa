/* sandbox/fs_write.c: writing files, alone or many at once, so that they survive a crash of the machine.
 *
 * In three passes over all writes: temporary files with their content; one wait for the disk; renames, each after a last look at what stands
 * there; one wait for the folders. Asking the disk once is what makes many writes at a time cheap: each wait costs as much as all of them.
 *
 * A file that is replaced is held until cds_fs_write_release: with its last holder go its blocks, and where a file system tells the disk of each
 * of them at once (ext4 without a journal, mounted with discard) that takes several times longer than writing the new one. */
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "lib/base/cleanup.h"
#include "lib/base/random.h"
#include "sandbox/fs_priv.h"

/* From so many files, or folders, on the whole file system is synced instead of each of them: it costs what two or three cost. */
enum { SYNC_ALL_FROM = 3 };

static cds_rc fill(int fd, const void *data, size_t len, mode_t mode, const char *path, struct cds_err *reterr)
{
    const char *from = data;
    for (size_t left = len; left;) {
        ssize_t n = write(fd, from, left);
        if (n < 0 && errno == EINTR)
            continue;
        if (n < 0)
            return cds_fail_errno(reterr, errno, __func__, "%.200s cannot be written.", path);
        from += n;
        left -= (size_t)n;
    }
    return fchmod(fd, mode) ? cds_fail_errno(reterr, errno, __func__, "%.200s cannot be written.", path) : CDS_OK;
}

static void name_temp(char temp[static CDS_FS_TEMP_LEN + 1])
{
    unsigned char salt[8];
    cds_random(salt, sizeof(salt));
    snprintf(temp, CDS_FS_TEMP_LEN + 1, CDS_PATH_TEMP_PREFIX "%02x%02x%02x%02x%02x%02x%02x%02x", salt[0], salt[1], salt[2], salt[3], salt[4], salt[5],
             salt[6], salt[7]);
}

/* A project that was counted, and what this batch has put into it since. */
struct counted {
    int project; /* -1: none */
    struct cds_fs_usage used;
};

static bool same_file(int a, int b)
{
    struct stat x, y;
    return !fstat(a, &x) && !fstat(b, &y) && x.st_dev == y.st_dev && x.st_ino == y.st_ino;
}

/* Counting a project costs as much as it has files, so one batch counts it once. */
static struct cds_fs_usage *count_once(struct counted *last, int project)
{
    if (last->project < 0 || !same_file(last->project, project)) {
        last->project = project;
        cds_fs_count(project, CDS_FS_QUOTA_FILES, &last->used);
    }
    return &last->used;
}

/* First pass. */
static cds_rc stage(struct cds_fs_write *w, struct counted *last, struct cds_err *reterr)
{
    struct cds_fs_usage *used = NULL;
    struct stat st;
    bool there;
    if (w->len > CDS_FS_FILE_MAX) {
        fs_refuse(reterr, "fs.too_big", "a file has at most 524288 bytes (512 KB).", w->path->text);
        return cds_err_hint(reterr, "Split it, or keep large data outside of the project.");
    }
    cds_rc rc = fs_open_parent(w->project, w->path, &w->parent, reterr);
    if (rc || (rc = fs_check_target(w->parent, w->path, w->if_version, &there, &st, reterr)) ||
        (rc = fs_check_room(used = w->used ? w->used : count_once(last, w->project), w->len, there ? 0 : 1, w->path->text, reterr)))
        return rc;
    used->bytes += w->len;
    used->entries += there ? 0 : 1;
    name_temp(w->temp);
    w->fd = openat(w->parent, w->temp, O_WRONLY | O_CREAT | O_EXCL | O_NOFOLLOW | O_CLOEXEC, 0600);
    if (w->fd < 0)
        return errno == EACCES ? fs_refuse(reterr, "fs.rights", "the folder does not allow new files.", w->path->text)
                               : cds_fail_errno(reterr, errno, __func__, "%.200s cannot be written.", w->path->text);
    return fill(w->fd, w->data, w->len, there ? st.st_mode & 0755 : 0644, w->path->text, reterr); /* setuid bits never survive */
}

/* Third pass. Looked at again right before the switch: a run, or a write of this very batch, may have been there in the meantime. */
static cds_rc put_in_place(struct cds_fs_write *w, struct cds_err *reterr)
{
    struct stat st;
    bool there;
    w->old = openat(w->parent, cds_path_name(w->path), O_PATH | O_NOFOLLOW | O_CLOEXEC); /* -1: there is none */
    cds_rc rc = fs_check_target(w->parent, w->path, w->if_version, &there, &st, reterr);
    if (!rc && renameat(w->parent, w->temp, w->parent, cds_path_name(w->path)))
        rc = cds_fail_errno(reterr, errno, __func__, "%.200s cannot be replaced.", w->path->text);
    if (rc)
        return rc;
    w->temp[0] = '\0';
    if (fstat(w->fd, &st))
        return cds_fail_errno(reterr, errno, __func__, "%.200s cannot be looked at.", w->path->text);
    fs_info_of(&st, &w->info);
    return CDS_OK;
}

/* Waits until the files, or the folders, of all writes that are still well are on the disk. */
static void sync_all(struct cds_fs_write *writes, size_t count, int (*fd_of)(const struct cds_fs_write *), const char *what)
{
    const struct cds_fs_write *different[SYNC_ALL_FROM];
    size_t n = 0;
    for (size_t i = 0; i < count && n < SYNC_ALL_FROM; i++) {
        bool known = writes[i].rc != CDS_OK;
        for (size_t k = 0; k < n && !known; k++)
            known = same_file(fd_of(different[k]), fd_of(&writes[i]));
        if (!known)
            different[n++] = &writes[i];
    }
    /* All projects lie below one folder of the host, so on one file system. */
    const bool everything = n == SYNC_ALL_FROM;
    const int failed = everything && syncfs(fd_of(different[0])) ? errno : 0;
    for (size_t i = 0; i < count; i++) {
        struct cds_fs_write *w = &writes[i];
        if (w->rc)
            continue;
        bool done = everything;
        for (size_t k = 0; k < i && !done; k++)
            done = writes[k].rc == CDS_OK && same_file(fd_of(&writes[k]), fd_of(w));
        if (failed || (!done && fsync(fd_of(w))))
            w->rc = cds_fail_errno(&w->err, failed ? failed : errno, __func__, "%.200s cannot be made durable: %s.", w->path->text, what);
    }
}

static int file_of(const struct cds_fs_write *w)
{
    return w->fd;
}

static int folder_of(const struct cds_fs_write *w)
{
    return w->parent;
}

void cds_fs_write_many(struct cds_fs_write *writes, size_t count)
{
    struct counted last = {.project = -1};
    for (size_t i = 0; i < count; i++) {
        struct cds_fs_write *w = &writes[i];
        w->parent = w->fd = w->old = -1;
        w->temp[0] = '\0';
        w->rc = stage(w, &last, &w->err);
    }
    sync_all(writes, count, file_of, "the disk refused the file");
    for (size_t i = 0; i < count; i++)
        if (!writes[i].rc)
            writes[i].rc = put_in_place(&writes[i], &writes[i].err);
    sync_all(writes, count, folder_of, "the disk refused the folder");
    for (size_t i = 0; i < count; i++)
        if (writes[i].temp[0] && writes[i].fd >= 0)
            unlinkat(writes[i].parent, writes[i].temp, 0);
}

void cds_fs_write_release(struct cds_fs_write *writes, size_t count)
{
    for (size_t i = 0; i < count; i++) {
        cds_close_fd(&writes[i].old);
        cds_close_fd(&writes[i].fd);
        cds_close_fd(&writes[i].parent);
    }
}

cds_rc cds_fs_write(int project, const struct cds_path *path, const void *data, size_t len, const char *if_version, struct cds_fs_info *ret,
                    struct cds_err *reterr)
{
    struct cds_fs_write one = {.project = project, .path = path, .data = data, .len = len, .if_version = if_version};
    cds_fs_write_many(&one, 1);
    cds_fs_write_release(&one, 1);
    if (one.rc == CDS_OK)
        *ret = one.info;
    else if (reterr)
        *reterr = one.err;
    return one.rc;
}
