/* sandbox/wasm.c: the engine for WebAssembly. See wasm.h; the life of a job is in job.c, the request in wasm_request.c, the end in wasm_verdict.c. */
#include "sandbox/wasm.h"

#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "lib/base/cleanup.h"
#include "lib/base/clock.h"
#include "lib/base/str.h"
#include "sandbox/job_pool.h"
#include "sandbox/job_priv.h"
#include "sandbox/wasm_priv.h"

static const char no_library[] = "libwasmer.so is not here: the engine wasm is an extra that is built once.";
static const char remedy[] =
    "An admin can build it with: make wasmer (needs cargo 1.95 or newer), or name one built before: CDS_WASMER=FILE make wasmer";

/* ---- one run ---- */
static void run_free(struct wasm_run *run)
{
    *run->prev = run->next;
    if (run->next)
        run->next->prev = run->prev;
    cds_close_fd(&run->request_fd);
    cds_close_fd(&run->aot_fd);
    cds_buf_free(&run->order);
    free(run);
}

static struct wasm_run *run_new(struct wasm_engine *engine)
{
    struct wasm_run *run = calloc(1, sizeof(*run));
    if (!run)
        return NULL;
    *run = (struct wasm_run){.engine = engine, .request_fd = -1, .aot_fd = -1};
    if ((run->next = engine->runs))
        run->next->prev = &run->next;
    run->prev = &engine->runs;
    engine->runs = run;
    return run;
}

static struct wasm_run *run_of(struct wasm_engine *engine, const struct cds_job *job)
{
    struct wasm_run *run = engine->runs;
    while (run && run->job != job)
        run = run->next;
    return run;
}

static void on_output(void *user, int stream, const char *data, size_t len)
{
    struct wasm_run *run = user;
    run->events.on_output(run->user, stream, data, len);
}

static void on_end(void *user, const struct cds_job_result *result)
{
    struct wasm_run *run = user;
    struct wasm_engine *engine = run->engine;
    const struct cds_job_events events = run->events;
    void *to = run->user;
    if (run->leave)
        wasm_cache_keep(engine->cache, run->key, run->aot_fd);
    else if (cds_streq(engine->aot, "refused"))
        wasm_cache_drop(engine->cache, run->key);
    engine->aot[0] = '\0';
    run_free(run);
    events.on_end(to, result);
}

/* What the worker may use: the module's memory and the engine's own; threads of the library. */
static void as_worker(struct cds_job_spec *spec)
{
    spec->language = "wasm";
    spec->path = NULL;
    spec->code = NULL;
    spec->arg_count = spec->env_count = 0;
    spec->limits.memory_bytes += WASM_ENGINE_BYTES;
    /* Without control groups tasks are counted per user, all jobs together: less than the others have would starve this one. */
    if (spec->limits.max_tasks < WASM_TASKS)
        spec->limits.max_tasks = WASM_TASKS;
}

/* A worker that waits takes a module whose code is kept: what it compiled itself could not be told from what the module did afterwards. */
static bool pool_fits(const struct wasm_run *run, const struct cds_job_spec *spec)
{
    return !run->leave && !spec->file_count;
}

static cds_rc wasm_acquire(struct cds_engine *base, const struct cds_job_spec *spec, struct cds_job **ret, struct cds_err *reterr)
{
    struct wasm_engine *engine = (struct wasm_engine *)base;
    struct cds_job_spec worker = *spec;
    if (access(engine->library, R_OK)) {
        cds_fail(reterr, CDS_DENIED, __func__, "%s %s", no_library, remedy);
        cds_err_rule(reterr, "wasm.no_backend");
        return CDS_DENIED;
    }
    struct wasm_run *run = run_new(engine);
    cds_rc rc = run ? wasm_request_make(engine, spec, run, reterr) : cds_fail(reterr, CDS_EXHAUSTED, __func__, "Out of memory.");
    if (!rc) {
        struct jail_pool *pool = engine->jail.pool;
        as_worker(&worker);
        engine->jail.pool = pool_fits(run, spec) ? pool : NULL;
        rc = jail_job_acquire(base, &worker, &run->job, reterr);
        engine->jail.pool = pool;
    }
    if (rc && run)
        run_free(run);
    if (!rc)
        *ret = run->job;
    return rc;
}

static void wasm_release(struct cds_job *job)
{
    struct wasm_run *run = run_of((struct wasm_engine *)job->engine, job);
    jail_job_release(job);
    if (run)
        run_free(run);
}

static cds_rc wasm_exec(struct cds_job *job, const struct cds_job_spec *spec, const struct cds_job_events *events, void *user, struct cds_err *reterr)
{
    static const struct cds_job_events ours = {on_output, on_end};
    struct wasm_engine *engine = (struct wasm_engine *)job->engine;
    struct cds_job_spec worker = *spec;
    struct wasm_run *run = run_of(engine, job);
    run->events = *events;
    run->user = user;
    as_worker(&worker);
    cds_rc rc = ((struct jail_job *)job)->waits ? CDS_OK : wasm_request_seal(run, reterr);
    if (rc) {
        wasm_release(job);
        return rc;
    }
    engine->starting = run;
    rc = jail_job_exec(job, &worker, &ours, run, reterr);
    engine->starting = NULL;
    if (rc) {
        run_free(run);
        return rc;
    }
    cds_buf_free(&run->order);
    cds_close_fd(&run->request_fd); /* the worker has its own */
    run->request_fd = -1;
    return CDS_OK;
}

static cds_rc wasm_command(struct jail_engine *base, const struct cds_job_spec *spec, struct jail_command *ret, struct cds_err *reterr)
{
    static const char *const env[] = {"LANG=C.UTF-8", NULL}; /* nothing of the caller's: a variable can lead a dynamic loader astray */
    struct wasm_engine *engine = (struct wasm_engine *)base;
    const struct wasm_run *run = engine->starting; /* NULL: a worker is started ahead */
    if (access(engine->worker, X_OK))
        return cds_fail(reterr, CDS_NOT_FOUND, __func__, "%.200s is not there; build the studio again: make build", engine->worker);
    ret->argv[0] = ret->preload_argv[0] = "/opt/cds-wasmworker";
    ret->preload_argv[1] = ret->preload = "wait";
    ret->reports = true;
    ret->env = env;
    ret->order = run ? &run->order : NULL;
    ret->gives = run && run->request_fd >= 0;
    ret->give_fds[0] = run ? run->request_fd : -1;
    ret->give_fds[1] = run ? run->aot_fd : -1;
    ret->binds[0] = (struct cds_jail_bind){.from = engine->worker, .to = "cds-wasmworker"};
    ret->binds[1] = (struct cds_jail_bind){.from = engine->library, .to = "libwasmer.so"};
    ret->bind_count = 2;
    return CDS_OK;
}

/* ---- probe: 1 + 2 ---- */
struct probe {
    struct wasm_engine *engine;
    cds_probe_fn *done;
    void *user;
    uint64_t began_ms;
};

static void probe_output(void *user, int stream, const char *data, size_t len)
{
}

static void probe_answer(struct probe *p, bool works, const char *reason, const char *what_to_do)
{
    const struct sandbox_host *host = p->engine->jail.host;
    struct cds_engine_report report = {.name = "wasm",
                                       .backend = "wasmer",
                                       .boundary = "language",
                                       .limits = sandbox_host_limits(host),
                                       .works = works,
                                       .took_ms = (uint32_t)(cds_now_ms() - p->began_ms)};
    snprintf(report.reason, sizeof(report.reason), "%.250s", reason);
    snprintf(report.remedy, sizeof(report.remedy), "%.150s", what_to_do);
    p->done(p->user, &report, 1);
    free(p);
}

static void probe_end(void *user, const struct cds_job_result *r)
{
    struct probe *p = user;
    char reason[300] = "";
    bool works = r->end == CDS_END_OK && cds_streq(r->values, "[{\"type\":\"i32\",\"value\":3}]");
    if (!works)
        snprintf(reason, sizeof(reason), "1 + 2 in a module ended with %s and %.60s. %.200s", cds_run_end_name(r->end),
                 r->values[0] ? r->values : "no value", r->reason);
    probe_answer(p, works, reason, works ? "" : "Build the library again: rm -r deps/wasmer; make wasmer");
}

static void probe_missing(void *user)
{
    probe_answer(user, false, no_library, remedy);
}

static cds_rc wasm_probe(struct cds_engine *base, cds_probe_fn *done, void *user, struct cds_err *reterr)
{
    /* (module (func (export "add") (param i32 i32) (result i32) local.get 0 local.get 1 i32.add)) */
    static const char add[] = "\0asm\1\0\0\0\1\7\1\x60\2\x7f\x7f\1\x7f\3\2\1\0\7\7\1\3add\0\0\x0a\x09\1\7\0\x20\0\x20\1\x6a\x0b";
    static const struct cds_job_events events = {probe_output, probe_end};
    static const struct cds_wasm_value one_two[] = {{CDS_WASM_I32, {.i32 = 1}}, {CDS_WASM_I32, {.i32 = 2}}};
    struct wasm_engine *engine = (struct wasm_engine *)base;
    struct probe *p = calloc(1, sizeof(*p));
    if (!p)
        return cds_fail(reterr, CDS_EXHAUSTED, __func__, "Out of memory.");
    *p = (struct probe){.engine = engine, .done = done, .user = user, .began_ms = cds_now_ms()};
    if (access(engine->library, R_OK)) {
        cds_rc rc = cds_loop_post(engine->jail.host->loop, probe_missing, p);
        if (rc)
            free(p);
        return rc;
    }
    CDS_CLEANUP(cds_close_fd) int project = open(engine->jail.host->empty_dir, O_PATH | O_DIRECTORY | O_CLOEXEC);
    const struct cds_job_spec spec = {.language = "",
                                      .code = add,
                                      .code_len = sizeof(add) - 1,
                                      .export_name = "add",
                                      .values = one_two,
                                      .value_count = 2,
                                      .project_fd = project,
                                      .access = CDS_PROJECT_NONE,
                                      .limits = {5000, 5000, 16 << 20, 4096, 64, 4 << 20, 1000}};
    struct cds_job *job;
    cds_rc rc = wasm_acquire(base, &spec, &job, reterr);
    if (!rc)
        rc = wasm_exec(job, &spec, &events, p, reterr);
    if (rc)
        free(p);
    return rc;
}

/* ---- engine ---- */
static void wasm_close(struct cds_engine *base)
{
    struct wasm_engine *engine = (struct wasm_engine *)base;
    jail_jobs_end(&engine->jail);
    for (struct wasm_run *run = engine->runs, *next; run; run = next) {
        next = run->next;
        run_free(run);
    }
    wasm_cache_free(&engine->cache);
    free(engine);
}

cds_rc cds_wasm_engine_new(struct sandbox_host *host, const struct wasm_settings *settings, struct cds_engine **ret, struct cds_err *reterr)
{
    static const struct cds_engine_ops ops = {.name = "wasm",
                                              .probe = wasm_probe,
                                              .acquire = wasm_acquire,
                                              .exec = wasm_exec,
                                              .write = jail_job_write,
                                              .resize = jail_job_resize,
                                              .hold = jail_job_hold,
                                              .kill = jail_job_kill,
                                              .stats = jail_job_stats,
                                              .release = wasm_release,
                                              .close = wasm_close};
    static const struct jail_hooks hooks = {.backend = "wasmer", .boundary = "language", .command = wasm_command, .verdict = wasm_verdict};
    struct wasm_engine *engine = calloc(1, sizeof(*engine));
    if (!engine)
        return cds_fail(reterr, CDS_EXHAUSTED, __func__, "Out of memory.");
    engine->jail = (struct jail_engine){.base = {&ops}, .host = host, .hooks = &hooks};
    cds_strcpy(engine->library, sizeof(engine->library), settings->library);
    cds_strcpy(engine->worker, sizeof(engine->worker), settings->worker);
    cds_rc rc = wasm_cache_open(host->loop, settings->cache_dir, NULL, &engine->cache, reterr);
    if (!rc && settings->pool)
        rc = jail_pool_new(&engine->jail, settings->pool, &engine->jail.pool, reterr);
    if (rc) {
        wasm_cache_free(&engine->cache);
        free(engine);
        return rc;
    }
    *ret = &engine->jail.base;
    return CDS_OK;
}

void cds_wasm_engine_counts(const struct cds_engine *base, struct wasm_cache_counts *ret)
{
    wasm_cache_count(((const struct wasm_engine *)base)->cache, ret);
}

size_t cds_wasm_engine_ready(const struct cds_engine *base)
{
    return jail_pool_ready(((const struct wasm_engine *)base)->jail.pool);
}
