// link: app_sandbox
/* bench/wasm.c: add(1, 2) in a module against bare interpreters.
 *
 *   wasm [rounds=40]
 *
 * G11: a warm call (compiled code kept, as the studio has it from the second run of a module on) / bare `python3 -c 'print(1+2)'`; gate 0.25.
 * G12: a cold call (compiled for this run) / node with the same module in its own engine; gate 0.8.
 * Measured from start to known end. One round runs every kind once, in rotating order, so that a busy moment hits all alike; the ratios of the
 * p50s are what travels between machines. With a bare python3 whose p95 is above 1.5 times its p50 the machine is too noisy to judge.
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
#include "lib/base/cleanup.h"
#include "lib/base/clock.h"
#include "lib/base/fd.h"
#include "lib/config/config.h"
#include "sandbox/wasm.h"
#include "sandbox/wasm_cache.h"

enum { ROUNDS_MAX = 1000, WARM_UP = 3, SETTLE_MS = 60 };
enum kind { PYTHON, NODE, COLD, WARM, KINDS };
static const char *const names[KINDS] = {"python3", "node", "cold", "warm"};

static const char add[] = "\0asm\1\0\0\0\1\7\1\x60\2\x7f\x7f\1\x7f\3\2\1\0\7\7\1\3add\0\0\x0a\x09\1\7\0\x20\0\x20\1\x6a\x0b";

struct bench {
    struct cds_loop *loop;
    struct sandbox_host *host;
    struct cds_engine *engine;
    int project_fd;
    unsigned turn;
    bool ended;
    struct cds_job_result result;
    char module_path[64];
};

static _Noreturn void give_up(const char *what)
{
    fprintf(stderr, "bench wasm: %s\n", what);
    exit(1);
}

static void on_output(void *user, int stream, const char *data, size_t len)
{
}

static void on_end(void *user, const struct cds_job_result *result)
{
    struct bench *b = user;
    b->result = *result;
    b->ended = true;
}

/* A custom section with a number makes the module one that was never compiled before. */
static void run_module(struct bench *b, bool cold)
{
    static const struct cds_job_events events = {on_output, on_end};
    static const struct cds_wasm_value one_two[] = {{CDS_WASM_I32, {.i32 = 1}}, {CDS_WASM_I32, {.i32 = 2}}};
    char module[sizeof(add) + 16];
    size_t len = sizeof(add) - 1;
    memcpy(module, add, len);
    if (cold)
        len += (size_t)snprintf(module + len, sizeof(module) - len, "%c%c%c%08u", 0, 9, 8, ++b->turn);
    const struct cds_job_spec spec = {.language = "",
                                      .code = module,
                                      .code_len = len,
                                      .export_name = "add",
                                      .values = one_two,
                                      .value_count = 2,
                                      .project_fd = b->project_fd,
                                      .limits = {30000, 20000, 512 << 20, 1 << 20, 64, 64 << 20, 1000000}};
    struct cds_job *job;
    struct cds_err err;
    b->ended = false;
    if (b->engine->ops->acquire(b->engine, &spec, &job, &err) || b->engine->ops->exec(job, &spec, &events, b, &err))
        give_up(err.message);
    while (!b->ended)
        cds_loop_once(b->loop, 1000);
    if (strcmp(b->result.values, "[{\"type\":\"i32\",\"value\":3}]") != 0)
        give_up(b->result.reason[0] ? b->result.reason : "the module did not say 3");
}

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
    if (waitpid(pid, &status, 0) != pid || status != 0 || len != 2 || memcmp(out, "3\n", 2) != 0)
        give_up("a yardstick did not say 3");
}

/* As between two runs of a user: the cache has what was compiled, and the next worker waits. */
static void settle(struct bench *b)
{
    struct wasm_cache_counts counts = {.writing = 1};
    uint64_t until_ms = cds_now_ms() + SETTLE_MS;
    for (uint64_t now = cds_now_ms(); now < until_ms; now = cds_now_ms())
        cds_loop_once(b->loop, (int)(until_ms - now));
    while (counts.writing || !cds_wasm_engine_ready(b->engine)) {
        cds_loop_once(b->loop, 10);
        cds_wasm_engine_counts(b->engine, &counts);
    }
}

static double run_once(struct bench *b, enum kind kind)
{
    static const char in_node[] = "console.log(new WebAssembly.Instance(new WebAssembly.Module(require('fs').readFileSync(process.argv[1])))"
                                  ".exports.add(1, 2))";
    const char *const python[] = {"/usr/bin/python3", "-c", "print(1+2)", NULL}, *const node[] = {"/usr/bin/node", "-e", in_node, b->module_path,
                                                                                                  NULL};
    if (b->result.backend)
        settle(b);
    uint64_t began = cds_now_ns();
    if (kind == PYTHON)
        run_direct(python);
    else if (kind == NODE)
        run_direct(node);
    else
        run_module(b, kind == COLD);
    return (double)(cds_now_ns() - began) / 1e6;
}

static void measure(struct bench *b, size_t rounds)
{
    static double ms[KINDS][ROUNDS_MAX];
    double p50[KINDS] = {0}, p95[KINDS] = {0};
    bool skip[KINDS] = {access("/usr/bin/python3", X_OK) != 0, access("/usr/bin/node", X_OK) != 0, false, false};
    for (size_t i = 0; i < rounds + WARM_UP; i++)
        for (size_t k = 0; k < KINDS; k++) {
            size_t kind = (k + i) % KINDS;
            double took = skip[kind] ? 0 : run_once(b, (enum kind)kind);
            if (i >= WARM_UP)
                ms[kind][i - WARM_UP] = took;
        }
    printf("{\"command\":\"wasm add(1, 2)\",\"rounds\":%zu", rounds);
    for (size_t k = 0; k < KINDS; k++) {
        p50[k] = gate_quantile(ms[k], rounds, 0.5);
        p95[k] = gate_quantile(ms[k], rounds, 0.95);
        if (!skip[k])
            printf(",\"%s\":{\"p50_ms\":%.2f,\"p95_ms\":%.2f}", names[k], p50[k], p95[k]);
    }
    printf(",\"origin\":\"%s\",\"peak_memory_bytes\":%llu,\"enforced_by\":\"%s\"}\n", b->result.origin,
           (unsigned long long)b->result.peak_memory_bytes, b->result.enforced_by);
    bool noisy = p95[PYTHON] > 1.5 * p50[PYTHON];
    if (!skip[PYTHON])
        gate_say("G11", p50[WARM] / p50[PYTHON], p95[WARM] / p50[WARM], noisy);
    if (!skip[NODE])
        gate_say("G12", p50[COLD] / p50[NODE], p95[COLD] / p50[COLD], noisy);
}

int main(int argc, char **argv)
{
    char dir[] = "/tmp/cds-bench-XXXXXX", path[600], key[17], library[600], worker[600], self[512];
    struct bench b = {.loop = NULL};
    struct cds_err err;
    int given = argc > 1 ? atoi(argv[1]) : 40;
    if (given < 1 || given > ROUNDS_MAX || !mkdtemp(dir) || chmod(dir, 0755))
        give_up("usage: wasm [rounds, 1 to 1000]");
    cds_program_dir(self, sizeof(self));
    snprintf(library, sizeof(library), "%s/../lib/wasmer/libwasmer.so", self);
    snprintf(worker, sizeof(worker), "%s/../bin/cds-wasmworker", self);
    if (access(library, R_OK)) {
        rmdir(dir);
        puts("{\"command\":\"wasm add(1, 2)\",\"skipped\":\"libwasmer is not built (make wasmer)\"}");
        return 0;
    }
    snprintf(key, sizeof(key), "bench%d", (int)getpid());
    const struct sandbox_settings settings = {.base_dir = dir, .cgroup_key = key, .slots = 1};
    const struct wasm_settings wasm = {.library = library, .worker = worker, .pool = 2};
    if (cds_loop_new(&b.loop, &err) || sandbox_host_open(b.loop, &settings, &b.host, &err) || cds_wasm_engine_new(b.host, &wasm, &b.engine, &err))
        give_up(err.message);
    snprintf(path, sizeof(path), "%s/empty", dir);
    b.project_fd = open(path, O_PATH | O_DIRECTORY | O_CLOEXEC);
    snprintf(b.module_path, sizeof(b.module_path), "%s/add.wasm", dir);
    if (cds_write_file_atomic(b.module_path, add, sizeof(add) - 1, 0644, &err))
        give_up(err.message);
    measure(&b, (size_t)given);
    close(b.project_fd);
    b.engine->ops->close(b.engine);
    sandbox_host_close(&b.host);
    cds_loop_free(&b.loop);
    unlink(b.module_path);
    rmdir(path);
    snprintf(path, sizeof(path), "%s/root", dir);
    rmdir(path);
    rmdir(dir);
    return 0;
}
