/* sandbox/call_probe.c: sandbox.probe: every engine tries the real thing, one after the other; one answer serves for a minute. */
#include <stdlib.h>

#include "lib/base/clock.h"
#include "lib/base/str.h"
#include "sandbox/broker.h"

enum { PROBE_FRESH_MS = 60000, WAITING_MAX = 64 };

/* One probe of all engines, and who waits for it. */
struct probe_run {
    struct broker *broker;
    size_t at; /* the engine being tried */
    cds_json *engines;
    struct waiting {
        struct client *client;
        cds_json *id;
    } waiting[WAITING_MAX];
    size_t count;
};

static void next(struct probe_run *probe);

static void on_reports(void *user, const struct cds_engine_report *reports, size_t count)
{
    struct probe_run *probe = user;
    for (size_t i = 0; i < count; i++) {
        const struct cds_engine_report *r = &reports[i];
        cds_json_append(probe->engines,
                        cds_json_pack("{s:s,s:s,s:b,s:s,s:s,s:s,s:s,s:I}", "name", r->name, "backend", r->backend, "works", r->works, "boundary",
                                      r->boundary, "limits", r->limits, "reason", r->reason, "remedy", r->remedy, "took_ms", (int64_t)r->took_ms));
    }
    probe->at++;
    next(probe);
}

static void answer_all(struct probe_run *probe)
{
    for (size_t i = 0; i < probe->count; i++) {
        struct waiting *w = &probe->waiting[i];
        client_result(w->client, w->id, cds_json_copy(probe->broker->probed));
        cds_json_unref(w->id);
        client_unref(w->client);
    }
}

static void next(struct probe_run *probe)
{
    struct broker *broker = probe->broker;
    struct cds_err err;
    if (probe->at == broker->engine_count) {
        cds_json_unref(broker->probed);
        broker->probed = cds_json_pack("{s:o}", "engines", probe->engines);
        broker->probed_ms = cds_now_ms();
        broker->probing = NULL;
        answer_all(probe);
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

static bool wait_for(struct probe_run *probe, struct client *client, cds_json *id)
{
    if (probe->count == WAITING_MAX)
        return false;
    client_ref(client);
    probe->waiting[probe->count++] = (struct waiting){client, id ? cds_json_ref(id) : NULL};
    return true;
}

void probe_call(struct client *client, const struct cds_rpc_request *request)
{
    struct broker *broker = client->broker;
    struct cds_err err;
    /* Every viewer may ask, and a probe takes the place of a run: one answer serves for a while. */
    if (broker->probed && cds_now_ms() - broker->probed_ms < PROBE_FRESH_MS) {
        client_result(client, request->id, cds_json_copy(broker->probed));
        return;
    }
    struct probe_run *probe = broker->probing;
    bool first = !probe;
    if (first) {
        probe = calloc(1, sizeof(*probe));
        if (!probe)
            abort();
        probe->broker = broker;
        probe->engines = cds_json_array();
        broker->probing = probe;
    }
    if (!wait_for(probe, client, request->id)) {
        cds_fail(&err, CDS_BUSY, __func__, "Too many wait for the answer of this probe.");
        err.retry_after_ms = 1000;
        client_error(client, request->id, &err);
    }
    if (first)
        next(probe);
}

void probe_free(struct broker *broker)
{
    cds_json_unref(broker->probed);
    broker->probed = NULL;
    struct probe_run *probe = broker->probing;
    if (!probe)
        return;
    for (size_t i = 0; i < probe->count; i++) {
        cds_json_unref(probe->waiting[i].id);
        client_unref(probe->waiting[i].client);
    }
    cds_json_unref(probe->engines);
    free(probe);
    broker->probing = NULL;
}
