// link: app_sandbox
/* bench/sandbox.c: what the process sandbox adds to a command: the engine, cold and from its ready jails, against the bare command and against
 * bubblewrap. G1 to G4.
 *
 *   sandbox [rounds=60]
 *
 * Measured from start to known end, output read. One round runs every kind once, in rotating order, so that a busy moment hits all alike.
 * A ready jail gets READY_MS to become idle before it is timed, as between two runs of a person.
 * "fresh" is a ready jail without a started interpreter: a shell that is executed there, and executes the command. For python only.
 * Prints one JSON object per command: p50, p95 and p99 in milliseconds, and the ratios of the p50s, which are what travels between machines.
 */
#include <fcntl.h>
#include <spawn.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

#include "bench/gates.h"
#include "lib/base/clock.h"
#include "lib/base/fd.h"
#include "sandbox/run.h"

enum { ROUNDS_MAX = 1000, WARM_UP = 5, READY_MS = 150 };
enum kind { BARE, BUBBLEWRAP, COLD, READY, FRESH, KINDS };
static const char *const kinds[KINDS] = {"bare", "bubblewrap", "sandbox", "ready", "fresh"};

struct command {
    const char *name, *language, *code, *file;
    const char *argv[7]; /* the same program with the same flags on the same file, started directly */
    const char *by_shell, *cold_gate, *ready_gate;
};

/* The code lies in a file for all: for the yardsticks in a folder of the host, for the job in its own /tmp. */
static const struct command commands[] = {
    {"python3 print(1)",
     "python",
     "print(1)",
     "main.py",
     {"/usr/bin/python3", "-B", "-E", "-s", "-u"},
     "exec /usr/bin/python3 -B -E -s -u -c 'print(1)'",
     "G1",
     "G4"},
    {"node console.log(1)", "node", "console.log(1)", "main.mjs", {"/usr/bin/node", "--max-old-space-size=256"}, NULL, NULL, "G4"},
    {"sh echo 1", "sh", "echo 1", "main.sh", {"/bin/sh"}, NULL, NULL, NULL},
};

struct bench {
    struct cds_loop *loop;
    struct sandbox_host *host;
    struct cds_engine *engine, *ready, *fresh; /* without and with jails that are ready; the last for another language than the second */
    int project_fd;
    bool ended;
    struct cds_job_result result;
    char out[16];
    size_t len;
};

static _Noreturn void give_up(const char *what)
{
    fprintf(stderr, "bench sandbox: %s\n", what);
    exit(1);
}

/* ---- the engine ---- */
static void on_output(void *user, int stream, const char *data, size_t len)
{
    struct bench *b = user;
    for (size_t i = 0; i < len && b->len < sizeof(b->out) - 1; i++)
        b->out[b->len++] = data[i];
}

static void on_end(void *user, const struct cds_job_result *result)
{
    struct bench *b = user;
    b->result = *result;
    b->ended = true;
}

static void run_sandboxed(struct bench *b, struct cds_engine *engine, const char *language, const char *code)
{
    static const struct cds_job_events events = {on_output, on_end};
    const struct cds_job_spec spec = {.language = language,
                                      .code = code,
                                      .code_len = strlen(code),
                                      .project_fd = b->project_fd,
                                      .limits = {30000, 20000, 512 << 20, 1 << 20, 64, 64 << 20, 0}};
    struct cds_job *job;
    struct cds_err err;
    b->ended = false;
    b->len = 0;
    if (engine->ops->acquire(engine, &spec, &job, &err) || engine->ops->exec(job, &spec, &events, b, &err))
        give_up(err.message);
    while (!b->ended)
        cds_loop_once(b->loop, 1000);
    if (b->result.end != CDS_END_OK || b->len != 2 || memcmp(b->out, "1\n", 2) != 0)
        give_up(b->result.reason[0] ? b->result.reason : "the sandboxed command did not say 1");
}

/* ---- the yardsticks ---- */
static void run_direct(const char *const *argv)
{
    static char *const env[] = {(char *)"PATH=/usr/bin:/bin", (char *)"LANG=C.UTF-8", NULL};
    posix_spawn_file_actions_t files;
    int p[2], status = -1;
    pid_t pid;
    char out[16];
    size_t len = 0;
    if (pipe2(p, O_CLOEXEC))
        give_up("no pipe");
    posix_spawn_file_actions_init(&files);
    posix_spawn_file_actions_adddup2(&files, p[1], 1);
    if (posix_spawn(&pid, argv[0], &files, NULL, (char *const *)argv, env))
        give_up("a yardstick cannot be started");
    posix_spawn_file_actions_destroy(&files);
    close(p[1]);
    for (ssize_t n; len < sizeof(out) && (n = read(p[0], out + len, sizeof(out) - len)) > 0;)
        len += (size_t)n;
    close(p[0]);
    if (waitpid(pid, &status, 0) != pid || status != 0 || len != 2 || memcmp(out, "1\n", 2) != 0)
        give_up("a yardstick did not say 1");
}

static void run_bubblewrap(const struct command *c, const char *file)
{
    const char *argv[64] = {"/usr/bin/bwrap",
                            "--unshare-all",
                            "--die-with-parent",
                            "--new-session",
                            "--cap-drop",
                            "ALL",
                            "--ro-bind",
                            "/usr",
                            "/usr",
                            "--symlink",
                            "usr/bin",
                            "/bin",
                            "--symlink",
                            "usr/lib",
                            "/lib",
                            "--symlink",
                            "usr/lib64",
                            "/lib64",
                            "--proc",
                            "/proc",
                            "--dev",
                            "/dev",
                            "--tmpfs",
                            "/tmp",
                            "--ro-bind",
                            file,
                            file,
                            "--chdir",
                            "/tmp"};
    size_t n = 0;
    while (argv[n])
        n++;
    for (size_t i = 0; c->argv[i]; i++)
        argv[n++] = c->argv[i];
    argv[n] = file;
    run_direct(argv);
}

static void run_bare(const struct command *c, const char *file)
{
    const char *argv[8] = {NULL};
    size_t n = 0;
    for (; c->argv[n]; n++)
        argv[n] = c->argv[n];
    argv[n] = file;
    run_direct(argv);
}

/* ---- figures ---- */
static double run_once(struct bench *b, const struct command *c, const char *file, enum kind kind)
{
    /* The jail that the last run of this kind left ready may still be starting its interpreter. */
    for (uint64_t end = cds_now_ms() + READY_MS; kind >= READY && cds_now_ms() < end;)
        cds_loop_once(b->loop, 10);
    uint64_t began = cds_now_ns();
    if (kind == BARE)
        run_bare(c, file);
    else if (kind == BUBBLEWRAP)
        run_bubblewrap(c, file);
    else if (kind == FRESH)
        run_sandboxed(b, b->fresh, "sh", c->by_shell);
    else
        run_sandboxed(b, kind == READY ? b->ready : b->engine, c->language, c->code);
    return (double)(cds_now_ns() - began) / 1e6;
}

static void measure(struct bench *b, const struct command *c, const char *file, size_t rounds)
{
    static double ms[KINDS][ROUNDS_MAX];
    bool skip[KINDS] = {access(c->argv[0], X_OK) != 0, access("/usr/bin/bwrap", X_OK) != 0, false, false, !c->by_shell};
    double p50[KINDS] = {0}, spread[KINDS] = {0};
    if (skip[0])
        return;
    for (size_t i = 0; i < rounds + WARM_UP; i++)
        for (size_t k = 0; k < KINDS; k++) {
            enum kind kind = (enum kind)((k + i) % KINDS);
            double took = skip[kind] ? 0 : run_once(b, c, file, kind);
            if (i >= WARM_UP)
                ms[kind][i - WARM_UP] = took;
        }
    printf("{\"command\":\"%s\",\"rounds\":%zu", c->name, rounds);
    for (size_t k = 0; k < KINDS; k++) {
        p50[k] = gate_quantile(ms[k], rounds, 0.5);
        spread[k] = skip[k] ? 0 : gate_quantile(ms[k], rounds, 0.95) / p50[k];
        if (!skip[k])
            printf(",\"%s\":{\"p50_ms\":%.2f,\"p95_ms\":%.2f,\"p99_ms\":%.2f}", kinds[k], p50[k], ms[k][rounds * 95 / 100], ms[k][rounds * 99 / 100]);
    }
    printf(",\"overhead_ms\":%.2f,\"to_bare\":%.2f", p50[COLD] - p50[BARE], p50[COLD] / p50[BARE]);
    if (!skip[BUBBLEWRAP])
        printf(",\"to_bubblewrap\":%.2f", p50[COLD] / p50[BUBBLEWRAP]);
    printf(",\"ready_to_bare\":%.2f", p50[READY] / p50[BARE]);
    printf(",\"enforced_by\":\"%s\"}\n", b->result.enforced_by);
    bool noisy = spread[BARE] > 1.5;
    if (c->cold_gate)
        gate_say(c->cold_gate, p50[COLD] / p50[BARE], spread[COLD], noisy);
    if (c->cold_gate && !skip[BUBBLEWRAP])
        gate_say("G2", p50[COLD] / p50[BUBBLEWRAP], spread[BUBBLEWRAP], noisy);
    if (!skip[FRESH])
        gate_say("G3", p50[FRESH] / p50[BARE], spread[FRESH], noisy);
    if (c->ready_gate)
        gate_say(c->ready_gate, p50[READY] / p50[BARE], spread[READY], noisy);
}

int main(int argc, char **argv)
{
    char dir[] = "/tmp/cds-bench-XXXXXX", path[64], key[17];
    struct bench b = {.loop = NULL};
    struct cds_err err;
    int given = argc > 1 ? atoi(argv[1]) : 60;
    if (given < 1 || given > ROUNDS_MAX || !mkdtemp(dir) || chmod(dir, 0755))
        give_up("usage: sandbox [rounds, 1 to 1000]");
    snprintf(key, sizeof(key), "bench%d", (int)getpid());
    const struct sandbox_settings settings = {.base_dir = dir, .cgroup_key = key, .slots = 1};
    if (cds_loop_new(&b.loop, &err) || sandbox_host_open(b.loop, &settings, &b.host, &err) || cds_run_engine_new(b.host, 0, &b.engine, &err) ||
        cds_run_engine_new(b.host, 1, &b.ready, &err) || cds_run_engine_new(b.host, 1, &b.fresh, &err))
        give_up(err.message);
    snprintf(path, sizeof(path), "%s/empty", dir);
    b.project_fd = open(path, O_PATH | O_DIRECTORY | O_CLOEXEC);
    for (size_t i = 0; i < CDS_ARRAY_LEN(commands); i++) {
        snprintf(path, sizeof(path), "%s/%s", dir, commands[i].file);
        if (cds_write_file_atomic(path, commands[i].code, strlen(commands[i].code), 0644, &err))
            give_up(err.message);
        measure(&b, &commands[i], path, (size_t)given);
        unlink(path);
    }
    close(b.project_fd);
    b.engine->ops->close(b.engine);
    b.ready->ops->close(b.ready);
    b.fresh->ops->close(b.fresh);
    sandbox_host_close(&b.host);
    cds_loop_free(&b.loop);
    snprintf(path, sizeof(path), "%s/empty", dir);
    rmdir(path);
    snprintf(path, sizeof(path), "%s/root", dir);
    rmdir(path);
    rmdir(dir);
    return 0;
}
