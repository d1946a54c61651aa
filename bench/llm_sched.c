// link: app_llmworker app_llmengine_cpu
/* bench/llm_sched.c: the scheduler on a real model without a server: what a workload computes, and what the order and the sharing are worth.
 *
 *   llm_sched MODEL.gguf LIB_DIR SCENARIO [chunk=64] [fifo=0] [share=1] [threads=1] [lookup=0]
 *
 *   enter    one answer runs while a prompt of 3,800 tokens enters
 *   alone    a prompt of 3,800 tokens in steps of `chunk`, nothing else
 *   behind   a prompt of 16 tokens comes behind one of 3,800
 *   together eight prompts of 1,500 common and 32 own tokens come at once
 *   busy     a prompt begins with the 2,000 tokens of a request that generates
 *   keys     one key has a hundred requests, another one has one
 *   copy     an answer of 400 tokens, nine of ten copied from its prompt of 600 in pieces of 60 (the answer is given, the model computes it)
 *   random   the same with an answer of random tokens
 *
 * chunk: prompt tokens of a step (also when nobody generates, unless it is 64); 2048 is the step of other servers. Prints one JSON object; the
 * counters are exact, CPU time at one thread is the figure to compare.
 */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>

#include "apps/llmworker/backend.h"
#include "apps/llmworker/scheduler.h"
#include "lib/base/str.h"
#include "lib/log/log.h"

enum { CELLS = 16384, SLOTS = 8, KEPT = 16, JOBS = 256, LONG = 3800, DRAFTS = 63, WORDS_FIRST = 300 };

static struct cds_engine *engine;
static struct cds_sched *sched;
static struct cds_engine_facts facts;
static struct {
    uint32_t tokens;
    bool ended;
    uint64_t first_step;
    struct cds_job_report report;
} got[JOBS];
static uint64_t long_cpu_us; /* CPU time when the first token of the long prompt came */

static const int32_t *script; /* what the answer says whatever the model thinks; NULL: what the model thinks */
static uint32_t script_count, script_at;

static int32_t scripted_sample(void *user, void *sampler, int row)
{
    int32_t token = cds_engine_llama.sample(user, sampler, row);
    return script && script_at < script_count ? script[script_at++] : token;
}

static uint64_t cpu_us(void)
{
    struct rusage u;
    getrusage(RUSAGE_SELF, &u);
    return (uint64_t)(u.ru_utime.tv_sec + u.ru_stime.tv_sec) * 1000000 + (uint64_t)(u.ru_utime.tv_usec + u.ru_stime.tv_usec);
}

static void on_text(void *user, int64_t id, const char *text, size_t len, uint32_t tokens)
{
    if (got[id].tokens == 0)
        got[id].first_step = cds_sched_counters(sched).steps;
    if (got[id].tokens == 0 && id == 2)
        long_cpu_us = cpu_us();
    got[id].tokens = tokens;
}
static void on_end(void *user, const struct cds_job_report *report)
{
    got[report->id].ended = true;
    got[report->id].report = *report;
}

/** The first `shared` tokens are the same for everybody. */
static void begin(int64_t id, uint32_t shared, uint32_t own, uint32_t max_tokens, uint64_t key)
{
    struct cds_job_spec spec = {
        .id = id, .token_count = shared + own, .max_tokens = max_tokens, .scope = 1, .key = key, .priority = CDS_CLASS_NORMAL};
    spec.sampling.repeat_penalty = 1;
    cds_text_reset(&spec.text);
    spec.tokens = malloc(spec.token_count * sizeof(int32_t));
    unsigned common = 1, mine = (unsigned)id + 10;
    for (uint32_t i = 0; spec.tokens && i < spec.token_count; i++)
        spec.tokens[i] = WORDS_FIRST + rand_r(i < shared ? &common : &mine) % (int)(facts.vocabulary - 400);
    struct cds_err err = {0};
    if (!spec.tokens || cds_sched_add(sched, &spec, &err) != CDS_OK) {
        fprintf(stderr, "%s\n", err.message);
        exit(1);
    }
    cds_sched_start(sched, id, max_tokens);
}
static void until_first_token(int64_t id)
{
    while (got[id].tokens == 0 && cds_sched_runnable(sched))
        cds_sched_step(sched);
}
static void until_idle(void)
{
    while (cds_sched_runnable(sched))
        cds_sched_step(sched);
}

static int32_t any_token(unsigned *seed)
{
    return WORDS_FIRST + rand_r(seed) % (int)(facts.vocabulary - 400);
}

/** An answer that is given, and what it costs from its first token on. */
static void speculate(bool copies, bool lookup)
{
    enum { PROMPT = 600, ANSWER = 400, PIECE = 60, OWN = 6 };
    static int32_t answer[ANSWER];
    struct cds_job_spec spec = {.id = 2, .token_count = PROMPT, .max_tokens = ANSWER, .scope = 1, .key = 1, .priority = CDS_CLASS_NORMAL};
    spec.sampling.repeat_penalty = 1;
    spec.speculation.lookup = lookup;
    cds_text_reset(&spec.text);
    spec.tokens = malloc(PROMPT * sizeof(int32_t));
    unsigned seed = 3;
    for (int i = 0; spec.tokens && i < PROMPT; i++)
        spec.tokens[i] = any_token(&seed);
    for (int i = 0; spec.tokens && i < ANSWER; i++) {
        int piece = i / PIECE;
        answer[i] = copies && i % PIECE >= OWN ? spec.tokens[(piece * 97) % (PROMPT - PIECE) + i % PIECE] : any_token(&seed);
    }
    script = answer;
    script_count = ANSWER;
    struct cds_err err = {0};
    if (!spec.tokens || cds_sched_add(sched, &spec, &err) != CDS_OK) {
        fprintf(stderr, "%s\n", err.message);
        exit(1);
    }
    cds_sched_start(sched, 2, ANSWER);
    until_first_token(2);
    struct cds_sched_counters from = cds_sched_counters(sched);
    uint64_t began_us = cpu_us();
    until_idle();
    double ms = (double)(cpu_us() - began_us) / 1e3;
    struct cds_sched_counters c = cds_sched_counters(sched);
    printf("{\"bench\":\"llm_sched\",\"scenario\":\"%s\",\"tokens\":%u,\"steps\":%llu,\"rows\":%llu,\"validated\":%llu,\"refuted\":%llu,"
           "\"cpu_ms\":%.1f,\"cpu_ms_per_token\":%.4f}\n",
           copies ? "copy" : "random", got[2].tokens, (unsigned long long)(c.steps - from.steps), (unsigned long long)(c.rows - from.rows),
           (unsigned long long)c.validated_tokens, (unsigned long long)c.refuted_tokens, ms, ms / (got[2].tokens - 1));
}

static void print(const char *scenario, uint64_t began_us, const struct cds_sched_counters *from, int64_t asked)
{
    struct cds_sched_counters c = cds_sched_counters(sched);
    uint64_t computed = c.prompt_rows - from->prompt_rows, spent = (long_cpu_us ? long_cpu_us : cpu_us()) - began_us;
    printf("{\"bench\":\"llm_sched\",\"scenario\":\"%s\",\"computed\":%llu,\"most_between\":%u,\"foreign\":%u,\"steps_to_first\":%llu,"
           "\"cpu_ms\":%.1f,\"cpu_ms_per_prompt_token\":%.4f}\n",
           scenario, (unsigned long long)computed, c.most_between, got[asked].report.foreign_tokens,
           (unsigned long long)(got[asked].first_step - from->steps), (double)spent / 1e3, computed ? (double)spent / 1e3 / (double)computed : 0);
}

static void run(const char *scenario, bool lookup)
{
    int64_t asked = 2;
    if (cds_streq(scenario, "copy") || cds_streq(scenario, "random")) {
        speculate(cds_streq(scenario, "copy"), lookup);
        return;
    }
    if (cds_streq(scenario, "enter") || cds_streq(scenario, "busy")) {
        begin(1, cds_streq(scenario, "busy") ? 2000 : 0, 16, 600, 1);
        until_first_token(1);
    }
    struct cds_sched_counters from = cds_sched_counters(sched);
    uint64_t began_us = cpu_us();
    if (cds_streq(scenario, "enter")) {
        begin(2, 0, LONG, 1, 1);
        until_first_token(2);
    } else if (cds_streq(scenario, "alone")) {
        begin(2, 0, LONG, 1, 1);
        until_first_token(2);
    } else if (cds_streq(scenario, "behind")) {
        asked = 3;
        begin(4, 0, LONG, 1, 1);
        cds_sched_step(sched);
        from = cds_sched_counters(sched);
        begin(3, 0, 16, 1, 1);
        until_idle();
    } else if (cds_streq(scenario, "together")) {
        for (int i = 3; i < 11; i++)
            begin(i, 1500, 32, 1, 1);
        until_idle();
        asked = 3;
    } else if (cds_streq(scenario, "busy")) {
        begin(2, 2000, 16, 1, 1);
        until_first_token(2);
    } else if (cds_streq(scenario, "keys")) {
        for (int i = 10; i < 110; i++)
            begin(i, 0, 32, 200, 1);
        for (int i = 0; i < 20; i++)
            cds_sched_step(sched);
        from = cds_sched_counters(sched);
        began_us = cpu_us();
        begin(2, 0, 32, 1, 2);
        until_first_token(2);
    } else {
        fprintf(stderr, "there is no scenario %s\n", scenario);
        exit(2);
    }
    print(scenario, began_us, &from, asked);
}

static unsigned argument(int argc, char **argv, int at, unsigned otherwise)
{
    return argc > at ? (unsigned)strtoul(argv[at], NULL, 10) : otherwise;
}

int main(int argc, char **argv)
{
    if (argc < 4) {
        fprintf(stderr, "use: llm_sched MODEL.gguf LIB_DIR SCENARIO [chunk] [fifo] [share] [threads] [lookup]\n");
        return 2;
    }
    unsigned chunk = argument(argc, argv, 4, 64), threads = argument(argc, argv, 7, 1);
    bool share = argument(argc, argv, 6, 1) != 0;
    struct cds_sched_limits limits = {.slots = SLOTS,
                                      .kept = share ? KEPT : 0,
                                      .cells = CELLS,
                                      .prefill_busy = chunk,
                                      .prefill_idle = chunk == 64 && !cds_streq(argv[3], "alone") ? 128 : chunk,
                                      .drafts = DRAFTS,
                                      .jobs = JOBS,
                                      .answer_reserve = 256,
                                      .share = share,
                                      .fifo = argument(argc, argv, 5, 0) != 0};
    cds_log_init("llm_sched", CDS_LOG_ERROR);
    struct cds_backend_facts compute;
    const struct cds_backend_options cpu = {.backend = CDS_BACKEND_CPU, .lib_dir = argv[2], .denied = ""};
    struct cds_engine_options options = {.model_path = argv[1],
                                         .compute = &compute,
                                         .cells = CELLS,
                                         .sequences = SLOTS + KEPT,
                                         .batch = SLOTS + limits.prefill_idle + DRAFTS,
                                         .threads = threads};
    static const struct cds_sched_sink sink = {.on_text = on_text, .on_end = on_end};
    struct cds_err err = {0};
    cds_rc rc = cds_backend_open(&cpu, &compute, &err);
    if (rc == CDS_OK)
        rc = cds_engine_open(&options, &engine, &err);
    if (rc == CDS_OK) {
        cds_engine_facts(engine, &facts);
        static struct cds_engine_ops ops;
        ops = cds_engine_llama;
        ops.sample = scripted_sample;
        rc = cds_sched_new(&limits, &ops, engine, &sink, NULL, &sched, &err);
    }
    if (rc == CDS_OK)
        run(argv[3], argument(argc, argv, 8, 0) != 0);
    else
        fprintf(stderr, "%s\n", err.message);
    cds_sched_free(&sched);
    cds_engine_close(&engine);
    return rc == CDS_OK ? 0 : 1;
}
