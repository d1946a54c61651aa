/* sandbox/confine/seccomp.h: the system calls a job may make. Compiled once at start; the same bytes for every job of a profile.
 *
 * Source:  seccomp(2), seccomp_export_bpf(3). An allow-list: what is not named answers EPERM, so a kernel's new calls are closed until
 *          somebody has thought about them. clone3 answers ENOSYS, so that the C library falls back to clone, whose flags a filter can see.
 *          Where no cgroup counts it, memory that no process maps (memfd, SysV shared memory and queues) is closed, too.
 *          32-bit and x32 calls kill the job. The only file that includes seccomp.h in sandbox/.
 * Threads: cds_seccomp_compile once, before threads; the program is read-only afterwards.
 */
#pragma once

#include <linux/filter.h>
#include <stdbool.h>

#include "lib/base/err.h"

enum cds_seccomp_profile {
    CDS_SECCOMP_JOB,
    CDS_SECCOMP_JOB_UNCOUNTED, /**< no cgroup counts the memory of the job: no memory that nobody has to map */
    CDS_SECCOMP_VMM,           /**< also may add a filter of its own: a virtual machine monitor */
    CDS_SECCOMP_VMM_FOLDERS,   /**< one that keeps what its guest says of files (owner, mode) as attributes of them */
    CDS_SECCOMP_PROFILES
};

CDS_MUST_USE cds_rc cds_seccomp_compile(struct cds_err *reterr);
/** The compiled program; static storage. */
const struct sock_fprog *cds_seccomp_program(enum cds_seccomp_profile profile);
