/* sandbox/fs.c: see fs.h. Reading and changing one name; walks over trees are in fs_tree.c. */
#include "sandbox/fs.h"

#include <errno.h>
#include <fcntl.h>
#include <linux/fs.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <unistd.h>

#include "lib/base/cleanup.h"
#include "lib/base/fd.h"
#include "sandbox/confine/beneath.h"
#include "sandbox/fs_priv.h"

const char *cds_fs_type_name(enum cds_fs_type type)
{
    static const char *const names[] = {"file", "dir", "other"};
    return names[type];
}

static uint64_t mix(uint64_t hash, uint64_t value)
{
    for (int i = 0; i < 8; i++)
        hash = (hash ^ (value >> (8 * i) & 0xff)) * 1099511628211u;
    return hash;
}

void fs_info_of(const struct stat *st, struct cds_fs_info *ret)
{
    *ret = (struct cds_fs_info){.type = S_ISREG(st->st_mode)   ? CDS_FS_FILE
                                        : S_ISDIR(st->st_mode) ? CDS_FS_DIR
                                                               : CDS_FS_OTHER,
                                .size_bytes = S_ISREG(st->st_mode) ? (uint64_t)st->st_size : 0,
                                .modified_ms = (int64_t)st->st_mtim.tv_sec * 1000 + st->st_mtim.tv_nsec / 1000000};
    if (ret->type != CDS_FS_FILE)
        return;
    /* Inode, change time and size: a rename over it, a write in place and a restored modification time all change it. */
    uint64_t hash =
        mix(mix(mix(mix(14695981039346656037u, st->st_ino), (uint64_t)st->st_ctim.tv_sec), (uint64_t)st->st_ctim.tv_nsec), (uint64_t)st->st_size);
    snprintf(ret->version, sizeof(ret->version), "%016llx", (unsigned long long)hash);
}

cds_rc fs_refuse(struct cds_err *reterr, const char *rule, const char *message, const char *path)
{
    cds_fail(reterr, CDS_DENIED, __func__, "%.120s: %s", path, message);
    cds_err_rule(reterr, rule);
    return CDS_DENIED;
}

cds_rc fs_open_parent(int project, const struct cds_path *path, int *ret_fd, struct cds_err *reterr)
{
    return cds_beneath_open(project, path->text, path->parent_len, O_RDONLY | O_DIRECTORY, ret_fd, reterr);
}

/* The name as it is now, without following it. */
static cds_rc look(int parent, const struct cds_path *path, struct stat *ret, struct cds_err *reterr)
{
    if (fstatat(parent, cds_path_name(path), ret, AT_SYMLINK_NOFOLLOW) == 0)
        return CDS_OK;
    if (errno == ENOENT)
        return cds_fail(reterr, CDS_NOT_FOUND, __func__, "There is no %.200s in the project.", path->text);
    return cds_fail_errno(reterr, errno, __func__, "%.200s cannot be looked at.", path->text);
}

/* Files that the studio reads and replaces: regular, with one name only. */
static cds_rc check_regular(const struct stat *st, const char *path, struct cds_err *reterr)
{
    if (S_ISLNK(st->st_mode))
        return fs_refuse(reterr, "fs.symlink", "it is a symbolic link; the studio does not follow links.", path);
    if (S_ISDIR(st->st_mode))
        return cds_fail(reterr, CDS_CONFLICT, __func__, "%.200s is a folder.", path);
    if (!S_ISREG(st->st_mode))
        return fs_refuse(reterr, "fs.special", "it is a device, pipe or socket, not a file.", path);
    if (st->st_nlink > 1)
        return fs_refuse(reterr, "fs.hardlink", "it has a second name (hard link), which may lie outside of the project.", path);
    return CDS_OK;
}

cds_rc cds_fs_stat(int project, const struct cds_path *path, struct cds_fs_info *ret, struct cds_err *reterr)
{
    CDS_CLEANUP(cds_close_fd) int fd = -1;
    struct stat st;
    cds_rc rc = cds_beneath_open(project, path->text, strlen(path->text), O_PATH, &fd, reterr);
    if (rc)
        return rc;
    if (fstat(fd, &st))
        return cds_fail_errno(reterr, errno, __func__, "%.200s cannot be looked at.", path->text);
    if (S_ISLNK(st.st_mode)) /* openat2 hands out the link itself when only a place is asked for */
        return fs_refuse(reterr, "fs.symlink", "it is a symbolic link; the studio does not follow links.", path->text);
    fs_info_of(&st, ret);
    return CDS_OK;
}

static cds_rc read_all(int fd, const char *path, struct cds_buf *buf, struct cds_err *reterr)
{
    char chunk[16384];
    size_t total = 0;
    for (;;) {
        ssize_t n = read(fd, chunk, sizeof(chunk));
        if (n < 0 && errno == EINTR)
            continue;
        if (n < 0)
            return cds_fail_errno(reterr, errno, __func__, "%.200s cannot be read.", path);
        if (n == 0)
            return CDS_OK;
        total += (size_t)n;
        if (total > CDS_FS_FILE_MAX) /* it may have grown since it was measured */
            return fs_refuse(reterr, "fs.too_big", "it is larger than 524288 bytes (512 KB).", path);
        if (cds_buf_add(buf, chunk, (size_t)n))
            return cds_fail(reterr, CDS_EXHAUSTED, __func__, "Out of memory.");
    }
}

cds_rc cds_fs_read(int project, const struct cds_path *path, struct cds_buf *buf, struct cds_fs_info *ret, struct cds_err *reterr)
{
    CDS_CLEANUP(cds_close_fd) int place = -1;
    CDS_CLEANUP(cds_close_fd) int fd = -1;
    struct stat st, again;
    /* O_PATH first: opening a pipe or device would already act on it. */
    cds_rc rc = cds_beneath_open(project, path->text, strlen(path->text), O_PATH, &place, reterr);
    if (rc)
        return rc;
    if (fstat(place, &st))
        return cds_fail_errno(reterr, errno, __func__, "%.200s cannot be looked at.", path->text);
    if ((rc = check_regular(&st, path->text, reterr)))
        return rc;
    if (st.st_size > CDS_FS_FILE_MAX)
        return fs_refuse(reterr, "fs.too_big", "it is larger than 524288 bytes (512 KB).", path->text);
    rc = cds_beneath_open(project, path->text, strlen(path->text), O_RDONLY | O_NONBLOCK | O_NOCTTY, &fd, reterr);
    if (rc)
        return rc;
    if (fstat(fd, &again) || again.st_ino != st.st_ino || again.st_dev != st.st_dev || !S_ISREG(again.st_mode))
        return cds_fail(reterr, CDS_BUSY, __func__, "%.200s was replaced while it was opened; try again.", path->text);
    fs_info_of(&again, ret);
    return read_all(fd, path->text, buf, reterr);
}

/* ---- changing; writing is in fs_write.c ---- */
/* What stands at the name now: *ret_there, its info, and whether it may be replaced. */
cds_rc fs_check_target(int parent, const struct cds_path *path, const char *if_version, bool *ret_there, struct stat *ret, struct cds_err *reterr)
{
    struct cds_fs_info info = {.version = ""};
    cds_rc rc = look(parent, path, ret, reterr);
    *ret_there = rc == CDS_OK;
    if (rc && rc != CDS_NOT_FOUND)
        return rc;
    if (*ret_there) {
        if ((rc = check_regular(ret, path->text, reterr)))
            return rc;
        fs_info_of(ret, &info);
    }
    if (if_version && strcmp(if_version, info.version) != 0) {
        cds_fail(reterr, CDS_CONFLICT, __func__, *ret_there ? "%.200s was changed by someone else meanwhile." : "%.200s does not exist any more.",
                 path->text);
        return cds_err_hint(reterr, "Read it again, merge, and write with the new version.");
    }
    return CDS_OK;
}

cds_rc fs_check_room(const struct cds_fs_usage *used, uint64_t more_bytes, uint64_t more_entries, const char *path, struct cds_err *reterr)
{
    if (used->hidden) {
        fs_refuse(reterr, "fs.quota", "the project cannot be measured: a folder in it cannot be read, or lies deeper than 128 folders.", path);
        return cds_err_hint(reterr, "Delete that folder first.");
    }
    if (used->bytes + more_bytes <= CDS_FS_QUOTA_BYTES && used->entries + more_entries <= CDS_FS_QUOTA_FILES)
        return CDS_OK;
    fs_refuse(reterr, "fs.quota", "the project is full: at most 256 MiB in 20000 files and folders.", path);
    return cds_err_hint(reterr, "Delete something first.");
}

cds_rc fs_check_quota(int project, uint64_t more_bytes, uint64_t more_entries, const char *path, struct cds_err *reterr)
{
    struct cds_fs_usage used;
    cds_fs_count(project, CDS_FS_QUOTA_FILES, &used);
    return fs_check_room(&used, more_bytes, more_entries, path, reterr);
}

cds_rc cds_fs_create(int project, const struct cds_path *path, enum cds_fs_type type, struct cds_fs_info *ret, struct cds_err *reterr)
{
    CDS_CLEANUP(cds_close_fd) int parent = -1;
    CDS_CLEANUP(cds_close_fd) int fd = -1;
    struct stat st;
    cds_rc rc = fs_open_parent(project, path, &parent, reterr);
    if (rc || (rc = fs_check_quota(project, 0, 1, path->text, reterr)))
        return rc;
    if (type == CDS_FS_DIR) {
        rc = mkdirat(parent, cds_path_name(path), 0755) ? CDS_SYSTEM : CDS_OK;
    } else {
        fd = openat(parent, cds_path_name(path), O_WRONLY | O_CREAT | O_EXCL | O_NOFOLLOW | O_CLOEXEC, 0644);
        rc = fd < 0 ? CDS_SYSTEM : CDS_OK;
    }
    if (rc && errno == EEXIST)
        return cds_fail(reterr, CDS_CONFLICT, __func__, "There is a %.200s already.", path->text);
    if (rc)
        return cds_fail_errno(reterr, errno, __func__, "%.200s cannot be created.", path->text);
    if ((rc = look(parent, path, &st, reterr)))
        return rc;
    fsync(parent);
    fs_info_of(&st, ret);
    return CDS_OK;
}

cds_rc cds_fs_rename(int project, const struct cds_path *from, const struct cds_path *to, struct cds_err *reterr)
{
    CDS_CLEANUP(cds_close_fd) int old_parent = -1;
    CDS_CLEANUP(cds_close_fd) int new_parent = -1;
    struct stat st;
    cds_rc rc = fs_open_parent(project, from, &old_parent, reterr);
    if (rc || (rc = fs_open_parent(project, to, &new_parent, reterr)) || (rc = look(old_parent, from, &st, reterr)))
        return rc;
    if (S_ISLNK(st.st_mode))
        return fs_refuse(reterr, "fs.symlink", "it is a symbolic link; delete it instead.", from->text);
    if (syscall(SYS_renameat2, old_parent, cds_path_name(from), new_parent, cds_path_name(to), RENAME_NOREPLACE) == 0) {
        fsync(new_parent);
        return CDS_OK;
    }
    if (errno == EEXIST)
        return cds_fail(reterr, CDS_CONFLICT, __func__, "There is a %.200s already.", to->text);
    if (errno == EINVAL)
        return cds_fail(reterr, CDS_CONFLICT, __func__, "%.120s cannot be moved into itself.", from->text);
    return cds_fail_errno(reterr, errno, __func__, "%.120s cannot be renamed.", from->text);
}
