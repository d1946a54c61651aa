/* sandbox/guest/prestart.c: see agent.h. The scripts that wait are prestart.py and prestart.cjs; they are part of this program. */
#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

#include "sandbox/guest/agent.h"

enum { WAIT_MS = 60000, FIRST_FREE_FD = 10 };

#define SCRIPT(name, file)                                                                                                                           \
    __asm__(".section .rodata\n.global script_" name "\nscript_" name ":\n.incbin \"" file "\"\nscript_" name "_end:\n.byte 0\n.previous\n")
SCRIPT("python", PRESTART_PY);
SCRIPT("node", PRESTART_CJS);
extern const char script_python[], script_node[];

static const char *const no_env[] = {"PATH=/usr/local/bin:/usr/bin:/bin", "HOME=/work", "LANG=C.UTF-8", "PYTHONUTF8=1", NULL};
static const struct kind {
    const char *group, *program, *file, *script, *argv[8], *warm[8];
} kinds[MICRO_LANGUAGES] = {
    [MICRO_PYTHON] = {"python",
                      "/usr/bin/python3",
                      "/run/prestart.py",
                      script_python,
                      {"/usr/bin/python3", "-B", "-E", "-s", "-u", "/run/prestart.py", NULL},
                      {"/run/warm.py", NULL}},
    [MICRO_NODE] = {"node",
                    "/usr/bin/node",
                    "/run/prestart.cjs",
                    script_node,
                    {"/usr/bin/node", "--max-old-space-size=160", "/run/prestart.cjs", NULL},
                    {"", NULL}}, /* it writes a program itself: one name can be loaded once only */
    [MICRO_SH] = {"job", "/bin/sh", NULL, NULL, {NULL}, {"/bin/sh", "-c", "echo 3 | cat", NULL}},
};
static struct waiting waiting[MICRO_LANGUAGES];

struct waiting *prestarted(enum micro_language language)
{
    return language < MICRO_LANGUAGES && waiting[language].pid > 0 ? &waiting[language] : NULL;
}

static int lift(int fd)
{
    int high = fcntl(fd, F_DUPFD_CLOEXEC, FIRST_FREE_FD);
    close(fd);
    return high;
}

static bool write_file(const char *path, const char *text)
{
    int fd = open(path, O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC, 0644);
    bool good = fd >= 0 && write(fd, text, strlen(text)) == (ssize_t)strlen(text);
    if (fd >= 0)
        close(fd);
    return good;
}

static bool start(const struct kind *kind, const char *group, struct waiting *w)
{
    int in[2], out[2], err[2], ctl[2];
    char byte;
    if (!write_file(kind->file, kind->script) || pipe2(in, O_CLOEXEC) || pipe2(out, O_CLOEXEC) || pipe2(err, O_CLOEXEC) ||
        socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, ctl))
        return false;
    const struct spawn how = {.argv = kind->argv, .env = no_env, .fd = {lift(in[0]), lift(out[1]), lift(err[1]), lift(ctl[1])}, .cgroup = group};
    *w = (struct waiting){.pid = spawn(&how), .ctl = ctl[0], .fd = {in[1], out[0], err[0]}};
    for (int i = 0; i < 4; i++)
        close(how.fd[i]);
    struct pollfd p = {.fd = w->ctl, .events = POLLIN};
    return w->pid > 0 && poll(&p, 1, WAIT_MS) == 1 && read(w->ctl, &byte, 1) == 1 && byte == 'r';
}

const char *prestart_all(void)
{
    if (!write_file("/run/warm.py", "import sys\nprint(1 + 2)\n"))
        return "write the scripts";
    for (int i = MICRO_PYTHON; i <= MICRO_NODE; i++)
        if (access(kinds[i].program, X_OK) == 0 && !start(&kinds[i], kinds[i].group, &waiting[i]))
            return kinds[i].group;
    /* So that the pages, caches and paths of a first run are in the memory that is saved. */
    for (int i = MICRO_PYTHON; i < MICRO_LANGUAGES; i++)
        prestart_warm((enum micro_language)i);
    return NULL;
}

bool prestart_give(struct waiting *w, const char *kind, const char *const *argv, size_t argc, const char *const *env, size_t envc)
{
    static char blob[MICRO_EXEC_MAX];
    size_t at = sizeof(uint32_t);
    at += (size_t)snprintf(blob + at, sizeof(blob) - at, "%s%c%zu", kind, 0, argc) + 1;
    for (size_t i = 0; i < argc + envc; i++) {
        const char *text = i < argc ? argv[i] : env[i - argc];
        size_t len = strlen(text) + 1;
        if (at + len > sizeof(blob))
            return false;
        memcpy(blob + at, text, len);
        at += len;
    }
    const uint32_t len = (uint32_t)(at - sizeof(uint32_t));
    memcpy(blob, &len, sizeof(len));
    for (size_t sent = 0; sent < at;) {
        ssize_t n = write(w->ctl, blob + sent, at - sent);
        if (n <= 0)
            return false;
        sent += (size_t)n;
    }
    return true;
}

/* What the agent does for a job: a file of it, its limits, the end of a child. */
static void warm_agent(void)
{
    static const char file[] = "/tmp/.warm";
    int fd = open(file, O_WRONLY | O_CREAT | O_EXCL | O_NOFOLLOW | O_CLOEXEC, 0644);
    if (fd >= 0) {
        if (fchown(fd, AGENT_JOB_UID, AGENT_JOB_UID) == 0)
            (void)!write(fd, file, sizeof(file));
        close(fd);
        unlink(file);
    }
    pid_t pid = fork();
    if (pid == 0)
        _exit(0);
    struct rlimit limit;
    if (pid > 0 && prlimit(pid, RLIMIT_FSIZE, NULL, &limit) == 0)
        prlimit(pid, RLIMIT_FSIZE, &limit, NULL);
    while (pid > 0 && waitpid(pid, NULL, 0) < 0 && errno == EINTR)
        ;
}

/* What it printed belongs to no job. */
static void drain(int fd)
{
    char data[256];
    fcntl(fd, F_SETFL, O_NONBLOCK);
    while (read(fd, data, sizeof(data)) > 0)
        ;
}

/* python: in a child that it forks; node: in itself, see prestart.cjs; sh: a fresh process. */
void prestart_warm(enum micro_language language)
{
    struct waiting *w = prestarted(language);
    char byte;
    warm_agent();
    if (w) {
        struct pollfd p = {.fd = w->ctl, .events = POLLIN};
        if (prestart_give(w, "w", kinds[language].warm, 1, no_env, sizeof(no_env) / sizeof(*no_env) - 1) && poll(&p, 1, WAIT_MS) == 1)
            (void)!read(w->ctl, &byte, 1); /* one that has ended is missed by its job */
        drain(w->fd[1]);
        drain(w->fd[2]);
        return;
    }
    if (language >= MICRO_LANGUAGES || !kinds[language].warm[0])
        return;
    int null = lift(open("/dev/null", O_RDWR | O_CLOEXEC));
    const struct spawn how = {.argv = kinds[language].warm, .env = no_env, .fd = {null, null, null, -1}, .cgroup = "job"};
    pid_t pid = spawn(&how);
    close(null);
    if (pid > 0)
        while (waitpid(pid, NULL, 0) < 0 && errno == EINTR)
            ;
}
