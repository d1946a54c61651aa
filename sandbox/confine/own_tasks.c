/* sandbox/confine/own_tasks.c: see jail_priv.h. All jobs of a studio that root started share a uid, and without a control group only RLIMIT_NPROC
 * holds their tasks. It counts a uid within its user namespace (since Linux 5.14), so a namespace of its own is a count of its own: a job that
 * forks without end uses up nobody else's tasks. System calls only. */
#include <fcntl.h>
#include <sched.h>
#include <string.h>
#include <sys/prctl.h>
#include <unistd.h>

#include "sandbox/confine/jail_priv.h"

static int put(const char *path, const char *text)
{
    int fd = open(path, O_WRONLY | O_CLOEXEC);
    ssize_t n = fd >= 0 ? write(fd, text, strlen(text)) : -1;
    if (fd >= 0)
        close(fd);
    return n == (ssize_t)strlen(text) ? 0 : -1;
}

static char *add(char *at, const char *text)
{
    while ((*at = *text++))
        at++;
    return at;
}

/* "ID ID 1": the job sees the id it has. */
static const char *map_of(uint32_t id, char out[static 32])
{
    char digits[12], *at = digits + sizeof(digits) - 1;
    *at = '\0';
    do
        *--at = (char)('0' + id % 10);
    while (id /= 10);
    add(add(add(add(out, at), " "), at), " 1");
    return out;
}

int jail_own_tasks(const struct cds_job_identity *who)
{
    char text[32];
    if (unshare(CLONE_NEWUSER))
        return 1;
    /* What changed its ids is not dumpable, and its files in /proc are root's, who is nobody here. The caller takes that back. */
    if (prctl(PR_SET_DUMPABLE, 1, 0, 0, 0) || put("/proc/self/setgroups", "deny") || put("/proc/self/uid_map", map_of(who->uid, text)) ||
        put("/proc/self/gid_map", map_of(who->gid, text)))
        return -1;
    return 0;
}
