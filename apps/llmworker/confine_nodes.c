/* apps/llmworker/confine_nodes.c: device files are the only files that may be opened for writing. Source: landlock(7). */
#include "apps/llmworker/confine.h"

#include <errno.h>
#include <fcntl.h>
#include <linux/landlock.h>
#include <sys/syscall.h>
#include <unistd.h>

#include "lib/base/cleanup.h"
#include "lib/base/fd.h"

/* Younger than the headers of Debian 12. */
#ifndef LANDLOCK_ACCESS_FS_TRUNCATE
#define LANDLOCK_ACCESS_FS_TRUNCATE (1ULL << 14)
#endif
#ifndef LANDLOCK_ACCESS_FS_IOCTL_DEV
#define LANDLOCK_ACCESS_FS_IOCTL_DEV (1ULL << 15)
#endif

enum { ABI_REFER = 2, ABI_TRUNCATE = 3, ABI_IOCTL_DEV = 5 };

/** What is taken away everywhere, as far as this kernel knows it. Reading stays. */
static uint64_t taken(long abi)
{
    uint64_t all = LANDLOCK_ACCESS_FS_WRITE_FILE | LANDLOCK_ACCESS_FS_EXECUTE | LANDLOCK_ACCESS_FS_REMOVE_DIR | LANDLOCK_ACCESS_FS_REMOVE_FILE |
                   LANDLOCK_ACCESS_FS_MAKE_CHAR | LANDLOCK_ACCESS_FS_MAKE_DIR | LANDLOCK_ACCESS_FS_MAKE_REG | LANDLOCK_ACCESS_FS_MAKE_SOCK |
                   LANDLOCK_ACCESS_FS_MAKE_FIFO | LANDLOCK_ACCESS_FS_MAKE_BLOCK | LANDLOCK_ACCESS_FS_MAKE_SYM;
    all |= abi >= ABI_REFER ? LANDLOCK_ACCESS_FS_REFER : 0;
    all |= abi >= ABI_TRUNCATE ? LANDLOCK_ACCESS_FS_TRUNCATE : 0;
    return all | (abi >= ABI_IOCTL_DEV ? LANDLOCK_ACCESS_FS_IOCTL_DEV : 0);
}

static cds_rc give_back(int ruleset, const char *path, uint64_t all, struct cds_err *reterr)
{
    CDS_CLEANUP(cds_close_fd) int node = open(path, O_PATH | O_CLOEXEC | O_NOFOLLOW);
    struct landlock_path_beneath_attr rule = {.parent_fd = node,
                                              .allowed_access = all & (LANDLOCK_ACCESS_FS_WRITE_FILE | LANDLOCK_ACCESS_FS_IOCTL_DEV)};
    if (node < 0 || syscall(SYS_landlock_add_rule, ruleset, LANDLOCK_RULE_PATH_BENEATH, &rule, 0) != 0)
        return cds_fail_errno(reterr, errno, __func__, "The device file %s could not be given to the model process.", path);
    return CDS_OK;
}

cds_rc cds_confine_nodes(const struct cds_nodes *nodes, struct cds_err *reterr)
{
    long abi = syscall(SYS_landlock_create_ruleset, NULL, 0, LANDLOCK_CREATE_RULESET_VERSION);
    struct landlock_ruleset_attr attr = {.handled_access_fs = taken(abi)};
    CDS_CLEANUP(cds_close_fd) int ruleset = abi < 1 ? -1 : (int)syscall(SYS_landlock_create_ruleset, &attr, sizeof(attr), 0);
    if (ruleset < 0) {
        cds_fail(reterr, CDS_UNAVAILABLE, __func__,
                 "This kernel has no Landlock, without which the process of a model could write to more than the GPU's device files.");
        return cds_err_hint(reterr, "Boot with a kernel of 5.13 or newer with landlock in its list lsm=, or choose the backend cpu.");
    }
    for (unsigned i = 0; i < nodes->count; i++) {
        cds_rc rc = give_back(ruleset, nodes->paths[i], attr.handled_access_fs, reterr);
        if (rc != CDS_OK)
            return rc;
    }
    if (syscall(SYS_landlock_restrict_self, ruleset, 0) != 0)
        return cds_fail_errno(reterr, errno, __func__, "The model process could not be kept to the GPU's device files.");
    return CDS_OK;
}
