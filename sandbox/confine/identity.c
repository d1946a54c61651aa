/* sandbox/confine/identity.c: see identity.h. */
#include "sandbox/confine/identity.h"

#include <errno.h>
#include <linux/capability.h>
#include <stdio.h>
#include <sys/fsuid.h>
#include <sys/syscall.h>
#include <unistd.h>

#include "lib/base/cleanup.h"

/** True when the own user namespace maps id (uid_map and gid_map have the same form). */
static bool mapped(const char *map, unsigned long id)
{
    CDS_CLEANUP(cds_close_file) FILE *f = fopen(map, "re");
    unsigned long inside, outside, count;
    while (f && fscanf(f, "%lu %lu %lu", &inside, &outside, &count) == 3)
        if (id >= inside && id - inside < count)
            return true;
    return false;
}

static bool usable(unsigned long id)
{
    return mapped("/proc/self/uid_map", id) && mapped("/proc/self/gid_map", id);
}

void cds_job_identity_find(bool force_userns, struct cds_job_identity *ret)
{
    *ret = (struct cds_job_identity){
        .userns = true, .uid = geteuid(), .gid = getegid(), .inside_uid = CDS_JOB_UID_INNER, .inside_gid = CDS_JOB_UID_INNER};
    if (force_userns || geteuid() != 0)
        return;
    uid_t uid = usable(CDS_JOB_UID) ? CDS_JOB_UID : usable(CDS_JOB_UID_SMALL) ? CDS_JOB_UID_SMALL : 0;
    if (uid != 0)
        *ret = (struct cds_job_identity){.change = true, .uid = uid, .gid = uid, .inside_uid = uid, .inside_gid = uid};
}

cds_rc cds_fs_identity_enter(const struct cds_job_identity *who, struct cds_err *reterr)
{
    if (!who->change)
        return CDS_OK;
    /* The system call changes the calling thread only; the wrapper of the C library would change all. */
    if (syscall(SYS_setgroups, 0, NULL) != 0)
        return cds_fail_errno(reterr, errno, __func__, "The sandbox cannot give up the rights of its groups.");
    setfsgid(who->gid);
    setfsuid(who->uid); /* with it go CAP_DAC_OVERRIDE, CAP_CHOWN and the other file capabilities */
    /* Both answer the former value even when they fail, so ask. */
    if ((uid_t)setfsuid((uid_t)-1) != who->uid || (gid_t)setfsgid((gid_t)-1) != who->gid) {
        cds_fs_identity_leave(who);
        return cds_fail(reterr, CDS_SYSTEM, __func__, "The sandbox cannot work with the rights of uid %u.", (unsigned)who->uid);
    }
    return CDS_OK;
}

void cds_fs_identity_leave(const struct cds_job_identity *who)
{
    if (!who->change)
        return;
    setfsuid(geteuid());
    setfsgid(getegid());
}

/* The system calls change the calling thread only. */
static bool set_see_all(bool on)
{
    struct __user_cap_header_struct head = {_LINUX_CAPABILITY_VERSION_3, 0};
    struct __user_cap_data_struct sets[2] = {{0, 0, 0}, {0, 0, 0}};
    const uint32_t bit = 1u << CAP_DAC_READ_SEARCH;
    if (syscall(SYS_capget, &head, sets) || !(sets[0].permitted & bit) || !(sets[0].effective & bit) != on)
        return false;
    sets[0].effective ^= bit;
    return syscall(SYS_capset, &head, sets) == 0;
}

bool cds_fs_identity_see_all(void)
{
    return set_see_all(true);
}

void cds_fs_identity_see_less(void)
{
    set_see_all(false);
}
