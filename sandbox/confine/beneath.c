/* sandbox/confine/beneath.c: see beneath.h. */
#include "sandbox/confine/beneath.h"

#include <errno.h>
#include <fcntl.h>
#include <linux/openat2.h>
#include <stdbool.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <unistd.h>

#include "lib/base/cleanup.h"
#include "sandbox/path.h"

enum { TRIES = 8 };

static cds_rc refuse(int why, const char *path, struct cds_err *reterr)
{
    cds_rc rc = CDS_DENIED;
    const char *rule = "";
    switch (why) {
    case ENOENT:
        return cds_fail(reterr, CDS_NOT_FOUND, __func__, "There is no %.200s in the project.", path);
    case ENOTDIR:
        return cds_fail(reterr, CDS_NOT_FOUND, __func__, "A part of %.200s is not a folder.", path);
    case ELOOP:
        cds_fail(reterr, rc, __func__, "%.200s goes through a symbolic link; the studio does not follow links.", path);
        rule = "fs.symlink";
        break;
    case EXDEV:
        cds_fail(reterr, rc, __func__, "%.200s leads out of the project.", path);
        rule = "fs.outside_root";
        break;
    case EACCES:
    case EPERM:
        cds_fail(reterr, rc, __func__, "The rights of %.200s do not allow it.", path);
        rule = "fs.rights";
        break;
    case EAGAIN:
        rc = cds_fail(reterr, CDS_BUSY, __func__, "%.200s was renamed while it was opened.", path);
        if (reterr)
            reterr->retry_after_ms = 100;
        return rc;
    default:
        return cds_fail_errno(reterr, why, __func__, "%.200s cannot be opened.", path);
    }
    cds_err_rule(reterr, rule);
    return rc;
}

/* Which mount a descriptor lies on: a folder of the same file system that is mounted here has the same device. 0: the kernel does not say. */
static uint64_t mount_of(int fd)
{
    struct statx st = {.stx_mask = 0};
    return statx(fd, "", AT_EMPTY_PATH, STATX_MNT_ID, &st) == 0 && (st.stx_mask & STATX_MNT_ID) ? st.stx_mnt_id : 0;
}

/* Part by part, never through a link: ELOOP for a link, also where a folder was asked for; EXDEV where another file system begins. */
static int open_stepwise(int root, const char *path, int flags)
{
    char part[CDS_PATH_PART_MAX + 1];
    struct stat top;
    CDS_CLEANUP(cds_close_fd) int dir = openat(root, ".", O_PATH | O_DIRECTORY | O_CLOEXEC);
    if (dir >= 0 && fstat(dir, &top))
        return -1;
    const uint64_t mount = dir >= 0 ? mount_of(dir) : 0;
    while (dir >= 0) {
        size_t n = strcspn(path, "/");
        bool last = path[n] == '\0';
        memcpy(part, path, n);
        part[n] = '\0';
        int fd = openat(dir, n ? part : ".", O_PATH | O_NOFOLLOW | O_CLOEXEC);
        struct stat st;
        if (fd < 0)
            return -1;
        bool bad = fstat(fd, &st) != 0, other = !bad && (st.st_dev != top.st_dev || mount_of(fd) != mount);
        if (bad || other || S_ISLNK(st.st_mode) || (!last && !S_ISDIR(st.st_mode))) {
            errno = bad ? EACCES : other ? EXDEV : S_ISLNK(st.st_mode) ? ELOOP : ENOTDIR;
            close(fd);
            return -1;
        }
        close(dir);
        dir = fd;
        if (last)
            break;
        path += n + 1;
    }
    if (dir < 0 || (flags & O_PATH))
        return (flags & O_DIRECTORY) && dir >= 0 ? openat(dir, ".", O_PATH | O_DIRECTORY | O_CLOEXEC) : cds_steal_fd(&dir);
    /* The file itself is fixed by now: opened again through its descriptor, so no name can be swapped. */
    char again[40] = "/proc/self/fd/";
    size_t at = strlen(again);
    char digits[12];
    size_t count = 0;
    for (unsigned v = (unsigned)dir; count == 0 || v; v /= 10)
        digits[count++] = (char)('0' + v % 10);
    while (count)
        again[at++] = digits[--count];
    again[at] = '\0';
    return open(again, (flags & ~O_NOFOLLOW) | O_CLOEXEC);
}

/* A link where a folder was asked for answers ENOTDIR; the user is told that it is a link. */
static bool is_link(int root, const char *text)
{
    struct open_how how = {.flags = O_PATH | O_NOFOLLOW | O_CLOEXEC, .resolve = RESOLVE_BENEATH | RESOLVE_NO_SYMLINKS | RESOLVE_NO_MAGICLINKS};
    CDS_CLEANUP(cds_close_fd) int fd = (int)syscall(SYS_openat2, root, text, &how, sizeof(how));
    struct stat st;
    return fd >= 0 && fstat(fd, &st) == 0 && S_ISLNK(st.st_mode);
}

cds_rc cds_beneath_open(int root, const char *path, size_t len, int flags, int *ret_fd, struct cds_err *reterr)
{
    char text[CDS_PATH_MAX + 1];
    memcpy(text, path, len);
    text[len] = '\0';
    struct open_how how = {.flags = (uint64_t)(unsigned)(flags | O_NOFOLLOW | O_CLOEXEC),
                           .resolve = RESOLVE_BENEATH | RESOLVE_NO_SYMLINKS | RESOLVE_NO_MAGICLINKS | RESOLVE_NO_XDEV};
    int fd = -1, why = EAGAIN;
    for (int i = 0; i < TRIES && fd < 0 && why == EAGAIN; i++) {
        fd = (int)syscall(SYS_openat2, root, len ? text : ".", &how, sizeof(how));
        why = fd < 0 ? errno : 0;
    }
    if (fd < 0 && (why == ENOSYS || why == EPERM)) {
        fd = open_stepwise(root, text, flags);
        why = fd < 0 ? errno : 0;
    }
    if (fd < 0 && why == ENOTDIR && len && is_link(root, text))
        why = ELOOP;
    if (fd < 0)
        return refuse(why, len ? text : "the project", reterr);
    *ret_fd = fd;
    return CDS_OK;
}

int cds_beneath_enter(int parent, const char *name, int flags)
{
    struct open_how how = {.flags = (uint64_t)(unsigned)(flags | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC),
                           .resolve = RESOLVE_BENEATH | RESOLVE_NO_SYMLINKS | RESOLVE_NO_MAGICLINKS | RESOLVE_NO_XDEV};
    int fd = (int)syscall(SYS_openat2, parent, name, &how, sizeof(how));
    if (fd >= 0 || (errno != ENOSYS && errno != EPERM && errno != EAGAIN))
        return fd;
    fd = openat(parent, name, flags | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC);
    if (fd < 0 || mount_of(fd) == mount_of(parent))
        return fd;
    close(fd);
    errno = EXDEV;
    return -1;
}
