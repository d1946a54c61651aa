/* sandbox/run.c: the process engine: a language in a jail. See run.h; the life of a job is in job.c. */
#include "sandbox/run.h"

#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "lib/base/cleanup.h"
#include "lib/base/clock.h"
#include "sandbox/job_pool.h"
#include "sandbox/run_priv.h"

/* ---- probe: a jailed `sh` that says ok ---- */
struct probe {
    struct jail_engine *engine;
    cds_probe_fn *done;
    void *user;
    uint64_t began_ms;
    char said[16];
    size_t len;
};

static void probe_output(void *user, int stream, const char *data, size_t len)
{
    struct probe *p = user;
    for (size_t i = 0; stream == 1 && i < len && p->len < sizeof(p->said) - 1; i++)
        p->said[p->len++] = data[i];
}

static void probe_end(void *user, const struct cds_job_result *r)
{
    struct probe *p = user;
    const struct sandbox_host *host = p->engine->host;
    struct cds_engine_report report = {.name = "run",
                                       .backend = p->engine->hooks->backend,
                                       .boundary = p->engine->hooks->boundary,
                                       .limits = sandbox_host_limits(host),
                                       .took_ms = (uint32_t)(cds_now_ms() - p->began_ms)};
    report.works = r->end == CDS_END_OK && !strcmp(p->said, "ok\n");
    if (!report.works) {
        snprintf(report.reason, sizeof(report.reason), "A jailed shell ended with %s. %.200s", cds_run_end_name(r->end), r->reason);
        snprintf(report.remedy, sizeof(report.remedy), "Allow user namespaces and mounts for cds-sandboxd, or start the studio as root.");
    } else {
        snprintf(report.reason, sizeof(report.reason), "%.250s", cds_cgroups_reason(host->cgroups));
        if (report.reason[0])
            snprintf(report.remedy, sizeof(report.remedy), "Start the studio as root, or delegate a control group with memory and pids to its user.");
    }
    p->done(p->user, &report, 1);
    free(p);
}

static cds_rc run_probe(struct cds_engine *base, cds_probe_fn *done, void *user, struct cds_err *reterr)
{
    static const struct cds_job_events events = {probe_output, probe_end};
    static const char code[] = "echo ok\n";
    struct jail_engine *engine = (struct jail_engine *)base;
    CDS_CLEANUP(cds_close_fd) int project = open(engine->host->empty_dir, O_PATH | O_DIRECTORY | O_CLOEXEC);
    struct probe *p = calloc(1, sizeof(*p));
    if (!p)
        return cds_fail(reterr, CDS_EXHAUSTED, __func__, "Out of memory.");
    *p = (struct probe){.engine = engine, .done = done, .user = user, .began_ms = cds_now_ms()};
    const struct cds_job_spec spec = {
        .language = "sh", .code = code, .code_len = sizeof(code) - 1, .project_fd = project, .limits = {5000, 5000, 64 << 20, 4096, 16, 4 << 20, 0}};
    struct cds_job *job;
    cds_rc rc = jail_job_acquire(base, &spec, &job, reterr);
    if (!rc)
        rc = jail_job_exec(job, &spec, &events, p, reterr);
    if (rc)
        free(p);
    return rc;
}

static void run_close(struct cds_engine *base)
{
    struct jail_engine *engine = (struct jail_engine *)base;
    jail_jobs_end(engine);
    free(engine);
}

cds_rc cds_run_engine_new(struct sandbox_host *host, unsigned pool, struct cds_engine **ret, struct cds_err *reterr)
{
    static const struct cds_engine_ops ops = {.name = "run",
                                              .probe = run_probe,
                                              .acquire = jail_job_acquire,
                                              .exec = jail_job_exec,
                                              .write = jail_job_write,
                                              .resize = jail_job_resize,
                                              .hold = jail_job_hold,
                                              .kill = jail_job_kill,
                                              .stats = jail_job_stats,
                                              .doors = jail_job_doors,
                                              .network_pid = jail_job_network_pid,
                                              .release = jail_job_release,
                                              .close = run_close};
    static const struct jail_hooks hooks = {.backend = "jail", .boundary = "process", .doors = true, .command = run_command};
    struct jail_engine *engine = calloc(1, sizeof(*engine));
    if (!engine)
        return cds_fail(reterr, CDS_EXHAUSTED, __func__, "Out of memory.");
    *engine = (struct jail_engine){.base = {&ops}, .host = host, .hooks = &hooks};
    cds_rc rc = pool ? jail_pool_new(engine, pool, &engine->pool, reterr) : CDS_OK;
    if (rc) {
        free(engine);
        return rc;
    }
    *ret = &engine->base;
    return CDS_OK;
}

size_t cds_run_engine_ready(const struct cds_engine *engine)
{
    return jail_pool_ready(((const struct jail_engine *)engine)->pool);
}
