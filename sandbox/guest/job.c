/* sandbox/guest/job.c: see agent.h. One job in the life of a VM: its files, its start, its output up to a ceiling, its end. */
#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/mount.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#include "sandbox/guest/agent.h"

enum { FIRST_FREE_FD = 10 };

static struct {
    uint32_t id;
    pid_t pid;        /* 0: not started; the job is over when it was reaped */
    bool used, ended; /* EXEC was taken; EXIT was sent */
    int in, out[2];   /* our ends; out[1] is -1 with a terminal */
    int ctl;          /* where an interpreter that waited says its exit code before it ends; -1: none */
    enum micro_work work;
    const char *group;
    uint64_t bytes[2], dropped, ceiling, sent;
    uint64_t before_us; /* CPU time its interpreter had used before */
    struct micro_exit exit;
} job = {.in = -1, .out = {-1, -1}, .ctl = -1};
static struct {
    char data[MICRO_STDIN_MAX];
    size_t len, at;
    bool end;
} input;
static char piece[MICRO_PAYLOAD_MAX];

/* ---- files ---- */
static bool make_parents(char *path)
{
    for (char *slash = strchr(path + 1, '/'); slash; slash = strchr(slash + 1, '/')) {
        *slash = '\0';
        bool made = mkdir(path, 0755) == 0, good = made || errno == EEXIST;
        if (made)
            good = lchown(path, AGENT_JOB_UID, AGENT_JOB_UID) == 0 && back_note_folder(path);
        *slash = '/';
        if (!good)
            return false;
    }
    return true;
}

void job_file(const struct micro_header *h, const char *payload)
{
    char path[MICRO_PATH_MAX + 16];
    uint16_t path_len = 0;
    bool more = h->flags & MICRO_FILE_MORE;
    if (h->len >= sizeof(path_len))
        memcpy(&path_len, payload, sizeof(path_len));
    if (job.used || path_len == 0 || path_len > MICRO_PATH_MAX || h->len < sizeof(path_len) + path_len) {
        port_say(MICRO_REFUSED, h->id, "a file comes before the job and has a path");
        return;
    }
    snprintf(path, sizeof(path), "/%s/%.*s", h->flags & MICRO_FILE_WORK ? "work" : "tmp", (int)path_len, payload + sizeof(path_len));
    const char *data = payload + sizeof(path_len) + path_len;
    size_t len = h->len - sizeof(path_len) - path_len;
    int fd = more || make_parents(path) ? open(path, O_WRONLY | O_NOFOLLOW | O_CLOEXEC | (more ? O_APPEND : O_CREAT | O_EXCL), 0644) : -1;
    bool good = fd >= 0 && (more || (fchown(fd, AGENT_JOB_UID, AGENT_JOB_UID) == 0 && back_note_file(path)));
    while (good && len) {
        ssize_t n = write(fd, data, len);
        good = n > 0;
        data += good ? n : 0;
        len -= good ? (size_t)n : 0;
    }
    if (!good)
        port_say(MICRO_REFUSED, h->id, "the file %.80s cannot be written: %s", path, strerror(errno));
    if (fd >= 0)
        close(fd);
}

/* ---- input ---- */
static void feed(void);

void job_stdin(const char *data, size_t len)
{
    if (input.at == input.len)
        input.at = input.len = 0;
    if (len > sizeof(input.data) - input.len) {
        memmove(input.data, input.data + input.at, input.len - input.at);
        input.len -= input.at;
        input.at = 0;
    }
    size_t room = sizeof(input.data) - input.len, n = len < room ? len : room;
    memcpy(input.data + input.len, data, n); /* the host keeps below the ceiling; what is over it is lost */
    input.len += n;
    feed();
}

void job_stdin_end(void)
{
    input.end = true;
    feed();
}

static void close_input(void)
{
    if (job.in >= 0 && job.in != job.out[0])
        close(job.in);
    job.in = -1;
}

static void feed(void)
{
    while (job.in >= 0 && input.at < input.len) {
        ssize_t n = write(job.in, input.data + input.at, input.len - input.at);
        if (n > 0)
            input.at += (size_t)n;
        else if (errno == EAGAIN || errno == EINTR)
            return;
        else
            close_input(); /* it does not read any more */
    }
    if (job.in >= 0 && input.end)
        close_input();
}

/* ---- output ---- */
static bool pass(int i)
{
    ssize_t n = read(job.out[i], piece, sizeof(piece));
    if (n < 0 && (errno == EAGAIN || errno == EINTR))
        return false;
    if (n <= 0) {
        if (job.out[i] != job.in)
            close(job.out[i]);
        job.out[i] = -1;
        return false;
    }
    uint64_t room = job.ceiling - job.sent;
    size_t send = (uint64_t)n < room ? (size_t)n : (size_t)room;
    job.bytes[i] += (uint64_t)n;
    job.sent += send;
    if (send < (size_t)n && !job.dropped)
        port_send(MICRO_OVERFLOW, job.id, NULL, 0);
    job.dropped += (uint64_t)n - send;
    if (send)
        port_send(i ? MICRO_ERR : MICRO_OUT, job.id, piece, send);
    return true;
}

size_t job_poll(struct pollfd *fds, size_t room)
{
    size_t n = 0;
    for (int i = 0; i < 2; i++)
        if (job.out[i] >= 0 && n < room)
            fds[n++] = (struct pollfd){.fd = job.out[i], .events = POLLIN};
    if (job.ctl >= 0 && n < room)
        fds[n++] = (struct pollfd){.fd = job.ctl, .events = POLLIN};
    if (job.in >= 0 && input.at < input.len && n < room)
        fds[n++] = (struct pollfd){.fd = job.in, .events = POLLOUT};
    return n;
}

static void finish(int status, const struct rusage *use);

/* It has run to its end and only takes itself apart now. What it says can only be about itself. */
static void hear_code(void)
{
    unsigned char said[2] = {0, 0};
    struct rusage use = {.ru_maxrss = 0};
    char path[64];
    ssize_t n = read(job.ctl, said, sizeof(said));
    close(job.ctl);
    job.ctl = -1;
    if (n != (ssize_t)sizeof(said) || said[0] != 'x' || job.ended)
        return; /* its end tells */
    struct timespec used = {0, 0};
    clockid_t clock;
    if (clock_getcpuclockid(job.pid, &clock) == 0)
        clock_gettime(clock, &used);
    use.ru_utime = (struct timeval){used.tv_sec, used.tv_nsec / 1000};
    snprintf(path, sizeof(path), "/run/cgroup/%s/memory.peak", job.group);
    use.ru_maxrss = (long)(get_number(path, NULL) / 1024);
    finish((int)said[1] << 8, &use);
}

void job_serve(const struct pollfd *fds, size_t count)
{
    for (size_t k = 0; k < count; k++) {
        if (!fds[k].revents)
            continue;
        if (fds[k].events == POLLOUT)
            feed();
        if (fds[k].fd == job.ctl)
            hear_code();
        for (int i = 0; i < 2; i++)
            if (fds[k].events == POLLIN && fds[k].fd == job.out[i])
                pass(i);
    }
}

/* ---- end ---- */
static void finish(int status, const struct rusage *use)
{
    char path[64];
    /* A grandchild may hold the pipes open: what is in them now is all that counts. */
    for (int i = 0; i < 2; i++) {
        if (job.out[i] >= 0)
            fcntl(job.out[i], F_SETFL, O_NONBLOCK);
        while (job.out[i] >= 0 && pass(i))
            ;
    }
    uint64_t kills = 0, refused = 0;
    if (status != 0) { /* a job that went well needs no explanation, and each look costs time under emulation */
        snprintf(path, sizeof(path), "/run/cgroup/%s/memory.events", job.group);
        kills = get_number(path, "oom_kill");
        snprintf(path, sizeof(path), "/run/cgroup/%s/pids.events", job.group);
        refused = get_number(path, "max");
    }
    uint64_t utime_us = (uint64_t)use->ru_utime.tv_sec * 1000000 + (uint64_t)use->ru_utime.tv_usec;
    utime_us -= job.before_us < utime_us ? job.before_us : utime_us;
    const struct micro_exit e = {.code = WIFEXITED(status) ? WEXITSTATUS(status) : -1,
                                 .signo = WIFSIGNALED(status) ? WTERMSIG(status) : 0,
                                 .utime_us = utime_us,
                                 .stime_us = (uint64_t)use->ru_stime.tv_sec * 1000000 + (uint64_t)use->ru_stime.tv_usec,
                                 .peak_bytes = (uint64_t)use->ru_maxrss * 1024,
                                 .stdout_bytes = job.bytes[0],
                                 .stderr_bytes = job.bytes[1],
                                 .dropped_bytes = job.dropped,
                                 .oom_kills = (uint32_t)kills,
                                 .tasks_refused = (uint32_t)refused};
    job.ended = true;
    port_send(MICRO_EXIT, job.id, &e, sizeof(e));
    if (job.work == MICRO_WORK_BACK)
        back_send(job.id, job.group);
}

void job_reap(void)
{
    struct rusage use;
    int status;
    for (pid_t pid; (pid = wait4(-1, &status, WNOHANG, &use)) > 0;)
        if (pid == job.pid && !job.ended)
            finish(status, &use);
}

void job_signal(uint32_t signo)
{
    if (job.pid > 0 && !job.ended && signo < 65) {
        kill(-job.pid, (int)signo);
        kill(job.pid, (int)signo);
    }
}

void job_resize(unsigned rows, unsigned cols)
{
    const struct winsize size = {.ws_row = (unsigned short)rows, .ws_col = (unsigned short)cols};
    if (job.pid > 0 && !job.ended && job.out[0] >= 0)
        ioctl(job.out[0], TIOCSWINSZ, &size);
}

/* ---- start ---- */
static int lift(int fd)
{
    int high = fcntl(fd, F_DUPFD_CLOEXEC, FIRST_FREE_FD);
    close(fd);
    return high;
}

static bool open_terminal(struct spawn *how, unsigned rows, unsigned cols)
{
    int master = posix_openpt(O_RDWR | O_NOCTTY | O_CLOEXEC);
    const struct winsize size = {.ws_row = (unsigned short)rows, .ws_col = (unsigned short)cols};
    char name[32];
    if (master < 0 || grantpt(master) || unlockpt(master) || ptsname_r(master, name, sizeof(name)) || ioctl(master, TIOCSWINSZ, &size) ||
        chown(name, AGENT_JOB_UID, AGENT_JOB_UID))
        return false;
    how->terminal = true;
    for (int i = 0; i < 3; i++)
        how->fd[i] = lift(open(name, O_RDWR | O_NOCTTY | O_CLOEXEC));
    job.in = job.out[0] = master;
    return how->fd[2] >= 0;
}

static bool open_pipes(struct spawn *how)
{
    int in[2], out[2], err[2];
    if (pipe2(in, O_CLOEXEC) || pipe2(out, O_CLOEXEC) || pipe2(err, O_CLOEXEC))
        return false;
    how->fd[0] = lift(in[0]);
    how->fd[1] = lift(out[1]);
    how->fd[2] = lift(err[1]);
    job.in = in[1];
    job.out[0] = out[0];
    job.out[1] = err[0];
    return true;
}

void job_limit_group(const char *name, uint64_t memory_bytes, uint32_t max_tasks)
{
    static struct {
        char name[16];
        uint64_t memory_bytes;
        uint32_t max_tasks;
    } known[4];
    char path[64], text[32];
    size_t i = 0;
    while (i < 3 && known[i].name[0] && strcmp(known[i].name, name) != 0)
        i++;
    if (known[i].memory_bytes == memory_bytes && known[i].max_tasks == max_tasks)
        return;
    snprintf(known[i].name, sizeof(known[i].name), "%s", name);
    known[i].memory_bytes = memory_bytes;
    known[i].max_tasks = max_tasks;
    snprintf(path, sizeof(path), "/run/cgroup/%s/memory.max", name);
    snprintf(text, sizeof(text), "%llu", (unsigned long long)memory_bytes);
    put_text(path, text);
    snprintf(path, sizeof(path), "/run/cgroup/%s/pids.max", name);
    snprintf(text, sizeof(text), "%u", max_tasks);
    put_text(path, text);
}

static void set_group(const char *name, const struct micro_exec *e)
{
    char text[32];
    job.group = name;
    job_limit_group(name, e->memory_bytes, e->max_tasks);
    if (e->tmp_bytes == (uint64_t)MICRO_TMP_MIB << 20)
        return; /* as it is */
    snprintf(text, sizeof(text), "size=%llu", (unsigned long long)e->tmp_bytes);
    mount(NULL, "/tmp", NULL, MS_REMOUNT | MS_NOSUID | MS_NODEV, text);
    if (e->work != MICRO_WORK_READ_ONLY)
        mount(NULL, "/work", NULL, MS_REMOUNT | MS_NOSUID | MS_NODEV, text);
}

/* The files are there: nothing of what a program changes from here on is ours. */
static bool set_work(const struct micro_exec *e)
{
    if (e->work == MICRO_WORK_BACK)
        return back_begin();
    return e->work != MICRO_WORK_READ_ONLY || mount(NULL, "/work", NULL, MS_REMOUNT | MS_RDONLY | MS_NOSUID | MS_NODEV, NULL) == 0;
}

/* An interpreter that waited has used time before, which the kernel counts, too. */
static void set_limits(const struct micro_exec *e)
{
    struct timespec used = {0, 0};
    clockid_t clock;
    if (clock_getcpuclockid(job.pid, &clock) == 0)
        clock_gettime(clock, &used);
    job.before_us = (uint64_t)used.tv_sec * 1000000 + (uint64_t)used.tv_nsec / 1000;
    const rlim_t cpu_s = (rlim_t)used.tv_sec + e->cpu_ms / 1000 + 1;
    const struct rlimit size = {e->tmp_bytes, e->tmp_bytes}, cpu = {cpu_s, cpu_s + 1};
    prlimit(job.pid, RLIMIT_FSIZE, &size, NULL);
    prlimit(job.pid, RLIMIT_CPU, &cpu, NULL);
}

static bool start_fresh(const struct micro_exec *e, const char *const *argv, const char *const *env)
{
    struct spawn how = {.argv = argv, .env = env, .fd = {-1, -1, -1, -1}, .cgroup = "job"};
    set_group("job", e);
    if (e->rows ? !open_terminal(&how, e->rows, e->cols) : !open_pipes(&how))
        return false;
    job.pid = spawn(&how);
    for (int i = 0; i < 3; i++)
        close(how.fd[i]);
    return job.pid > 0;
}

static bool start_waiting(struct waiting *w, const struct micro_exec *e, const char *const *argv, const char *const *env)
{
    set_group(e->language == MICRO_PYTHON ? "python" : "node", e);
    job.pid = w->pid;
    job.in = w->fd[0];
    job.out[0] = w->fd[1];
    job.out[1] = w->fd[2];
    job.ctl = w->ctl;
    return prestart_give(w, "j", argv + e->prestarted, e->argc - e->prestarted, env, e->envc);
}

void job_exec(const struct micro_header *h, const char *payload)
{
    static const char *strings[MICRO_STRINGS_MAX + 2]; /* argv, NULL, env, NULL */
    struct micro_exec e;
    const char *at = payload + sizeof(e), *end = payload + h->len;
    if (h->len < sizeof(e) || job.used) {
        port_say(MICRO_REFUSED, h->id, job.used ? "this machine has had its job" : "EXEC is too short");
        return;
    }
    memcpy(&e, payload, sizeof(e));
    size_t count = (size_t)e.argc + e.envc, n = 0;
    for (size_t i = 0; count <= MICRO_STRINGS_MAX && i < count && at < end; i++) {
        if (i == e.argc)
            strings[n++] = NULL;
        strings[n++] = at;
        at += strlen(at) + 1;
    }
    if (!e.envc)
        strings[n++] = NULL;
    strings[n] = NULL;
    if (e.argc == 0 || at != end || e.prestarted >= e.argc) {
        port_say(MICRO_REFUSED, h->id, "EXEC does not hold the strings it names");
        return;
    }
    struct waiting *w = e.prestarted && !e.rows ? prestarted((enum micro_language)e.language) : NULL;
    const char *const *env = strings + e.argc + 1;
    job.used = true;
    job.id = h->id;
    job.ceiling = e.output_bytes;
    job.work = (enum micro_work)e.work;
    if (!set_work(&e)) {
        port_say(MICRO_FAILED, 0, "make /work ready: %s", strerror(errno));
        return;
    }
    if (!(w ? start_waiting(w, &e, strings, env) : start_fresh(&e, strings, env))) {
        port_say(MICRO_FAILED, 0, "start the program: %s", strerror(errno));
        return;
    }
    set_limits(&e);
    for (int i = 0; i < 2; i++)
        if (job.out[i] >= 0)
            fcntl(job.out[i], F_SETFL, O_NONBLOCK);
    if (job.in >= 0)
        fcntl(job.in, F_SETFL, O_NONBLOCK);
    port_send(MICRO_STARTED, job.id, NULL, 0);
    feed();
}
