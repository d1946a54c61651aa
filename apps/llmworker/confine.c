#include "apps/llmworker/confine.h"

#include <errno.h>
#include <fcntl.h>
#include <linux/audit.h>
#include <linux/filter.h>
#include <linux/seccomp.h>
#include <sched.h>
#include <signal.h>
#include <stdbool.h>
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
#error "the filter of the model process knows x86_64 and aarch64"
#endif

/* Flags of open that change the file system; O_RDONLY is 0. */
#define WRITE_FLAGS (O_WRONLY | O_RDWR | O_CREAT | O_TRUNC | (O_TMPFILE & ~O_DIRECTORY) | O_APPEND)
/* The same where the GPU's device files may be opened: they are read and written together. */
#define WRITE_FLAGS_BESIDE_NODES (WRITE_FLAGS & ~O_RDWR)

#define LOAD(field) BPF_STMT(BPF_LD | BPF_W | BPF_ABS, offsetof(struct seccomp_data, field))
#define ANSWER(value) BPF_STMT(BPF_RET | BPF_K, (value))
#define REFUSE(error) ANSWER(SECCOMP_RET_ERRNO | (error))
/* Refuses one system call whatever its arguments are. */
#define NEVER(name) BPF_JUMP(BPF_JMP | BPF_JEQ | BPF_K, __NR_##name, 0, 1), REFUSE(EPERM)
/* Refuses it when one of the bits is set in the low half of an argument; loads the call number again for the next rule. */
#define NOT_WITH(name, arg, bits, error)                                                                                                             \
    BPF_JUMP(BPF_JMP | BPF_JEQ | BPF_K, __NR_##name, 0, 4), LOAD(args[arg]), BPF_JUMP(BPF_JMP | BPF_JSET | BPF_K, (bits), 0, 1), REFUSE(error),      \
        LOAD(nr)
/* Refuses it when the bit is not set. */
#define ONLY_WITH(name, arg, bits, error)                                                                                                            \
    BPF_JUMP(BPF_JMP | BPF_JEQ | BPF_K, __NR_##name, 0, 4), LOAD(args[arg]), BPF_JUMP(BPF_JMP | BPF_JSET | BPF_K, (bits), 1, 0), REFUSE(error),      \
        LOAD(nr)

static const struct sock_filter filter[] = {
    LOAD(arch),
    BPF_JUMP(BPF_JMP | BPF_JEQ | BPF_K, ARCH_HERE, 1, 0),
    ANSWER(SECCOMP_RET_KILL_PROCESS),
    LOAD(nr),
#if defined(__x86_64__)
    /* Numbers of the x32 ABI would walk around the rules below. */
    BPF_JUMP(BPF_JMP | BPF_JGE | BPF_K, 0x40000000, 0, 1),
    REFUSE(ENOSYS),
#endif
    NEVER(socket),
    NEVER(socketpair),
    NEVER(connect),
    NEVER(bind),
    NEVER(listen),
    NEVER(accept),
    NEVER(accept4),
    NEVER(execve),
    NEVER(execveat),
    NEVER(ptrace),
    NEVER(process_vm_readv),
    NEVER(process_vm_writev),
    NEVER(pidfd_open),
    NEVER(pidfd_getfd),
    NEVER(pidfd_send_signal),
    NEVER(unshare),
    NEVER(setns),
    NEVER(mount),
    NEVER(umount2),
    NEVER(pivot_root),
    NEVER(chroot),
    NEVER(bpf),
    NEVER(perf_event_open),
    NEVER(userfaultfd),
    NEVER(io_uring_setup),
    NEVER(add_key),
    NEVER(request_key),
    NEVER(keyctl),
    NEVER(unlinkat),
    NEVER(mkdirat),
    NEVER(linkat),
    NEVER(symlinkat),
    NEVER(renameat2),
    NEVER(fchmodat),
    NEVER(fchownat),
    NEVER(truncate),
#if defined(__x86_64__)
    NEVER(fork),
    NEVER(vfork),
    NEVER(unlink),
    NEVER(rmdir),
    NEVER(mkdir),
    NEVER(link),
    NEVER(symlink),
    NEVER(rename),
    NEVER(renameat),
    NEVER(chmod),
    NEVER(chown),
    NEVER(creat),
    NOT_WITH(open, 1, WRITE_FLAGS, EACCES),
#endif
    NOT_WITH(openat, 2, WRITE_FLAGS, EACCES),
    /* Threads, never processes. clone3 hides its flags behind a pointer: the C library falls back to clone. */
    ONLY_WITH(clone, 0, CLONE_THREAD, EPERM),
    BPF_JUMP(BPF_JMP | BPF_JEQ | BPF_K, __NR_clone3, 0, 1),
    REFUSE(ENOSYS),
    BPF_JUMP(BPF_JMP | BPF_JEQ | BPF_K, __NR_openat2, 0, 1),
    REFUSE(ENOSYS),
    ANSWER(SECCOMP_RET_ALLOW),
};

static cds_rc set_limit(int resource, rlim_t value, struct cds_err *reterr)
{
    struct rlimit limit = {.rlim_cur = value, .rlim_max = value};
    if (setrlimit((__rlimit_resource_t)resource, &limit) != 0)
        return cds_fail_errno(reterr, errno, __func__, "A resource limit of the model process could not be set.");
    return CDS_OK;
}

cds_rc cds_worker_limit_memory(uint64_t bytes, struct cds_err *reterr)
{
    return set_limit(RLIMIT_DATA, (rlim_t)bytes, reterr);
}

/** The filter; beside_nodes: of a process whose writing Landlock keeps to device files. */
static cds_rc install(bool beside_nodes, struct cds_err *reterr)
{
    struct sock_filter rules[CDS_ARRAY_LEN(filter)];
    for (size_t i = 0; i < CDS_ARRAY_LEN(filter); i++) {
        rules[i] = filter[i];
        if (beside_nodes && rules[i].code == (BPF_JMP | BPF_JSET | BPF_K) && rules[i].k == WRITE_FLAGS)
            rules[i].k = WRITE_FLAGS_BESIDE_NODES;
    }
    struct sock_fprog program = {.len = CDS_ARRAY_LEN(rules), .filter = rules};
    if (syscall(SYS_seccomp, SECCOMP_SET_MODE_FILTER, 0, &program) == 0)
        return CDS_OK;
    cds_fail_errno(reterr, errno, __func__, "The kernel refused the system call filter of the model process.");
    return cds_err_hint(reterr, "Run on a kernel with seccomp (CONFIG_SECCOMP_FILTER).");
}

cds_rc cds_worker_confine(pid_t parent, const struct cds_nodes *nodes, struct cds_err *reterr)
{
    bool beside_nodes = nodes && nodes->count > 0;
    /* Best effort: containers often refuse new namespaces; the filter below refuses sockets in any case. */
    if (unshare(CLONE_NEWNET) != 0)
        (void)!unshare(CLONE_NEWUSER | CLONE_NEWNET);
    if (prctl(PR_SET_PDEATHSIG, SIGKILL) != 0)
        return cds_fail_errno(reterr, errno, __func__, "The model process could not be tied to its server.");
    if (getppid() != parent)
        return cds_fail(reterr, CDS_CANCELLED, __func__, "The server that started this model process is gone.");
    cds_rc rc = set_limit(RLIMIT_CORE, 0, reterr);
    if (rc == CDS_OK)
        rc = set_limit(RLIMIT_NOFILE, beside_nodes ? 1024 : 256, reterr); /* drivers open a device file for each mapping */
    if (rc != CDS_OK)
        return rc;
    if (prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0) != 0)
        return cds_fail_errno(reterr, errno, __func__, "The model process could not give up privileges.");
    rc = beside_nodes ? cds_confine_nodes(nodes, reterr) : CDS_OK;
    return rc == CDS_OK ? install(beside_nodes, reterr) : rc;
}
