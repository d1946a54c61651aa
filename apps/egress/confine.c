/* apps/egress/confine.c: see confine.h. */
#include "apps/egress/confine.h"

#include <errno.h>
#include <fcntl.h>
#include <stdint.h>
#include <sys/prctl.h>
#include <sys/resource.h>
#include <sys/syscall.h>
#include <unistd.h>

#include "lib/base/cleanup.h"

enum {
    LL_CREATE = 444, /* numbers of landlock(7)'s system calls, the same on every architecture */
    LL_ADD = 445,
    LL_RESTRICT = 446,
    LL_VERSION = 1,      /* flag of LL_CREATE */
    LL_PATH_BENEATH = 1, /* kind of rule */
    LL_READ = 4 | 8,     /* files and folders */
    LL_ALL = 0x1fff,     /* what ABI 1 knows */
    LL_REFER = 0x2000,   /* ABI 2 */
    LL_TRUNCATE = 0x4000 /* ABI 3 */
};

static void allow(int rules, const char *path, uint64_t access)
{
    struct {
        uint64_t access;
        int fd;
    } __attribute__((packed)) rule = {access, open(path, O_PATH | O_CLOEXEC)};
    if (rule.fd < 0)
        return;
    syscall(LL_ADD, rules, LL_PATH_BENEATH, &rule, 0);
    close(rule.fd);
}

static bool close_files(void)
{
    static const char *const read_only[] = {"/etc", "/usr", "/lib", "/lib64", "/run", "/dev"};
    uint64_t all = LL_ALL;
    long abi = syscall(LL_CREATE, NULL, 0, LL_VERSION);
    if (abi < 1)
        return false;
    all |= (uint64_t)(abi >= 2 ? LL_REFER : 0) | (uint64_t)(abi >= 3 ? LL_TRUNCATE : 0);
    CDS_CLEANUP(cds_close_fd) int rules = (int)syscall(LL_CREATE, &all, sizeof(all), 0);
    if (rules < 0)
        return false;
    for (size_t i = 0; i < CDS_ARRAY_LEN(read_only); i++)
        allow(rules, read_only[i], LL_READ);
    return syscall(LL_RESTRICT, rules, 0) == 0;
}

cds_rc egress_confine(bool *ret_files_closed, struct cds_err *reterr)
{
    const struct rlimit none = {0, 0};
    if (prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0) || prctl(PR_SET_DUMPABLE, 0, 0, 0, 0) || setrlimit(RLIMIT_CORE, &none))
        return cds_fail_errno(reterr, errno, __func__, "The process that has the network could not give up its rights.");
    *ret_files_closed = close_files();
    return CDS_OK;
}
