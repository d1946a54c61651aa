/* tests/sandbox/abuse/world.c: see world.h. What must hold afterwards is in invariants.c. */
#include "tests/sandbox/abuse/world.h"

#include <errno.h>
#include <fcntl.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "lib/base/cleanup.h"
#include "lib/base/clock.h"
#include "lib/base/random.h"
#include "lib/base/str.h"
#include "sandbox/run.h"

enum { NEIGHBOUR_WAIT_MS = 20000, POOL_THREADS = 2, POOL_QUEUE = 16, CANARY_AGE_S = 3 * 86400, LEAK_FD = 100 };

void complain(struct world *w, const char *fmt, ...)
{
    size_t at = strlen(w->complaints);
    va_list args;
    va_start(args, fmt);
    vsnprintf(w->complaints + at, sizeof(w->complaints) - at, fmt, args);
    va_end(args);
    at = strlen(w->complaints);
    if (at < sizeof(w->complaints) - 1)
        strcpy(w->complaints + at, "\n");
}

static int fail(const char *what)
{
    fprintf(stderr, "abuse: %s: %s\n", what, strerror(errno));
    return -1;
}

/* Open for anybody: only the walls may keep a job away from it. Its access time is old, so that reading it would show. */
static int make_canary(struct world *w)
{
    const struct timespec times[2] = {{.tv_sec = (time_t)(cds_wall_ms() / 1000) - CANARY_AGE_S}, {.tv_nsec = UTIME_NOW}};
    snprintf(w->canary, sizeof(w->canary), "%s/outside/canary", w->base);
    CDS_CLEANUP(cds_close_fd) int fd = open(w->canary, O_WRONLY | O_CREAT | O_EXCL | O_CLOEXEC, 0666);
    if (fd < 0 || fchmod(fd, 0666) || write(fd, w->secret, strlen(w->secret)) != (ssize_t)strlen(w->secret))
        return fail("no canary");
    /* Listings are told by this name: a hostile project may have a "canary" of its own. */
    char beside[96];
    snprintf(beside, sizeof(beside), "%s/outside/elsewhere", w->base);
    CDS_CLEANUP(cds_close_fd) int other = open(beside, O_WRONLY | O_CREAT | O_EXCL | O_CLOEXEC, 0666);
    return other < 0 || futimens(fd, times) ? fail("no canary") : 0;
}

static int make_folder(const struct world *w, const char *name, mode_t mode)
{
    return mkdirat(w->base_fd, name, mode) || fchmodat(w->base_fd, name, mode, 0) ? fail(name) : 0;
}

int world_make(struct world *w)
{
    unsigned char salt[16];
    struct stat st;
    cds_random(salt, sizeof(salt));
    strcpy(w->secret, "CANARY-");
    for (size_t i = 0; i < sizeof(salt); i++)
        snprintf(w->secret + strlen(w->secret), 3, "%02x", salt[i]);
    snprintf(w->key, sizeof(w->key), "abuse%02x%02x%02x", salt[0], salt[1], salt[2]);
    snprintf(w->base, sizeof(w->base), "/tmp/cds-abuse-XXXXXX");
    if (!mkdtemp(w->base) || chmod(w->base, 0755) || (w->base_fd = open(w->base, O_RDONLY | O_DIRECTORY | O_CLOEXEC)) < 0)
        return fail("no folder");
    if (make_folder(w, "outside", 0777) || make_folder(w, "project", 0755) || make_folder(w, "neighbour", 0755) || make_canary(w))
        return -1;
    /* Where every careless job would find it: in the environment, and in a descriptor that is not closed on exec. */
    setenv("CDS_CANARY_SECRET", w->secret, 1);
    setenv("HOME", w->base, 1); /* the one of whoever started us may be closed to us by now */
    int fd = open(w->canary, O_RDWR | O_CLOEXEC);
    if (fd < 0 || fcntl(fd, F_DUPFD, LEAK_FD) < 0 || close(fd))
        return fail("no canary");
    w->own_jail = stat("/proc/self/ns/pid", &st) ? 0 : st.st_ino;
    return 0;
}

void world_unmake(struct world *w)
{
    char command[128];
    world_clean_project(w);
    snprintf(command, sizeof(command), "rm -rf '%s'", w->base);
    if (system(command))
        fprintf(stderr, "abuse: %s is left\n", w->base);
}

/* ---- the project ---- */
static void empty(int parent, const char *name)
{
    int fd = openat(parent, name, O_RDONLY | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC);
    if (fd < 0 && errno == EACCES && fchmodat(parent, name, 0700, 0) == 0)
        fd = openat(parent, name, O_RDONLY | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC);
    CDS_CLEANUP(cds_close_dir) DIR *dir = fd < 0 ? NULL : fdopendir(fd);
    if (dir && fchmod(fd, 0755) && errno != EPERM)
        fail(name);
    for (const struct dirent *e; dir && (e = readdir(dir));) {
        if (!strcmp(e->d_name, ".") || !strcmp(e->d_name, "..") || unlinkat(fd, e->d_name, 0) == 0)
            continue;
        empty(fd, e->d_name);
        unlinkat(fd, e->d_name, AT_REMOVEDIR);
    }
}

void world_clean_project(struct world *w)
{
    struct stat st;
    /* A folder that something is mounted on cannot be removed before. */
    char mounted[96];
    snprintf(mounted, sizeof(mounted), "%s/project/mounted", w->base);
    if (stat(mounted, &st) == 0)
        world_unmount(mounted);
    empty(w->base_fd, "project");
}

static int open_project(struct world *w, const char *name)
{
    const struct cds_job_identity *who = &w->host->who;
    int fd = openat(w->base_fd, name, O_PATH | O_DIRECTORY | O_CLOEXEC);
    if (fd < 0 || (who->change && fchownat(w->base_fd, name, who->uid, who->gid, 0)))
        return fail(name);
    return fd;
}

int world_open(struct world *w, unsigned slots)
{
    char dir[80];
    struct cds_err err = {.message = ""};
    snprintf(dir, sizeof(dir), "%s/jail", w->base);
    const struct sandbox_settings settings = {.base_dir = dir, .cgroup_key = w->key, .slots = slots};
    if (cds_loop_new(&w->loop, &err) || cds_pool_new(w->loop, POOL_THREADS, POOL_QUEUE, &w->pool, &err) ||
        sandbox_host_open(w->loop, &settings, &w->host, &err) || cds_run_engine_new(w->host, w->pooled ? 1 : 0, &w->engine, &err)) {
        fprintf(stderr, "abuse: %s %s\n", err.message, err.detail);
        return -1;
    }
    w->project = open_project(w, "project");
    w->neighbour = open_project(w, "neighbour");
    return w->project < 0 || w->neighbour < 0 ? -1 : 0;
}

void world_drain_pool(struct world *w)
{
    if (!w->pooled)
        return;
    w->engine->ops->close(w->engine);
    if (cds_run_engine_new(w->host, 1, &w->engine, NULL))
        abort();
}

static void nothing(void *user)
{
}

static void seen(void *user)
{
    *(bool *)user = true;
}

/* A look at a project that is still queued holds a descriptor, and a pool that is freed drops what is queued. */
static void finish_looks(struct world *w)
{
    bool idle = false;
    if (cds_pool_submit(w->pool, nothing, seen, &idle))
        return;
    for (uint64_t end = cds_now_ms() + 5000; !idle && cds_now_ms() < end;)
        cds_loop_once(w->loop, 20);
}

void world_close(struct world *w)
{
    finish_looks(w);
    w->engine->ops->close(w->engine);
    sandbox_host_close(&w->host);
    cds_pool_free(&w->pool);
    cds_loop_free(&w->loop);
    close(w->project);
    close(w->neighbour);
    w->engine = NULL;
    w->project = w->neighbour = -1;
}

/* ---- another tenant ---- */
struct answer {
    char text[8];
    size_t len;
    bool ended, ok;
};

static void on_output(void *user, int stream, const char *data, size_t len)
{
    struct answer *a = user;
    for (size_t i = 0; i < len && a->len < sizeof(a->text) - 1; i++)
        a->text[a->len++] = data[i];
}

static void on_end(void *user, const struct cds_job_result *r)
{
    struct answer *a = user;
    a->ended = true;
    a->ok = r->end == CDS_END_OK;
    if (!a->ok)
        fprintf(stderr, "abuse: another tenant's job ended with %s %s\n", cds_run_end_name(r->end), r->reason);
}

uint64_t world_ask_neighbour(struct world *w)
{
    static const struct cds_job_events events = {on_output, on_end};
    static const char code[] = "print(1+2)";
    struct answer a = {.len = 0};
    const struct cds_job_spec spec = {.language = "python",
                                      .code = code,
                                      .code_len = sizeof(code) - 1,
                                      .project_fd = w->neighbour,
                                      .limits = {NEIGHBOUR_WAIT_MS, 5000, 128 << 20, 4096, 16, 4 << 20, 0}};
    struct cds_job *job;
    uint64_t began_ns = cds_now_ns();
    struct cds_err err = {.message = ""};
    if (w->engine->ops->acquire(w->engine, &spec, &job, &err) || w->engine->ops->exec(job, &spec, &events, &a, &err)) {
        fprintf(stderr, "abuse: another tenant's job did not start: %s %s\n", err.message, err.detail);
        return 0;
    }
    while (!a.ended) /* the job has a wall clock */
        cds_loop_once(w->loop, 20);
    return a.ok && cds_streq(a.text, "3\n") ? (cds_now_ns() - began_ns) / 1000 : 0;
}

pid_t world_new_child(const pid_t *known, size_t count)
{
    char path[64];
    int pid;
    snprintf(path, sizeof(path), "/proc/self/task/%d/children", (int)gettid());
    CDS_CLEANUP(cds_close_file) FILE *f = fopen(path, "re");
    while (f && fscanf(f, "%d", &pid) == 1) {
        size_t i = 0;
        while (i < count && known[i] != pid)
            i++;
        if (i == count)
            return pid;
    }
    return 0;
}

size_t world_children(pid_t *ret, size_t size)
{
    size_t n = 0;
    for (pid_t pid; n < size && (pid = world_new_child(ret, n));)
        ret[n++] = pid;
    return n;
}

void world_note_job(struct world *w, pid_t init)
{
    char path[64];
    struct stat st;
    snprintf(path, sizeof(path), "/proc/%d/ns/pid", (int)init);
    int fd = w->jail_count < WORLD_JAILS ? open(path, O_RDONLY | O_CLOEXEC) : -1;
    if (fd >= 0 && (fstat(fd, &st) || st.st_ino == w->own_jail))
        close(fd);
    else if (fd >= 0)
        w->jails[w->jail_count++] = fd;
}

void world_forget_jobs(struct world *w)
{
    while (w->jail_count)
        close(w->jails[--w->jail_count]);
}
