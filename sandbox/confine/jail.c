/* sandbox/confine/jail.c: see jail.h. The parent's half and the order of steps; what the job sees is in jail_root.c. */
#include "sandbox/confine/jail.h"

#include <errno.h>
#include <fcntl.h>
#include <linux/capability.h>
#include <linux/sched.h>
#include <poll.h>
#include <sched.h>
#include <signal.h>
#include <stdio.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/prctl.h>
#include <sys/resource.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>

#include "lib/base/cleanup.h"
#include "sandbox/confine/cgroup_dir.h"
#include "sandbox/confine/jail_priv.h"
#include "sandbox/confine/seccomp.h"

enum {
    LAST_CAP_TRIED = 63,
    OPEN_FILES = 256,
    RESERVE = 96 << 20,
    GO_MARK = 'g',
    REPORT_FD = 3,
    SAID_FD = 4,
    ORDER_FD = 5,
    START_FD = 6,
    BROKER_FD = CDS_JAIL_FD_LOWEST - 1
};

static const char *const names[CDS_STEP_COUNT] = {
    "wait for the broker",
    "parent-death signal",
    "control groups",
    "private mounts",
    "new root",
    "system folders",
    "proc",
    "devices",
    "tmp",
    "project",
    "pivot_root",
    "host name",
    "limits",
    "ids and capabilities",
    "no_new_privs",
    "init",
    "order",
    "controlling terminal",
    "landlock",
    "seccomp",
    "exec",
};

const char *cds_jail_step_name(enum cds_jail_step step)
{
    return (unsigned)step < CDS_STEP_COUNT ? names[step] : "?";
}

/* ---- child ---- */
static _Noreturn void fail(int report_fd, enum cds_jail_step step)
{
    struct cds_jail_report report = {.kind = CDS_REPORT_FAILED, .step = (int)step, .sys_errno = errno};
    ssize_t n = write(report_fd, &report, sizeof(report));
    _exit(n == (ssize_t)sizeof(report) ? 125 : 124);
}

static int limit(int what, uint64_t value)
{
    const struct rlimit r = {value, value};
    return setrlimit((__rlimit_resource_t)what, &r);
}

static int set_limits(const struct cds_jail_plan *plan)
{
    const struct cds_run_limits *l = plan->limits;
    /* The soft limit says SIGXCPU, so that the cause is seen; the hard one a second later kills what ignores it. */
    const struct rlimit cpu = {l->cpu_ms / 1000 + 1, l->cpu_ms / 1000 + 2};
    int bad = limit(RLIMIT_CORE, 0) | limit(RLIMIT_NOFILE, OPEN_FILES) | limit(RLIMIT_FSIZE, plan->file_bytes ? plan->file_bytes : l->tmp_bytes) |
              limit(RLIMIT_MEMLOCK, 0) | limit(RLIMIT_MSGQUEUE, 0) | setrlimit(RLIMIT_CPU, &cpu);
    if (!plan->cgroup)
        bad |= limit(RLIMIT_DATA, plan->big_address_space && l->memory_bytes < RESERVE ? RESERVE : l->memory_bytes);
    return bad;
}

static int drop_bounds(void)
{
    for (int cap = 0; cap <= LAST_CAP_TRIED; cap++)
        if (prctl(PR_CAPBSET_DROP, cap, 0, 0, 0) && errno != EINVAL)
            return -1;
    return 0;
}

static int drop_rights(const struct cds_jail_plan *plan)
{
    struct __user_cap_header_struct head = {_LINUX_CAPABILITY_VERSION_3, 0};
    struct __user_cap_data_struct none[2] = {{0, 0, 0}, {0, 0, 0}};
    if (drop_bounds())
        return -1;
    prctl(PR_CAP_AMBIENT, PR_CAP_AMBIENT_CLEAR_ALL, 0, 0, 0);
    if (plan->who->change) {
        /* The system calls, not the wrappers: those would try to change threads that do not exist in this process. */
        if (syscall(SYS_setgroups, 0, NULL) || syscall(SYS_setresgid, plan->who->gid, plan->who->gid, plan->who->gid) ||
            syscall(SYS_setresuid, plan->who->uid, plan->who->uid, plan->who->uid))
            return -1;
        int shared = plan->cgroup ? 1 : jail_own_tasks(plan->who);
        if (shared < 0 || (shared == 0 && drop_bounds()))
            return -1;
    }
    /* Last, since a user namespace inherits it as the ceiling of all that is outside of it. */
    if (!plan->cgroup && limit(RLIMIT_NPROC, plan->limits->max_tasks))
        return -1;
    return (int)syscall(SYS_capset, &head, none);
}

/* Also 32 and 33, which the C library keeps for itself and would not reset: hence the system call. */
static void default_signals(void)
{
    static const unsigned long as_default[4]; /* the kernel's struct: handler, flags, restorer, mask; all zero is SIG_DFL */
    sigset_t none;
    sigemptyset(&none);
    for (long signo = 1; signo <= 64; signo++)
        syscall(SYS_rt_sigaction, signo, as_default, NULL, 8);
    sigprocmask(SIG_SETMASK, &none, NULL);
}

static _Noreturn void payload(const struct cds_jail_plan *plan, int report_fd)
{
    const struct sock_fprog *filter = cds_seccomp_program(plan->vmm_folders ? CDS_SECCOMP_VMM_FOLDERS
                                                          : plan->vmm       ? CDS_SECCOMP_VMM
                                                          : plan->cgroup    ? CDS_SECCOMP_JOB
                                                                            : CDS_SECCOMP_JOB_UNCOUNTED);
    prctl(PR_SET_PDEATHSIG, SIGKILL, 0, 0, 0);
    setsid();
    default_signals();
    if (plan->terminal && ioctl(STDIN_FILENO, TIOCSCTTY, 0))
        fail(report_fd, CDS_STEP_TERMINAL);
    if (jail_landlock(plan))
        fail(report_fd, CDS_STEP_LANDLOCK);
    if (syscall(SYS_seccomp, 1 /* SECCOMP_SET_MODE_FILTER */, 0, filter))
        fail(report_fd, CDS_STEP_SECCOMP);
    if (plan->pass_count == 0 && plan->order_fd >= 0 && !plan->preloaded) {
        const char *const *argv, *const *env;
        if (jail_order_wait(ORDER_FD, START_FD, &argv, &env))
            fail(report_fd, CDS_STEP_ORDER);
        execve(argv[0], (char *const *)argv, (char *const *)env);
        fail(report_fd, CDS_STEP_EXEC);
    }
    execve(plan->argv[0], (char *const *)plan->argv, (char *const *)plan->env);
    fail(report_fd, CDS_STEP_EXEC);
}

/* After it nothing of the job is left but its init. Who is killed cannot fork any more, and whoever loses its parent becomes a child of init. */
static void end_all(void)
{
    syscall(SYS_kill, -1, SIGKILL);
    while (waitpid(-1, NULL, __WALL) > 0 || errno == EINTR)
        ;
}

static _Noreturn void say_ended(int report_fd, int status)
{
    struct cds_jail_report report = {.kind = CDS_REPORT_ENDED, .status = status};
    static const int of[] = {RUSAGE_SELF, RUSAGE_CHILDREN};
    for (size_t i = 0; i < CDS_ARRAY_LEN(of); i++) {
        struct rusage use = {.ru_maxrss = 0};
        getrusage(of[i], &use);
        report.cpu_us += (uint64_t)(use.ru_utime.tv_sec + use.ru_stime.tv_sec) * 1000000 + (uint64_t)(use.ru_utime.tv_usec + use.ru_stime.tv_usec);
        uint64_t peak = (uint64_t)use.ru_maxrss * 1024;
        report.peak_bytes = peak > report.peak_bytes ? peak : report.peak_bytes;
    }
    ssize_t n = write(report_fd, &report, sizeof(report));
    _exit(n == (ssize_t)sizeof(report) ? 0 : 124);
}

/* Pid 1 of the job: reaps everything, and when the payload ends, so does all the rest. That is said at once: it takes the kernel some more time to
 * take the namespaces apart, which nobody needs to wait for. */
static _Noreturn void init(pid_t main_pid, int report_fd)
{
    for (int fd = 0; fd < CDS_JAIL_PASS_FIRST + CDS_JAIL_PASS_MAX; fd++)
        if (fd != report_fd)
            close(fd); /* a writer that never ends would keep the broker waiting for the end of output */
    for (;;) {
        int status;
        pid_t pid = waitpid(-1, &status, 0);
        if (pid < 0 && errno == EINTR)
            continue;
        if (pid != main_pid && pid >= 0)
            continue;
        end_all();
        say_ended(report_fd, pid < 0 ? 0 : status);
    }
}

static int take_descriptors(const struct cds_jail_plan *plan, int report_fd, int broker_fd)
{
    int from[] = {plan->stdin_fd, plan->stdout_fd, plan->stderr_fd};
    /* Opened by its name inside, so that the job may open it again and ttyname finds it. */
    if (plan->terminal && (from[0] = from[1] = from[2] = open("/dev/console", O_RDWR | O_NOCTTY)) < 0)
        return -1;
    for (int fd = 0; fd < 3; fd++)
        if (dup2(from[fd], fd) < 0) /* all of them are above what is given away */
            return -1;
    if (report_fd != REPORT_FD && dup3(report_fd, REPORT_FD, O_CLOEXEC) < 0) /* dup3 refuses equal numbers */
        return -1;
    const int order[] = {plan->order_fd, plan->start_fd};
    const int *more = plan->pass_count ? plan->pass : order;
    size_t count = plan->pass_count ? plan->pass_count : CDS_ARRAY_LEN(order);
    if (plan->said_fd >= 0 ? dup2(plan->said_fd, SAID_FD) < 0 : close(SAID_FD) && errno != EBADF)
        return -1;
    for (size_t i = 0; i < count; i++)
        if (more[i] >= 0 ? dup2(more[i], CDS_JAIL_PASS_FIRST + (int)i) < 0 : close(CDS_JAIL_PASS_FIRST + (int)i) && errno != EBADF)
            return -1;
    if (broker_fd >= 0 ? dup3(broker_fd, BROKER_FD, O_CLOEXEC) < 0 : close(BROKER_FD) && errno != EBADF)
        return -1;
    return close_range(CDS_JAIL_PASS_FIRST + (unsigned)count, BROKER_FD - 1, 0) | close_range(BROKER_FD + 1, ~0U, 0);
}

/* The parent is outside of our pid namespace, so getppid() says nothing. Its pidfd does; and, on kernels without one, the report pipe, although a
 * jail that is started at the same moment may still hold a copy of the other end. */
static bool broker_gone(int report_fd)
{
    struct pollfd ends[] = {{.fd = report_fd}, {.fd = BROKER_FD, .events = POLLIN}};
    return poll(ends, CDS_ARRAY_LEN(ends), 0) > 0 && ((ends[0].revents & POLLERR) || (ends[1].revents & POLLIN));
}

static _Noreturn void child(const struct cds_jail_plan *plan, int go_fd, int report_fd, int broker_fd)
{
    char mark = 0;
    if (prctl(PR_SET_PDEATHSIG, SIGKILL, 0, 0, 0))
        fail(report_fd, CDS_STEP_DEATH_SIGNAL);
    if (plan->group && cds_cgroup_join(plan->group))
        fail(report_fd, CDS_STEP_GROUPS);
    if (read(go_fd, &mark, 1) != 1 || mark != GO_MARK)
        _exit(123); /* the broker is gone or changed its mind */
    setsid();
    if (plan->doors)
        cds_doors_make(plan->doors);
    enum cds_jail_step failed = CDS_STEP_MOUNTS;
    if (jail_root(plan, &failed))
        fail(report_fd, failed);
    if (sethostname("sandbox", 7))
        fail(report_fd, CDS_STEP_HOST_NAME);
    if (set_limits(plan))
        fail(report_fd, CDS_STEP_LIMITS);
    if (take_descriptors(plan, report_fd, broker_fd))
        fail(report_fd, CDS_STEP_SYNC);
    report_fd = REPORT_FD;
    if (drop_rights(plan))
        fail(report_fd, CDS_STEP_IDS);
    /* Changing ids cleared it. */
    if (prctl(PR_SET_PDEATHSIG, SIGKILL, 0, 0, 0) || prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0))
        fail(report_fd, CDS_STEP_PRIVILEGES);
    if (broker_gone(report_fd)) /* it may have died while the signal was not set */
        _exit(123);
    prctl(PR_SET_DUMPABLE, 0, 0, 0, 0);
    pid_t pid = (pid_t)syscall(SYS_clone, SIGCHLD, NULL, NULL, NULL, NULL); /* fork without the C library's handlers */
    if (pid < 0)
        fail(report_fd, CDS_STEP_INIT);
    if (pid == 0)
        payload(plan, report_fd);
    if (broker_gone(report_fd)) /* it may have been in the middle of dying the first time: its children were told, its pidfd was not */
        _exit(123);
    init(pid, report_fd);
}

/* ---- parent ---- */
/* Without clone3 nothing can be born inside a v2 group: it is moved there while it waits at the go pipe, so nothing of it runs outside. */
static pid_t clone_the_old_way(const struct cds_jail_plan *plan, uint64_t flags, int *ret_pidfd)
{
    char text[16];
    pid_t pid = (pid_t)syscall(SYS_clone, flags | SIGCHLD, NULL, ret_pidfd, NULL, NULL);
    if (pid <= 0 || plan->clone_cgroup_fd < 0)
        return pid;
    snprintf(text, sizeof(text), "%d", (int)pid);
    int why = cds_cgroup_write(plan->clone_cgroup_fd, "cgroup.procs", text);
    if (!why)
        return pid;
    kill(pid, SIGKILL);
    waitpid(pid, NULL, 0);
    close(*ret_pidfd);
    errno = why;
    return -1;
}

/* 0 in the child. An outer filter hides clone3, whose flags it cannot see, as ENOSYS or EPERM. */
static pid_t clone_init(const struct cds_jail_plan *plan, int *ret_pidfd)
{
    uint64_t flags = CLONE_NEWNS | CLONE_NEWPID | CLONE_NEWNET | CLONE_NEWIPC | CLONE_NEWUTS | CLONE_NEWCGROUP | CLONE_PIDFD;
    if (plan->who->userns)
        flags |= CLONE_NEWUSER;
    struct clone_args args = {.flags = flags, .pidfd = (uint64_t)(uintptr_t)ret_pidfd, .exit_signal = SIGCHLD};
    if (plan->clone_cgroup_fd >= 0) {
        args.flags |= CLONE_INTO_CGROUP;
        args.cgroup = (uint64_t)plan->clone_cgroup_fd;
    }
    pid_t pid = (pid_t)syscall(SYS_clone3, &args, sizeof(args));
    return pid < 0 && (errno == ENOSYS || errno == EPERM) ? clone_the_old_way(plan, flags, ret_pidfd) : pid;
}

cds_rc cds_jail_start(const struct cds_jail_plan *plan, pid_t *ret_pid, int *ret_pidfd, int *ret_report, int *ret_go, struct cds_err *reterr)
{
    int report[2] = {-1, -1}, go[2] = {-1, -1}, pidfd = -1;
    if (pipe2(report, O_CLOEXEC))
        return cds_fail_errno(reterr, errno, __func__, "No pipe for a run.");
    CDS_CLEANUP(cds_close_fd) int report_in = report[0];
    CDS_CLEANUP(cds_close_fd) int report_out = report[1];
    if (pipe2(go, O_CLOEXEC))
        return cds_fail_errno(reterr, errno, __func__, "No pipe for a run.");
    CDS_CLEANUP(cds_close_fd) int go_in = go[0];
    CDS_CLEANUP(cds_close_fd) int go_out = go[1];
    CDS_CLEANUP(cds_close_fd) int self = (int)syscall(SYS_pidfd_open, getpid(), 0); /* -1 on old kernels */
    CDS_CLEANUP(cds_close_fd) int broker = self < 0 ? -1 : fcntl(self, F_DUPFD_CLOEXEC, CDS_JAIL_FD_LOWEST);
    pid_t pid = clone_init(plan, &pidfd);
    if (pid == 0) {
        close(go_out);
        child(plan, go_in, report_out, broker);
    }
    if (pid < 0) {
        cds_fail_errno(reterr, errno, __func__, "The namespaces for a run were refused.");
        return cds_err_hint(reterr, "Check that user namespaces are allowed on this machine (sysctl, AppArmor, container settings).");
    }
    *ret_pid = pid;
    *ret_pidfd = pidfd;
    *ret_report = cds_steal_fd(&report_in);
    *ret_go = cds_steal_fd(&go_out);
    return CDS_OK;
}

static int put_map(pid_t pid, const char *file, const char *text)
{
    char path[64];
    snprintf(path, sizeof(path), "/proc/%d/%s", (int)pid, file);
    CDS_CLEANUP(cds_close_fd) int fd = open(path, O_WRONLY | O_CLOEXEC);
    return fd >= 0 && write(fd, text, strlen(text)) == (ssize_t)strlen(text) ? 0 : -1;
}

cds_rc cds_jail_go(const struct cds_job_identity *who, pid_t pid, int *go, struct cds_err *reterr)
{
    char map[64];
    const char mark = GO_MARK;
    cds_rc rc = CDS_OK;
    if (who->userns) {
        snprintf(map, sizeof(map), "%u %u 1", (unsigned)who->inside_uid, (unsigned)geteuid());
        if (put_map(pid, "uid_map", map) || put_map(pid, "setgroups", "deny"))
            rc = cds_fail_errno(reterr, errno, __func__, "The user of a run cannot be mapped.");
        snprintf(map, sizeof(map), "%u %u 1", (unsigned)who->inside_gid, (unsigned)getegid());
        if (!rc && put_map(pid, "gid_map", map))
            rc = cds_fail_errno(reterr, errno, __func__, "The group of a run cannot be mapped.");
    }
    if (!rc && write(*go, &mark, 1) != 1)
        rc = cds_fail_errno(reterr, errno, __func__, "A run ended before it began.");
    close(*go);
    *go = -1;
    return rc;
}
