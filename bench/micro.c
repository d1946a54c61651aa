// link: app_sandbox
/* bench/micro.c: microVMs against the bare command: cold, from the template, from the pool.
 *
 *   micro [rounds=12] [cold rounds=4]
 *
 * One round runs every kind once, in rotating order, so that a busy moment hits all alike; cold boots are slow and come in every few rounds only.
 * Prints one line per gate: the ratio of the p50s reached, the gate, the moonshot; "noisy" instead of "over" when the bare command itself wobbled;
 * and the same for programs, which begins with "gate".
 */
#include <fcntl.h>
#include <spawn.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

#include "lib/base/clock.h"
#include "lib/base/fd.h"
#include "lib/config/config.h"
#include "lib/log/log.h"
#include "sandbox/micro_priv.h"

enum { ROUNDS_MAX = 1000, FILL_MS = 120000 };
enum kind { BARE_PYTHON, BARE_NODE, COLD, SNAPSHOT, POOL, NODE_SNAPSHOT, NODE_POOL, KINDS };
static const char *const kinds[KINDS] = {"bare python3", "bare node", "python cold", "python snapshot", "python pool", "node snapshot", "node pool"};

static struct {
    struct cds_loop *loop;
    struct sandbox_host *host;
    struct cds_engine *plain, *warm, *cold; /* templates without a pool, with one, none */
    int project;
    bool ended;
    struct cds_job_result result;
    char out[16];
    size_t len;
    double ms[KINDS][ROUNDS_MAX], kill_ms[KINDS * ROUNDS_MAX], idle_mib;
    size_t n[KINDS], kills;
} b;

static _Noreturn void give_up(const char *what)
{
    fprintf(stderr, "bench micro: %s\n", what);
    exit(1);
}

static void on_output(void *user, int stream, const char *data, size_t len)
{
    for (size_t i = 0; i < len && b.len < sizeof(b.out) - 1; i++)
        b.out[b.len++] = data[i];
}

static void on_end(void *user, const struct cds_job_result *result)
{
    b.result = *result;
    b.ended = true;
}

static void on_prepared(void *user, const struct cds_err *err)
{
    if (err)
        give_up(err->message);
    b.ended = true;
}

static void wait_end(void)
{
    while (!b.ended)
        cds_loop_once(b.loop, 1000);
}

static void run(struct cds_engine *engine, const char *language, const char *code, const char *origin)
{
    static const struct cds_job_events events = {on_output, on_end};
    const struct cds_job_spec spec = {.language = language,
                                      .code = code,
                                      .code_len = strlen(code),
                                      .project_fd = b.project,
                                      .access = CDS_PROJECT_NONE,
                                      .limits = {60000, 60000, 512 << 20, 1 << 20, 64, 64 << 20, 0}};
    struct cds_job *job;
    struct cds_err err;
    b.ended = false;
    b.len = 0;
    if (engine->ops->acquire(engine, &spec, &job, &err) || engine->ops->exec(job, &spec, &events, NULL, &err))
        give_up(err.message);
    wait_end();
    if (b.result.end != CDS_END_OK || b.len != 2 || memcmp(b.out, "3\n", 2) != 0)
        give_up(b.result.reason[0] ? b.result.reason : "a machine did not say 3");
    if (origin && strcmp(b.result.origin, origin) != 0)
        give_up("a machine came from somewhere else than planned");
    b.kill_ms[b.kills++] = (double)b.result.phases.teardown_us / 1000;
}

static void run_bare(const char *program, const char *flag, const char *code)
{
    char *const argv[] = {(char *)(uintptr_t)program, (char *)(uintptr_t)flag, (char *)(uintptr_t)code, NULL}, *const env[] = {
                                                                                                                   (char *)"PATH=/usr/bin", NULL};
    posix_spawn_file_actions_t files;
    int p[2], status = -1;
    pid_t pid;
    char out[16];
    if (pipe2(p, O_CLOEXEC))
        give_up("no pipe");
    posix_spawn_file_actions_init(&files);
    posix_spawn_file_actions_adddup2(&files, p[1], 1);
    if (posix_spawn(&pid, program, &files, NULL, argv, env))
        give_up("the bare command cannot be started");
    posix_spawn_file_actions_destroy(&files);
    close(p[1]);
    while (read(p[0], out, sizeof(out)) > 0)
        ;
    close(p[0]);
    if (waitpid(pid, &status, 0) != pid || status != 0)
        give_up("the bare command failed");
}

/* Memory that goes with a machine of the pool, which sleeps: what it changed, and what nobody else can use. Clean pages of files, the template's
 * memory among them, are there once for all machines; the kernel calls them private while one alone has them mapped. */
static double private_mib(const struct micro_vm *vm)
{
    char path[64], line[256];
    long pid = 0, kib = 0, sum = 0;
    snprintf(path, sizeof(path), "/proc/%d/task/%d/children", (int)vm->pid, (int)vm->pid);
    FILE *f = fopen(path, "r");
    if (!f || fscanf(f, "%ld", &pid) != 1)
        give_up("no process of a machine is seen");
    fclose(f);
    snprintf(path, sizeof(path), "/proc/%ld/smaps_rollup", pid);
    f = fopen(path, "r");
    while (f && fgets(line, sizeof(line), f))
        if (sscanf(line, "Private_Dirty: %ld", &kib) == 1)
            sum += kib;
    if (f)
        fclose(f);
    return (double)sum / 1024;
}

static void fill_pool(enum micro_language language)
{
    const struct micro *m = (const struct micro *)b.warm;
    uint64_t end = cds_now_ms() + FILL_MS;
    struct micro_vm *vm;
    while (!(vm = micro_pool_look(m, language))) {
        if (cds_now_ms() > end)
            give_up("the pool was not filled in time");
        cds_loop_once(b.loop, 100);
    }
    if (language == MICRO_PYTHON)
        b.idle_mib = private_mib(vm);
}

static void measure(enum kind kind)
{
    static const char python[] = "print(1 + 2)", node[] = "console.log(1 + 2)";
    if (kind == POOL || kind == NODE_POOL)
        fill_pool(kind == POOL ? MICRO_PYTHON : MICRO_NODE);
    uint64_t began = cds_now_ns();
    switch (kind) {
    case BARE_PYTHON:
        run_bare("/usr/bin/python3", "-c", python);
        break;
    case BARE_NODE:
        run_bare("/usr/bin/node", "-e", node);
        break;
    case COLD:
        run(b.cold, "python", python, "cold");
        break;
    case SNAPSHOT:
        run(b.plain, "python", python, "snapshot");
        break;
    case POOL:
        run(b.warm, "python", python, "pool");
        break;
    case NODE_SNAPSHOT:
        run(b.plain, "node", node, "snapshot");
        break;
    default:
        run(b.warm, "node", node, "pool");
    }
    b.ms[kind][b.n[kind]++] = (double)(cds_now_ns() - began) / 1e6;
}

/* ---- figures ---- */
static int by_value(const void *x, const void *y)
{
    double a = *(const double *)x, c = *(const double *)y;
    return a < c ? -1 : a > c;
}

static double quantile(double *values, size_t n, double q)
{
    qsort(values, n, sizeof(*values), by_value);
    return n ? values[(size_t)((double)(n - 1) * q)] : 0;
}

static double p50(enum kind kind)
{
    return quantile(b.ms[kind], b.n[kind], 0.5);
}

/* One line for people, one for tools/bench: "gate ID RATIO n=SAMPLES p95=RATIO"; p95 is that of the dearer side over the p50 of the cheaper one. */
static void gate(const char *id, const char *what, double reached, double p95, size_t n, double gate_at, double moonshot, bool noisy)
{
    printf("%-4s %-44s %8.2f   gate %7.2f   moonshot %6.2f   %s\n", id, what, reached, gate_at, moonshot,
           reached <= gate_at ? "ok"
           : noisy            ? "noisy"
                              : "over");
    printf("gate %s %.3f n=%zu p95=%.3f\n", id, reached, n, p95);
}

static void compare(const char *id, const char *what, enum kind dear, enum kind cheap, double gate_at, double moonshot, bool noisy)
{
    const double base = p50(cheap);
    gate(id, what, p50(dear) / base, quantile(b.ms[dear], b.n[dear], 0.95) / base, b.n[dear], gate_at, moonshot, noisy);
}

static void print_all(double guest_mib)
{
    for (int kind = 0; kind < KINDS; kind++)
        printf("     %-16s n=%-4zu p50 %8.1f ms   p95 %8.1f ms\n", kinds[kind], b.n[kind], p50((enum kind)kind),
               quantile(b.ms[kind], b.n[kind], 0.95));
    bool noisy = quantile(b.ms[BARE_PYTHON], b.n[BARE_PYTHON], 0.95) > 1.5 * p50(BARE_PYTHON);
    const double kill_ms = quantile(b.kill_ms, b.kills, 0.99), idle = b.idle_mib / guest_mib;
    compare("G5", "micro:python pool / bare python3", POOL, BARE_PYTHON, 5, 1.5, noisy);
    compare("G6", "micro:python snapshot / cold", SNAPSHOT, COLD, 0.35, 0.1, noisy);
    compare("G7", "micro:python snapshot / bare python3", SNAPSHOT, BARE_PYTHON, 40, 10, noisy);
    compare("G8", "micro:python cold / bare python3, stock kernel", COLD, BARE_PYTHON, 450, 60, noisy);
    compare("G9", "micro:node pool / bare node", NODE_POOL, BARE_NODE, 8, 2, noisy);
    gate("G15", "private memory of an idle machine / its RAM", idle, idle, 1, 0.25, 0.05, false);
    gate("G18", "kill to nothing left, p99, ms", kill_ms, quantile(b.kill_ms, b.kills, 0.95), b.kills, 200, 20, noisy);
}

/* ---- set-up ---- */
static struct cds_engine *engine(const char *build, unsigned pool, bool templates)
{
    char images[600], agent[600];
    struct cds_engine *ret;
    struct cds_err err;
    snprintf(images, sizeof(images), "%s/../share/micro", build);
    snprintf(agent, sizeof(agent), "%s/../lib/micro/agent", build);
    const struct micro_settings settings = {.image_dir = images,
                                            .agent = agent,
                                            .image = "",
                                            .qemu = "/usr/bin/qemu-system-x86_64",
                                            .msb = "/nowhere",
                                            .cache = "",
                                            .memory_mib = 256,
                                            .pool = pool,
                                            .pool_ttl_ms = 86400000,
                                            .templates = templates};
    if (cds_micro_engine_new(b.host, &settings, &ret, &err))
        give_up(err.message);
    return ret;
}

static void prepare(struct cds_engine *e, const char *language)
{
    struct cds_err err;
    b.ended = false;
    if (e->ops->prepare(e, language, on_prepared, NULL, &err))
        give_up(err.message);
    wait_end();
}

int main(int argc, char **argv)
{
    size_t rounds = argc > 1 ? (size_t)atoi(argv[1]) : 12, cold = argc > 2 ? (size_t)atoi(argv[2]) : 4;
    char dir[] = "/tmp/cds-bench-micro-XXXXXX", program[512], path[64], key[16];
    struct cds_err err;
    cds_log_init("bench", CDS_LOG_WARN);
    if (rounds < 1 || rounds > ROUNDS_MAX || cold < 1 || cold > rounds || !mkdtemp(dir) || chmod(dir, 0755))
        give_up("1 to 1000 rounds, and a folder in /tmp");
    snprintf(key, sizeof(key), "bm%d", (int)getpid()); /* one of its own: a second bench would end the machines of the first */
    const struct sandbox_settings settings = {.base_dir = dir, .cgroup_key = key, .slots = 2};
    if (cds_loop_new(&b.loop, &err) || sandbox_host_open(b.loop, &settings, &b.host, &err))
        give_up(err.message);
    cds_program_dir(program, sizeof(program));
    b.project = open(b.host->empty_dir, O_PATH | O_DIRECTORY | O_CLOEXEC);
    b.cold = engine(program, 0, false);
    b.plain = engine(program, 0, true);
    b.warm = engine(program, 1, true);
    prepare(b.plain, "python");
    prepare(b.warm, "python");
    prepare(b.warm, "node");
    for (size_t i = 0; i < rounds; i++)
        for (size_t k = 0; k < KINDS; k++) {
            enum kind kind = (enum kind)((k + i) % KINDS);
            if (kind != COLD || i % (rounds / cold) == 0)
                measure(kind);
        }
    print_all(256);
    struct cds_engine *all[] = {b.cold, b.plain, b.warm};
    for (size_t i = 0; i < 3; i++)
        all[i]->ops->close(all[i]);
    sandbox_host_close(&b.host);
    cds_loop_free(&b.loop);
    close(b.project);
    static const char *const below[] = {"root", "empty", ""};
    for (size_t i = 0; i < 3; i++) {
        snprintf(path, sizeof(path), "%s/%s", dir, below[i]);
        rmdir(path);
    }
    return 0;
}
