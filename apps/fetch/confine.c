#include "apps/fetch/confine.h"

#include <errno.h>
#include <linux/audit.h>
#include <linux/filter.h>
#include <linux/seccomp.h>
#include <signal.h>
#include <stddef.h>
#include <sys/prctl.h>
#include <sys/resource.h>
#include <sys/syscall.h>
#include <unistd.h>

#if defined(__x86_64__)
#define ARCH_HERE AUDIT_ARCH_X86_64
#elif defined(__aarch64__)
#define ARCH_HERE AUDIT_ARCH_AARCH64
#else
#error "the filters of cds-fetch know x86_64 and aarch64"
#endif

#define LOAD(field) BPF_STMT(BPF_LD | BPF_W | BPF_ABS, offsetof(struct seccomp_data, field))
#define ANSWER(value) BPF_STMT(BPF_RET | BPF_K, (value))
#define ON(name, value) BPF_JUMP(BPF_JMP | BPF_JEQ | BPF_K, __NR_##name, 0, 1), ANSWER(value)
#define ALLOW(name) ON(name, SECCOMP_RET_ALLOW)
#define NEVER(name) ON(name, SECCOMP_RET_ERRNO | EPERM)
#if defined(__x86_64__)
/* Numbers of the x32 ABI would walk around the rules. */
#define RIGHT_ABI                                                                                                                                    \
    LOAD(arch), BPF_JUMP(BPF_JMP | BPF_JEQ | BPF_K, ARCH_HERE, 1, 0), ANSWER(SECCOMP_RET_KILL_PROCESS), LOAD(nr),                                    \
        BPF_JUMP(BPF_JMP | BPF_JGE | BPF_K, 0x40000000, 0, 1), ANSWER(SECCOMP_RET_KILL_PROCESS)
#else
#define RIGHT_ABI LOAD(arch), BPF_JUMP(BPF_JMP | BPF_JEQ | BPF_K, ARCH_HERE, 1, 0), ANSWER(SECCOMP_RET_KILL_PROCESS), LOAD(nr)
#endif

static const struct sock_filter reader[] = {
    RIGHT_ABI,        ALLOW(read),          ALLOW(pread64),        ALLOW(write),        ALLOW(lseek),
    ALLOW(fstat),     ALLOW(newfstatat),    ALLOW(close),          ALLOW(brk),          ALLOW(mmap),
    ALLOW(mremap),    ALLOW(munmap),        ALLOW(mprotect),       ALLOW(madvise),      ALLOW(futex),
    ALLOW(getrandom), ALLOW(clock_gettime), ALLOW(rt_sigprocmask), ALLOW(rt_sigreturn), ALLOW(gettid),
    ALLOW(getpid),    ALLOW(tgkill),        ALLOW(exit),           ALLOW(exit_group),   ANSWER(SECCOMP_RET_ERRNO | EPERM),
};

static const struct sock_filter fetcher[] = {
    RIGHT_ABI,          NEVER(execve),  NEVER(execveat),        NEVER(ptrace),      NEVER(process_vm_readv), NEVER(process_vm_writev),
    NEVER(pidfd_getfd), NEVER(unshare), NEVER(setns),           NEVER(mount),       NEVER(umount2),          NEVER(pivot_root),
    NEVER(chroot),      NEVER(bpf),     NEVER(perf_event_open), NEVER(userfaultfd), NEVER(io_uring_setup),   NEVER(add_key),
    NEVER(request_key), NEVER(keyctl),  NEVER(listen),          NEVER(accept),      NEVER(accept4),          ANSWER(SECCOMP_RET_ALLOW),
};

static cds_rc limit(int resource, rlim_t value, struct cds_err *reterr)
{
    struct rlimit want = {.rlim_cur = value, .rlim_max = value};
    if (setrlimit((__rlimit_resource_t)resource, &want) != 0)
        return cds_fail_errno(reterr, errno, __func__, "A resource limit could not be set.");
    return CDS_OK;
}

static cds_rc install(const struct sock_filter *filter, size_t count, struct cds_err *reterr)
{
    struct sock_fprog program = {.len = (unsigned short)count, .filter = (struct sock_filter *)(uintptr_t)filter};
    if (prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0) != 0 || syscall(SYS_seccomp, SECCOMP_SET_MODE_FILTER, 0, &program) != 0) {
        cds_fail_errno(reterr, errno, __func__, "The kernel refused the system call filter.");
        return cds_err_hint(reterr, "Run on a kernel with seccomp (CONFIG_SECCOMP_FILTER).");
    }
    return CDS_OK;
}

cds_rc cds_confine_reader(struct cds_err *reterr)
{
    cds_rc rc = limit(RLIMIT_CORE, 0, reterr);
    if (rc == CDS_OK)
        rc = limit(RLIMIT_CPU, 10, reterr);
#if !defined(__SANITIZE_ADDRESS__)
    if (rc == CDS_OK)
        rc = limit(RLIMIT_AS, (rlim_t)1 << 30, reterr);
#endif
    return rc == CDS_OK ? install(reader, CDS_ARRAY_LEN(reader), reterr) : rc;
}

cds_rc cds_confine_fetcher(pid_t parent, struct cds_err *reterr)
{
    if (prctl(PR_SET_PDEATHSIG, SIGKILL) != 0)
        return cds_fail_errno(reterr, errno, __func__, "The process could not be tied to the one that started it.");
    if (getppid() != parent)
        return cds_fail(reterr, CDS_CANCELLED, __func__, "The process that started this one is gone.");
    cds_rc rc = limit(RLIMIT_CORE, 0, reterr);
    if (rc == CDS_OK)
        rc = limit(RLIMIT_NOFILE, 64, reterr);
    return rc == CDS_OK ? install(fetcher, CDS_ARRAY_LEN(fetcher), reterr) : rc;
}
