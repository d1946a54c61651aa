/* apps/cyberdevstudio/life.c: the life of one part: start, ready, crash, restart. */
#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <stdio.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

#include "apps/cyberdevstudio/env.h"
#include "apps/cyberdevstudio/procinfo.h"
#include "apps/cyberdevstudio/spawn.h"
#include "apps/cyberdevstudio/supervisor.h"
#include "lib/base/cleanup.h"
#include "lib/base/clock.h"
#include "lib/base/fd.h"
#include "lib/base/str.h"
#include "lib/log/log.h"

enum { PG_POLL_MS = 20 };

static const char *const state_names[] = {"off", "starting", "ready", "waiting", "stopping", "failed", "external"};

const char *cds_part_state_name(enum cds_part_state state)
{
    return (size_t)state < CDS_ARRAY_LEN(state_names) ? state_names[state] : "?";
}

static void forget_ready_pipe(struct cds_part *part)
{
    cds_watch_remove(&part->ready_watch);
    if (part->ready_fd >= 0)
        close(cds_steal_fd(&part->ready_fd));
}

/** api and preview (user of the services) have to reach the sockets that sandboxd (root) made; nobody else may. */
static void open_sandbox_sockets(const struct cds_supervisor *sup)
{
    static const char *const sockets[] = {"sandboxd.sock", "preview-doors.sock"};
    char path[PATH_MAX];
    for (size_t i = 0; sup->services.change && i < CDS_ARRAY_LEN(sockets); i++) {
        snprintf(path, sizeof(path), "%s/run/%s", sup->home.path, sockets[i]);
        if (lchown(path, 0, sup->services.gid) != 0 || chmod(path, 0660) != 0)
            cds_log(CDS_LOG_ERROR, "a socket of the sandbox cannot be opened for the services", CDS_LS("path", path),
                    CDS_LS("error", strerror(errno)));
    }
}

static void became_ready(struct cds_part *part)
{
    part->state = CDS_PART_READY;
    part->failure[0] = '\0';
    part->ready_after_ms = (uint32_t)(cds_now_ms() - part->started_ms);
    cds_timer_set(part->timer, UINT64_MAX);
    forget_ready_pipe(part);
    if (part->def == &cds_part_defs[CDS_PART_SANDBOXD])
        open_sandbox_sockets(part->sup);
    cds_log(CDS_LOG_INFO, "part ready", CDS_LS("part", part->def->name), CDS_LI("pid", part->pid), CDS_LI("ms", part->ready_after_ms));
    if (!part->sup->starting && !part->sup->stopping)
        cds_say(part->sup, "  ready   %s is back after %u ms", part->def->name, part->ready_after_ms);
}

/** The child wrote on its readiness pipe: "READY\n" or "FAILED <sentence>\n". */
static void on_ready_pipe(void *user, int fd, uint32_t events)
{
    struct cds_part *part = user;
    size_t room = sizeof(part->ready_text) - 1 - part->ready_len;
    ssize_t n = read(fd, part->ready_text + part->ready_len, room);
    if (n < 0 && (errno == EINTR || errno == EAGAIN))
        return;
    if (n > 0) {
        part->ready_len += (size_t)n;
        part->ready_text[part->ready_len] = '\0';
    }
    char *newline = strchr(part->ready_text, '\n');
    if (!newline && n > 0 && (size_t)n < room)
        return;
    if (newline)
        *newline = '\0';
    if (newline && cds_streq(part->ready_text, "READY")) {
        became_ready(part);
        return;
    }
    if (cds_starts_with(part->ready_text, "FAILED "))
        cds_strcpy(part->failure, sizeof(part->failure), part->ready_text + 7);
    /* Closed or failed: the exit of the process, or the deadline, decides what follows. */
    forget_ready_pipe(part);
}

static void plan_restart(struct cds_part *part, uint64_t alive_ms)
{
    part->backoff_ms = cds_backoff_next(part->backoff_ms, alive_ms);
    part->state = CDS_PART_WAITING;
    cds_timer_set(part->timer, cds_now_ms() + part->backoff_ms);
    cds_log(CDS_LOG_ERROR, "part ended", CDS_LS("part", part->def->name), CDS_LS("why", part->failure), CDS_LI("restart_in_ms", part->backoff_ms));
    cds_say(part->sup, "  ended   %s: %s It starts again in %u ms.", part->def->name, part->failure, part->backoff_ms);
}

static void on_not_ready_in_time(struct cds_part *part)
{
    snprintf(part->failure, sizeof(part->failure), "It was not ready after %d s; see %s.", CDS_READY_MS / 1000, cds_studiolog_path(part->sup->log));
    kill(part->def->program ? -part->pid : part->pid, SIGKILL);
    /* Once: what follows is its SIGCHLD. */
    cds_timer_set(part->timer, UINT64_MAX);
}

/** A server has no readiness pipe when it is PostgreSQL: its pid file is looked at. */
static void look_at_postgres(struct cds_part *part)
{
    if (cds_pg_poll(part->sup->pg) == CDS_PG_READY)
        became_ready(part);
    else if (cds_now_ms() - part->started_ms >= CDS_READY_MS)
        on_not_ready_in_time(part);
    else
        cds_timer_set(part->timer, cds_now_ms() + PG_POLL_MS);
}

static void on_timer(void *user)
{
    struct cds_part *part = user;
    if (part->state == CDS_PART_STARTING && !part->def->program) {
        look_at_postgres(part);
    } else if (part->state == CDS_PART_STARTING) {
        on_not_ready_in_time(part);
    } else if (part->state == CDS_PART_WAITING) {
        struct cds_err err = {0};
        part->restarts++;
        if (cds_part_start(part, &err) != CDS_OK) {
            snprintf(part->failure, sizeof(part->failure), "%s", err.message);
            plan_restart(part, 0);
        }
    }
}

static cds_rc spawn_program(struct cds_part *part, int log_fd, int ready_fd, struct cds_err *reterr)
{
    const struct cds_supervisor *sup = part->sup;
    bool change = sup->services.change && !part->def->stays_root;
    char program[PATH_MAX + 64], home_flag[PATH_MAX + 32], ready[32];
    snprintf(program, sizeof(program), "%s/%s", sup->program_dir, part->def->program);
    snprintf(home_flag, sizeof(home_flag), "--studio.home=%s", sup->home.path);
    snprintf(ready, sizeof(ready), "CDS_READY_FD=%d", CDS_SPAWN_READY_FD);
    const char *argv[CDS_FLAGS_MAX + 4] = {program, home_flag};
    int argc = 2;
    for (int i = 0; i < sup->flag_count; i++)
        if (cds_flag_passes(sup->flags[i], part->def->database))
            argv[argc++] = sup->flags[i];
    CDS_CLEANUP(cds_env_free) struct cds_env env = {0};
    struct cds_env_rules rules = {
        .database = part->def->database, .home = change ? sup->home.path : NULL, .user = change ? sup->services.name : NULL, .extra = ready};
    cds_rc rc = cds_env_build(&env, &rules, reterr);
    if (rc != CDS_OK)
        return rc;
    struct cds_spawn what = {.program = program,
                             .argv = argv,
                             .envp = env.items,
                             .as = change ? &sup->services : NULL,
                             .log_fd = log_fd,
                             .ready_fd = ready_fd,
                             .input_fd = -1};
    return cds_spawn_start(&what, &part->pid, reterr);
}

static cds_rc open_ready_pipe(struct cds_part *part, int *ret_fd, struct cds_err *reterr)
{
    int fds[2];
    if (pipe2(fds, O_CLOEXEC) != 0)
        return cds_fail_errno(reterr, errno, __func__, "No pipe could be opened for %s.", part->def->name);
    *ret_fd = fds[1];
    part->ready_fd = fds[0];
    part->ready_len = 0;
    part->ready_text[0] = '\0';
    cds_rc rc = cds_set_nonblock(fds[0], true);
    if (rc != CDS_OK)
        return cds_fail(reterr, rc, __func__, "The pipe of %s cannot be used.", part->def->name);
    return cds_watch_add(part->sup->loop, fds[0], EPOLLIN, on_ready_pipe, part, &part->ready_watch, reterr);
}

cds_rc cds_part_start(struct cds_part *part, struct cds_err *reterr)
{
    struct cds_supervisor *sup = part->sup;
    CDS_CLEANUP(cds_close_fd) int log_fd = -1;
    CDS_CLEANUP(cds_close_fd) int ready_fd = -1;
    cds_rc rc = part->timer ? CDS_OK : cds_timer_add(sup->loop, UINT64_MAX, on_timer, part, &part->timer);
    if (rc != CDS_OK)
        return cds_fail(reterr, rc, __func__, "There is no memory for the timer of %s.", part->def->name);
    rc = cds_logsource_open(sup->log, sup->loop, part->def->program ? part->def->program : part->def->name, &part->output, &log_fd, reterr);
    if (rc == CDS_OK && part->def->program)
        rc = open_ready_pipe(part, &ready_fd, reterr);
    if (rc == CDS_OK)
        rc = part->def->program ? spawn_program(part, log_fd, ready_fd, reterr) : cds_pg_spawn(sup->pg, log_fd, &part->pid, reterr);
    if (rc != CDS_OK) {
        forget_ready_pipe(part);
        cds_logsource_close(&part->output);
        return rc;
    }
    part->started_ms = cds_now_ms();
    part->state = CDS_PART_STARTING;
    part->failure[0] = '\0';
    cds_timer_set(part->timer, part->started_ms + (part->def->program ? CDS_READY_MS : PG_POLL_MS));
    return CDS_OK;
}

/** A sentence on why the process is gone, unless it told one itself. */
static void describe_end(struct cds_part *part, int status)
{
    const char *last = cds_logsource_last(part->output);
    if (part->failure[0])
        return;
    /* The last line of a process that was killed says nothing about its end. */
    if (WIFSIGNALED(status))
        snprintf(part->failure, sizeof(part->failure), "Signal %d (%s) ended it.", WTERMSIG(status), strsignal(WTERMSIG(status)));
    else if (*last)
        snprintf(part->failure, sizeof(part->failure), "It ended with exit code %d, its last words were \"%s\".", WEXITSTATUS(status), last);
    else
        snprintf(part->failure, sizeof(part->failure), "It ended with exit code %d.", WEXITSTATUS(status));
}

static void part_ended(struct cds_part *part, int status)
{
    struct cds_supervisor *sup = part->sup;
    uint64_t alive_ms = cds_now_ms() - part->started_ms;
    bool first_start = sup->starting && part->state == CDS_PART_STARTING;
    /* A sentence on the readiness pipe may still wait there. */
    if (part->ready_fd >= 0)
        on_ready_pipe(part, part->ready_fd, EPOLLIN);
    forget_ready_pipe(part);
    cds_logsource_drain(part->output);
    if (part->state != CDS_PART_STOPPING && !sup->stopping)
        describe_end(part, status);
    cds_logsource_close(&part->output);
    part->pid = 0;
    cds_timer_set(part->timer, UINT64_MAX);
    if (!part->def->program)
        cds_pg_exited(sup->pg);
    if (sup->stopping) {
        part->state = CDS_PART_OFF;
        cds_supervisor_stop_next(sup);
    } else if (first_start) {
        part->state = CDS_PART_FAILED;
    } else {
        plan_restart(part, alive_ms);
    }
}

static struct cds_part *part_of(struct cds_supervisor *sup, pid_t pid)
{
    for (int i = 0; i < CDS_PART_COUNT; i++)
        if (sup->parts[i].pid == pid)
            return &sup->parts[i];
    return NULL;
}

/** Collects one part if its process has ended. */
static bool reap_part(struct cds_part *part)
{
    siginfo_t info = {0};
    if (part->pid == 0 || waitid(P_PID, (id_t)part->pid, &info, WEXITED | WNOHANG | WNOWAIT) != 0 || info.si_pid == 0)
        return false;
    /* While the leader is still a zombie its number, and so that of the group, cannot belong to anyone else. */
    kill(-part->pid, SIGKILL);
    int status = 0;
    while (waitpid(part->pid, &status, 0) < 0 && errno == EINTR)
        ;
    part_ended(part, status);
    return true;
}

void cds_supervisor_reap(struct cds_supervisor *sup)
{
    bool some = false;
    for (int i = 0; i < CDS_PART_COUNT; i++)
        some = reap_part(&sup->parts[i]) || some;
    if (sup->preparing)
        return;
    for (;;) {
        siginfo_t info = {0};
        if (waitid(P_ALL, 0, &info, WEXITED | WNOHANG | WNOWAIT) != 0 || info.si_pid == 0)
            break;
        struct cds_part *part = part_of(sup, info.si_pid);
        if (part)
            reap_part(part);
        else
            waitpid(info.si_pid, NULL, WNOHANG);
        some = true;
    }
    if (some)
        cds_supervisor_sweep(sup);
}

int cds_supervisor_sweep(struct cds_supervisor *sup)
{
    static struct cds_proc list[CDS_PROC_MAX];
    int count = cds_proc_list(list, CDS_PROC_MAX), found = 0;
    for (int i = 0; i < count; i++)
        if (list[i].ppid == getpid() && !list[i].zombie && !part_of(sup, list[i].pid)) {
            found++;
            kill(list[i].pid, SIGKILL);
        }
    return found;
}
