#include "apps/llmserver/helper.h"

#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>

#include "lib/base/fd.h"
#include "lib/log/log.h"

struct cds_helper {
    const struct cds_helper_ops *ops;
    void *user;
    pid_t pid;
    int pidfd, out;
    struct cds_watch *exit_watch, *out_watch;
    struct cds_timer *deadline;
    struct cds_buf line;
};

/** Between fork and exec: system calls only. */
static void become(int out, const char *program, char *const argv[])
{
    char lang[] = "LANG=C.UTF-8", *const envp[] = {lang, NULL};
    sigset_t none;
    sigemptyset(&none);
    sigprocmask(SIG_SETMASK, &none, NULL);
    int null = open("/dev/null", O_RDONLY);
    if (null >= 0)
        dup2(null, STDIN_FILENO);
    dup2(out, STDOUT_FILENO);
    syscall(SYS_close_range, STDERR_FILENO + 1, ~0U, 0);
    execve(program, argv, envp);
    _exit(127);
}

static void release(struct cds_helper *helper)
{
    cds_watch_remove(&helper->exit_watch);
    cds_watch_remove(&helper->out_watch);
    cds_timer_remove(&helper->deadline);
    if (helper->pidfd >= 0)
        close(helper->pidfd);
    if (helper->out >= 0)
        close(helper->out);
    cds_buf_free(&helper->line);
    free(helper);
}

/** Gives every whole line on; what is no JSON ends the helper. */
static void give_lines(struct cds_helper *helper)
{
    char *end;
    while (helper->line.len && (end = memchr(helper->line.data, '\n', helper->line.len))) {
        CDS_JSON_AUTO value = NULL;
        if (cds_json_parse(helper->line.data, (size_t)(end - helper->line.data), &value, NULL) == CDS_OK) {
            helper->ops->on_line(helper->user, value);
        } else {
            cds_log(CDS_LOG_ERROR, "a helper said what is no JSON and is ended", CDS_LI("pid", helper->pid));
            kill(helper->pid, SIGKILL);
        }
        cds_buf_consume(&helper->line, (size_t)(end - helper->line.data) + 1);
    }
}

/** @return false: there will be no more */
static bool read_some(struct cds_helper *helper)
{
    char *room = cds_buf_reserve(&helper->line, 4096);
    ssize_t n = room ? read(helper->out, room, 4096) : -1;
    if (!room) {
        errno = 0;
        cds_log(CDS_LOG_ERROR, "a helper says too long a line and is ended", CDS_LI("pid", helper->pid));
        kill(helper->pid, SIGKILL);
        return false;
    }
    if (n < 0)
        return errno == EINTR;
    if (n == 0) {
        errno = 0;
        return false;
    }
    cds_buf_commit(&helper->line, (size_t)n);
    give_lines(helper);
    return true;
}

static void on_out(void *user, int fd, uint32_t events)
{
    struct cds_helper *helper = user;
    bool more = read_some(helper);
    if (!more && errno != EAGAIN)
        cds_watch_remove(&helper->out_watch);
}

static void on_pidfd(void *user, int fd, uint32_t events)
{
    struct cds_helper *helper = user;
    int status = 0;
    if (waitpid(helper->pid, &status, WNOHANG) == 0)
        return;
    while (read_some(helper)) {
    }
    helper->ops->on_exit(helper->user, WIFSIGNALED(status) ? 128 + WTERMSIG(status) : WEXITSTATUS(status));
    release(helper);
}

static void on_deadline(void *user)
{
    struct cds_helper *helper = user;
    cds_log(CDS_LOG_WARN, "a helper took too long and is ended", CDS_LI("pid", helper->pid));
    kill(helper->pid, SIGKILL);
}

cds_rc cds_helper_start(struct cds_loop *loop, const char *const *argv, uint64_t deadline_ms, const struct cds_helper_ops *ops, void *user,
                        struct cds_helper **ret, struct cds_err *reterr)
{
    int pair[2];
    char *args[CDS_HELPER_ARGS_MAX + 1] = {0};
    for (size_t i = 0; argv[i] && i < CDS_HELPER_ARGS_MAX; i++)
        args[i] = (char *)(uintptr_t)argv[i]; /* execve does not write to them */
    if (!argv[0])
        return cds_fail(reterr, CDS_INTERNAL, __func__, "A helper process has no program.");
    struct cds_helper *helper = calloc(1, sizeof(*helper));
    if (!helper)
        return cds_fail(reterr, CDS_EXHAUSTED, __func__, "There is not enough memory.");
    if (pipe2(pair, O_CLOEXEC) != 0) {
        free(helper);
        return cds_fail_errno(reterr, errno, __func__, "No pipe could be made.");
    }
    *helper = (struct cds_helper){.ops = ops, .user = user, .pidfd = -1, .out = pair[0], .line = cds_buf_init(CDS_HELPER_LINE_MAX)};
    helper->pid = fork();
    if (helper->pid == 0)
        become(pair[1], argv[0], args);
    close(pair[1]);
    cds_rc rc = helper->pid < 0 ? cds_fail_errno(reterr, errno, __func__, "A helper process could not be started.") : cds_set_nonblock(pair[0], true);
    if (rc == CDS_OK && (helper->pidfd = (int)syscall(SYS_pidfd_open, helper->pid, 0)) < 0)
        rc = cds_fail_errno(reterr, errno, __func__, "A helper process cannot be watched.");
    if (rc == CDS_OK)
        rc = cds_watch_add(loop, helper->pidfd, EPOLLIN, on_pidfd, helper, &helper->exit_watch, reterr);
    if (rc == CDS_OK)
        rc = cds_watch_add(loop, helper->out, EPOLLIN, on_out, helper, &helper->out_watch, reterr);
    if (rc == CDS_OK)
        rc = cds_timer_add(loop, deadline_ms, on_deadline, helper, &helper->deadline);
    if (rc != CDS_OK) {
        if (helper->pid > 0)
            cds_helper_free(&helper);
        else
            release(helper);
        return rc;
    }
    *ret = helper;
    return CDS_OK;
}

void cds_helper_stop(struct cds_helper *helper)
{
    kill(helper->pid, SIGKILL);
}

void cds_helper_free(struct cds_helper **helper)
{
    if (!*helper)
        return;
    kill((*helper)->pid, SIGKILL);
    waitpid((*helper)->pid, NULL, 0);
    release(*helper);
    *helper = NULL;
}
