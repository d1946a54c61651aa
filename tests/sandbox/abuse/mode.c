/* tests/sandbox/abuse/mode.c: see mode.h. */
#include "tests/sandbox/abuse/mode.h"

#include <errno.h>
#include <fcntl.h>
#include <grp.h>
#include <linux/filter.h>
#include <linux/seccomp.h>
#include <sched.h>
#include <signal.h>
#include <stddef.h>
#include <stdio.h>
#include <string.h>
#include <sys/mount.h>
#include <sys/prctl.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>

#include "lib/base/cleanup.h"
#include "lib/base/str.h"

enum { UID_BASE = 720000, UID_SPREAD = 100000, RANGE_BASE = 1900000, RANGE = 65536, LANDLOCK_CREATE_RULESET = 444 };

static const char *const names[MODE_COUNT] = {"root", "unprivileged", "userns", "userns-single"};

const char *mode_name(enum world_mode mode)
{
    return names[mode];
}

enum world_mode mode_find(const char *name)
{
    int i = 0;
    while (i < MODE_COUNT && !cds_streq(names[i], name))
        i++;
    return (enum world_mode)i;
}

/* The calls that an older kernel does not have. */
static int forget_calls(void)
{
    struct sock_filter code[] = {
        BPF_STMT(BPF_LD | BPF_W | BPF_ABS, offsetof(struct seccomp_data, nr)),
        BPF_JUMP(BPF_JMP | BPF_JEQ | BPF_K, SYS_openat2, 3, 0),
        BPF_JUMP(BPF_JMP | BPF_JEQ | BPF_K, SYS_clone3, 2, 0),
        BPF_JUMP(BPF_JMP | BPF_JEQ | BPF_K, LANDLOCK_CREATE_RULESET, 1, 0),
        BPF_STMT(BPF_RET | BPF_K, SECCOMP_RET_ALLOW),
        BPF_STMT(BPF_RET | BPF_K, SECCOMP_RET_ERRNO | ENOSYS),
    };
    struct sock_fprog program = {CDS_ARRAY_LEN(code), code};
    if (geteuid() != 0 && prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0))
        return -1;
    if (syscall(SYS_seccomp, SECCOMP_SET_MODE_FILTER, 0, &program))
        return -1;
    /* Really gone? */
    return syscall(SYS_openat2, AT_FDCWD, "/", NULL, 0) == -1 && errno == ENOSYS && syscall(SYS_clone3, NULL, 0) == -1 && errno == ENOSYS ? 0 : -1;
}

/* Mounts and a host name of our own, so that a broken wall does not touch the machine; shared among each other, as systemd has them, so that a
 * job's mounts would come back to us if nobody made them private. */
static int own_namespaces(void)
{
    if (unshare(CLONE_NEWNS | CLONE_NEWUTS) || mount(NULL, "/", NULL, MS_REC | MS_PRIVATE, NULL) || mount(NULL, "/", NULL, MS_REC | MS_SHARED, NULL))
        return -1;
    return 0;
}

/* A uid that nobody else has, so that each of its processes is one of ours. */
static int give_up_root(void)
{
    uid_t uid = UID_BASE + (uid_t)getpid() % UID_SPREAD;
    if (geteuid() != 0)
        return 0;
    if (setgroups(0, NULL) || setresgid(uid, uid, uid) || setresuid(uid, uid, uid))
        return -1;
    return prctl(PR_SET_DUMPABLE, 1, 0, 0, 0); /* as after a start by that user */
}

static int put(pid_t pid, const char *file, const char *text)
{
    char path[64];
    snprintf(path, sizeof(path), "/proc/%d/%s", (int)pid, file);
    CDS_CLEANUP(cds_close_fd) int fd = open(path, O_WRONLY | O_CLOEXEC);
    return fd >= 0 && write(fd, text, strlen(text)) == (ssize_t)strlen(text) ? 0 : -1;
}

static int map_ids(pid_t pid, enum world_mode mode)
{
    char map[64];
    if (mode == MODE_USERNS) {
        snprintf(map, sizeof(map), "0 %d %d", RANGE_BASE, RANGE);
        return put(pid, "uid_map", map) || put(pid, "gid_map", map);
    }
    snprintf(map, sizeof(map), "0 %u 1", (unsigned)geteuid());
    if (put(pid, "setgroups", "deny") || put(pid, "uid_map", map))
        return -1;
    snprintf(map, sizeof(map), "0 %u 1", (unsigned)getegid());
    return put(pid, "gid_map", map);
}

static int status_code(int status)
{
    return WIFEXITED(status) ? WEXITSTATUS(status) : 128 + WTERMSIG(status);
}

static int wait_for(pid_t pid)
{
    int status = 0;
    while (waitpid(pid, &status, 0) < 0 && errno == EINTR)
        continue;
    return status_code(status);
}

/* The child of the child is pid 1 of a namespace of its own: what it sees in proc are its own processes. -1: go on here. */
static int enter_userns(enum world_mode mode, char *why, size_t size)
{
    int ready[2], mapped[2];
    char byte = 0;
    if (pipe2(ready, O_CLOEXEC) || pipe2(mapped, O_CLOEXEC))
        return -1;
    pid_t child = fork();
    if (child == 0) {
        prctl(PR_SET_PDEATHSIG, SIGKILL, 0, 0, 0);
        bool apart = unshare(CLONE_NEWUSER | CLONE_NEWNS | CLONE_NEWPID | CLONE_NEWUTS) == 0;
        close(mapped[1]);
        if (write(ready[1], apart ? "y" : "n", 1) != 1 || read(mapped[0], &byte, 1) != 1 || byte != 'y')
            _exit(3);
        if (mode == MODE_USERNS && (setgroups(0, NULL) || setresgid(0, 0, 0) || setresuid(0, 0, 0)))
            _exit(3);
        prctl(PR_SET_PDEATHSIG, SIGKILL, 0, 0, 0); /* changing ids cleared it */
        pid_t inner = fork();
        if (inner > 0)
            _exit(wait_for(inner));
        prctl(PR_SET_PDEATHSIG, SIGKILL, 0, 0, 0);
        if (mount(NULL, "/", NULL, MS_REC | MS_SHARED, NULL) || mount("proc", "/proc", "proc", 0, NULL))
            snprintf(why, size, "a proc of its own is refused in a user namespace: %s", strerror(errno));
        return -1;
    }
    close(ready[1]);
    close(mapped[0]);
    bool good = read(ready[0], &byte, 1) == 1 && byte == 'y' && map_ids(child, mode) == 0;
    int saved = errno;
    if (write(mapped[1], good ? "y" : "n", 1) != 1)
        good = false;
    close(ready[0]);
    close(mapped[1]);
    int code = wait_for(child);
    if (good)
        return code;
    snprintf(why, size, "this machine gives no user namespace: %s", strerror(saved));
    return -1;
}

int mode_enter(struct world *w, char *why, size_t size)
{
    int code = -1;
    if (w->mode == MODE_ROOT && geteuid() != 0)
        snprintf(why, size, "it was not started by root");
    else if (w->mode == MODE_USERNS && geteuid() != 0)
        snprintf(why, size, "only root may map a range of ids");
    else if ((w->mode == MODE_ROOT || (w->mode == MODE_UNPRIVILEGED && geteuid() == 0)) && own_namespaces())
        snprintf(why, size, "no mounts of its own: %s", strerror(errno));
    if (!why[0] && (w->mode == MODE_UNPRIVILEGED || w->mode == MODE_USERNS_SINGLE) && give_up_root())
        snprintf(why, size, "it cannot give up its rights: %s", strerror(errno));
    if (!why[0] && (w->mode == MODE_USERNS || w->mode == MODE_USERNS_SINGLE))
        code = enter_userns(w->mode, why, size);
    if (code < 0 && !why[0] && w->old_kernel && forget_calls())
        snprintf(why, size, "the calls cannot be taken away: %s", strerror(errno));
    return code;
}
