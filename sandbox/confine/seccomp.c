/* sandbox/confine/seccomp.c: see seccomp.h. */
#include "sandbox/confine/seccomp.h"

#include <errno.h>
#include <sched.h>
#include <seccomp.h>
#include <stdbool.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/personality.h>
#include <sys/socket.h>
#include <unistd.h>

#include "lib/base/cleanup.h"

enum { PROGRAM_MAX = 4096, IOCTL_BITS = 32 };

/* TIOCSTI and TIOCLINUX type into a terminal, TIOCSETD loads kernel code for another line discipline. */
static const uint32_t forbidden_ioctls[] = {0x5412, 0x541c, 0x5423};

/* Files, memory, processes, threads, time, signals, local sockets: what an interpreter or a compiler needs. */
static const char *const allowed[] = {
    /* files */
    "read",
    "write",
    "readv",
    "writev",
    "pread64",
    "pwrite64",
    "preadv",
    "pwritev",
    "preadv2",
    "pwritev2",
    "open",
    "openat",
    "openat2",
    "creat",
    "close",
    "close_range",
    "lseek",
    "stat",
    "fstat",
    "lstat",
    "newfstatat",
    "statx",
    "statfs",
    "fstatfs",
    "access",
    "faccessat",
    "faccessat2",
    "getdents",
    "getdents64",
    "getcwd",
    "chdir",
    "fchdir",
    "mkdir",
    "mkdirat",
    "rmdir",
    "unlink",
    "unlinkat",
    "rename",
    "renameat",
    "renameat2",
    "link",
    "linkat",
    "symlink",
    "symlinkat",
    "readlink",
    "readlinkat",
    "chmod",
    "fchmod",
    "fchmodat",
    "chown",
    "fchown",
    "lchown",
    "fchownat",
    "truncate",
    "ftruncate",
    "fallocate",
    "fsync",
    "fdatasync",
    "sync_file_range",
    "flock",
    "fcntl",
    "dup",
    "dup2",
    "dup3",
    "pipe",
    "pipe2",
    "poll",
    "ppoll",
    "select",
    "pselect6",
    "epoll_create",
    "epoll_create1",
    "epoll_ctl",
    "epoll_wait",
    "epoll_pwait",
    "epoll_pwait2",
    "eventfd",
    "eventfd2",
    "sendfile",
    "splice",
    "tee",
    "copy_file_range",
    "utime",
    "utimes",
    "utimensat",
    "futimesat",
    "umask",
    "inotify_init",
    "inotify_init1",
    "inotify_add_watch",
    "inotify_rm_watch",
    "fadvise64",
    "readahead",
    "memfd_create",
    "getxattr",
    "lgetxattr",
    "fgetxattr",
    "listxattr",
    "llistxattr",
    "flistxattr",
    "mknod",
    "mknodat",
    /* memory */
    "brk",
    "mmap",
    "munmap",
    "mremap",
    "mprotect",
    "madvise",
    "mincore",
    "msync",
    "mlock",
    "mlock2",
    "munlock",
    "mlockall",
    "munlockall",
    "membarrier",
    "pkey_alloc",
    "pkey_free",
    "pkey_mprotect",
    "get_mempolicy",
    /* processes and threads */
    "execve",
    "execveat",
    "exit",
    "exit_group",
    "fork",
    "vfork",
    "wait4",
    "waitid",
    "getpid",
    "getppid",
    "gettid",
    "getpgid",
    "getpgrp",
    "setpgid",
    "getsid",
    "setsid",
    "getuid",
    "geteuid",
    "getgid",
    "getegid",
    "getresuid",
    "getresgid",
    "getgroups",
    "setuid",
    "setgid",
    "setreuid",
    "setregid",
    "setresuid",
    "setresgid",
    "setfsuid",
    "setfsgid",
    "capget",
    "prctl",
    "arch_prctl",
    "futex",
    "futex_waitv",
    "set_robust_list",
    "get_robust_list",
    "set_tid_address",
    "rseq",
    "sched_yield",
    "sched_getaffinity",
    "sched_setaffinity",
    "sched_getparam",
    "sched_setparam",
    "sched_getscheduler",
    "sched_setscheduler",
    "sched_get_priority_max",
    "sched_get_priority_min",
    "sched_rr_get_interval",
    "sched_getattr",
    "getpriority",
    "setpriority",
    "getrlimit",
    "setrlimit",
    "prlimit64",
    "getrusage",
    "times",
    "sysinfo",
    "uname",
    "getcpu",
    "pidfd_open",
    "pidfd_send_signal",
    "ioprio_get",
    /* signals */
    "rt_sigaction",
    "rt_sigprocmask",
    "rt_sigreturn",
    "rt_sigpending",
    "rt_sigsuspend",
    "rt_sigtimedwait",
    "rt_sigqueueinfo",
    "rt_tgsigqueueinfo",
    "sigaltstack",
    "kill",
    "tkill",
    "tgkill",
    "pause",
    "signalfd",
    "signalfd4",
    "restart_syscall",
    /* time and random */
    "nanosleep",
    "clock_nanosleep",
    "clock_gettime",
    "clock_getres",
    "gettimeofday",
    "time",
    "alarm",
    "getitimer",
    "setitimer",
    "timer_create",
    "timer_settime",
    "timer_gettime",
    "timer_getoverrun",
    "timer_delete",
    "timerfd_create",
    "timerfd_settime",
    "timerfd_gettime",
    "getrandom",
    /* sockets: families are checked below; without a network only those of the job itself lead anywhere */
    "bind",
    "connect",
    "listen",
    "accept",
    "accept4",
    "getsockname",
    "getpeername",
    "getsockopt",
    "setsockopt",
    "shutdown",
    "sendto",
    "recvfrom",
    "sendmsg",
    "recvmsg",
    "sendmmsg",
    "recvmmsg",
    /* shared memory of its own ipc namespace */
    "shmget",
    "shmat",
    "shmdt",
    "shmctl",
    "semget",
    "semop",
    "semtimedop",
    "semctl",
    "msgget",
    "msgsnd",
    "msgrcv",
    "msgctl",
    "mq_open",
    "mq_unlink",
    "mq_timedsend",
    "mq_timedreceive",
    "mq_notify",
    "mq_getsetattr",
};

/* Memory that no process has to map: a look at the processes would not find it. */
static const char *const only_when_counted[] = {"memfd_create", "shmget", "msgget"};

/* Of files that it may write anyway; those of the kernel's own (security, trusted) need rights that nobody here has. */
static const char *const attributes[] = {"setxattr", "lsetxattr", "fsetxattr", "removexattr", "lremovexattr", "fremovexattr"};

static struct sock_filter instructions[CDS_SECCOMP_PROFILES][PROGRAM_MAX];
static struct sock_fprog programs[CDS_SECCOMP_PROFILES];

static bool is_left_out(const char *name, enum cds_seccomp_profile profile)
{
    for (size_t i = 0; profile == CDS_SECCOMP_JOB_UNCOUNTED && i < CDS_ARRAY_LEN(only_when_counted); i++)
        if (!strcmp(name, only_when_counted[i]))
            return true;
    return false;
}

static int allow_list(scmp_filter_ctx ctx, enum cds_seccomp_profile profile)
{
    for (size_t i = 0; profile == CDS_SECCOMP_VMM_FOLDERS && i < CDS_ARRAY_LEN(attributes); i++) {
        int bad = seccomp_rule_add(ctx, SCMP_ACT_ALLOW, seccomp_syscall_resolve_name(attributes[i]), 0);
        if (bad)
            return bad;
    }
    if (profile == CDS_SECCOMP_VMM || profile == CDS_SECCOMP_VMM_FOLDERS) { /* it can only take rights away from itself */
        int bad = seccomp_rule_add(ctx, SCMP_ACT_ALLOW, SCMP_SYS(seccomp), 0);
        if (bad)
            return bad;
    }
    for (size_t i = 0; i < CDS_ARRAY_LEN(allowed); i++) {
        if (is_left_out(allowed[i], profile))
            continue;
        int number = seccomp_syscall_resolve_name(allowed[i]);
        int bad = number < 0 ? 0 : seccomp_rule_add(ctx, SCMP_ACT_ALLOW, number, 0);
        if (bad)
            return bad;
    }
    return 0;
}

/* Does one of the first n forbidden codes begin with these bits? */
static bool one_of_first(size_t n, uint32_t prefix, uint32_t mask)
{
    for (size_t i = 0; i < n; i++)
        if ((forbidden_ioctls[i] & mask) == prefix)
            return true;
    return false;
}

/* Every code but the forbidden ones. At each of their bits, the codes that go the other way are allowed at once, unless another one lies there. */
static int allow_ioctls(scmp_filter_ctx ctx)
{
    int bad = 0;
    for (size_t i = 0; i < CDS_ARRAY_LEN(forbidden_ioctls); i++)
        for (int bit = IOCTL_BITS - 1; !bad && bit >= 0; bit--) {
            const uint32_t flip = (uint32_t)1 << bit, mask = ~(flip - 1), here = forbidden_ioctls[i] & mask, other = here ^ flip;
            /* What another code shares with this one was told before. */
            if (!one_of_first(i, here, mask) && !one_of_first(CDS_ARRAY_LEN(forbidden_ioctls), other, mask))
                bad = seccomp_rule_add(ctx, SCMP_ACT_ALLOW, SCMP_SYS(ioctl), 1, SCMP_A1(SCMP_CMP_MASKED_EQ, mask, other));
        }
    return bad;
}

/* Calls whose arguments decide. Comparisons of flags and commands look at 32 bits only, as the kernel does: a set high bit would slip past. */
static int by_argument(scmp_filter_ctx ctx)
{
    const uint64_t new_namespaces = CLONE_NEWNS | CLONE_NEWCGROUP | CLONE_NEWUTS | CLONE_NEWIPC | CLONE_NEWUSER | CLONE_NEWPID | CLONE_NEWNET;
    int bad = seccomp_rule_add(ctx, SCMP_ACT_ALLOW, SCMP_SYS(clone), 1, SCMP_A0(SCMP_CMP_MASKED_EQ, new_namespaces, 0));
    bad = bad ? bad : seccomp_rule_add(ctx, SCMP_ACT_ERRNO(ENOSYS), SCMP_SYS(clone3), 0);
    static const int families[] = {AF_UNIX, AF_INET, AF_INET6};
    for (size_t i = 0; !bad && i < CDS_ARRAY_LEN(families); i++) {
        bad = seccomp_rule_add(ctx, SCMP_ACT_ALLOW, SCMP_SYS(socket), 1, SCMP_A0(SCMP_CMP_MASKED_EQ, 0xffffffffu, (scmp_datum_t)families[i]));
        bad =
            bad ? bad
                : seccomp_rule_add(ctx, SCMP_ACT_ALLOW, SCMP_SYS(socketpair), 1, SCMP_A0(SCMP_CMP_MASKED_EQ, 0xffffffffu, (scmp_datum_t)families[i]));
    }
    bad = bad ? bad : allow_ioctls(ctx);
    /* Reading the execution domain is harmless; changing it would switch off address randomisation. */
    return bad ? bad : seccomp_rule_add(ctx, SCMP_ACT_ALLOW, SCMP_SYS(personality), 1, SCMP_A0(SCMP_CMP_EQ, 0xffffffffu, 0));
}

/* libseccomp writes to a descriptor only; a memory file holds it. */
static cds_rc export(scmp_filter_ctx ctx, enum cds_seccomp_profile profile, struct cds_err *reterr)
{
    CDS_CLEANUP(cds_close_fd) int fd = memfd_create("filter", MFD_CLOEXEC);
    if (fd < 0 || seccomp_export_bpf(ctx, fd))
        return cds_fail(reterr, CDS_SYSTEM, __func__, "The system call filter cannot be compiled.");
    const size_t one = sizeof(instructions[0][0]);
    ssize_t n = pread(fd, instructions[profile], sizeof(instructions[profile]), 0);
    if (n <= 0 || (size_t)n == sizeof(instructions[profile]) || (size_t)n % one)
        return cds_fail(reterr, CDS_INTERNAL, __func__, "The system call filter has an unexpected size.");
    programs[profile] = (struct sock_fprog){.len = (unsigned short)((size_t)n / one), .filter = instructions[profile]};
    return CDS_OK;
}

static cds_rc compile(enum cds_seccomp_profile profile, struct cds_err *reterr)
{
    scmp_filter_ctx ctx = seccomp_init(SCMP_ACT_ERRNO(EPERM));
    if (!ctx)
        return cds_fail(reterr, CDS_EXHAUSTED, __func__, "Out of memory.");
    seccomp_attr_set(ctx, SCMP_FLTATR_ACT_BADARCH, SCMP_ACT_KILL_PROCESS); /* int 0x80 and x32 */
    seccomp_attr_set(ctx, SCMP_FLTATR_CTL_OPTIMIZE, 2);
    int bad = allow_list(ctx, profile);
    bad = bad ? bad : by_argument(ctx);
    cds_rc rc = bad ? cds_fail(reterr, CDS_INTERNAL, __func__, "The system call filter cannot be built (%d).", bad) : export(ctx, profile, reterr);
    seccomp_release(ctx);
    return rc;
}

cds_rc cds_seccomp_compile(struct cds_err *reterr)
{
    cds_rc rc = CDS_OK;
    for (int profile = 0; !rc && profile < CDS_SECCOMP_PROFILES; profile++)
        rc = compile((enum cds_seccomp_profile)profile, reterr);
    return rc;
}

const struct sock_fprog *cds_seccomp_program(enum cds_seccomp_profile profile)
{
    return &programs[profile];
}
