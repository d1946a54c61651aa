/* sandbox/micro_vm.c: see micro_vm.h. */
#include "sandbox/micro_vm.h"

#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/socket.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>

#include "lib/base/cleanup.h"
#include "lib/base/clock.h"
#include "lib/base/fd.h"
#include "lib/base/str.h"
#include "sandbox/micro_vm_priv.h"

enum { PIECE = 65536 };

static void free_vm(struct micro_vm *vm)
{
    micro_qmp_close(&vm->qmp);
    cds_watch_remove(&vm->ended);
    cds_watch_remove(&vm->agent);
    cds_watch_remove(&vm->logged);
    cds_close_fd(&vm->pidfd);
    cds_close_fd(&vm->report_fd);
    cds_close_fd(&vm->agent_fd);
    cds_close_fd(&vm->log_fd);
    cds_close_fd(&vm->qemu_fd);
    cds_buf_free(&vm->out);
    micro_vm_msb_free(vm);
    if (vm->group)
        cds_cgroup_release(vm->host->cgroups, &vm->group);
    *vm->prev = vm->next;
    if (vm->next)
        vm->next->prev = vm->prev;
    free(vm);
}

void micro_vm_lose(struct micro_vm *vm, const char *why)
{
    if (vm->lost || vm->ending)
        return;
    vm->lost = true;
    cds_watch_remove(&vm->agent); /* nothing of it is read any more */
    cds_watch_remove(&vm->called);
    vm->ops->on_lost(vm->user, why);
}

/* ---- end ---- */
static void kill_vm(struct micro_vm *vm)
{
    if (vm->group)
        cds_cgroup_kill(vm->group);
    if (vm->pid > 0)
        syscall(SYS_pidfd_send_signal, vm->pidfd, SIGKILL, NULL, 0); /* pid 1 of its namespace: all of them die with it */
}

static void read_log(struct micro_vm *vm);

static void judge(struct micro_vm *vm, struct micro_vm_end *ret)
{
    struct cds_jail_report report;
    struct cds_cgroup_usage used = {.cpu_us = UINT64_MAX};
    siginfo_t info = {.si_pid = 0};
    syscall(SYS_waitid, P_PIDFD, vm->pidfd, &info, WEXITED, NULL);
    vm->pid = 0;
    cds_cgroup_usage(vm->group, &used);
    *ret = (struct micro_vm_end){.cpu_us = used.cpu_us, .memory = used.oom_kills > 0, .step = -1};
    ssize_t n = read(vm->report_fd, &report, sizeof(report));
    if (n == (ssize_t)sizeof(report) && report.kind == CDS_REPORT_ENDED) {
        ret->status = vm->status = report.status;
    } else if (n == (ssize_t)sizeof(report)) {
        ret->step = report.step;
        ret->step_errno = report.sys_errno;
    }
}

/* The process is gone: what it has written by then waits in the socket. */
static bool said_more(const struct micro_vm *vm)
{
    char byte;
    return vm->agent_fd >= 0 && recv(vm->agent_fd, &byte, 1, MSG_DONTWAIT | MSG_PEEK) > 0;
}

static void on_ended(void *user, int fd, uint32_t events)
{
    struct micro_vm *vm = user;
    struct micro_vm_end end;
    char why[300];
    judge(vm, &end);
    cds_watch_remove(&vm->ended);
    if (vm->log_fd >= 0)
        read_log(vm);
    if (!vm->ending) {
        if (end.step >= 0)
            snprintf(why, sizeof(why), "the step \"%s\" of %s's jail was refused: %s", cds_jail_step_name((enum cds_jail_step)end.step), vm->monitor,
                     strerror(end.step_errno));
        else if (end.memory)
            snprintf(why, sizeof(why), "%s was killed for memory", vm->monitor);
        else if (WIFSIGNALED(end.status))
            snprintf(why, sizeof(why), "%s ended by signal %d", vm->monitor, WTERMSIG(end.status));
        else if (vm->scratch[0])
            micro_vm_msb_why(vm, WEXITSTATUS(end.status), why, sizeof(why));
        else
            snprintf(why, sizeof(why), "the machine ended by itself: the guest panicked or switched it off (QEMU's exit code %d)",
                     WEXITSTATUS(end.status));
        micro_vm_lose(vm, why);
        return; /* its owner ends it, now or later: it is gone already then */
    }
    end.said_more = said_more(vm);
    micro_vm_gone *gone = vm->gone;
    void *to = vm->gone_user;
    free_vm(vm);
    if (gone)
        gone(to, &end);
}

static void gone_already(void *user)
{
    struct micro_vm *vm = user;
    const struct micro_vm_end end = {.cpu_us = UINT64_MAX, .step = -1, .said_more = said_more(vm)};
    micro_vm_gone *gone = vm->gone;
    void *to = vm->gone_user;
    free_vm(vm);
    if (gone)
        gone(to, &end);
}

void micro_vm_end(struct micro_vm **where, micro_vm_gone *gone, void *user)
{
    struct micro_vm *vm = *where;
    *where = NULL;
    if (!vm || vm->ending)
        return;
    vm->ending = true;
    vm->gone = gone;
    vm->gone_user = user;
    cds_watch_remove(&vm->agent);
    cds_watch_remove(&vm->called); /* an agent that calls while it dies would be heard by an owner that has let go of it */
    micro_qmp_close(&vm->qmp);
    kill_vm(vm);
    if (vm->pid == 0 && cds_loop_post(vm->host->loop, gone_already, vm))
        gone_already(vm);
}

void micro_vms_end(struct micro_vm **list)
{
    for (struct micro_vm *vm = *list, *next; vm; vm = next) {
        next = vm->next;
        micro_vm_drop(vm);
    }
}

/* ---- frames ---- */
static bool flush(struct micro_vm *vm)
{
    while (vm->out.len) {
        ssize_t n = send(vm->agent_fd, vm->out.data, vm->out.len, MSG_NOSIGNAL | MSG_DONTWAIT);
        if (n < 0 && errno == EINTR)
            continue;
        if (n < 0 && errno != EAGAIN)
            return false; /* it is ending: on_ended tells why */
        if (n < 0)
            break;
        cds_buf_consume(&vm->out, (size_t)n);
    }
    uint32_t events = (vm->held ? 0U : (uint32_t)EPOLLIN) | (vm->out.len ? (uint32_t)EPOLLOUT : 0U);
    return !vm->agent || !cds_watch_set(vm->agent, events);
}

static bool on_frame(void *user, enum micro_type type, uint32_t id, const char *payload, size_t len)
{
    struct micro_vm *vm = user;
    return vm->ops->on_frame(vm->user, type, id, payload, len);
}

static void on_agent(void *user, int fd, uint32_t events)
{
    static char piece[PIECE]; /* loop thread only */
    struct micro_vm *vm = user;
    if (events & EPOLLOUT && !flush(vm)) {
        cds_watch_remove(&vm->agent);
        return;
    }
    if (vm->held && !(events & (EPOLLHUP | EPOLLERR)))
        return;
    ssize_t n = recv(fd, piece, sizeof(piece), MSG_DONTWAIT);
    if (n < 0 && (errno == EAGAIN || errno == EINTR))
        return;
    if (n <= 0) {
        cds_watch_remove(&vm->agent); /* closed; the end of the process follows, and says why */
        return;
    }
    if (!micro_decode(&vm->decoder, piece, (size_t)n, on_frame, vm))
        micro_vm_lose(vm, vm->decoder.broken);
}

bool micro_vm_send(struct micro_vm *vm, struct cds_buf *frames)
{
    bool good = !frames->failed && (!frames->len || !cds_buf_add(&vm->out, frames->data, frames->len)) && !vm->lost && vm->agent;
    cds_buf_free(frames);
    return good && flush(vm);
}

bool micro_vm_seed(struct micro_vm *vm)
{
    return !micro_frame_add_seed(&vm->out) && vm->agent && flush(vm);
}

void micro_vm_hold(struct micro_vm *vm, bool hold)
{
    vm->held = hold;
    if (vm->agent && !flush(vm))
        cds_watch_remove(&vm->agent);
}

/* ---- kernel log ---- */
/* The last of what it said is what counts. */
static void read_log(struct micro_vm *vm)
{
    char piece[1024];
    ssize_t n;
    while ((n = read(vm->log_fd, piece, sizeof(piece))) > 0) {
        size_t len = (size_t)n, room = sizeof(vm->log) - 1;
        size_t keep = vm->log_len + len > room ? room - len : vm->log_len;
        memmove(vm->log, vm->log + vm->log_len - keep, keep);
        memcpy(vm->log + keep, piece, len);
        vm->log_len = keep + len;
        vm->log[vm->log_len] = '\0';
    }
    if (n == 0 || (errno != EAGAIN && errno != EINTR))
        cds_watch_remove(&vm->logged);
}

static void on_log(void *user, int fd, uint32_t events)
{
    read_log(user);
}

/* ---- state ---- */
static void on_migrated(void *user, const char *failed)
{
    struct micro_vm *vm = user;
    if (failed)
        micro_vm_lose(vm, failed);
    else
        vm->ops->on_state(vm->user);
}

cds_rc micro_vm_save(struct micro_vm *vm, int state_fd, struct cds_err *reterr)
{
    int fd = cds_steal_fd(&vm->qmp.fd);
    return micro_qmp_save(&vm->qmp, vm->host->loop, fd, state_fd, on_migrated, vm, reterr);
}

cds_rc micro_vm_load(struct micro_vm *vm, struct cds_err *reterr)
{
    return micro_qmp_load(&vm->qmp, vm->host->loop, cds_steal_fd(&vm->qmp.fd), on_migrated, vm, reterr);
}

/* QEMU is the only child of the jail's init, which never forks again. */
static int find_qemu(const struct micro_vm *vm)
{
    char path[64], text[32] = "";
    snprintf(path, sizeof(path), "/proc/%d/task/%d/children", (int)vm->pid, (int)vm->pid);
    CDS_CLEANUP(cds_close_fd) int fd = open(path, O_RDONLY | O_CLOEXEC);
    ssize_t n = fd < 0 ? -1 : read(fd, text, sizeof(text) - 1);
    int pid = n > 0 ? atoi(text) : 0;
    return pid > 0 ? (int)syscall(SYS_pidfd_open, pid, 0) : -1;
}

void micro_vm_stop(struct micro_vm *vm, bool stop)
{
    if (vm->qemu_fd < 0)
        vm->qemu_fd = find_qemu(vm);
    if (vm->qemu_fd >= 0 && vm->stopped != stop && syscall(SYS_pidfd_send_signal, vm->qemu_fd, stop ? SIGSTOP : SIGCONT, NULL, 0) == 0)
        vm->stopped = stop;
}

void micro_vm_usage(const struct micro_vm *vm, struct cds_cgroup_usage *ret)
{
    *ret = (struct cds_cgroup_usage){.cpu_us = UINT64_MAX};
    cds_cgroup_usage(vm->group, ret);
}

void micro_vm_own(struct micro_vm *vm, const struct micro_vm_ops *ops, void *user)
{
    vm->ops = ops;
    vm->user = user;
}

/* ---- start ---- */
int micro_vm_lift(int fd)
{
    int high = fd < 0 ? -1 : fcntl(fd, F_DUPFD_CLOEXEC, CDS_JAIL_FD_LOWEST);
    if (fd >= 0)
        close(fd);
    return high;
}

cds_rc micro_vm_pair(int *ret_ours, int *ret_theirs, struct cds_err *reterr)
{
    int pair[2];
    if (socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, pair))
        return cds_fail_errno(reterr, errno, __func__, "No sockets for a microVM.");
    *ret_ours = pair[0];
    *ret_theirs = micro_vm_lift(pair[1]);
    return cds_set_nonblock(pair[0], true) || *ret_theirs < 0 ? cds_fail_errno(reterr, errno, __func__, "No sockets for a microVM.") : CDS_OK;
}

cds_rc micro_vm_hear(struct micro_vm *vm, struct cds_err *reterr)
{
    return cds_watch_add(vm->host->loop, vm->agent_fd, vm->held ? 0U : (uint32_t)EPOLLIN, on_agent, vm, &vm->agent, reterr);
}

static cds_rc watch_vm(struct micro_vm *vm, struct cds_err *reterr)
{
    struct cds_loop *loop = vm->host->loop;
    cds_rc rc = cds_watch_add(loop, vm->pidfd, EPOLLIN, on_ended, vm, &vm->ended, reterr);
    if (!rc && vm->agent_fd >= 0)
        rc = micro_vm_hear(vm, reterr);
    if (!rc && vm->log_fd >= 0)
        rc = cds_watch_add(loop, vm->log_fd, EPOLLIN, on_log, vm, &vm->logged, reterr);
    return rc;
}

cds_rc micro_vm_launch(struct micro_vm *vm, struct cds_jail_plan *plan, struct cds_err *reterr)
{
    CDS_CLEANUP(cds_close_fd) int go = -1;
    plan->who = &vm->host->who;
    plan->group = vm->group;
    plan->cgroup = cds_cgroups_kind(vm->host->cgroups) != CDS_CGROUP_NONE;
    plan->base = vm->host->root_dir;
    plan->clone_cgroup_fd = cds_cgroup_clone_fd(vm->group);
    plan->said_fd = plan->order_fd = plan->start_fd = -1;
    plan->vmm = true;
    plan->big_address_space = true; /* without control groups the guest's size is the limit */
    cds_rc rc = cds_jail_start(plan, &vm->pid, &vm->pidfd, &vm->report_fd, &go, reterr);
    if (rc || (rc = cds_cgroup_watch(vm->group, vm->pid, reterr)) || (rc = watch_vm(vm, reterr)))
        return rc;
    return cds_jail_go(&vm->host->who, vm->pid, &go, reterr);
}

cds_rc micro_vm_new(struct sandbox_host *host, struct micro_vm **list, const struct micro_vm_ops *ops, void *user, const char *monitor,
                    const struct cds_run_limits *limits, struct micro_vm **ret, struct cds_err *reterr)
{
    struct micro_vm *vm = calloc(1, sizeof(*vm));
    if (!vm)
        return cds_fail(reterr, CDS_EXHAUSTED, __func__, "Out of memory.");
    *vm = (struct micro_vm){.host = host,
                            .list = list,
                            .ops = ops,
                            .user = user,
                            .monitor = monitor,
                            .status = -1,
                            .pidfd = -1,
                            .report_fd = -1,
                            .agent_fd = -1,
                            .log_fd = -1,
                            .qemu_fd = -1,
                            .listen_fd = -1,
                            .out = cds_buf_init(MICRO_VM_OUT_MAX),
                            .qmp = {.fd = -1},
                            .started_ns = cds_now_ns()};
    if ((vm->next = *list))
        vm->next->prev = &vm->next;
    vm->prev = list;
    *list = vm;
    cds_rc rc = cds_cgroup_acquire(host->cgroups, limits, &vm->group, reterr);
    if (rc)
        free_vm(vm);
    else
        *ret = vm;
    return rc;
}

void micro_vm_drop(struct micro_vm *vm)
{
    kill_vm(vm);
    if (vm->pid > 0)
        waitpid(vm->pid, NULL, 0);
    free_vm(vm);
}

cds_rc micro_vm_start(struct sandbox_host *host, struct micro_vm **list, const struct micro_vm_plan *plan, const struct micro_vm_ops *ops, void *user,
                      struct micro_vm **ret, struct cds_err *reterr)
{
    return (plan->msb ? micro_vm_start_msb : micro_vm_start_qemu)(host, list, plan, ops, user, ret, reterr);
}
