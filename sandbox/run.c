/* sandbox/run.c: one job from exec to its end: pipes, jail, clocks, output, verdict. See run.h. */
#include "sandbox/run.h"

#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/mman.h>
#include <sys/resource.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>

#include "lib/base/cleanup.h"
#include "lib/base/clock.h"
#include "lib/base/fd.h"
#include "sandbox/confine/jail.h"
#include "sandbox/confine/seccomp.h"
#include "sandbox/run_priv.h"

enum { FIRST_FREE_FD = 10, STREAMS = 2 };

struct stream {
    int fd;
    struct cds_watch *watch;
    uint64_t bytes;
};

struct cds_job {
    struct cds_job *next, **prev;
    struct run_engine *engine;
    struct cds_cgroup *group;
    pid_t pid;
    int pidfd, report_fd;
    struct cds_watch *ended;
    struct cds_timer *clock;
    struct stream out[STREAMS];
    struct cds_run_limits limits;
    struct cds_job_events events;
    void *user;
    uint64_t started_ms, deadline_ms, passed_on, dropped;
    bool killed, held;
    enum cds_run_end reason; /* why it was killed */
};

const char *cds_run_end_name(enum cds_run_end end)
{
    static const char *const names[CDS_END_COUNT] = {"ok",     "exit",  "signal", "cpu_time", "wall_time", "memory",
                                                     "output", "tasks", "disk",   "refused",  "cancelled", "engine_failed"};
    return (unsigned)end < CDS_END_COUNT ? names[end] : "?";
}

/* ---- end of a job ---- */
static void job_free(struct cds_job *job)
{
    for (int i = 0; i < STREAMS; i++) {
        cds_watch_remove(&job->out[i].watch);
        cds_close_fd(&job->out[i].fd);
    }
    cds_watch_remove(&job->ended);
    cds_timer_remove(&job->clock);
    cds_close_fd(&job->pidfd);
    cds_close_fd(&job->report_fd);
    if (job->group)
        cds_cgroup_release(job->engine->cgroups, &job->group);
    if (job->prev) {
        *job->prev = job->next;
        if (job->next)
            job->next->prev = job->prev;
        job->engine->active--;
    }
    free(job);
}

static void job_kill(struct cds_job *job, enum cds_run_end reason)
{
    if (!job->killed) {
        job->killed = true;
        job->reason = reason;
    }
    if (job->group)
        cds_cgroup_kill(job->group);
    if (job->pid > 0)
        syscall(SYS_pidfd_send_signal, job->pidfd, SIGKILL, NULL, 0); /* pid 1 of its namespace: everything else dies with it */
}

/* Passes output on up to the ceiling; the rest is counted. False at the end of the stream. */
static bool read_some(struct cds_job *job, int i)
{
    static char piece[RUN_PIECE]; /* loop thread only */
    struct stream *s = &job->out[i];
    ssize_t n = read(s->fd, piece, sizeof(piece));
    if (n < 0 && (errno == EAGAIN || errno == EINTR))
        return true;
    if (n <= 0)
        return false;
    s->bytes += (uint64_t)n;
    uint64_t room = job->limits.output_bytes - job->passed_on;
    size_t pass = (uint64_t)n < room ? (size_t)n : (size_t)room;
    job->passed_on += pass;
    job->dropped += (uint64_t)n - pass;
    if (pass)
        job->events.on_output(job->user, i + 1, piece, pass);
    return true;
}

static void close_stream(struct stream *s)
{
    cds_watch_remove(&s->watch);
    cds_close_fd(&s->fd);
    s->fd = -1;
}

static void on_stream(void *user, int fd, uint32_t events)
{
    struct cds_job *job = user;
    int i = job->out[0].fd == fd ? 0 : 1;
    if (!read_some(job, i))
        close_stream(&job->out[i]);
}

/* Everything of the job is dead: what is in the pipes is all there will be. */
static void drain(struct cds_job *job)
{
    for (int i = 0; i < STREAMS; i++) {
        uint64_t before;
        do
            before = job->out[i].bytes;
        while (job->out[i].fd >= 0 && read_some(job, i) && job->out[i].bytes != before);
        close_stream(&job->out[i]);
    }
}

/* The hard limit of CPU time arrives as a plain SIGKILL. */
static bool cpu_is_used_up(const struct cds_job *job, const struct cds_job_result *r)
{
    return r->signo == SIGXCPU || (r->signo == SIGKILL && r->cpu_ms >= job->limits.cpu_ms);
}

static void judge_status(const struct cds_job *job, const struct cds_cgroup_usage *used, int status, struct cds_job_result *r)
{
    if (WIFEXITED(status)) {
        r->exit_code = WEXITSTATUS(status);
        r->end = r->exit_code == 0 ? CDS_END_OK : CDS_END_EXIT;
        /* A program that was refused a task or lost a child to the memory limit and then failed: the limit is the cause. */
        if (r->exit_code && used->oom_kills)
            r->end = CDS_END_MEMORY;
        else if (r->exit_code && used->tasks_refused)
            r->end = CDS_END_TASKS;
        return;
    }
    r->signo = WTERMSIG(status);
    r->end = cpu_is_used_up(job, r) ? CDS_END_CPU_TIME : r->signo == SIGXFSZ ? CDS_END_DISK : used->oom_kills ? CDS_END_MEMORY : CDS_END_SIGNAL;
}

static void judge(struct cds_job *job, struct cds_job_result *r)
{
    struct cds_cgroup_usage used = {.cpu_us = UINT64_MAX};
    struct cds_jail_report report;
    siginfo_t info = {.si_pid = 0};
    struct rusage use = {.ru_maxrss = 0};
    syscall(SYS_waitid, P_PIDFD, job->pidfd, &info, WEXITED, &use);
    job->pid = 0;
    cds_cgroup_usage(job->group, &used);
    *r = (struct cds_job_result){.exit_code = -1,
                                 .wall_ms = (uint32_t)(cds_now_ms() - job->started_ms),
                                 .peak_memory_bytes = used.peak_bytes ? used.peak_bytes : (uint64_t)use.ru_maxrss * 1024,
                                 .enforced_by = cds_cgroups_kind(job->engine->cgroups) == CDS_CGROUP_NONE ? "rlimit" : "cgroup"};
    uint64_t cpu_us = (uint64_t)(use.ru_utime.tv_sec + use.ru_stime.tv_sec) * 1000000 + (uint64_t)(use.ru_utime.tv_usec + use.ru_stime.tv_usec);
    if (used.cpu_us != UINT64_MAX && used.cpu_us > cpu_us) /* rusage has only those that were waited for */
        cpu_us = used.cpu_us;
    r->cpu_ms = (uint32_t)(cpu_us / 1000);
    ssize_t n = read(job->report_fd, &report, sizeof(report));
    if (job->killed) {
        r->end = job->reason;
    } else if (n == (ssize_t)sizeof(report) && report.kind == CDS_REPORT_ENDED) {
        judge_status(job, &used, report.status, r);
    } else if (n == (ssize_t)sizeof(report)) {
        r->end = CDS_END_ENGINE_FAILED;
        snprintf(r->reason, sizeof(r->reason), "The step \"%s\" was refused: %s. The program was not started.",
                 cds_jail_step_name((enum cds_jail_step)report.step), strerror(report.sys_errno));
    } else if (used.oom_kills) {
        r->end = CDS_END_MEMORY; /* the kernel took the whole group, init included */
    } else {
        r->end = CDS_END_ENGINE_FAILED;
        snprintf(r->reason, sizeof(r->reason), "The job's init ended without a word.");
    }
}

static void on_ended(void *user, int fd, uint32_t events)
{
    struct cds_job *job = user;
    struct cds_job_result result;
    judge(job, &result);
    drain(job);
    result.stdout_bytes = job->out[0].bytes;
    result.stderr_bytes = job->out[1].bytes;
    result.dropped_bytes = job->dropped;
    struct cds_job_events on = job->events;
    void *to = job->user;
    job_free(job);
    on.on_end(to, &result);
}

/* ---- clocks ---- */
static void on_clock(void *user)
{
    struct cds_job *job = user;
    uint64_t now = cds_now_ms();
    struct cds_cgroup_usage used = {.cpu_us = UINT64_MAX};
    cds_cgroup_usage(job->group, &used);
    if (now >= job->deadline_ms)
        job_kill(job, CDS_END_WALL_TIME);
    else if (used.cpu_us != UINT64_MAX && used.cpu_us / 1000 >= job->limits.cpu_ms)
        job_kill(job, CDS_END_CPU_TIME);
    else if (used.memory_over || used.tasks_over)
        job_kill(job, used.tasks_over ? CDS_END_TASKS : CDS_END_MEMORY); /* too many tasks use much memory, too */
    cds_timer_set(job->clock, now + RUN_POLL_MS < job->deadline_ms || job->killed ? now + RUN_POLL_MS : job->deadline_ms);
}

/* ---- start ---- */
/* Above the standard numbers, so that the child's dup2 cannot hit its own sources. */
static int lift(int fd)
{
    int high = fd < 0 ? -1 : fcntl(fd, F_DUPFD_CLOEXEC, FIRST_FREE_FD);
    if (fd >= 0)
        close(fd);
    return high;
}

/* A sealed-off copy in memory; the job gets its own read-only description. */
static int memory_file(const char *data, size_t len)
{
    CDS_CLEANUP(cds_close_fd) int fd = memfd_create("input", MFD_CLOEXEC);
    char path[64];
    while (fd >= 0 && len) {
        ssize_t n = write(fd, data, len);
        if (n <= 0)
            return -1;
        data += n;
        len -= (size_t)n;
    }
    snprintf(path, sizeof(path), "/proc/self/fd/%d", fd);
    return fd < 0 ? -1 : lift(open(path, O_RDONLY | O_CLOEXEC));
}

struct ends {
    int in, code, out, err; /* the child's ends */
};

static void close_ends(struct ends *e)
{
    cds_close_fd(&e->in);
    cds_close_fd(&e->code);
    cds_close_fd(&e->out);
    cds_close_fd(&e->err);
}

static cds_rc make_ends(struct cds_job *job, const struct cds_job_spec *spec, struct ends *ret, struct cds_err *reterr)
{
    int *const child_ends[STREAMS] = {&ret->out, &ret->err};
    *ret = (struct ends){-1, -1, -1, -1};
    ret->in = spec->stdin_data ? memory_file(spec->stdin_data, spec->stdin_len) : lift(open("/dev/null", O_RDONLY | O_CLOEXEC));
    if (spec->code)
        ret->code = memory_file(spec->code, spec->code_len);
    for (int i = 0; i < STREAMS; i++) {
        int p[2];
        if (pipe2(p, O_CLOEXEC))
            return cds_fail_errno(reterr, errno, __func__, "No pipe for a run.");
        job->out[i].fd = p[0];
        *child_ends[i] = lift(p[1]);
        if (cds_set_nonblock(p[0], true) || *child_ends[i] < 0)
            return cds_fail_errno(reterr, errno, __func__, "No pipe for a run.");
    }
    if (ret->in < 0 || (spec->code && ret->code < 0))
        return cds_fail_errno(reterr, errno, __func__, "No room for the input of a run.");
    return CDS_OK;
}

static cds_rc watch_job(struct cds_job *job, struct cds_err *reterr)
{
    struct cds_loop *loop = job->engine->loop;
    cds_rc rc = cds_watch_add(loop, job->pidfd, EPOLLIN, on_ended, job, &job->ended, reterr);
    for (int i = 0; i < STREAMS && !rc; i++)
        rc = cds_watch_add(loop, job->out[i].fd, EPOLLIN, on_stream, job, &job->out[i].watch, reterr);
    if (!rc && cds_timer_add(loop, cds_now_ms() + RUN_POLL_MS, on_clock, job, &job->clock))
        rc = cds_fail(reterr, CDS_EXHAUSTED, __func__, "Out of memory.");
    return rc;
}

static cds_rc start(struct cds_job *job, const struct cds_job_spec *spec, const struct run_command *command, struct cds_err *reterr)
{
    struct run_engine *engine = job->engine;
    CDS_CLEANUP(close_ends) struct ends ends = {-1, -1, -1, -1};
    CDS_CLEANUP(cds_close_fd) int go = -1;
    char link[64], project_path[RUN_PATH_MAX];
    snprintf(link, sizeof(link), "/proc/self/fd/%d", spec->project_fd);
    ssize_t len = readlink(link, project_path, sizeof(project_path) - 1);
    if (len <= 0)
        return cds_fail_errno(reterr, errno, __func__, "The project's folder cannot be found.");
    project_path[len] = '\0';
    cds_rc rc = make_ends(job, spec, &ends, reterr);
    if (rc || (rc = cds_cgroup_acquire(engine->cgroups, &spec->limits, &job->group, reterr)))
        return rc;
    const struct cds_jail_plan plan = {.who = &engine->who,
                                       .limits = &spec->limits,
                                       .cgroup = cds_cgroups_kind(engine->cgroups) != CDS_CGROUP_NONE,
                                       .big_address_space = command->big_address_space,
                                       .base = engine->root_dir,
                                       .project_fd = spec->project_fd,
                                       .project_path = project_path,
                                       .code_fd = ends.code,
                                       .code_name = command->code_name,
                                       .argv = command->argv,
                                       .stdin_fd = ends.in,
                                       .stdout_fd = ends.out,
                                       .stderr_fd = ends.err,
                                       .clone_cgroup_fd = cds_cgroup_clone_fd(job->group)};
    if ((rc = cds_jail_start(&plan, &job->pid, &job->pidfd, &job->report_fd, &go, reterr)))
        return rc;
    job->started_ms = cds_now_ms();
    job->deadline_ms = job->started_ms + spec->limits.wall_ms;
    if ((rc = cds_cgroup_attach(job->group, job->pid, reterr)) || (rc = watch_job(job, reterr)))
        return rc;
    return cds_jail_go(&engine->who, job->pid, &go, reterr);
}

static cds_rc run_exec(struct cds_engine *base, const struct cds_job_spec *spec, const struct cds_job_events *events, void *user,
                       struct cds_job **ret, struct cds_err *reterr)
{
    struct run_engine *engine = (struct run_engine *)base;
    struct run_command command;
    cds_rc rc = run_command(spec, &command, reterr);
    if (rc)
        return rc;
    if (engine->active >= engine->slots) {
        cds_fail(reterr, CDS_BUSY, __func__, "All %u places for runs are taken.", engine->slots);
        cds_err_hint(reterr, "Try again when a run has ended.");
        if (reterr)
            reterr->retry_after_ms = 1000;
        return CDS_BUSY;
    }
    struct cds_job *job = calloc(1, sizeof(*job));
    if (!job)
        return cds_fail(reterr, CDS_EXHAUSTED, __func__, "Out of memory.");
    *job = (struct cds_job){
        .engine = engine, .pidfd = -1, .report_fd = -1, .out = {{.fd = -1}, {.fd = -1}}, .limits = spec->limits, .events = *events, .user = user};
    if ((job->next = engine->jobs))
        job->next->prev = &job->next;
    job->prev = &engine->jobs;
    engine->jobs = job;
    engine->active++;
    if ((rc = start(job, spec, &command, reterr))) {
        if (job->pid > 0) {
            job_kill(job, CDS_END_ENGINE_FAILED);
            waitpid(job->pid, NULL, 0);
        }
        job_free(job);
        return rc;
    }
    *ret = job;
    return CDS_OK;
}

static void run_hold(struct cds_job *job, bool hold)
{
    job->held = hold;
    for (int i = 0; i < STREAMS; i++)
        if (job->out[i].watch && cds_watch_set(job->out[i].watch, hold ? 0 : EPOLLIN))
            close_stream(&job->out[i]);
}

static void run_stats(const struct cds_job *job, struct cds_job_stats *ret)
{
    struct cds_cgroup_usage used = {.cpu_us = 0};
    cds_cgroup_usage(job->group, &used);
    *ret = (struct cds_job_stats){.wall_ms = (uint32_t)(cds_now_ms() - job->started_ms),
                                  .cpu_ms = used.cpu_us == UINT64_MAX ? 0 : (uint32_t)(used.cpu_us / 1000),
                                  .peak_memory_bytes = used.peak_bytes,
                                  .stdout_bytes = job->out[0].bytes,
                                  .stderr_bytes = job->out[1].bytes,
                                  .dropped_bytes = job->dropped};
}

/* ---- probe: a jailed `sh` that says ok ---- */
struct probe {
    struct run_engine *engine;
    cds_probe_fn *done;
    void *user;
    uint64_t began_ms;
    char said[16];
    size_t len;
    int project_fd;
};

static void probe_output(void *user, int stream, const char *data, size_t len)
{
    struct probe *p = user;
    for (size_t i = 0; stream == 1 && i < len && p->len < sizeof(p->said) - 1; i++)
        p->said[p->len++] = data[i];
}

static void probe_end(void *user, const struct cds_job_result *r)
{
    struct probe *p = user;
    struct cds_engine_report report = {.name = "run",
                                       .boundary = "process",
                                       .limits = cds_cgroups_kind(p->engine->cgroups) == CDS_CGROUP_NONE ? "rlimit" : "cgroup",
                                       .took_ms = (uint32_t)(cds_now_ms() - p->began_ms)};
    report.works = r->end == CDS_END_OK && !strcmp(p->said, "ok\n");
    if (!report.works)
        snprintf(report.reason, sizeof(report.reason), "A jailed shell ended with %s. %s", cds_run_end_name(r->end), r->reason);
    else
        snprintf(report.reason, sizeof(report.reason), "%.250s", cds_cgroups_reason(p->engine->cgroups));
    p->done(p->user, &report);
    close(p->project_fd);
    free(p);
}

static cds_rc run_probe(struct cds_engine *base, cds_probe_fn *done, void *user, struct cds_err *reterr)
{
    static const struct cds_job_events events = {probe_output, probe_end};
    static const char code[] = "echo ok\n";
    struct run_engine *engine = (struct run_engine *)base;
    struct probe *p = calloc(1, sizeof(*p));
    if (!p)
        return cds_fail(reterr, CDS_EXHAUSTED, __func__, "Out of memory.");
    *p = (struct probe){.engine = engine, .done = done, .user = user, .began_ms = cds_now_ms()};
    p->project_fd = open(engine->empty_dir, O_PATH | O_DIRECTORY | O_CLOEXEC);
    const struct cds_job_spec spec = {.language = "sh",
                                      .code = code,
                                      .code_len = sizeof(code) - 1,
                                      .project_fd = p->project_fd,
                                      .limits = {5000, 5000, 64 << 20, 4096, 16, 4 << 20}};
    struct cds_job *job;
    cds_rc rc = run_exec(base, &spec, &events, p, &job, reterr);
    if (rc) {
        close(p->project_fd);
        free(p);
    }
    return rc;
}

static void run_release(struct cds_engine *base)
{
    struct run_engine *engine = (struct run_engine *)base;
    while (engine->jobs) {
        struct cds_job *job = engine->jobs;
        job_kill(job, CDS_END_CANCELLED);
        if (job->pid > 0)
            waitpid(job->pid, NULL, 0);
        job_free(job);
    }
    cds_cgroups_free(&engine->cgroups);
    free(engine);
}

cds_rc cds_run_engine_new(struct cds_loop *loop, const struct cds_run_settings *settings, struct cds_engine **ret, struct cds_err *reterr)
{
    static const struct cds_engine_ops ops = {"run", "jail", "process", run_probe, run_exec, run_hold, job_kill, run_stats, run_release};
    struct run_engine *engine = calloc(1, sizeof(*engine));
    if (!engine)
        return cds_fail(reterr, CDS_EXHAUSTED, __func__, "Out of memory.");
    engine->base.ops = &ops;
    engine->loop = loop;
    engine->slots = settings->slots;
    snprintf(engine->root_dir, sizeof(engine->root_dir), "%s/root", settings->base_dir);
    snprintf(engine->empty_dir, sizeof(engine->empty_dir), "%s/empty", settings->base_dir);
    cds_job_identity_find(settings->force_userns, &engine->who);
    cds_rc rc = cds_mkdir_p(engine->root_dir, 0755, reterr);
    if (rc || (rc = cds_mkdir_p(engine->empty_dir, 0755, reterr)) || (rc = cds_jail_open(reterr)) || (rc = cds_seccomp_compile(reterr)) ||
        (rc = cds_cgroups_open(settings->cgroup_key, settings->no_cgroup, &engine->cgroups, reterr))) {
        free(engine);
        return rc;
    }
    *ret = &engine->base;
    return CDS_OK;
}

const struct cds_job_identity *cds_run_engine_identity(const struct cds_engine *engine)
{
    return &((const struct run_engine *)engine)->who;
}

unsigned cds_run_engine_active(const struct cds_engine *engine)
{
    return ((const struct run_engine *)engine)->active;
}
