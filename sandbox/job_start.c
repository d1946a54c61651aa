/* sandbox/job_start.c: from a specification to a running jail. See job.h. */
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

#include "lib/base/cleanup.h"
#include "lib/base/clock.h"
#include "lib/base/fd.h"
#include "lib/base/str.h"
#include "sandbox/confine/order.h"
#include "sandbox/job_pool.h"
#include "sandbox/job_priv.h"

/* Above the standard numbers, so that the child's dup2 cannot hit its own sources. */
static int lift(int fd)
{
    int high = fd < 0 ? -1 : fcntl(fd, F_DUPFD_CLOEXEC, CDS_JAIL_FD_LOWEST);
    if (fd >= 0)
        close(fd);
    return high;
}

static int write_all(int fd, const char *data, size_t len)
{
    while (len) {
        ssize_t n = write(fd, data, len);
        if (n <= 0)
            return -1;
        data += n;
        len -= (size_t)n;
    }
    return 0;
}

/* A file in memory: ours to write, and a description of its own that can only read. */
static int memory_pair(int *ret_ours, int *ret_theirs)
{
    char path[64];
    *ret_ours = memfd_create("input", MFD_CLOEXEC);
    snprintf(path, sizeof(path), "/proc/self/fd/%d", *ret_ours);
    *ret_theirs = *ret_ours < 0 ? -1 : lift(open(path, O_RDONLY | O_CLOEXEC));
    return *ret_theirs < 0 ? -1 : 0;
}

/* A copy in memory. */
static int memory_file(const char *data, size_t len)
{
    CDS_CLEANUP(cds_close_fd) int ours = -1;
    int theirs = -1;
    if (!memory_pair(&ours, &theirs) && !write_all(ours, data, len))
        return theirs;
    cds_close_fd(&theirs);
    return -1;
}

struct ends {
    int in, out, err, said, order, start; /* the child's ends */
    char terminal[TERMINAL_NAME_MAX];
};

static void close_ends(struct ends *e)
{
    cds_close_fd(&e->in);
    cds_close_fd(&e->out);
    cds_close_fd(&e->err);
    cds_close_fd(&e->said);
    cds_close_fd(&e->order);
    cds_close_fd(&e->start);
}

static cds_rc make_pipe(int *ret_ours, int *ret_theirs, struct cds_err *reterr)
{
    int p[2];
    if (pipe2(p, O_CLOEXEC))
        return cds_fail_errno(reterr, errno, __func__, "No pipe for a run.");
    *ret_ours = p[0];
    *ret_theirs = lift(p[1]);
    if (cds_set_nonblock(p[0], true) || *ret_theirs < 0)
        return cds_fail_errno(reterr, errno, __func__, "No pipe for a run.");
    return CDS_OK;
}

/* The three of a job with a terminal are the terminal. */
static cds_rc make_terminal_ends(struct jail_job *job, const struct cds_job_spec *spec, struct ends *ret, struct cds_err *reterr)
{
    cds_rc rc = job_terminal_open(job, spec, ret->terminal, reterr);
    if (rc)
        return rc;
    int *const three[] = {&ret->in, &ret->out, &ret->err};
    for (size_t i = 0; i < CDS_ARRAY_LEN(three); i++)
        if ((*three[i] = fcntl(job->slave_fd, F_DUPFD_CLOEXEC, CDS_JAIL_FD_LOWEST)) < 0)
            return cds_fail_errno(reterr, errno, __func__, "No descriptors for a terminal.");
    return CDS_OK;
}

static cds_rc make_ends(struct jail_job *job, const struct cds_job_spec *spec, bool reports, struct ends *ret, struct cds_err *reterr)
{
    *ret = (struct ends){-1, -1, -1, -1, -1, -1, ""};
    if (job->terminal)
        return make_terminal_ends(job, spec, ret, reterr);
    ret->in = spec->stdin_data ? memory_file(spec->stdin_data, spec->stdin_len) : lift(open("/dev/null", O_RDONLY | O_CLOEXEC));
    if (ret->in < 0)
        return cds_fail_errno(reterr, errno, __func__, "No room for the input of a run.");
    cds_rc rc = make_pipe(&job->out[0].fd, &ret->out, reterr);
    if (!rc)
        rc = make_pipe(&job->out[1].fd, &ret->err, reterr);
    return rc || !reports ? rc : make_pipe(&job->said_fd, &ret->said, reterr);
}

static cds_rc watch_job(struct jail_job *job, struct cds_err *reterr)
{
    struct cds_loop *loop = job_engine(job)->host->loop;
    cds_rc rc = cds_watch_add(loop, job->pidfd, EPOLLIN, job_on_ended, job, &job->ended, reterr);
    if (!rc)
        rc = cds_watch_add(loop, job->report_fd, EPOLLIN, job_on_report, job, &job->said, reterr);
    for (int i = 0; i < JOB_STREAMS && !rc && job->out[i].fd >= 0; i++)
        rc = cds_watch_add(loop, job->out[i].fd, EPOLLIN, job_on_stream, job, &job->out[i].watch, reterr);
    if (!rc && cds_timer_add(loop, job->waits ? UINT64_MAX : cds_now_ms() + job_poll_ms(job), job_on_clock, job, &job->clock))
        rc = cds_fail(reterr, CDS_EXHAUSTED, __func__, "Out of memory.");
    return rc;
}

#define PROXY "http://127.0.0.1:3128" /* CDS_DOORS_EGRESS_PORT */

/* Those that the caller has not set otherwise. */
static size_t add_env(const struct cds_job_spec *spec, const char *const *some, size_t count, const char **env, size_t n)
{
    for (size_t i = 0; i < count; i++) {
        size_t name_len = strcspn(some[i], "=") + 1;
        bool given = false;
        for (size_t k = 0; k < spec->env_count; k++)
            given = given || !strncmp(spec->env[k], some[i], name_len);
        if (!given)
            env[n++] = some[i];
    }
    return n;
}

size_t jail_job_env(const struct cds_job_spec *spec, const char *env[static JAIL_ENV_MAX + 16])
{
    static const char *const own[] = {"PATH=/usr/local/bin:/usr/bin:/bin", "HOME=/work", "TMPDIR=/tmp", "LANG=C.UTF-8", "PYTHONUTF8=1",
                                      "PYTHONDONTWRITEBYTECODE=1",         "USER=job",   "TERM=dumb"};
    /* As programs look for it; node since 24 by the last one. There is nothing else to reach, so a program that does not look is refused. */
    static const char *const proxy[] = {"http_proxy=" PROXY,   "https_proxy=" PROXY,           "HTTP_PROXY=" PROXY,
                                        "HTTPS_PROXY=" PROXY,  "no_proxy=localhost,127.0.0.1", "NO_PROXY=localhost,127.0.0.1",
                                        "NODE_USE_ENV_PROXY=1"};
    size_t n = add_env(spec, own, CDS_ARRAY_LEN(own), env, 0);
    if (spec->network)
        n = add_env(spec, proxy, CDS_ARRAY_LEN(proxy), env, n);
    for (size_t k = 0; k < spec->env_count; k++)
        env[n++] = spec->env[k];
    env[n] = NULL;
    return n;
}

static size_t make_files(const struct cds_job_spec *spec, const struct jail_command *command, struct cds_job_file files[static JAIL_FILES_MAX + 1])
{
    size_t n = 0;
    if (spec->code && command->code_name)
        files[n++] = (struct cds_job_file){command->code_name, spec->code, spec->code_len};
    for (size_t i = 0; i < spec->file_count; i++)
        files[n++] = spec->files[i];
    return n;
}

/* The ends of a jail that waits. What it will read on standard input is not known yet either: a memory file that is filled later. */
static cds_rc make_order_ends(struct jail_job *job, struct ends *ret, struct cds_err *reterr)
{
    int p[2];
    cds_close_fd(&ret->in);
    if (memory_pair(&job->stdin_fd, &ret->in) || memory_pair(&job->order_fd, &ret->order) || pipe2(p, O_CLOEXEC))
        return cds_fail_errno(reterr, errno, __func__, "No room for the order of a run.");
    job->start_fd = lift(p[1]);
    ret->start = lift(p[0]);
    return job->start_fd < 0 || ret->start < 0 ? cds_fail_errno(reterr, errno, __func__, "No pipe for the order of a run.") : CDS_OK;
}

static cds_rc start(struct jail_job *job, const struct cds_job_spec *spec, const struct jail_command *command, struct cds_err *reterr)
{
    const struct sandbox_host *host = job_engine(job)->host;
    CDS_CLEANUP(close_ends) struct ends ends = {-1, -1, -1, -1, -1, -1, ""};
    CDS_CLEANUP(cds_close_fd) int go = -1, doors_fd = -1;
    char link[64], project_path[JAIL_PATH_MAX];
    const char *env[JAIL_ENV_MAX + 16];
    struct cds_job_file files[JAIL_FILES_MAX + 1];
    snprintf(link, sizeof(link), "/proc/self/fd/%d", spec->project_fd);
    ssize_t len = readlink(link, project_path, sizeof(project_path) - 1);
    if (len <= 0)
        return cds_fail_errno(reterr, errno, __func__, "The project's folder cannot be found.");
    project_path[len] = '\0';
    jail_job_env(spec, env);
    cds_rc rc = make_ends(job, spec, command->reports, &ends, reterr);
    if (rc || (job->waits && (rc = make_order_ends(job, &ends, reterr))))
        return rc;
    if (job_engine(job)->hooks->doors && (rc = job_doors_open(job, &doors_fd, reterr)))
        return rc;
    const struct cds_doors_plan doors = {.fd = doors_fd, .egress = spec->network != NULL};
    bool given = command->gives && !job->waits, preloaded = job->waits && command->preload;
    if (given && ((ends.order = fcntl(command->give_fds[0], F_DUPFD_CLOEXEC, CDS_JAIL_FD_LOWEST)) < 0 ||
                  (ends.start = fcntl(command->give_fds[1], F_DUPFD_CLOEXEC, CDS_JAIL_FD_LOWEST)) < 0))
        return cds_fail_errno(reterr, errno, __func__, "No descriptor for a run.");
    const struct cds_jail_plan plan = {.who = &host->who,
                                       .limits = &spec->limits,
                                       .group = job->group,
                                       .cgroup = cds_cgroups_kind(host->cgroups) != CDS_CGROUP_NONE,
                                       .file_bytes = command->file_bytes,
                                       .big_address_space = command->big_address_space,
                                       .base = host->root_dir,
                                       .project_fd = spec->project_fd,
                                       .project_path = project_path,
                                       .access = spec->access,
                                       .binds = command->binds,
                                       .bind_count = command->bind_count,
                                       .files = files,
                                       .file_count = job->waits ? 0 : make_files(spec, command, files),
                                       .argv = preloaded ? command->preload_argv : command->argv,
                                       .env = command->env ? command->env : env,
                                       .stdin_fd = ends.in,
                                       .stdout_fd = ends.out,
                                       .stderr_fd = ends.err,
                                       .terminal = job->terminal ? ends.terminal : NULL,
                                       .said_fd = ends.said,
                                       .order_fd = ends.order,
                                       .start_fd = ends.start,
                                       .preloaded = preloaded || given,
                                       .clone_cgroup_fd = cds_cgroup_clone_fd(job->group),
                                       .doors = doors_fd >= 0 ? &doors : NULL};
    if ((rc = cds_jail_start(&plan, &job->pid, &job->pidfd, &job->report_fd, &go, reterr)))
        return rc;
    job->started_ms = cds_now_ms();
    job->deadline_ms = job->started_ms + spec->limits.wall_ms;
    if ((rc = cds_cgroup_watch(job->group, job->pid, reterr)) || (rc = watch_job(job, reterr)))
        return rc;
    return cds_jail_go(&host->who, job->pid, &go, reterr);
}

/* Tells a jail that waits what to run. Its clock starts now. */
static cds_rc give_order(struct jail_job *job, const struct cds_job_spec *spec, const struct jail_command *command, struct cds_err *reterr)
{
    CDS_CLEANUP(cds_buf_free) struct cds_buf order = cds_buf_init(CDS_ORDER_MAX);
    const char *env[JAIL_ENV_MAX + 16];
    struct cds_job_file files[JAIL_FILES_MAX + 1];
    size_t file_count = make_files(spec, command, files);
    jail_job_env(spec, env);
    /* The interpreter is there: it needs the program and its arguments only. */
    const char *const *argv = command->preload ? command->argv + command->program_at : command->argv;
    cds_rc rc = command->order ? CDS_OK : cds_order_write(&order, argv, env, files, file_count, reterr);
    if (rc)
        return rc;
    const struct cds_buf *what = command->order ? command->order : &order;
    if (write_all(job->order_fd, what->data, what->len) || (spec->stdin_data && write_all(job->stdin_fd, spec->stdin_data, spec->stdin_len)))
        return cds_fail_errno(reterr, errno, __func__, "No room for the input of a run.");
    job->waits = false;
    job->started_ms = cds_now_ms();
    job->deadline_ms = job->started_ms + spec->limits.wall_ms;
    cds_cgroup_mark(job->group);
    cds_timer_set(job->clock, job->started_ms + JOB_POLL_MS);
    if (write(job->start_fd, "s", 1) != 1)
        return cds_fail_errno(reterr, errno, __func__, "A jail that was ready has ended.");
    cds_close_fd(&job->order_fd);
    cds_close_fd(&job->start_fd);
    cds_close_fd(&job->stdin_fd);
    job->order_fd = job->start_fd = job->stdin_fd = -1;
    return CDS_OK;
}

static cds_rc check(const struct cds_job_spec *spec, struct cds_err *reterr)
{
    if (spec->arg_count > JAIL_ARGS_MAX)
        return cds_fail(reterr, CDS_BAD_PARAM, __func__, "A program gets at most %d arguments.", JAIL_ARGS_MAX);
    if (spec->env_count > JAIL_ENV_MAX)
        return cds_fail(reterr, CDS_BAD_PARAM, __func__, "A program gets at most %d variables.", JAIL_ENV_MAX);
    if (spec->file_count >= JAIL_FILES_MAX)
        return cds_fail(reterr, CDS_BAD_PARAM, __func__, "A program gets at most %d files.", JAIL_FILES_MAX - 1);
    if (!spec->rows != !spec->cols || spec->rows > CDS_TERMINAL_SIDE_MAX || spec->cols > CDS_TERMINAL_SIDE_MAX)
        return cds_fail(reterr, CDS_BAD_PARAM, __func__, "A terminal has 1 to %d rows and columns.", CDS_TERMINAL_SIDE_MAX);
    return CDS_OK;
}

static cds_rc new_job(struct jail_engine *engine, const struct cds_run_limits *limits, struct jail_job **ret, struct cds_err *reterr)
{
    struct cds_cgroup *group = NULL;
    struct jail_job *job = calloc(1, sizeof(*job));
    if (!job)
        return cds_fail(reterr, CDS_EXHAUSTED, __func__, "Out of memory.");
    cds_rc rc = cds_cgroup_acquire(engine->host->cgroups, limits, &group, reterr);
    if (rc) {
        free(job);
        return rc;
    }
    *job = (struct jail_job){.base = {&engine->base},
                             .group = group,
                             .pidfd = -1,
                             .report_fd = -1,
                             .said_fd = -1,
                             .order_fd = -1,
                             .start_fd = -1,
                             .stdin_fd = -1,
                             .slave_fd = -1,
                             .doors_fd = -1,
                             .input = cds_buf_init(JOB_INPUT_MAX),
                             .out = {{.fd = -1}, {.fd = -1}},
                             .limits = *limits,
                             .like = {.project_fd = -1},
                             .origin = "cold"};
    if ((job->next = engine->jobs))
        job->next->prev = &job->next;
    job->prev = &engine->jobs;
    engine->jobs = job;
    cds_doors_init(&job->doors);
    *ret = job;
    return CDS_OK;
}

cds_rc jail_job_wait_for_order(struct jail_engine *engine, const struct cds_job_spec *spec, struct jail_job **ret, struct cds_err *reterr)
{
    struct jail_command command = {.code_name = NULL};
    struct cds_job_spec any = *spec;
    any.code = ""; /* some program: which one, the order tells */
    cds_rc rc = new_job(engine, &spec->limits, ret, reterr);
    if (rc)
        return rc;
    (*ret)->waits = true;
    (*ret)->origin = "pool";
    rc = engine->hooks->command(engine, &any, &command, reterr);
    if (!rc)
        rc = start(*ret, &any, &command, reterr);
    if (rc)
        jail_job_release(&(*ret)->base);
    return rc;
}

cds_rc jail_job_acquire(struct cds_engine *base, const struct cds_job_spec *spec, struct cds_job **ret, struct cds_err *reterr)
{
    struct jail_engine *engine = (struct jail_engine *)base;
    uint64_t began_ns = cds_now_ns();
    const bool terminal = spec->rows > 0;
    cds_rc rc = terminal ? CDS_OK : sandbox_host_take(engine->host, reterr);
    if (rc)
        return rc;
    struct jail_job *job = terminal ? NULL : jail_pool_take(engine->pool, spec);
    if (!job)
        rc = new_job(engine, &spec->limits, &job, reterr);
    if (rc || !job) {
        if (!terminal)
            sandbox_host_give(engine->host);
        return rc;
    }
    job->terminal = terminal;
    job->counted = !terminal;
    job->phases.acquire_us = (cds_now_ns() - began_ns) / 1000;
    *ret = &job->base;
    return CDS_OK;
}

/* So that the next run of this kind finds a jail ready. */
static void remember(struct jail_job *job, const struct cds_job_spec *spec)
{
    if (!job_engine(job)->pool || !spec->language || strlen(spec->language) >= sizeof(job->language))
        return;
    cds_strcpy(job->language, sizeof(job->language), spec->language);
    job->like = (struct cds_job_spec){
        .language = job->language, .access = spec->access, .network = spec->network ? &job_any_network : NULL, .limits = spec->limits};
    job->like.project_fd = fcntl(spec->project_fd, F_DUPFD_CLOEXEC, CDS_JAIL_FD_LOWEST);
}

cds_rc jail_job_exec(struct cds_job *base, const struct cds_job_spec *spec, const struct cds_job_events *events, void *user, struct cds_err *reterr)
{
    struct jail_job *job = (struct jail_job *)base;
    struct jail_engine *engine = job_engine(job);
    struct jail_command command = {.code_name = NULL};
    uint64_t began_ns = cds_now_ns();
    job->events = *events;
    job->user = user;
    cds_rc rc = check(spec, reterr);
    if (!rc)
        rc = engine->hooks->command(engine, spec, &command, reterr);
    if (!rc)
        rc = job_doors_rules(job, spec->network, reterr);
    if (!rc)
        rc = job->waits ? give_order(job, spec, &command, reterr) : start(job, spec, &command, reterr);
    if (rc) {
        jail_job_release(base);
        return rc;
    }
    remember(job, spec);
    job->went_ns = cds_now_ns();
    job->phases.start_us = (job->went_ns - began_ns) / 1000;
    return CDS_OK;
}
