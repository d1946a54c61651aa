/* sandbox/scratch.c: see scratch.h. */
#include "sandbox/scratch.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "lib/base/cleanup.h"
#include "lib/base/fd.h"
#include "lib/log/log.h"
#include "sandbox/fs.h"

static cds_rc make_folder(const struct sandbox_host *host, const char *path, struct cds_err *reterr)
{
    if (mkdir(path, 0700) || (host->who.change && lchown(path, host->who.uid, host->who.gid)))
        return cds_fail_errno(reterr, errno, __func__, "The folder %.200s cannot be made.", path);
    return CDS_OK;
}

cds_rc scratch_make(const struct sandbox_host *host, char ret[static SCRATCH_PATH_MAX], struct cds_err *reterr)
{
    static unsigned long serial; /* loop thread only; what an earlier process left under this name was swept */
    cds_rc rc = cds_mkdir_p(host->scratch_dir, 0755, reterr);
    if (rc)
        return rc;
    snprintf(ret, SCRATCH_PATH_MAX, "%s/%ld-%lu", host->scratch_dir, (long)getpid(), serial++);
    if ((rc = make_folder(host, ret, reterr)))
        ret[0] = '\0';
    return rc;
}

cds_rc scratch_folder(const struct sandbox_host *host, const char *path, const char *name, struct cds_err *reterr)
{
    char below[SCRATCH_PATH_MAX + 32];
    snprintf(below, sizeof(below), "%s/%.30s", path, name);
    return make_folder(host, below, reterr);
}

bool scratch_is_over(const char *path)
{
    struct cds_fs_usage used = {.hidden = true};
    CDS_CLEANUP(cds_close_fd) int fd = open(path, O_PATH | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC);
    if (fd >= 0)
        cds_fs_count(fd, SCRATCH_ENTRIES, &used);
    return used.hidden || used.entries > SCRATCH_ENTRIES || used.bytes > SCRATCH_BYTES;
}

static void discard(const struct sandbox_host *host, const char *name)
{
    struct cds_path path;
    struct cds_err err;
    CDS_CLEANUP(cds_close_fd) int base = open(host->scratch_dir, O_PATH | O_DIRECTORY | O_CLOEXEC);
    if (base < 0)
        return;
    cds_rc rc = cds_path_parse_below(name, strlen(name), &path, &err);
    while (!rc && (rc = cds_fs_delete(base, &path, true, &err)) == CDS_TOO_LARGE)
        rc = CDS_OK; /* one call removes so many entries; between two looks there may be more */
    if (rc && rc != CDS_NOT_FOUND)
        cds_log_err(CDS_LOG_WARN, "a throw-away folder stays until the next start", NULL, &err);
}

void scratch_remove(const struct sandbox_host *host, char *path)
{
    const char *name = strrchr(path, '/');
    if (name)
        discard(host, name + 1);
    path[0] = '\0';
}

void scratch_sweep(const struct sandbox_host *host)
{
    CDS_CLEANUP(cds_close_dir) DIR *dir = opendir(host->scratch_dir);
    for (const struct dirent *e; dir && (e = readdir(dir));)
        if (e->d_name[0] != '.')
            discard(host, e->d_name);
    rmdir(host->scratch_dir);
}
