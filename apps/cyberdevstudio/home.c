/* apps/cyberdevstudio/home.c: see home.h. */
#include "apps/cyberdevstudio/home.h"

#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/file.h>
#include <sys/stat.h>
#include <sys/statvfs.h>
#include <unistd.h>

#include "lib/base/cleanup.h"
#include "lib/base/fd.h"
#include "lib/base/str.h"

static const char lock_name[] = "supervisor.lock";

/** What may stand in a data folder before the first start: things its owner puts there by hand. */
static bool may_stand_there(const char *name)
{
    static const char *const names[] = {".", "..", "studio.ini", "models", "lost+found"};
    for (size_t i = 0; i < CDS_ARRAY_LEN(names); i++)
        if (cds_streq(name, names[i]))
            return true;
    return false;
}

/** Only a folder that is ours, and empty or made by an earlier start: the studio sets owner and rights of what it finds in its data folder. */
static cds_rc check_is_ours(const char *path, struct cds_err *reterr)
{
    char lock[PATH_MAX + 32];
    struct stat st;
    if (stat(path, &st) != 0)
        return cds_fail_errno(reterr, errno, __func__, "The data folder %s cannot be opened.", path);
    if (st.st_uid != geteuid()) {
        cds_fail(reterr, CDS_DENIED, __func__, "The data folder %s belongs to another user (uid %u).", path, (unsigned)st.st_uid);
        cds_err_hint(reterr, "Start the studio as that user, or choose another folder with --studio.home=FOLDER.");
        return CDS_DENIED;
    }
    snprintf(lock, sizeof(lock), "%s/%s", path, lock_name);
    if (lstat(lock, &st) == 0 && S_ISREG(st.st_mode))
        return CDS_OK;
    CDS_CLEANUP(cds_close_dir) DIR *dir = opendir(path);
    if (!dir)
        return cds_fail_errno(reterr, errno, __func__, "The data folder %s cannot be read.", path);
    for (struct dirent *entry; (entry = readdir(dir));)
        if (!may_stand_there(entry->d_name)) {
            cds_fail(reterr, CDS_CONFLICT, __func__, "The folder %s holds other things (%.64s) and was not made by the studio.", path, entry->d_name);
            cds_err_hint(reterr, "Choose an empty or a new data folder with --studio.home=FOLDER.");
            return CDS_CONFLICT;
        }
    return CDS_OK;
}

cds_rc cds_home_make(const struct cds_config *config, struct cds_home *ret, struct cds_err *reterr)
{
    const char *wanted = cds_config_home(config);
    *ret = (struct cds_home){.lock_fd = -1};
    cds_rc rc = cds_mkdir_p(wanted, geteuid() == 0 ? 0711 : 0700, reterr);
    if (rc != CDS_OK) {
        cds_err_hint(reterr, "Choose a data folder you may write to with --studio.home=FOLDER.");
        return rc;
    }
    char real[PATH_MAX];
    if (!realpath(wanted, real))
        return cds_fail_errno(reterr, errno, __func__, "The data folder %s cannot be opened.", wanted);
    if (strlen(real) > CDS_HOME_PATH_MAX) {
        cds_fail(reterr, CDS_BAD_PARAM, __func__, "The data folder's path has %zu bytes, at most %d leave room for the sockets below it.",
                 strlen(real), CDS_HOME_PATH_MAX);
        cds_err_hint(reterr, "Choose a shorter one with --studio.home=FOLDER.");
        return CDS_BAD_PARAM;
    }
    rc = check_is_ours(real, reterr);
    if (rc == CDS_OK)
        cds_strcpy(ret->path, sizeof(ret->path), real);
    return rc;
}

/** The pid the holder wrote into the lock file, 0 when there is none. */
static pid_t holder_pid(int fd)
{
    char text[24] = "";
    ssize_t n = pread(fd, text, sizeof(text) - 1, 0);
    if (n <= 0)
        return 0;
    text[strcspn(text, "\n")] = '\0';
    uint64_t pid = 0;
    return cds_parse_u64(text, 1, INT_MAX, &pid) == CDS_OK ? (pid_t)pid : 0;
}

cds_rc cds_home_lock(struct cds_home *home, struct cds_err *reterr)
{
    char path[PATH_MAX];
    snprintf(path, sizeof(path), "%s/%s", home->path, lock_name);
    CDS_CLEANUP(cds_close_fd) int fd = open(path, O_RDWR | O_CREAT | O_CLOEXEC | O_NOFOLLOW, 0644);
    if (fd < 0) {
        cds_rc rc = cds_fail_errno(reterr, errno, __func__, "The lock file %s cannot be opened.", path);
        cds_err_hint(reterr, "Start the studio as the user who owns the data folder, or choose another one with --studio.home=FOLDER.");
        return rc;
    }
    if (flock(fd, LOCK_EX | LOCK_NB) != 0) {
        if (errno != EWOULDBLOCK)
            return cds_fail_errno(reterr, errno, __func__, "The lock file %s cannot be locked.", path);
        pid_t pid = holder_pid(fd);
        cds_fail(reterr, CDS_CONFLICT, __func__, "A studio already runs on %s (process %d).", home->path, (int)pid);
        cds_err_hint(reterr, "Stop it with \"cyberdevstudio down\", or choose another data folder with --studio.home=FOLDER.");
        return CDS_CONFLICT;
    }
    char text[24];
    int len = snprintf(text, sizeof(text), "%d\n", (int)getpid());
    if (ftruncate(fd, 0) != 0 || pwrite(fd, text, (size_t)len, 0) != len)
        return cds_fail_errno(reterr, errno, __func__, "The lock file %s cannot be written.", path);
    home->lock_fd = cds_steal_fd(&fd);
    return CDS_OK;
}

bool cds_home_locked(const char *home_path, pid_t *ret_pid)
{
    char path[PATH_MAX];
    snprintf(path, sizeof(path), "%s/%s", home_path, lock_name);
    CDS_CLEANUP(cds_close_fd) int fd = open(path, O_RDONLY | O_CLOEXEC | O_NOFOLLOW);
    if (fd < 0 || flock(fd, LOCK_SH | LOCK_NB) == 0 || errno != EWOULDBLOCK)
        return false;
    if (ret_pid)
        *ret_pid = holder_pid(fd);
    return true;
}

void cds_home_unlock(struct cds_home *home)
{
    if (home->lock_fd >= 0)
        close(cds_steal_fd(&home->lock_fd));
}

/** Makes one folder, or gives one that is there the owner and mode it should have. */
static cds_rc folder(const char *path, uid_t uid, gid_t gid, mode_t mode, struct cds_err *reterr)
{
    if (mkdir(path, mode) != 0 && errno != EEXIST)
        return cds_fail_errno(reterr, errno, __func__, "The folder %s cannot be made.", path);
    /* By descriptor and without following links: another user may own a folder below which we act as root. */
    CDS_CLEANUP(cds_close_fd) int fd = open(path, O_RDONLY | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC);
    if (fd < 0)
        return cds_fail_errno(reterr, errno, __func__, "%s is not a folder the studio may use.", path);
    if (geteuid() == 0 && fchown(fd, uid, gid) != 0)
        return cds_fail_errno(reterr, errno, __func__, "The owner of %s cannot be set.", path);
    if (fchmod(fd, mode) != 0)
        return cds_fail_errno(reterr, errno, __func__, "The rights of %s cannot be set.", path);
    return CDS_OK;
}

cds_rc cds_home_folders(const struct cds_home *home, const struct cds_identity *services, struct cds_err *reterr)
{
    bool root = geteuid() == 0;
    uid_t uid = services->change ? services->uid : geteuid();
    gid_t gid = services->change ? services->gid : getegid();
    const struct {
        const char *name;
        uid_t uid;
        gid_t gid;
        mode_t mode;
    } wanted[] = {
        {"", geteuid(), getegid(), root ? 0711 : 0700},
        {"/run", geteuid(), gid, root ? 01731 : 0700},
        {"/keys", uid, gid, 0700},
        {"/logs", geteuid(), gid, 0750},
        {"/models", uid, gid, 0750},
        {"/states", uid, gid, 0700},
        {"/projects", geteuid(), getegid(), 0700},
    };
    for (size_t i = 0; i < CDS_ARRAY_LEN(wanted); i++) {
        char path[PATH_MAX];
        snprintf(path, sizeof(path), "%s%s", home->path, wanted[i].name);
        cds_rc rc = folder(path, wanted[i].uid, wanted[i].gid, wanted[i].mode, reterr);
        if (rc != CDS_OK)
            return rc;
    }
    return CDS_OK;
}

uint64_t cds_home_free_bytes(const char *path)
{
    struct statvfs fs;
    if (statvfs(path, &fs) != 0)
        return UINT64_MAX;
    return (uint64_t)fs.f_bavail * fs.f_frsize;
}

cds_rc cds_home_disk_check(const char *path, struct cds_err *reterr)
{
    uint64_t free_bytes = cds_home_free_bytes(path);
    if (free_bytes >= CDS_DISK_MIN_BYTES)
        return CDS_OK;
    cds_fail(reterr, CDS_EXHAUSTED, __func__, "Only %llu MB are free below %s, the studio needs %llu MB.", (unsigned long long)(free_bytes >> 20),
             path, CDS_DISK_MIN_BYTES >> 20);
    cds_err_hint(reterr, "Free some space, or choose a data folder on another disk with --studio.home=FOLDER.");
    return CDS_EXHAUSTED;
}
