/* apps/cyberdevstudio/spawn.c: see spawn.h. */
#include "apps/cyberdevstudio/spawn.h"

#include <errno.h>
#include <fcntl.h>
#include <linux/close_range.h>
#include <signal.h>
#include <stdbool.h>
#include <stdint.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>

#include "lib/base/cleanup.h"

enum { REPORT_FD = 4, NOFILE_MAX = 65536 };

enum step { STEP_FILES, STEP_USER, STEP_DEATH_SIGNAL, STEP_EXEC };
static const char *const step_names[] = {"set up its descriptors", "change to its user", "tie it to the supervisor", "be executed"};

/** What the child tells over the report pipe when it did not get as far as its program. */
struct report {
    int step;
    int sys_errno;
};

static _Noreturn void child_fails(int report_fd, enum step step, int sys_errno)
{
    struct report report = {(int)step, sys_errno};
    ssize_t n = write(report_fd, &report, sizeof(report));
    _exit(n == (ssize_t)sizeof(report) ? 126 : 127);
}

/** dup2 that also works when from == to (the descriptor must lose CLOEXEC). */
static int place_fd(int from, int to)
{
    if (from == to)
        return fcntl(to, F_SETFD, 0);
    return dup2(from, to) < 0 ? -1 : 0;
}

/** Moves fd out of the range 0..REPORT_FD, so that placing one descriptor does not overwrite the next. */
static int lift_fd(int fd)
{
    return fd < 0 ? fd : fcntl(fd, F_DUPFD_CLOEXEC, REPORT_FD + 1);
}

static bool child_files(const struct cds_spawn *what, int report_fd)
{
    int log = lift_fd(what->log_fd), ready = lift_fd(what->ready_fd);
    int input = what->input_fd >= 0 ? lift_fd(what->input_fd) : open("/dev/null", O_RDONLY | O_CLOEXEC);
    if (input < 0 || (what->log_fd >= 0 && log < 0) || (what->ready_fd >= 0 && ready < 0))
        return false;
    if (place_fd(input, 0) != 0)
        return false;
    if (log >= 0 && (place_fd(log, 1) != 0 || place_fd(log, 2) != 0))
        return false;
    if (ready >= 0 && place_fd(ready, CDS_SPAWN_READY_FD) != 0)
        return false;
    if (ready < 0)
        close(CDS_SPAWN_READY_FD);
    if (dup3(report_fd, REPORT_FD, O_CLOEXEC) < 0)
        return false;
    return close_range(REPORT_FD + 1, ~0U, 0) == 0;
}

/** Back to what a freshly started program expects: the supervisor blocks signals for its signalfd and ignores SIGPIPE. */
static void child_signals(void)
{
    sigset_t none;
    sigemptyset(&none);
    /* By system call: the C library keeps 32 and 33 for itself and would leave them ignored if whoever started us had ignored them. */
    static const unsigned long as_default[4]; /* the kernel's struct: handler, flags, restorer, mask; all zero is SIG_DFL */
    for (long signo = 1; signo <= 64; signo++)
        syscall(SYS_rt_sigaction, signo, as_default, NULL, 8);
    sigprocmask(SIG_SETMASK, &none, NULL);
}

static void child_limits(void)
{
    struct rlimit files;
    if (getrlimit(RLIMIT_NOFILE, &files) == 0) {
        files.rlim_cur = files.rlim_max < NOFILE_MAX ? files.rlim_max : NOFILE_MAX;
        setrlimit(RLIMIT_NOFILE, &files);
    }
}

static _Noreturn void child_main(const struct cds_spawn *what, int report_fd, pid_t parent)
{
    setpgid(0, 0);
    umask(022);
    /* Lifted first: a low number would be overwritten by the standard descriptors. */
    int report = lift_fd(report_fd);
    if (report < 0 || !child_files(what, report))
        child_fails(report < 0 ? report_fd : report, STEP_FILES, errno);
    report = REPORT_FD;
    child_limits();
    int refused = cds_identity_become(what->as);
    if (refused)
        child_fails(report, STEP_USER, refused);
    if (what->as && what->as->change && prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0) != 0)
        child_fails(report, STEP_USER, errno);
    /* After the change of user, which clears it; and a parent that died before this line sends no signal any more. */
    if (prctl(PR_SET_PDEATHSIG, what->death_signal ? what->death_signal : SIGKILL) != 0)
        child_fails(report, STEP_DEATH_SIGNAL, errno);
    if (getppid() != parent)
        _exit(127);
    child_signals();
    execve(what->program, (char *const *)what->argv, what->envp);
    child_fails(report, STEP_EXEC, errno);
}

cds_rc cds_spawn_start(const struct cds_spawn *what, pid_t *ret_pid, struct cds_err *reterr)
{
    int fds[2];
    if (pipe2(fds, O_CLOEXEC) != 0)
        return cds_fail_errno(reterr, errno, __func__, "No pipe could be opened for %s.", what->program);
    CDS_CLEANUP(cds_close_fd) int in = fds[0];
    CDS_CLEANUP(cds_close_fd) int out = fds[1];
    pid_t parent = getpid();
    pid_t pid = fork();
    if (pid < 0)
        return cds_fail_errno(reterr, errno, __func__, "No process could be started for %s.", what->program);
    if (pid == 0)
        child_main(what, out, parent);
    close(cds_steal_fd(&out));
    setpgid(pid, pid); /* also here: a signal to the group must find it at once */
    struct report report;
    ssize_t n;
    while ((n = read(in, &report, sizeof(report))) < 0 && errno == EINTR)
        ;
    if (n == 0) {
        *ret_pid = pid;
        return CDS_OK;
    }
    while (waitpid(pid, NULL, 0) < 0 && errno == EINTR)
        ;
    if (n != (ssize_t)sizeof(report) || report.step < 0 || (size_t)report.step >= CDS_ARRAY_LEN(step_names))
        return cds_fail(reterr, CDS_SYSTEM, __func__, "%s ended before it began.", what->program);
    if (report.step == STEP_EXEC && (report.sys_errno == ENOENT || report.sys_errno == EACCES)) {
        cds_fail(reterr, CDS_NOT_FOUND, __func__, "The program %s %s.", what->program,
                 report.sys_errno == ENOENT ? "is missing" : "may not be executed by its user");
        cds_err_hint(reterr, "Build or install the studio again, e.g. with: make build");
        return CDS_NOT_FOUND;
    }
    return cds_fail_errno(reterr, report.sys_errno, __func__, "%s could not %s.", what->program, step_names[report.step]);
}
