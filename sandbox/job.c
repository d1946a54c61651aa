/* sandbox/job.c: one job from acquire to its end. See job.h. What goes into the jail is put together in job_start.c. */
#include "sandbox/job.h"

#include <errno.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>

#include "lib/base/cleanup.h"
#include "lib/base/clock.h"
#include "lib/log/log.h"
#include "sandbox/job_pool.h"
#include "sandbox/job_priv.h"

const char *cds_run_end_name(enum cds_run_end end)
{
    static const char *const names[CDS_END_COUNT] = {"ok",     "exit",  "signal", "cpu_time", "wall_time", "memory",
                                                     "output", "tasks", "disk",   "refused",  "cancelled", "engine_failed"};
    return (unsigned)end < CDS_END_COUNT ? names[end] : "?";
}

/* ---- end of a job ---- */
/* What only a job needs that is not over. */
static void let_go(struct jail_job *job)
{
    int *const fds[] = {&job->out[0].fd, &job->out[1].fd, &job->report_fd,       &job->said_fd, &job->order_fd,
                        &job->start_fd,  &job->stdin_fd,  &job->like.project_fd, &job->slave_fd};
    for (int i = 0; i < JOB_STREAMS; i++)
        cds_watch_remove(&job->out[i].watch);
    cds_watch_remove(&job->said);
    cds_timer_remove(&job->clock);
    for (size_t i = 0; i < CDS_ARRAY_LEN(fds); i++) {
        cds_close_fd(fds[i]);
        *fds[i] = -1;
    }
    job_doors_close(job);
    cds_buf_free(&job->input);
    if (job->counted) /* a terminal has a place of its own, see term.c; a jail that waits has none */
        sandbox_host_give(job_engine(job)->host);
    job->counted = false;
}

static void job_free(struct jail_job *job)
{
    struct jail_engine *engine = job_engine(job);
    let_go(job);
    cds_watch_remove(&job->ended);
    cds_close_fd(&job->pidfd);
    if (job->group)
        cds_cgroup_release(engine->host->cgroups, &job->group);
    *job->prev = job->next;
    if (job->next)
        job->next->prev = job->prev;
    if (job->over)
        engine->host->ending--;
    free(job);
}

void jail_job_kill(struct cds_job *base, enum cds_run_end reason)
{
    struct jail_job *job = (struct jail_job *)base;
    if (!job->killed) {
        job->killed = true;
        job->reason = reason;
    }
    if (job->group)
        cds_cgroup_kill(job->group);
    if (job->pid > 0)
        syscall(SYS_pidfd_send_signal, job->pidfd, SIGKILL, NULL, 0); /* pid 1 of its namespace: everything else dies with it */
}

void jail_job_release(struct cds_job *base)
{
    struct jail_job *job = (struct jail_job *)base;
    if (job->pid > 0) {
        jail_job_kill(base, CDS_END_ENGINE_FAILED);
        waitpid(job->pid, NULL, 0);
    }
    job_free(job);
}

void jail_jobs_end(struct jail_engine *engine)
{
    jail_pool_free(&engine->pool);
    for (struct jail_job *job = engine->jobs, *next; job; job = next) {
        next = job->next;
        jail_job_release(&job->base);
    }
}

/* ---- output ---- */
/* Passes output on up to the ceiling; the rest is counted. False at the end of the stream. */
static bool read_some(struct jail_job *job, int i)
{
    static char piece[JOB_PIECE]; /* loop thread only */
    struct job_stream *s = &job->out[i];
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

static void close_stream(struct job_stream *s)
{
    cds_watch_remove(&s->watch);
    cds_close_fd(&s->fd);
    s->fd = -1;
}

void job_on_stream(void *user, int fd, uint32_t events)
{
    struct jail_job *job = user;
    int i = job->out[0].fd == fd ? 0 : 1;
    if ((events & EPOLLOUT) && !job_terminal_flush(job))
        close_stream(&job->out[i]);
    else if ((events & ~(uint32_t)EPOLLOUT) && !read_some(job, i))
        close_stream(&job->out[i]);
}

/* Everything of the job is dead: what is in the pipes is all there will be. */
static void drain(struct jail_job *job)
{
    for (int i = 0; i < JOB_STREAMS; i++) {
        uint64_t before;
        do
            before = job->out[i].bytes;
        while (job->out[i].fd >= 0 && read_some(job, i) && job->out[i].bytes != before);
        close_stream(&job->out[i]);
    }
}

void jail_job_hold(struct cds_job *base, bool hold)
{
    struct jail_job *job = (struct jail_job *)base;
    job->held = hold;
    if (job->terminal) {
        if (job->out[0].watch && !job_terminal_flush(job))
            close_stream(&job->out[0]);
        return;
    }
    for (int i = 0; i < JOB_STREAMS; i++)
        if (job->out[i].watch && cds_watch_set(job->out[i].watch, hold ? 0 : EPOLLIN))
            close_stream(&job->out[i]);
}

/* ---- verdict ---- */
/* SIGXCPU comes from the soft limit, SIGKILL from the hard one when the program ignored it. */
static bool cpu_is_used_up(const struct jail_job *job, const struct cds_job_result *r)
{
    return r->signo == SIGXCPU || (r->signo == SIGKILL && r->cpu_ms >= job->limits.cpu_ms);
}

static void judge_status(const struct jail_job *job, const struct cds_cgroup_usage *used, int status, struct cds_job_result *r)
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

/* What the program itself reported; only the engine knows its language. */
static void refine(const struct jail_job *job, struct cds_job_result *r)
{
    char said[JAIL_SAID_MAX];
    struct jail_engine *engine = job_engine(job);
    if (job->said_fd < 0 || !engine->hooks->verdict || job->killed || r->end == CDS_END_ENGINE_FAILED)
        return;
    ssize_t n = read(job->said_fd, said, sizeof(said));
    engine->hooks->verdict(engine, said, n > 0 ? (size_t)n : 0, r);
}

static void judge_report(struct jail_job *job, const struct cds_cgroup_usage *used, struct cds_job_result *r)
{
    if (job->killed) {
        r->end = job->reason;
    } else if (job->report.kind == CDS_REPORT_ENDED) {
        judge_status(job, used, job->report.status, r);
    } else if (job->report.kind == CDS_REPORT_FAILED) {
        r->end = CDS_END_ENGINE_FAILED;
        snprintf(r->reason, sizeof(r->reason), "The step \"%s\" was refused: %s. The program was not started.",
                 cds_jail_step_name((enum cds_jail_step)job->report.step), strerror(job->report.sys_errno));
    } else if (used->oom_kills) {
        r->end = CDS_END_MEMORY; /* the kernel took the whole group, init included */
    } else {
        r->end = CDS_END_ENGINE_FAILED;
        snprintf(r->reason, sizeof(r->reason), "The job's init ended without a word.");
    }
}

/* The first word counts: after a step that failed, init says in what way its child ended. */
static void read_report(struct jail_job *job)
{
    struct cds_jail_report report;
    if (!job->report.kind && job->report_fd >= 0 && read(job->report_fd, &report, sizeof(report)) == (ssize_t)sizeof(report))
        job->report = report;
}

/* Init is dead. What the kernel counted stands in for what init did not say. */
static void reap(struct jail_job *job)
{
    siginfo_t info = {.si_pid = 0};
    struct rusage use = {.ru_maxrss = 0};
    syscall(SYS_waitid, P_PIDFD, job->pidfd, &info, WEXITED, &use);
    job->pid = 0;
    read_report(job);
    if (job->report.kind == CDS_REPORT_ENDED)
        return;
    job->report.cpu_us = (uint64_t)(use.ru_utime.tv_sec + use.ru_stime.tv_sec) * 1000000 + (uint64_t)(use.ru_utime.tv_usec + use.ru_stime.tv_usec);
    job->report.peak_bytes = (uint64_t)use.ru_maxrss * 1024;
}

static void judge(struct jail_job *job, struct cds_job_result *r)
{
    struct cds_cgroup_usage used = {.cpu_us = UINT64_MAX};
    const struct jail_engine *engine = job_engine(job);
    cds_cgroup_usage(job->group, &used);
    *r = (struct cds_job_result){.exit_code = -1,
                                 .wall_ms = (uint32_t)(cds_now_ms() - job->started_ms),
                                 .peak_memory_bytes = used.peak_bytes ? used.peak_bytes : job->report.peak_bytes,
                                 .enforced_by = sandbox_host_limits(engine->host),
                                 .backend = engine->hooks->backend,
                                 .boundary = engine->hooks->boundary,
                                 .origin = job->origin,
                                 .phases = job->phases};
    uint64_t cpu_us = job->report.cpu_us;
    /* rusage has only those that were waited for; and a control group begins to count with the order of a jail that was ready. */
    bool counted = cds_cgroups_kind(engine->host->cgroups) != CDS_CGROUP_NONE;
    if (used.cpu_us != UINT64_MAX && (counted || used.cpu_us > cpu_us))
        cpu_us = used.cpu_us;
    r->cpu_ms = (uint32_t)(cpu_us / 1000);
    judge_report(job, &used, r);
    refine(job, r);
}

/* A jail of the pool that ended before its order came. */
static void lost(struct jail_job *job)
{
    struct cds_job_result result;
    judge(job, &result);
    cds_log(CDS_LOG_WARN, "a ready jail ended by itself", CDS_LS("end", cds_run_end_name(result.end)), CDS_LS("error", result.reason));
    jail_pool_lost(job_engine(job)->pool, job);
    job_free(job);
}

/* Nothing of the job lives any more but, perhaps, its init on its way out. */
static void finish(struct jail_job *job)
{
    struct cds_job_result result;
    uint64_t seen_ns = cds_now_ns();
    job->phases.run_us = (seen_ns - job->went_ns) / 1000;
    judge(job, &result);
    drain(job);
    result.stdout_bytes = job->out[0].bytes;
    result.stderr_bytes = job->out[1].bytes;
    result.dropped_bytes = job->dropped;
    struct cds_job_events on = job->events;
    void *to = job->user;
    if (result.end != CDS_END_ENGINE_FAILED && job->like.project_fd >= 0)
        jail_pool_expect(job_engine(job)->pool, &job->like);
    if (job->pid > 0) {
        let_go(job);
        job->over = true;
        job_engine(job)->host->ending++;
    } else {
        job_free(job);
    }
    result.phases.teardown_us = (cds_now_ns() - seen_ns) / 1000;
    on.on_end(to, &result);
}

void job_on_report(void *user, int fd, uint32_t events)
{
    struct jail_job *job = user;
    read_report(job);
    cds_watch_remove(&job->said); /* what else there may be to it is told by init's end */
    /* Too many boxes that do not come to their end would be a pile of kernel work: then a job waits for its own. */
    if (job->report.kind == CDS_REPORT_ENDED && !job->killed && !job->waits && job_engine(job)->host->ending < JOB_ENDING_MAX)
        finish(job);
}

void job_on_ended(void *user, int fd, uint32_t events)
{
    struct jail_job *job = user;
    reap(job);
    if (job->over)
        job_free(job);
    else if (job->waits)
        lost(job);
    else
        finish(job);
}

/* ---- clocks ---- */
void job_on_clock(void *user)
{
    struct jail_job *job = user;
    uint64_t now = cds_now_ms();
    struct cds_cgroup_usage used = {.cpu_us = UINT64_MAX};
    cds_cgroup_usage(job->group, &used);
    if (now >= job->deadline_ms)
        jail_job_kill(&job->base, CDS_END_WALL_TIME);
    else if (used.cpu_us != UINT64_MAX && used.cpu_us / 1000 >= job->limits.cpu_ms)
        jail_job_kill(&job->base, CDS_END_CPU_TIME);
    else if (used.memory_over || used.tasks_over)
        jail_job_kill(&job->base, used.tasks_over ? CDS_END_TASKS : CDS_END_MEMORY); /* too many tasks use much memory, too */
    uint64_t next = now + job_poll_ms(job);
    cds_timer_set(job->clock, next < job->deadline_ms || job->killed ? next : job->deadline_ms);
}

void jail_job_stats(const struct cds_job *base, struct cds_job_stats *ret)
{
    const struct jail_job *job = (const struct jail_job *)base;
    struct cds_cgroup_usage used = {.cpu_us = 0};
    cds_cgroup_usage(job->group, &used);
    *ret = (struct cds_job_stats){.wall_ms = (uint32_t)(cds_now_ms() - job->started_ms),
                                  .cpu_ms = used.cpu_us == UINT64_MAX ? 0 : (uint32_t)(used.cpu_us / 1000),
                                  .peak_memory_bytes = used.peak_bytes,
                                  .stdout_bytes = job->out[0].bytes,
                                  .stderr_bytes = job->out[1].bytes,
                                  .dropped_bytes = job->dropped,
                                  .in_front = job_terminal_in_front(job)};
}
