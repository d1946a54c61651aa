/* sandbox/micro_msb.c: see micro_msb.h. */
#include "sandbox/micro_msb.h"

#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/prctl.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>

#include "lib/base/cleanup.h"
#include "lib/base/clock.h"
#include "lib/base/fd.h"
#include "lib/base/str.h"
#include "sandbox/micro_priv.h"
#include "sandbox/scratch.h"

enum { SAID_MAX = 4096, DOCTOR_MS = 5000 };

struct micro_msb_doctor {
    struct sandbox_host *host;
    char home[SCRATCH_PATH_MAX], said[SAID_MAX];
    size_t said_len;
    pid_t pid;
    int pidfd, out_fd;
    struct cds_watch *ended, *out;
    struct cds_timer *deadline;
    bool late;
    micro_msb_asked *done;
    void *user;
};

void micro_msb_look(const char *msb, struct micro_tier_state *state)
{
    if (access(msb, X_OK) == 0)
        return;
    state->state = MICRO_FAILS;
    snprintf(state->reason, sizeof(state->reason), "start %.160s: %s.", msb, strerror(errno));
    cds_strcpy(state->remedy, sizeof(state->remedy), "Run `make micro`, which fetches microsandbox (msb).");
}

/* ---- command line ---- */
struct builder {
    struct micro_msb_command *to;
    size_t args, at;
    bool full;
};

static void put(struct builder *b, const char *arg)
{
    if (b->args + 1 < MICRO_MSB_ARGS)
        b->to->argv[b->args++] = arg;
    else
        b->full = true;
}

static void putf(struct builder *b, const char *fmt, ...) CDS_PRINTF(2, 3);
static void putf(struct builder *b, const char *fmt, ...)
{
    char *at = b->to->text + b->at;
    size_t room = sizeof(b->to->text) - b->at;
    va_list args;
    va_start(args, fmt);
    int n = vsnprintf(at, room, fmt, args);
    va_end(args);
    if (n < 0 || (size_t)n >= room) {
        b->full = true;
        return;
    }
    put(b, at);
    b->at += (size_t)n + 1;
}

bool micro_msb_command(const struct micro_msb_plan *p, struct micro_msb_command *ret)
{
    static const char *const fixed[] = {"run", "--no-tty", "--no-net", "--quiet", "--cpus", "1"};
    struct builder b = {.to = ret};
    put(&b, p->msb);
    for (size_t i = 0; i < CDS_ARRAY_LEN(fixed); i++)
        put(&b, fixed[i]);
    put(&b, "--memory");
    putf(&b, "%uM", p->memory_mib);
    /* Without attributes: what is shown read-only cannot have any. */
    put(&b, "--mount-dir");
    putf(&b, "%s:/cds:ro,stat-virt=off", p->agents);
    put(&b, "--mount-disk");
    putf(&b, "%s:/image:ro,format=raw,fstype=erofs", p->image);
    put(&b, "--vsock");
    putf(&b, "%s:%d", p->socket, MICRO_MSB_PORT);
    put(&b, p->root);
    put(&b, "--");
    putf(&b, "/cds/%s", p->agent);
    put(&b, "hosted");
    put(&b, "/image");
    putf(&b, "%d", MICRO_MSB_PORT);
    ret->argv[b.args] = NULL;
    return !b.full;
}

/* ---- doctor ---- */
/* System calls only: the broker has threads. Ids as those of jobs, and the group that may open /dev/kvm. */
static _Noreturn void child(const struct sandbox_host *host, const char *const *argv, const char *const *env, int out, gid_t kvm)
{
    sigset_t none;
    sigemptyset(&none);
    prctl(PR_SET_PDEATHSIG, SIGKILL, 0, 0, 0);
    sigprocmask(SIG_SETMASK, &none, NULL);
    setsid();
    int null = open("/dev/null", O_RDONLY);
    if (dup2(null, 0) < 0 || dup2(out, 1) < 0 || dup2(out, 2) < 0)
        _exit(126);
    close_range(3, ~0U, 0);
    if (host->who.change && (syscall(SYS_setgroups, 1, &kvm) || syscall(SYS_setresgid, host->who.gid, host->who.gid, host->who.gid) ||
                             syscall(SYS_setresuid, host->who.uid, host->who.uid, host->who.uid)))
        _exit(126);
    prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0);
    prctl(PR_SET_PDEATHSIG, SIGKILL, 0, 0, 0); /* changing ids cleared it */
    execve(argv[0], (char *const *)argv, (char *const *)env);
    _exit(127);
}

static void on_ended(void *user, int fd, uint32_t events);
static void on_out(void *user, int fd, uint32_t events);

static cds_rc start(struct micro_msb_doctor *c, const char *const *argv, unsigned ms)
{
    char home[700], msb_home[700];
    const char *const env[] = {"PATH=/usr/bin:/bin", "LANG=C.UTF-8", home, msb_home, NULL};
    struct stat st = {0};
    int p[2];
    snprintf(home, sizeof(home), "HOME=%s", c->home);
    snprintf(msb_home, sizeof(msb_home), "MSB_HOME=%s", c->home);
    stat("/dev/kvm", &st);
    if (pipe2(p, O_CLOEXEC))
        return CDS_SYSTEM;
    c->said_len = 0;
    c->late = false;
    c->pid = fork();
    if (c->pid == 0)
        child(c->host, argv, env, p[1], st.st_gid);
    close(p[1]);
    c->out_fd = p[0];
    c->pidfd = c->pid > 0 ? (int)syscall(SYS_pidfd_open, c->pid, 0) : -1;
    if (c->pidfd < 0 || cds_set_nonblock(c->out_fd, true) || cds_watch_add(c->host->loop, c->pidfd, EPOLLIN, on_ended, c, &c->ended, NULL) ||
        cds_watch_add(c->host->loop, c->out_fd, EPOLLIN, on_out, c, &c->out, NULL))
        return CDS_SYSTEM;
    cds_timer_set(c->deadline, cds_now_ms() + ms);
    return CDS_OK;
}

static void stop(struct micro_msb_doctor *c)
{
    cds_watch_remove(&c->ended);
    cds_watch_remove(&c->out);
    if (c->pid > 0) {
        kill(-c->pid, SIGKILL);
        kill(c->pid, SIGKILL);
        waitpid(c->pid, NULL, 0);
    }
    c->pid = 0;
    cds_close_fd(&c->pidfd);
    cds_close_fd(&c->out_fd);
    c->pidfd = c->out_fd = -1;
}

void micro_msb_end(struct micro_msb_doctor **where)
{
    struct micro_msb_doctor *c = *where;
    *where = NULL;
    if (!c)
        return;
    stop(c);
    cds_timer_remove(&c->deadline);
    if (c->home[0])
        scratch_remove(c->host, c->home);
    free(c);
}

static void on_out(void *user, int fd, uint32_t events)
{
    struct micro_msb_doctor *c = user;
    char rest[512];
    size_t room = sizeof(c->said) - 1 - c->said_len;
    ssize_t n = read(fd, room ? c->said + c->said_len : rest, room ? room : sizeof(rest));
    if (n > 0 && room)
        c->said_len += (size_t)n;
    if (n == 0 || (n < 0 && errno != EAGAIN && errno != EINTR))
        cds_watch_remove(&c->out);
}

/* ---- verdict ---- */
/* It may repeat what a guest has said. */
static void clean(char *text)
{
    for (; *text; text++)
        if (*text < ' ' || *text > '~')
            *text = '?';
}

/* Its sentence of the error, and the first of what it advises: "error: ..." and lines that begin with an arrow. */
void micro_msb_words(char *said, char *reason, size_t reason_size, char *remedy, size_t remedy_size)
{
    static const char arrow[] = "\xe2\x86\x92"; /* → */
    reason[0] = remedy[0] = '\0';
    char *save = NULL;
    for (char *line = strtok_r(said, "\n", &save); line; line = strtok_r(NULL, "\n", &save)) {
        while (*line == ' ')
            line++;
        if (cds_starts_with(line, "error:") && !reason[0])
            snprintf(reason, reason_size, "%s", line + strlen("error: "));
        else if (reason[0] && cds_starts_with(line, arrow)) { /* those before belong to warnings */
            const char *words = line + strlen(arrow) + (line[strlen(arrow)] == ' ');
            char *to = strstr(words, "enable") || strstr(words, "add ") ? remedy : reason;
            size_t size = to == remedy ? remedy_size : reason_size, at = strlen(to);
            snprintf(to + at, size - at, "%s%s", at ? "; " : "", words);
        }
    }
    clean(reason);
    clean(remedy);
}

static void finish(struct micro_msb_doctor *c, bool works, const char *why)
{
    char words[160], reason[256] = "", remedy[160] = "";
    c->said[c->said_len] = '\0';
    micro_msb_words(c->said, words, sizeof(words), remedy, sizeof(remedy));
    if (!works)
        snprintf(reason, sizeof(reason), "msb doctor: %s%s%.150s", why, words[0] ? ": " : "", words);
    if (!works && !remedy[0])
        cds_strcpy(remedy, sizeof(remedy), "Run `msb doctor` as the user of the studio; it says what is missing.");
    micro_msb_asked *done = c->done;
    void *user = c->user;
    micro_msb_end(&c);
    done(user, works, reason, remedy);
}

static void on_ended(void *user, int fd, uint32_t events)
{
    struct micro_msb_doctor *c = user;
    int status = -1;
    char why[64];
    kill(-c->pid, SIGKILL); /* what it has started and left; its number is still its own */
    waitpid(c->pid, &status, 0);
    c->pid = 0;
    cds_watch_remove(&c->ended);
    if (c->out)
        on_out(c, c->out_fd, 0);
    bool good = WIFEXITED(status) && WEXITSTATUS(status) == 0;
    if (c->late)
        snprintf(why, sizeof(why), "nothing was heard in time");
    else
        snprintf(why, sizeof(why), "it ended with %s %d", WIFEXITED(status) ? "exit code" : "signal",
                 WIFEXITED(status) ? WEXITSTATUS(status) : WTERMSIG(status));
    finish(c, good, why);
}

static void on_deadline(void *user)
{
    struct micro_msb_doctor *c = user;
    c->late = true;
    if (c->pid > 0) {
        kill(-c->pid, SIGKILL);
        kill(c->pid, SIGKILL);
    }
}

cds_rc micro_msb_ask(struct sandbox_host *host, const char *msb, micro_msb_asked *done, void *user, struct micro_msb_doctor **ret)
{
    struct micro_msb_doctor *c = calloc(1, sizeof(*c));
    if (!c)
        return CDS_EXHAUSTED;
    *c = (struct micro_msb_doctor){.host = host, .pidfd = -1, .out_fd = -1, .done = done, .user = user};
    const char *const argv[] = {msb, "doctor", NULL};
    cds_rc rc = scratch_make(host, c->home, NULL);
    if (!rc)
        rc = cds_timer_add(host->loop, UINT64_MAX, on_deadline, c, &c->deadline);
    if (!rc)
        rc = start(c, argv, DOCTOR_MS);
    if (rc)
        micro_msb_end(&c);
    else
        *ret = c;
    return rc;
}
