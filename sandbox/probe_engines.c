/* sandbox/probe_engines.c: see probe_engines.h. */
#include "sandbox/probe_engines.h"

#include <stdlib.h>

#include "lib/base/str.h"

struct probe_engines {
    struct broker *broker;
    struct probe_engines **handle; /* the caller's */
    size_t at;                     /* the engine being tried */
    bool runs;
    cds_json *rows;
    probe_engines_done *done;
    void *user;
};

static void next(struct probe_engines *probe);

static void on_reports(void *user, const struct cds_engine_report *reports, size_t count)
{
    struct probe_engines *probe = user;
    for (size_t i = 0; i < count; i++) {
        const struct cds_engine_report *r = &reports[i];
        probe->runs = probe->runs || (r->works && cds_streq(r->name, "run"));
        cds_json_append(probe->rows,
                        cds_json_pack("{s:s,s:s,s:b,s:s,s:s,s:s,s:s,s:I}", "name", r->name, "backend", r->backend, "works", r->works, "boundary",
                                      r->boundary, "limits", r->limits, "reason", r->reason, "remedy", r->remedy, "took_ms", (int64_t)r->took_ms));
    }
    probe->at++;
    next(probe);
}

static void next(struct probe_engines *probe)
{
    struct broker *broker = probe->broker;
    struct cds_err err;
    if (probe->at == broker->engine_count) {
        *probe->handle = NULL;
        probe->done(probe->user, probe->rows, probe->runs);
        free(probe);
        return;
    }
    struct cds_engine *engine = broker->engines[probe->at];
    if (engine->ops->probe(engine, on_reports, probe, &err)) {
        struct cds_engine_report report = {
            .name = engine->ops->name, .backend = "none", .boundary = "none", .limits = sandbox_host_limits(broker->host)};
        cds_strcpy(report.reason, sizeof(report.reason), err.message);
        cds_strcpy(report.remedy, sizeof(report.remedy), err.hint);
        on_reports(probe, &report, 1);
    }
}

void probe_engines(struct broker *broker, probe_engines_done *done, void *user, struct probe_engines **ret)
{
    struct probe_engines *probe = calloc(1, sizeof(*probe));
    if (!probe)
        abort();
    *probe = (struct probe_engines){.broker = broker, .handle = ret, .rows = cds_json_array(), .done = done, .user = user};
    *ret = probe;
    next(probe);
}

void probe_engines_drop(struct probe_engines **probe)
{
    if (!*probe)
        return;
    cds_json_unref((*probe)->rows);
    free(*probe);
    *probe = NULL;
}
