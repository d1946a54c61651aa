/* sandbox/job_terminal.c: a job on a terminal instead of pipes. See job.h.
 *
 * The broker has the master; the job has the slave as its three descriptors and as the controlling terminal of a session of its own. A slave stays
 * open here, too: without any the master would hang up while the job may still open its terminal again.
 * Source: pty(7), ioctl_tty(2), TIOCGPTPEER.
 */
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <sys/epoll.h>
#include <sys/ioctl.h>
#include <sys/stat.h>
#include <termios.h>
#include <unistd.h>

#include "lib/base/cleanup.h"
#include "sandbox/job_priv.h"

enum { RETRY_MS = 100 };

static int set_size(int master, unsigned rows, unsigned cols)
{
    const struct winsize size = {.ws_row = (unsigned short)rows, .ws_col = (unsigned short)cols};
    return ioctl(master, TIOCSWINSZ, &size);
}

/* Erasing a character in a line erases all its bytes. */
static int set_utf8(int slave)
{
    struct termios mode;
    if (tcgetattr(slave, &mode))
        return -1;
    mode.c_iflag |= IUTF8;
    return tcsetattr(slave, TCSANOW, &mode);
}

cds_rc job_terminal_open(struct jail_job *job, const struct cds_job_spec *spec, char ret_name[static TERMINAL_NAME_MAX], struct cds_err *reterr)
{
    static const char what[] = "No terminal can be opened on this machine.";
    const struct cds_job_identity *who = &job_engine(job)->host->who;
    int unlock = 0;
    unsigned number = 0;
    CDS_CLEANUP(cds_close_fd) int master = open("/dev/ptmx", O_RDWR | O_NOCTTY | O_NONBLOCK | O_CLOEXEC);
    if (master < 0 || ioctl(master, TIOCSPTLCK, &unlock) || ioctl(master, TIOCGPTN, &number))
        return cds_fail_errno(reterr, errno, __func__, what);
    CDS_CLEANUP(cds_close_fd) int slave = ioctl(master, TIOCGPTPEER, O_RDWR | O_NOCTTY | O_CLOEXEC);
    if (slave < 0 || fchmod(slave, 0600) || (who->change && fchown(slave, who->uid, who->gid)) || set_utf8(slave) ||
        set_size(master, spec->rows, spec->cols))
        return cds_fail_errno(reterr, errno, __func__, what);
    snprintf(ret_name, TERMINAL_NAME_MAX, "/dev/pts/%u", number);
    job->out[0].fd = cds_steal_fd(&master);
    job->slave_fd = cds_steal_fd(&slave);
    return CDS_OK;
}

bool job_terminal_flush(struct jail_job *job)
{
    struct job_stream *s = &job->out[0];
    while (job->input.len) {
        ssize_t n = write(s->fd, job->input.data, job->input.len);
        if (n < 0 && errno != EAGAIN && errno != EINTR)
            return false;
        if (n <= 0)
            break;
        cds_buf_consume(&job->input, (size_t)n);
    }
    uint32_t events = (job->held ? 0 : (uint32_t)EPOLLIN) | (job->input.len ? (uint32_t)EPOLLOUT : 0);
    return !s->watch || cds_watch_set(s->watch, events) == CDS_OK;
}

/* The session's leader is the job's first program; a shell puts what it starts into a process group of its own. */
bool job_terminal_in_front(const struct jail_job *job)
{
    pid_t leader = 0, front = 0;
    return job->terminal && job->out[0].fd >= 0 && !ioctl(job->out[0].fd, TIOCGSID, &leader) && !ioctl(job->out[0].fd, TIOCGPGRP, &front) &&
           leader != front;
}

cds_rc jail_job_write(struct cds_job *base, const char *data, size_t len, struct cds_err *reterr)
{
    struct jail_job *job = (struct jail_job *)base;
    if (!job->terminal || job->out[0].fd < 0)
        return cds_fail(reterr, CDS_CONFLICT, __func__, "This run has no terminal to type into.");
    if (len > JOB_INPUT_MAX - job->input.len || cds_buf_add(&job->input, data, len)) {
        cds_fail(reterr, CDS_BUSY, __func__, "The program does not read: %zu bytes wait already, and nothing was taken.", job->input.len);
        cds_err_hint(reterr, "Try again when it has read, or end it.");
        if (reterr)
            reterr->retry_after_ms = RETRY_MS;
        return CDS_BUSY;
    }
    job_terminal_flush(job); /* a terminal that is gone is noticed by its end */
    return CDS_OK;
}

cds_rc jail_job_resize(struct cds_job *base, unsigned rows, unsigned cols, struct cds_err *reterr)
{
    struct jail_job *job = (struct jail_job *)base;
    if (!job->terminal || job->out[0].fd < 0)
        return cds_fail(reterr, CDS_CONFLICT, __func__, "This run has no terminal to resize.");
    if (rows < 1 || cols < 1 || rows > CDS_TERMINAL_SIDE_MAX || cols > CDS_TERMINAL_SIDE_MAX)
        return cds_fail(reterr, CDS_BAD_PARAM, __func__, "A terminal has 1 to %d rows and columns.", CDS_TERMINAL_SIDE_MAX);
    return set_size(job->out[0].fd, rows, cols) ? cds_fail_errno(reterr, errno, __func__, "The terminal cannot be resized.") : CDS_OK;
}
