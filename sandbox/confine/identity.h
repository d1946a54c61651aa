/* sandbox/confine/identity.h: whose rights jobs and the file engine work with.
 *
 * Started by root: a uid of its own that no account has, so nothing else on the machine shares it. Otherwise (also root of a user
 * namespace that maps nobody else): the own uid, and jobs get a user namespace.
 * Source: setfsuid(2), user_namespaces(7), /proc/self/uid_map.
 * Threads: enter and leave change the calling thread only, so each thread that works on files calls them; find is safe.
 */
#pragma once

#include <stdbool.h>
#include <sys/types.h>

#include "lib/base/err.h"

/** Chosen outside every range that Debian or systemd hand out; 65534 where a user namespace does not map it. */
enum { CDS_JOB_UID = 1879054903, CDS_JOB_UID_SMALL = 65534, CDS_JOB_UID_INNER = 1000 };

struct cds_job_identity {
    bool change;      /**< started by root: jobs and file work change to uid */
    bool userns;      /**< jobs need a user namespace */
    uid_t uid;        /**< owner of project files, as the host sees it */
    gid_t gid;        /**< its group */
    uid_t inside_uid; /**< what the job sees as its uid */
    gid_t inside_gid; /**< and as its gid */
};

/** Looks at the own rights and maps. force_userns: as if not started by root (tests). */
void cds_job_identity_find(bool force_userns, struct cds_job_identity *ret);
/** From here on the calling thread touches files with the rights of uid only; cds_fs_identity_leave takes it back. */
CDS_MUST_USE cds_rc cds_fs_identity_enter(const struct cds_job_identity *who, struct cds_err *reterr);
void cds_fs_identity_leave(const struct cds_job_identity *who);
/**
 * From here on the calling thread may look into every folder and file that the process may, but change no more than before. True when that
 * added something, which cds_fs_identity_see_less takes away; false where the process has no such right to give, or the thread had it.
 */
bool cds_fs_identity_see_all(void);
void cds_fs_identity_see_less(void);
