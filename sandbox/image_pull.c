/* sandbox/image_pull.c: see image_pull.h. */
#include "sandbox/image_pull.h"

#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/prctl.h>
#include <sys/resource.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>

#include "lib/base/cleanup.h"
#include "lib/base/clock.h"
#include "lib/base/fd.h"
#include "lib/base/str.h"
#include "sandbox/confine/cgroup_dir.h"
#include "sandbox/disk_watch.h"

enum { SAID_MAX = 2048, STEPS = 2, PATH_TEXT = 4200, FOLDER_TIMES = 4 };

struct image_pull {
    struct sandbox_host *host;
    struct image_pull_plan plan;
    char msb[600], reference[IMAGE_REFERENCE_MAX + 1], said[SAID_MAX + 1];
    size_t said_len;
    int step, pidfd, out_fd;
    pid_t pid;
    struct cds_watch *ended, *out;
    struct cds_timer *deadline;
    struct disk_watch *disk;
    struct cds_cgroup *group;
    bool late, cancelled, full;
    image_pull_fn *done;
    void *user;
};

cds_rc image_reference_check(const char *reference, struct cds_err *reterr)
{
    static const char allowed[] = "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789._-/:@";
    size_t len = reference ? strlen(reference) : 0;
    if (len && len <= IMAGE_REFERENCE_MAX && strspn(reference, allowed) == len && reference[0] != '-' && reference[0] != '.' && reference[0] != '/')
        return CDS_OK;
    cds_fail(reterr, CDS_BAD_PARAM, __func__,
             "An image of a registry is named like debian:12, ghcr.io/owner/name:tag or name@sha256:..., in at most %d bytes.", IMAGE_REFERENCE_MAX);
    cds_err_pointer(reterr, "/params/reference");
    return CDS_BAD_PARAM;
}

void image_pull_command(const struct image_pull_plan *plan, int step, const char *ret[static IMAGE_PULL_ARGS])
{
    const char *const fetch[] = {plan->msb, "pull", "--quiet", plan->reference, NULL};
    const char *const save[] = {plan->msb, "save", "--quiet", "--output", IMAGE_PULL_ARCHIVE, plan->reference, NULL};
    if (step == 0)
        memcpy(ret, fetch, sizeof(fetch));
    else
        memcpy(ret, save, sizeof(save));
}

/* ---- a process of msb ---- */
/* System calls only: the broker has threads. */
static _Noreturn void child(const struct image_pull *pull, const char *const *argv, const char *const *env, int out)
{
    const struct cds_job_identity *who = &pull->host->who;
    const struct rlimit file = {pull->plan.bytes_max, pull->plan.bytes_max}, core = {0, 0};
    sigset_t none;
    sigemptyset(&none);
    prctl(PR_SET_PDEATHSIG, SIGKILL, 0, 0, 0);
    sigprocmask(SIG_SETMASK, &none, NULL);
    setsid();
    const int group = cds_cgroup_clone_fd(pull->group);
    if (cds_cgroup_join(pull->group) || (group >= 0 && cds_cgroup_write(group, "cgroup.procs", "0")))
        _exit(126);
    int null = open("/dev/null", O_RDONLY);
    if (fchdir(pull->plan.work_fd) || dup2(null, 0) < 0 || dup2(out, 1) < 0 || dup2(out, 2) < 0)
        _exit(126);
    close_range(3, ~0U, 0);
    if (setrlimit(RLIMIT_FSIZE, &file) || setrlimit(RLIMIT_CORE, &core))
        _exit(126);
    if (who->change && (syscall(SYS_setgroups, 0, NULL) || syscall(SYS_setresgid, who->gid, who->gid, who->gid) ||
                        syscall(SYS_setresuid, who->uid, who->uid, who->uid)))
        _exit(126);
    prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0);
    prctl(PR_SET_PDEATHSIG, SIGKILL, 0, 0, 0); /* changing ids cleared it */
    execve(argv[0], (char *const *)argv, (char *const *)env);
    _exit(127);
}

static void kill_now(struct image_pull *pull)
{
    if (pull->group)
        cds_cgroup_kill(pull->group);
    if (pull->pid > 0) {
        kill(-pull->pid, SIGKILL);
        kill(pull->pid, SIGKILL);
    }
}

/* Nothing of the step lives on, also what is no child of ours. */
static void stop(struct image_pull *pull)
{
    cds_watch_remove(&pull->ended);
    cds_watch_remove(&pull->out);
    kill_now(pull);
    if (pull->pid > 0)
        waitpid(pull->pid, NULL, 0);
    pull->pid = 0;
    if (pull->group)
        cds_cgroup_release(pull->host->cgroups, &pull->group);
    cds_close_fd(&pull->pidfd);
    cds_close_fd(&pull->out_fd);
    pull->pidfd = pull->out_fd = -1;
}

void image_pull_free(struct image_pull **where)
{
    struct image_pull *pull = *where;
    *where = NULL;
    if (!pull)
        return;
    stop(pull);
    disk_watch_stop(&pull->disk);
    cds_timer_remove(&pull->deadline);
    free(pull);
}

static void on_out(void *user, int fd, uint32_t events)
{
    struct image_pull *pull = user;
    char piece[512];
    ssize_t n = read(fd, piece, sizeof(piece));
    for (ssize_t i = 0; i < n && pull->said_len < SAID_MAX; i++)
        pull->said[pull->said_len++] = piece[i] == '\n' || (piece[i] >= ' ' && piece[i] < 127) ? piece[i] : '?';
    if (n == 0 || (n < 0 && errno != EAGAIN && errno != EINTR))
        cds_watch_remove(&pull->out);
}

/* Its sentence of the error. */
static const char *words_of(struct image_pull *pull)
{
    pull->said[pull->said_len] = '\0';
    char *line = strstr(pull->said, "error:");
    line = line ? line + strlen("error:") + strspn(line + strlen("error:"), " ") : pull->said;
    line[strcspn(line, "\n")] = '\0';
    return line;
}

static void finish(struct image_pull *pull, int status)
{
    struct cds_err err = {0};
    bool good = WIFEXITED(status) && WEXITSTATUS(status) == 0;
    cds_rc rc = CDS_OK;
    if (pull->cancelled) {
        rc = cds_fail(&err, CDS_CANCELLED, "image_pull", "The call was cancelled; nothing was added.");
    } else if (pull->late) {
        rc = cds_fail(&err, CDS_TIMED_OUT, "image_pull", "The image was not fetched within %u s; nothing was added.", pull->plan.wall_ms / 1000);
        cds_err_hint(&err, "Try again: the registry may be slow. Option image.ms gives more time.");
    } else if (pull->full) {
        rc = cds_fail(&err, CDS_EXHAUSTED, "image_pull",
                      "The image was not fetched: the disk is nearly full, or it takes more than the %llu MiB it may.",
                      (unsigned long long)(FOLDER_TIMES * pull->plan.bytes_max >> 20));
        cds_err_rule(&err, "image.disk");
        cds_err_hint(&err, "Free some of the disk, take a smaller image, or let option image.bytes be larger.");
    } else if (!good) {
        char words[200];
        rc = cds_fail(&err, CDS_UNAVAILABLE, "image_pull", "msb could not %s the image: %s", pull->step == 0 ? "fetch" : "save",
                      cds_shorten(words, sizeof(words), words_of(pull)));
        cds_err_hint(&err, "Check the reference, and that this machine reaches the registry; or add a file that docker save wrote.");
    }
    image_pull_fn *done = pull->done;
    void *user = pull->user;
    image_pull_free(&pull);
    done(user, rc ? &err : NULL);
}

static cds_rc start_step(struct image_pull *pull, struct cds_err *reterr);

static void on_ended(void *user, int fd, uint32_t events)
{
    struct image_pull *pull = user;
    struct cds_err err;
    int status = -1;
    waitpid(pull->pid, &status, 0);
    pull->pid = 0;
    if (pull->out)
        on_out(pull, pull->out_fd, 0);
    bool good = WIFEXITED(status) && WEXITSTATUS(status) == 0 && !pull->cancelled && !pull->late && !pull->full;
    if (good && pull->step + 1 < STEPS) {
        stop(pull);
        pull->step++;
        if (!start_step(pull, &err))
            return;
        status = -1;
    }
    finish(pull, status);
}

static cds_rc start_step(struct image_pull *pull, struct cds_err *reterr)
{
    const struct cds_run_limits limits = {
        .wall_ms = pull->plan.wall_ms, .cpu_ms = pull->plan.wall_ms, .memory_bytes = IMAGE_PULL_MEMORY, .max_tasks = IMAGE_PULL_TASKS};
    char link[64], path[PATH_TEXT], home[PATH_TEXT + 16], msb_home[PATH_TEXT + 32];
    const char *const env[] = {"PATH=/usr/bin:/bin", "LANG=C.UTF-8", home, msb_home, NULL};
    const char *argv[IMAGE_PULL_ARGS];
    int p[2];
    snprintf(link, sizeof(link), "/proc/self/fd/%d", pull->plan.work_fd);
    cds_rc rc = cds_cgroup_acquire(pull->host->cgroups, &limits, &pull->group, reterr);
    if (rc)
        return rc;
    ssize_t n = readlink(link, path, sizeof(path) - 1);
    if (n <= 0 || pipe2(p, O_CLOEXEC))
        return cds_fail_errno(reterr, errno, __func__, "msb could not be started.");
    path[n] = '\0';
    snprintf(home, sizeof(home), "HOME=%s", path);
    snprintf(msb_home, sizeof(msb_home), "MSB_HOME=%s/msb", path);
    image_pull_command(&pull->plan, pull->step, argv);
    pull->said_len = 0;
    pull->pid = fork();
    if (pull->pid == 0)
        child(pull, argv, env, p[1]);
    int why = errno;
    close(p[1]);
    pull->out_fd = p[0];
    pull->pidfd = pull->pid > 0 ? (int)syscall(SYS_pidfd_open, pull->pid, 0) : -1;
    if (pull->pidfd < 0)
        return cds_fail_errno(reterr, why, __func__, "msb could not be started.");
    if ((rc = cds_set_nonblock(pull->out_fd, true)))
        return cds_fail_errno(reterr, errno, __func__, "msb could not be started.");
    if (!rc)
        rc = cds_watch_add(pull->host->loop, pull->pidfd, EPOLLIN, on_ended, pull, &pull->ended, reterr);
    return rc ? rc : cds_watch_add(pull->host->loop, pull->out_fd, EPOLLIN, on_out, pull, &pull->out, reterr);
}

static void on_full(void *user)
{
    struct image_pull *pull = user;
    pull->full = true;
    kill_now(pull);
}

static void on_deadline(void *user)
{
    struct image_pull *pull = user;
    pull->late = true;
    kill_now(pull);
}

void image_pull_cancel(struct image_pull *pull)
{
    pull->cancelled = true;
    kill_now(pull);
}

cds_rc image_pull_start(struct sandbox_host *host, const struct image_pull_plan *plan, image_pull_fn *done, void *user, struct image_pull **ret,
                        struct cds_err *reterr)
{
    struct image_pull *pull = calloc(1, sizeof(*pull));
    if (!pull)
        return cds_fail(reterr, CDS_EXHAUSTED, __func__, "Out of memory.");
    *pull = (struct image_pull){.host = host, .plan = *plan, .pidfd = -1, .out_fd = -1, .done = done, .user = user};
    cds_strcpy(pull->msb, sizeof(pull->msb), plan->msb);
    cds_strcpy(pull->reference, sizeof(pull->reference), plan->reference);
    pull->plan.msb = pull->msb;
    pull->plan.reference = pull->reference;
    cds_rc rc = cds_timer_add(host->loop, cds_now_ms() + plan->wall_ms, on_deadline, pull, &pull->deadline)
                    ? cds_fail(reterr, CDS_EXHAUSTED, __func__, "Out of memory.")
                    : start_step(pull, reterr);
    if (!rc)
        rc = disk_watch_start_limits(host->loop, plan->pool, &host->who, plan->work_fd, FOLDER_TIMES * plan->bytes_max, IMAGE_PULL_ENTRIES, on_full,
                                     pull, &pull->disk, reterr);
    if (rc)
        image_pull_free(&pull);
    else
        *ret = pull;
    return rc;
}
