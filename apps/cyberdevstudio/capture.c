/* apps/cyberdevstudio/capture.c: see capture.h. */
#include "apps/cyberdevstudio/capture.h"

#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <signal.h>
#include <string.h>
#include <sys/wait.h>
#include <unistd.h>

#include "apps/cyberdevstudio/spawn.h"
#include "lib/base/cleanup.h"
#include "lib/base/clock.h"

enum { INPUT_MAX = 4096, ASK_MS = 100 };

static bool goes_on(const struct cds_patience *patience)
{
    return !patience->go_on || patience->go_on(patience->user);
}

/** Reads until the end, the deadline, or nothing more comes. @return false when the patience ended */
static bool read_all(int fd, const struct cds_capture_how *how, struct cds_buf *out)
{
    char chunk[4096];
    for (;;) {
        struct pollfd p = {.fd = fd, .events = POLLIN};
        int left = cds_ms_left(how->deadline_ms);
        if (!goes_on(&how->patience))
            return false;
        if (left == 0)
            return true;
        if (poll(&p, 1, left < ASK_MS ? left : ASK_MS) <= 0)
            continue;
        ssize_t n = read(fd, chunk, sizeof(chunk));
        if (n < 0 && errno == EINTR)
            continue;
        if (n <= 0)
            return true;
        size_t room = how->max_bytes - out->len;
        if (room > 0 && cds_buf_add(out, chunk, (size_t)n < room ? (size_t)n : room) != CDS_OK)
            return true;
    }
}

/** Waits for pid until the deadline, then kills its group. @return the wait status */
static int wait_or_kill(pid_t pid, uint64_t deadline_ms, bool *timed_out)
{
    int status = 0;
    for (;;) {
        pid_t got = waitpid(pid, &status, WNOHANG);
        if (got == pid || (got < 0 && errno != EINTR))
            return status;
        if (cds_ms_left(deadline_ms) == 0) {
            *timed_out = true;
            kill(-pid, SIGKILL);
            while (waitpid(pid, &status, 0) < 0 && errno == EINTR)
                ;
            return status;
        }
        poll(NULL, 0, 2);
    }
}

/** A pipe that already holds the text: short enough to fit, so that nobody has to feed it. */
static cds_rc input_pipe(const char *text, int *ret_fd, struct cds_err *reterr)
{
    int fds[2];
    size_t len = strlen(text);
    if (len > INPUT_MAX)
        return cds_fail(reterr, CDS_TOO_LARGE, __func__, "More than %d bytes of input.", INPUT_MAX);
    if (pipe2(fds, O_CLOEXEC) != 0)
        return cds_fail_errno(reterr, errno, __func__, "No pipe could be opened.");
    ssize_t n = write(fds[1], text, len);
    close(fds[1]);
    if (n != (ssize_t)len) {
        close(fds[0]);
        return cds_fail_errno(reterr, errno, __func__, "A pipe could not be filled.");
    }
    *ret_fd = fds[0];
    return CDS_OK;
}

cds_rc cds_capture_run(const struct cds_capture_how *how, struct cds_capture *ret, struct cds_err *reterr)
{
    int fds[2];
    if (pipe2(fds, O_CLOEXEC) != 0)
        return cds_fail_errno(reterr, errno, __func__, "No pipe could be opened for %s.", how->argv[0]);
    CDS_CLEANUP(cds_close_fd) int in = fds[0];
    CDS_CLEANUP(cds_close_fd) int out = fds[1];
    CDS_CLEANUP(cds_close_fd) int input = -1;
    CDS_CLEANUP(cds_env_free) struct cds_env env = {0};
    cds_rc rc = cds_env_build(&env, &how->env, reterr);
    if (rc == CDS_OK && how->input)
        rc = input_pipe(how->input, &input, reterr);
    if (rc != CDS_OK)
        return rc;
    pid_t pid = 0;
    struct cds_spawn what = {
        .program = how->argv[0], .argv = how->argv, .envp = env.items, .as = how->as, .log_fd = out, .ready_fd = -1, .input_fd = input};
    rc = cds_spawn_start(&what, &pid, reterr);
    if (rc != CDS_OK)
        return rc;
    close(cds_steal_fd(&out));
    struct cds_capture got = {.out = cds_buf_init(how->max_bytes + 1)};
    bool patient = read_all(in, how, &got.out);
    int status = wait_or_kill(pid, patient ? how->deadline_ms : 0, &got.timed_out);
    if (!patient) {
        cds_capture_free(&got);
        return cds_fail(reterr, CDS_CANCELLED, __func__, "%s was interrupted.", how->argv[0]);
    }
    got.exit_code = WIFEXITED(status) ? WEXITSTATUS(status) : 128 + WTERMSIG(status);
    while (got.out.len > 0 && (unsigned char)got.out.data[got.out.len - 1] <= ' ')
        got.out.data[--got.out.len] = '\0';
    *ret = got;
    return CDS_OK;
}

void cds_capture_free(struct cds_capture *capture)
{
    cds_buf_free(&capture->out);
}
