/* sandbox/guest/spawn.c: see agent.h. */
#include <errno.h>
#include <fcntl.h>
#include <grp.h>
#include <linux/sched.h>
#include <sched.h>
#include <signal.h>
#include <stdio.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/mount.h>
#include <sys/prctl.h>
#include <sys/resource.h>
#include <sys/syscall.h>
#include <unistd.h>

#include "sandbox/guest/agent.h"

enum { OPEN_FILES = 1024 };

/* Pid 1 of the namespace that jobs live in: a job sees neither the agent nor the kernel's threads, and its orphans are reaped. */
bool spawn_open(void)
{
    int ready[2];
    char byte = 'x';
    if (unshare(CLONE_NEWPID) || pipe2(ready, O_CLOEXEC))
        return false;
    pid_t pid = fork();
    if (pid == 0) {
        close(ready[0]);
        signal(SIGCHLD, SIG_IGN); /* the kernel reaps */
        bool good = mount("proc", "/proc", "proc", MS_NOSUID | MS_NODEV | MS_NOEXEC, "hidepid=invisible") == 0;
        if (good && write(ready[1], &byte, 1) == 1)
            close_range(0, ~0U, 0);
        else
            _exit(1);
        for (;;)
            pause();
    }
    close(ready[1]);
    bool good = pid > 0 && read(ready[0], &byte, 1) == 1;
    close(ready[0]);
    return good;
}

static void limit(int what, rlim_t value)
{
    const struct rlimit r = {value, value};
    setrlimit((__rlimit_resource_t)what, &r);
}

static _Noreturn void child(const struct spawn *how)
{
    sigset_t none;
    sigemptyset(&none);
    sigprocmask(SIG_SETMASK, &none, NULL);
    setsid();
    /* All of them are above 9, so no target is a source. */
    for (int i = 0; i < 4; i++)
        if (how->fd[i] >= 0 && dup2(how->fd[i], i) < 0)
            _exit(126);
    close_range(how->fd[3] >= 0 ? 4 : 3, ~0U, 0);
    if (how->terminal)
        ioctl(0, TIOCSCTTY, 0);
    limit(RLIMIT_CORE, 0);
    limit(RLIMIT_NOFILE, OPEN_FILES);
    if (setgroups(0, NULL) || setresgid(AGENT_JOB_UID, AGENT_JOB_UID, AGENT_JOB_UID) || setresuid(AGENT_JOB_UID, AGENT_JOB_UID, AGENT_JOB_UID) ||
        prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0) || chdir("/work"))
        _exit(126);
    execve(how->argv[0], (char *const *)how->argv, (char *const *)how->env);
    int why = errno;
    dprintf(2, "%s: %s\n", how->argv[0], strerror(why));
    _exit(why == ENOENT ? 127 : 126);
}

pid_t spawn(const struct spawn *how)
{
    char path[64];
    snprintf(path, sizeof(path), "/run/cgroup/%s", how->cgroup);
    int group = open(path, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    if (group < 0)
        return -1;
    struct clone_args args = {.flags = CLONE_INTO_CGROUP, .exit_signal = SIGCHLD, .cgroup = (uint64_t)group};
    pid_t pid = (pid_t)syscall(SYS_clone3, &args, sizeof(args));
    if (pid == 0)
        child(how);
    close(group);
    return pid;
}
