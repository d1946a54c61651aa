#include "apps/llmserver/proc.h"

#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/mman.h>
#include <sys/socket.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>

#include "lib/base/cleanup.h"
#include "lib/base/clock.h"
#include "lib/base/fd.h"
#include "lib/log/log.h"
#include "lib/rpc/frame.h"

enum { FRAME_MAX = 64 << 20, OUT_MAX = 64 << 20, CHILD_FD = 3, EXCHANGE_FD = 4, ARGS_MAX = 24 };

struct cds_proc {
    struct cds_loop *loop;
    const struct cds_proc_ops *ops;
    void *user;
    pid_t pid;
    int pidfd;
    int exchange; /**< memory file, ours; -1: none */
    struct cds_watch *watch;
    struct cds_timer *kill_timer;
    struct cds_peer *peer; /**< NULL once the socket is closed */
    uint64_t heard_ms;
    uint64_t kill_ms; /**< when patience with a stopped process ends */
};

/* --- starting ----------------------------------------------------------------------------------------------------------- */

/** Between fork and exec: system calls only. */
static void become_worker(int fd, int exchange, char *const argv[], char *const envp[])
{
    sigset_t none;
    sigemptyset(&none);
    signal(SIGPIPE, SIG_DFL);
    sigprocmask(SIG_SETMASK, &none, NULL);
    int null = open("/dev/null", O_RDONLY);
    if (null >= 0)
        dup2(null, STDIN_FILENO);
    /* Both may stand on the numbers they are wanted at, or on each other's. */
    int high = fcntl(exchange, F_DUPFD, EXCHANGE_FD + 1);
    fd = fcntl(fd, F_DUPFD, EXCHANGE_FD + 1);
    dup2(fd, CHILD_FD);
    if (high >= 0)
        dup2(high, EXCHANGE_FD);
    syscall(SYS_close_range, high >= 0 ? EXCHANGE_FD + 1 : EXCHANGE_FD, ~0U, 0);
    execve(argv[0], argv, envp);
    _exit(127);
}

/** Texts of the command line, in one block. */
struct command {
    char text[ARGS_MAX][8400];
    char *argv[ARGS_MAX + 1];
    int count;
};

static void add_arg(struct command *command, const char *fmt, ...) CDS_PRINTF(2, 3);
static void add_arg(struct command *command, const char *fmt, ...)
{
    va_list args;
    va_start(args, fmt);
    vsnprintf(command->text[command->count], sizeof(command->text[0]), fmt, args);
    va_end(args);
    command->argv[command->count] = command->text[command->count];
    command->argv[++command->count] = NULL;
}

static pid_t launch(const struct cds_proc_options *o, int fd, int exchange)
{
    static struct command command; /* large, and only one is built at a time */
    memset(&command, 0, sizeof(command));
    add_arg(&command, "%s", o->program);
    add_arg(&command, "--fd=%d", CHILD_FD);
    add_arg(&command, "--parent=%d", (int)getpid());
    add_arg(&command, "--model=%s", o->model_path);
    add_arg(&command, "--lib=%s", o->lib_dir);
    add_arg(&command, "--dir=%s", o->dir);
    add_arg(&command, "--log=%s", o->log_level);
    add_arg(&command, "--context=%" PRIu64, o->context_tokens);
    add_arg(&command, "--request=%" PRIu64, o->request_tokens);
    add_arg(&command, "--slots=%" PRIu64, o->slots);
    add_arg(&command, "--threads=%" PRIu64, o->threads);
    add_arg(&command, "--jobs=%" PRIu64, o->jobs);
    if (o->load)
        add_arg(&command, "--load=%s", o->load);
    if (exchange >= 0)
        add_arg(&command, "--exchange=%d", EXCHANGE_FD);
    if (o->vocabulary_only)
        add_arg(&command, "--vocabulary");
    if (o->adapter_dir)
        add_arg(&command, "--adapters=%s", o->adapter_dir);
    if (o->draft_path)
        add_arg(&command, "--draft=%s", o->draft_path);
    add_arg(&command, "--backend=%s", o->backend);
    add_arg(&command, "--offload=%s", o->offload);
    if (o->memory_bytes)
        add_arg(&command, "--memory=%" PRIu64, o->memory_bytes);
    char lib[4200];
    snprintf(lib, sizeof(lib), "LD_LIBRARY_PATH=%s", o->lib_dir);
    char lang[] = "LANG=C.UTF-8", backtrace[] = "GGML_NO_BACKTRACE=1", vulkan[128], cuda[128];
    /* Drivers keep nothing on the disk and talk to no screen. */
    char shaders[] = "MESA_SHADER_CACHE_DISABLE=true", shaders2[] = "__GL_SHADER_DISK_CACHE=0", kernels[] = "CUDA_CACHE_DISABLE=1";
    char select[] = "NODEVICE_SELECT=1";
    snprintf(vulkan, sizeof(vulkan), "GGML_VK_VISIBLE_DEVICES=%s", o->gpu_devices);
    snprintf(cuda, sizeof(cuda), "CUDA_VISIBLE_DEVICES=%s", o->gpu_devices);
    /* A built environment: nothing of ours (database address, secrets) is inherited. */
    char *envp[10] = {lang, backtrace};
    int n = 2;
    if (o->lib_dir_given)
        envp[n++] = lib;
    if (strcmp(o->backend, "cpu") != 0) {
        char *const more[] = {shaders, shaders2, kernels, select};
        memcpy(envp + n, more, sizeof(more));
        n += 4;
        if (*o->gpu_devices)
            envp[n++] = strcmp(o->backend, "cuda") == 0 ? cuda : vulkan;
    }
    pid_t pid = fork();
    if (pid == 0)
        become_worker(fd, exchange, command.argv, envp);
    return pid;
}

/* --- its life ----------------------------------------------------------------------------------------------------------- */

static void on_request(void *user, struct cds_peer *peer, const struct cds_rpc_request *request, cds_json *message)
{
    struct cds_proc *proc = user;
    proc->heard_ms = cds_now_ms();
    proc->ops->on_frame(proc->user, request->method, request->params);
}

static void on_peer_close(void *user, struct cds_peer *peer, const char *reason)
{
    struct cds_proc *proc = user;
    proc->peer = NULL;
    cds_proc_stop(proc, 1000);
}

static void on_kill(void *user)
{
    struct cds_proc *proc = user;
    bool last = cds_now_ms() >= proc->kill_ms;
    kill(proc->pid, last ? SIGKILL : SIGTERM);
    cds_timer_set(proc->kill_timer, last ? UINT64_MAX : proc->kill_ms);
}

static void on_pidfd(void *user, int fd, uint32_t events)
{
    struct cds_proc *proc = user;
    int status = 0;
    if (waitpid(proc->pid, &status, WNOHANG) == 0)
        return;
    char why[64];
    if (WIFSIGNALED(status))
        snprintf(why, sizeof(why), "signal %d", WTERMSIG(status));
    else
        snprintf(why, sizeof(why), "exit status %d", WEXITSTATUS(status));
    cds_watch_remove(&proc->watch);
    cds_timer_remove(&proc->kill_timer);
    if (proc->peer)
        cds_peer_close(&proc->peer);
    close(proc->pidfd);
    if (proc->exchange >= 0)
        close(proc->exchange);
    proc->ops->on_exit(proc->user, why);
    free(proc);
}

static cds_rc watch(struct cds_proc *proc, int *fd, struct cds_err *reterr)
{
    static const struct cds_peer_ops ops = {.on_request = on_request, .on_close = on_peer_close};
    proc->pidfd = (int)syscall(SYS_pidfd_open, proc->pid, 0);
    if (proc->pidfd < 0)
        return cds_fail_errno(reterr, errno, __func__, "The model process cannot be watched.");
    cds_rc rc = cds_watch_add(proc->loop, proc->pidfd, EPOLLIN, on_pidfd, proc, &proc->watch, reterr);
    if (rc == CDS_OK)
        rc = cds_timer_add(proc->loop, UINT64_MAX, on_kill, proc, &proc->kill_timer);
    if (rc == CDS_OK) {
        rc = cds_peer_new(proc->loop, *fd, FRAME_MAX, OUT_MAX, &ops, proc, &proc->peer, reterr);
        *fd = -1;
    }
    return rc;
}

/** Undoes a start that failed half-way. */
static void abandon(struct cds_proc *proc)
{
    if (proc->pid > 0) {
        kill(proc->pid, SIGKILL);
        waitpid(proc->pid, NULL, 0);
    }
    cds_watch_remove(&proc->watch);
    cds_timer_remove(&proc->kill_timer);
    if (proc->pidfd >= 0)
        close(proc->pidfd);
    if (proc->exchange >= 0)
        close(proc->exchange);
    free(proc);
}

cds_rc cds_proc_start(struct cds_loop *loop, const struct cds_proc_options *options, const struct cds_proc_ops *ops, void *user,
                      struct cds_proc **ret, struct cds_err *reterr)
{
    int pair[2];
    if (socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, pair) != 0)
        return cds_fail_errno(reterr, errno, __func__, "No socket for the model process could be made.");
    CDS_CLEANUP(cds_close_fd) int ours = pair[0];
    CDS_CLEANUP(cds_close_fd) int theirs = pair[1];
    struct cds_proc *proc = calloc(1, sizeof(*proc));
    if (!proc)
        return cds_fail(reterr, CDS_EXHAUSTED, __func__, "There is not enough memory.");
    *proc = (struct cds_proc){.loop = loop, .ops = ops, .user = user, .pidfd = -1, .exchange = -1, .heard_ms = cds_now_ms()};
    cds_rc rc = cds_set_nonblock(ours, true);
    /* Without it the model works all the same, and only its states cannot be kept. */
    proc->exchange = memfd_create("cds-state", MFD_CLOEXEC);
    proc->pid = launch(options, theirs, proc->exchange);
    if (proc->pid < 0)
        rc = cds_fail_errno(reterr, errno, __func__, "The model process could not be started.");
    else if (rc == CDS_OK)
        rc = watch(proc, &ours, reterr);
    if (rc != CDS_OK) {
        abandon(proc);
        return rc;
    }
    *ret = proc;
    return CDS_OK;
}

void cds_proc_send(struct cds_proc *proc, const char *method, cds_json *params)
{
    CDS_JSON_AUTO note = cds_rpc_notification(method, params);
    if (!proc->peer)
        return;
    if (!note || cds_peer_send(proc->peer, note) != CDS_OK)
        cds_proc_stop(proc, 0);
}

void cds_proc_stop(struct cds_proc *proc, uint32_t grace_ms)
{
    if (proc->peer)
        cds_peer_close(&proc->peer);
    if (grace_ms == 0)
        kill(proc->pid, SIGKILL);
    proc->kill_ms = cds_now_ms() + grace_ms;
    cds_timer_set(proc->kill_timer, cds_now_ms() + grace_ms / 2);
}

int cds_proc_exchange(const struct cds_proc *proc)
{
    return proc->exchange;
}

pid_t cds_proc_pid(const struct cds_proc *proc)
{
    return proc->pid;
}

uint64_t cds_proc_heard_ms(const struct cds_proc *proc)
{
    return proc->heard_ms;
}
