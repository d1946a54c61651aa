/* apps/cyberdevstudio/runas.c: see runas.h. */
#include "apps/cyberdevstudio/runas.h"

#include <errno.h>
#include <grp.h>
#include <pwd.h>
#include <string.h>
#include <sys/wait.h>
#include <unistd.h>

#include "apps/cyberdevstudio/capture.h"
#include "lib/base/clock.h"

enum { USERADD_MS = 15000, PROBE_ALL_FINE = 0, PROBE_NO_USER = 255, NEEDS_MAX = 200 };

/** useradd's own rule (shadow's is_valid_name), without the trailing dollar sign. */
static bool name_is_valid(const char *name)
{
    size_t len = strlen(name);
    if (len == 0 || len > 32)
        return false;
    if (!(name[0] == '_' || (name[0] >= 'a' && name[0] <= 'z')))
        return false;
    return strspn(name, "abcdefghijklmnopqrstuvwxyz0123456789_-") == len;
}

static bool find_user(const char *name, uid_t *ret_uid, gid_t *ret_gid)
{
    const struct passwd *pw = getpwnam(name);
    if (!pw)
        return false;
    *ret_uid = pw->pw_uid;
    *ret_gid = pw->pw_gid;
    return true;
}

static const char *useradd_path(void)
{
    static const char *const places[] = {"/usr/sbin/useradd", "/sbin/useradd", "/usr/bin/useradd"};
    for (size_t i = 0; i < CDS_ARRAY_LEN(places); i++)
        if (access(places[i], X_OK) == 0)
            return places[i];
    return NULL;
}

cds_rc cds_sysuser_find(const char *name, uid_t *ret_uid, gid_t *ret_gid, struct cds_err *reterr)
{
    if (!name_is_valid(name))
        return cds_fail(reterr, CDS_BAD_PARAM, __func__, "\"%s\" cannot be the name of a system user; use lower-case letters, digits, - and _.",
                        name);
    if (find_user(name, ret_uid, ret_gid))
        return CDS_OK;
    cds_fail(reterr, CDS_NOT_FOUND, __func__, "The system user %s does not exist.", name);
    cds_err_hint(reterr, "Create it as root with: useradd --system --user-group --no-create-home %s", name);
    return CDS_NOT_FOUND;
}

cds_rc cds_sysuser_ensure(const char *name, uid_t *ret_uid, gid_t *ret_gid, struct cds_err *reterr)
{
    const char *tool = useradd_path();
    cds_rc rc = cds_sysuser_find(name, ret_uid, ret_gid, reterr);
    if (rc != CDS_NOT_FOUND || geteuid() != 0 || !tool)
        return rc;
    const char *const argv[] = {tool, "--system", "--user-group", "--no-create-home", "--home-dir", "/nonexistent", "--shell", "/usr/sbin/nologin",
                                name, NULL};
    CDS_CLEANUP(cds_capture_free) struct cds_capture got = {0};
    struct cds_capture_how how = {.argv = argv, .deadline_ms = cds_now_ms() + USERADD_MS, .max_bytes = 4096};
    rc = cds_capture_run(&how, &got, reterr);
    if (rc != CDS_OK)
        return rc;
    /* Another start may have created it in the same moment: what counts is that it is there now. */
    if (find_user(name, ret_uid, ret_gid))
        return CDS_OK;
    return cds_fail(reterr, CDS_SYSTEM, __func__, "The system user %s could not be created: %s.", name,
                    got.out.data ? got.out.data : "useradd failed");
}

int cds_identity_become(const struct cds_identity *who)
{
    if (!who || !who->change)
        return 0;
    if (setgroups(0, NULL) != 0 || setresgid(who->gid, who->gid, who->gid) != 0 || setresuid(who->uid, who->uid, who->uid) != 0)
        return errno;
    return 0;
}

/** The exit status carries the answer, so that the child needs nothing but system calls. */
static _Noreturn void probe_child(const struct cds_identity *who, const struct cds_need *needs)
{
    if (cds_identity_become(who) != 0)
        _exit(PROBE_NO_USER);
    for (int i = 0; needs[i].path; i++)
        if (access(needs[i].path, needs[i].mode) != 0)
            _exit(i + 1);
    _exit(PROBE_ALL_FINE);
}

cds_rc cds_identity_probe(const struct cds_identity *who, const struct cds_need *needs, int *ret_missing, struct cds_err *reterr)
{
    int count = 0;
    while (needs[count].path)
        count++;
    if (count > NEEDS_MAX)
        return cds_fail(reterr, CDS_BAD_PARAM, __func__, "More than %d files to try.", NEEDS_MAX);
    pid_t pid = fork();
    if (pid < 0)
        return cds_fail_errno(reterr, errno, __func__, "No process could be started to try the rights of user %s.", who->name);
    if (pid == 0)
        probe_child(who, needs);
    int status = 0;
    while (waitpid(pid, &status, 0) < 0)
        if (errno != EINTR)
            return cds_fail_errno(reterr, errno, __func__, "The process that tried the rights of user %s was lost.", who->name);
    if (!WIFEXITED(status) || WEXITSTATUS(status) == PROBE_NO_USER)
        return cds_fail(reterr, CDS_SYSTEM, __func__, "The system refuses to start processes as user %s.", who->name);
    *ret_missing = WEXITSTATUS(status) - 1;
    return CDS_OK;
}
