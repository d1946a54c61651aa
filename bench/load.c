// link: app_sandbox
/* bench/load.c: how the process sandbox holds up: in a queue, beside hostile neighbours, when it must end something, and at the clock.
 *
 *   load [seconds=8]   length of each of the two longer parts
 *
 * G16: p99 / p50 of a run from a ready jail at 80 % load: runs come at fixed times, 1.25 cycles apart, a cycle being a run and the making of the
 *      next jail; measured from the time a run was due, so that one that waits for its predecessor counts as slow.
 * G17: a tenant's 1+2 in a cold jail while a fork bomb, a memory bomb and a flood of output (rows A01, A02, A07) run, again and again / idle; p50s.
 * G18: from kill to the end of init with all namespaces, a job with 40 processes; p99, ms.
 * G21: from start to told of, for runs that sleep or spin with a limit of 1 s: (time - limit) / limit, the worst of them.
 */
#include "bench/gates.h"
#include "lib/base/compiler.h"
#include "tests/support/jail_rig.h"

enum { SAMPLES_MAX = 4000, CYCLES = 30, KILLS = 100, CLOCKED = 8, HOSTILE = 3, IDLE_RUNS = 30 };

static const char sum[] = "print(1+2)";
static const char *const hostile_code[HOSTILE] = {
    "import os, time\ntry:\n    while True:\n        if os.fork() == 0:\n            time.sleep(60)\nexcept OSError:\n    pass\ntime.sleep(0.3)",
    "x = bytearray(600 << 20)\nfor i in range(0, len(x), 4096):\n    x[i] = 1",
    "import os\npiece = b'y' * 65536\nfor i in range(2000):\n    os.write(1 + i % 2, piece)",
};

struct run {
    bool ended;
    uint64_t ended_ns;
    struct cds_job_result r;
};

static _Noreturn void give_up(const char *what)
{
    fprintf(stderr, "bench load: %s\n", what);
    exit(1);
}

static void on_output(void *user, int stream, const char *data, size_t len)
{
}

static void on_end(void *user, const struct cds_job_result *r)
{
    *(struct run *)user = (struct run){.ended = true, .ended_ns = cds_now_ns(), .r = *r};
}

static struct cds_job *start(struct jail_rig *rig, struct cds_job_spec *spec, struct run *run)
{
    static const struct cds_job_events events = {on_output, on_end};
    struct cds_err err = {0};
    run->ended = false;
    struct cds_job *job = jail_rig_start(rig, spec, &events, run, &err);
    if (!job)
        give_up(err.message);
    return job;
}

static void run_sum(struct jail_rig *rig)
{
    struct run run;
    struct cds_job_spec spec = jail_rig_spec(rig, "python", sum);
    start(rig, &spec, &run);
    if (!jail_rig_wait(rig, &run.ended) || run.r.end != CDS_END_OK)
        give_up("a run of 1+2 failed");
}

static void wait_until(struct jail_rig *rig, uint64_t ns)
{
    for (uint64_t now; (now = cds_now_ns()) < ns;)
        cds_loop_once(rig->loop, (int)((ns - now) / 1000000));
}

static void open_rig(struct jail_rig *rig, unsigned slots, unsigned pool)
{
    if (jail_rig_open(rig, &(struct jail_rig_options){.key = "benchload", .slots = slots, .pool = pool}))
        give_up("the engine cannot be opened");
}

static void wait_ready(struct jail_rig *rig)
{
    while (!cds_run_engine_ready(rig->engine))
        cds_loop_once(rig->loop, 5);
}

static void queue(uint64_t seconds)
{
    static double ms[SAMPLES_MAX], cycle[CYCLES];
    struct jail_rig rig;
    size_t n = 0;
    open_rig(&rig, 1, 1);
    run_sum(&rig);
    for (size_t i = 0; i < CYCLES; i++) {
        uint64_t began = cds_now_ns();
        wait_ready(&rig);
        run_sum(&rig);
        cycle[i] = (double)(cds_now_ns() - began) / 1e6;
    }
    /* A jail is ready when its interpreter is, too: a job in a jail whose interpreter still starts waits for it. That is in the cycle. */
    uint64_t apart_ns = (uint64_t)(gate_quantile(cycle, CYCLES, 0.5) * 1e6 / 0.8), due = cds_now_ns() + apart_ns, until = due + seconds * 1000000000;
    for (; due < until && n < SAMPLES_MAX; due += apart_ns) {
        wait_until(&rig, due);
        run_sum(&rig);
        ms[n++] = (double)(cds_now_ns() - due) / 1e6;
    }
    bool noisy = gate_quantile(cycle, CYCLES, 0.95) > 1.5 * gate_quantile(cycle, CYCLES, 0.5);
    double p50 = gate_quantile(ms, n, 0.5), p95 = gate_quantile(ms, n, 0.95), p99 = gate_quantile(ms, n, 0.99);
    printf("{\"what\":\"ready jails at 80 %% load\",\"n\":%zu,\"apart_ms\":%.2f,\"p50_ms\":%.2f,\"p95_ms\":%.2f,\"p99_ms\":%.2f}\n", n,
           (double)apart_ns / 1e6, p50, p95, p99);
    gate_say("G16", p99 / p50, p95 / p50, noisy);
    jail_rig_close(&rig);
}

static double timed_sum(struct jail_rig *rig)
{
    uint64_t began = cds_now_ns();
    run_sum(rig);
    return (double)(cds_now_ns() - began) / 1e6;
}

static void neighbours(uint64_t seconds)
{
    static double idle[IDLE_RUNS], busy[SAMPLES_MAX];
    struct jail_rig rig;
    struct run runs[HOSTILE];
    size_t n = 0, again = 0;
    open_rig(&rig, HOSTILE + 1, 0);
    run_sum(&rig);
    for (size_t i = 0; i < IDLE_RUNS; i++)
        idle[i] = timed_sum(&rig);
    struct cds_job_spec specs[HOSTILE];
    struct cds_job *jobs[HOSTILE];
    for (size_t i = 0; i < HOSTILE; i++) {
        specs[i] = jail_rig_spec(&rig, "python", hostile_code[i]);
        specs[i].limits.memory_bytes = i == 1 ? 64 << 20 : specs[i].limits.memory_bytes;
        jobs[i] = start(&rig, &specs[i], &runs[i]);
    }
    for (uint64_t until = cds_now_ms() + seconds * 1000; cds_now_ms() < until && n < SAMPLES_MAX;) {
        for (size_t i = 0; i < HOSTILE; i++)
            if (runs[i].ended) {
                again++;
                jobs[i] = start(&rig, &specs[i], &runs[i]);
            }
        busy[n++] = timed_sum(&rig);
    }
    for (size_t i = 0; i < HOSTILE; i++) {
        if (!runs[i].ended)
            rig.engine->ops->kill(jobs[i], CDS_END_CANCELLED);
        jail_rig_wait(&rig, &runs[i].ended);
    }
    double quiet = gate_quantile(idle, IDLE_RUNS, 0.5), p95 = gate_quantile(idle, IDLE_RUNS, 0.95), slow = gate_quantile(busy, n, 0.5);
    printf("{\"what\":\"a neighbour's 1+2\",\"n\":%zu,\"idle_p50_ms\":%.2f,\"idle_p95_ms\":%.2f,\"busy_p50_ms\":%.2f,\"busy_p95_ms\":%.2f,"
           "\"hostile_runs\":%zu}\n",
           n, quiet, p95, slow, gate_quantile(busy, n, 0.95), again + HOSTILE);
    gate_say("G17", slow / quiet, gate_quantile(busy, n, 0.95) / slow, p95 > 1.5 * quiet);
    jail_rig_close(&rig);
}

static void kills(void)
{
    static double ms[KILLS];
    static const char code[] = "for i in 1 2 3 4 5 6 7 8 9 10 11 12 13 14 15 16 17 18 19 20; do (sleep 60 & sleep 60) & done; wait";
    struct jail_rig rig;
    open_rig(&rig, 1, 0);
    for (size_t i = 0; i < KILLS; i++) {
        struct run run;
        struct cds_job_spec spec = jail_rig_spec(&rig, "sh", code);
        struct cds_job *job = start(&rig, &spec, &run);
        wait_until(&rig, cds_now_ns() + (10 + i % 40) * 1000000); /* while it still starts, and when all of them sleep */
        uint64_t began = cds_now_ns();
        rig.engine->ops->kill(job, CDS_END_CANCELLED);
        if (!jail_rig_wait(&rig, &run.ended) || rig.host->ending)
            give_up("a job that was killed lives on");
        ms[i] = (double)(cds_now_ns() - began) / 1e6;
    }
    double p50 = gate_quantile(ms, KILLS, 0.5), p95 = gate_quantile(ms, KILLS, 0.95), p99 = gate_quantile(ms, KILLS, 0.99);
    printf("{\"what\":\"kill to nothing left\",\"n\":%d,\"p50_ms\":%.2f,\"p95_ms\":%.2f,\"p99_ms\":%.2f}\n", KILLS, p50, p95, p99);
    gate_say("G18", p99, p95 / p50, false);
    jail_rig_close(&rig);
}

static void clocks(void)
{
    struct jail_rig rig;
    struct run runs[CLOCKED];
    uint64_t began[CLOCKED];
    double worst = 0;
    open_rig(&rig, CLOCKED, 0);
    for (size_t i = 0; i < CLOCKED; i++) {
        struct cds_job_spec spec = jail_rig_spec(&rig, "sh", i % 4 ? "sleep 30" : "while :; do :; done");
        spec.limits.wall_ms = 1000;
        began[i] = cds_now_ns();
        start(&rig, &spec, &runs[i]);
        wait_until(&rig, cds_now_ns() + 50000000);
    }
    for (size_t i = 0; i < CLOCKED; i++) {
        if (!jail_rig_wait(&rig, &runs[i].ended) || runs[i].r.end != CDS_END_WALL_TIME)
            give_up("a run did not end at its wall clock");
        double error = ((double)(runs[i].ended_ns - began[i]) / 1e6 - 1000) / 1000;
        worst = error > worst ? error : worst;
    }
    printf("{\"what\":\"limit of 1 s\",\"n\":%d,\"worst_error\":%.4f}\n", CLOCKED, worst);
    gate_say("G21", worst, 0, false);
    jail_rig_close(&rig);
}

int main(int argc, char **argv)
{
    int seconds = argc > 1 ? atoi(argv[1]) : 8;
    if (seconds < 1 || seconds > 600)
        give_up("usage: load [seconds, 1 to 600]");
    queue((uint64_t)seconds);
    neighbours((uint64_t)seconds);
    kills();
    clocks();
    return 0;
}
