/* sandbox/projects.c: folders of projects: found by id, made from a template. */
#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "lib/base/cleanup.h"
#include "lib/base/fd.h"
#include "lib/base/random.h"
#include "lib/base/str.h"
#include "sandbox/broker.h"

enum { TEMPLATE_FILES = 64 };

/* A run owns the folder it sees as /work and may have locked itself, and with it the studio, out. */
static void give_back_rights(int fd)
{
    char path[40];
    struct stat st;
    snprintf(path, sizeof(path), "/proc/self/fd/%d", fd);
    if (fstat(fd, &st) == 0 && (st.st_mode & 0700) != 0700)
        (void)!chmod(path, (st.st_mode & 0777) | 0700);
}

cds_rc broker_project_open(const struct broker *broker, const char *id, int *ret_fd, struct cds_err *reterr)
{
    if (!cds_uuid_valid(id))
        return cds_fail(reterr, CDS_BAD_PARAM, __func__, "A project is named by its id.");
    int fd = openat(broker->projects_fd, id, O_PATH | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC);
    if (fd < 0)
        return cds_fail(reterr, CDS_NOT_FOUND, __func__, "The folder of this project is missing.");
    give_back_rights(fd);
    *ret_fd = fd;
    return CDS_OK;
}

/* Templates are named by us, but the name comes over a socket. */
static bool is_template_name(const char *name)
{
    return name && *name && strspn(name, "abcdefghijklmnopqrstuvwxyz") == strlen(name) && strlen(name) <= 32;
}

/* One file: read with our rights, written with the job's. */
static cds_rc copy_file(const struct cds_job_identity *who, const char *from, int to_dir, const char *name, struct cds_err *reterr)
{
    CDS_CLEANUP(cds_buf_free) struct cds_buf text = cds_buf_init(CDS_FS_FILE_MAX);
    CDS_CLEANUP(cds_close_fd) int fd = -1;
    cds_rc rc = cds_read_file(from, &text, reterr);
    if (rc || (rc = cds_fs_identity_enter(who, reterr)))
        return rc;
    fd = openat(to_dir, name, O_WRONLY | O_CREAT | O_EXCL | O_NOFOLLOW | O_CLOEXEC, 0644);
    if (fd < 0)
        rc = cds_fail_errno(reterr, errno, __func__, "The file %s of the template cannot be written.", name);
    cds_fs_identity_leave(who);
    return rc ? rc : cds_write_all(fd, text.data, text.len, UINT64_MAX, reterr);
}

static cds_rc fill(const struct broker *broker, const char *template_name, int project, struct cds_err *reterr)
{
    char dir[700], path[1000];
    snprintf(dir, sizeof(dir), "%s/%s", broker->templates_dir, template_name);
    CDS_CLEANUP(cds_close_dir) DIR *d = opendir(dir);
    if (!d)
        return cds_streq(template_name, "empty") ? CDS_OK : cds_fail(reterr, CDS_NOT_FOUND, __func__, "There is no template %s.", template_name);
    int files = 0;
    for (const struct dirent *e; (e = readdir(d)) && files < TEMPLATE_FILES;) {
        if (e->d_name[0] == '.')
            continue;
        snprintf(path, sizeof(path), "%s/%s", dir, e->d_name);
        cds_rc rc = copy_file(&broker->host->who, path, project, e->d_name, reterr);
        if (rc)
            return rc;
        files++;
    }
    return CDS_OK;
}

/* Built aside under a temporary name and renamed in, so that a project is there whole or not at all. */
static cds_rc make(const struct broker *broker, const char *id, const char *template_name, struct cds_err *reterr)
{
    const struct cds_job_identity *who = &broker->host->who;
    char temp[64];
    struct cds_path path;
    snprintf(temp, sizeof(temp), "new-%s", id);
    CDS_CLEANUP(cds_close_fd) int fd = -1;
    if (mkdirat(broker->projects_fd, temp, 0755) && errno != EEXIST)
        return cds_fail_errno(reterr, errno, __func__, "The folder of the project cannot be made.");
    fd = openat(broker->projects_fd, temp, O_RDONLY | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC);
    if (fd < 0 || (who->change && fchown(fd, who->uid, who->gid)))
        return cds_fail_errno(reterr, errno, __func__, "The folder of the project cannot be given to its user.");
    cds_rc rc = fill(broker, template_name, fd, reterr);
    if (!rc && renameat(broker->projects_fd, temp, broker->projects_fd, id) && errno != EEXIST && errno != ENOTEMPTY)
        rc = cds_fail_errno(reterr, errno, __func__, "The folder of the project cannot be put in place.");
    /* After a success the temporary name is gone, or it lost a race and is cleared like a failure. */
    if (!cds_path_parse_below(temp, strlen(temp), &path, NULL) && cds_fs_delete(broker->projects_fd, &path, true, NULL))
        return rc;
    fsync(broker->projects_fd);
    return rc;
}

cds_rc broker_project_discard(const struct broker *broker, const char *id, struct cds_err *reterr)
{
    struct cds_path path;
    if (!cds_uuid_valid(id))
        return cds_fail(reterr, CDS_BAD_PARAM, __func__, "A project is named by its id.");
    cds_rc rc = cds_path_parse_below(id, strlen(id), &path, reterr);
    if (!rc)
        rc = cds_fs_delete(broker->projects_fd, &path, true, reterr);
    return rc == CDS_NOT_FOUND ? CDS_OK : rc;
}

cds_rc broker_project_prepare(const struct broker *broker, const char *id, const char *template_name, struct cds_err *reterr)
{
    struct stat st;
    if (!cds_uuid_valid(id) || !is_template_name(template_name))
        return cds_fail(reterr, CDS_BAD_PARAM, __func__, "A project is prepared by its id and the name of a template.");
    if (fstatat(broker->projects_fd, id, &st, AT_SYMLINK_NOFOLLOW) == 0 && S_ISDIR(st.st_mode))
        return CDS_OK;
    return make(broker, id, template_name, reterr);
}
