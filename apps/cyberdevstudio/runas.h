/* apps/cyberdevstudio/runas.h: which user a child process runs as.
 *
 * Source:  setresuid(2), access(2), useradd(8); reference: docs/adr of the process model.
 * Threads: main thread only (getpwnam and fork).
 */
#pragma once

#include <stdbool.h>
#include <sys/types.h>

#include "lib/base/err.h"

/** A user to become. change false: the child keeps the user of the supervisor. */
struct cds_identity {
    uid_t uid;
    gid_t gid;
    bool change;
    char name[64];
};

/** Looks a system user up; changes nothing. @return CDS_OK; CDS_NOT_FOUND with the remedy; CDS_BAD_PARAM (name with odd characters) */
CDS_MUST_USE cds_rc cds_sysuser_find(const char *name, uid_t *ret_uid, gid_t *ret_gid, struct cds_err *reterr);
/**
 * Looks a system user up and creates it with useradd --system when it is absent. Needs root to create.
 * @return CDS_OK; CDS_NOT_FOUND (absent and not root, or no useradd); CDS_BAD_PARAM (name with odd characters); CDS_SYSTEM
 */
CDS_MUST_USE cds_rc cds_sysuser_ensure(const char *name, uid_t *ret_uid, gid_t *ret_gid, struct cds_err *reterr);

/** Something a user must be able to use. mode: R_OK, W_OK, X_OK of access(2). NULL path ends a list. */
struct cds_need {
    const char *path;
    int mode;
};

/**
 * Tries, in a forked child that has become the user, whether everything in needs can be used.
 * @param ret_missing index of the first thing that cannot be used, -1 when all can
 * @return CDS_OK; CDS_SYSTEM when the try itself failed
 */
CDS_MUST_USE cds_rc cds_identity_probe(const struct cds_identity *who, const struct cds_need *needs, int *ret_missing, struct cds_err *reterr);

/**
 * Drops all groups and becomes the user for good. For use between fork and exec: async-signal-safe. No-op when change is false.
 * @return 0, or the errno of the step that was refused
 */
int cds_identity_become(const struct cds_identity *who);
