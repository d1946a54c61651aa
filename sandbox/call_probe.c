/* sandbox/call_probe.c: sandbox.probe: every engine tries the real thing, one after the other; one answer serves for a minute. */
#include <stdlib.h>

#include "lib/base/clock.h"
#include "sandbox/probe_engines.h"

enum { PROBE_FRESH_MS = 60000, WAITING_MAX = 64 };

/* One probe of all engines, and who waits for it. */
struct probe_run {
    struct broker *broker;
    struct probe_engines *engines; /* NULL: all have answered */
    struct waiting {
        struct client *client;
        cds_json *id;
    } waiting[WAITING_MAX];
    size_t count;
};

static void answer_all(struct probe_run *probe)
{
    for (size_t i = 0; i < probe->count; i++) {
        struct waiting *w = &probe->waiting[i];
        client_result(w->client, w->id, cds_json_copy(probe->broker->probed));
        cds_json_unref(w->id);
        client_unref(w->client);
    }
}

static void on_engines(void *user, cds_json *engines, bool runs)
{
    struct probe_run *probe = user;
    struct broker *broker = probe->broker;
    cds_json_unref(broker->probed);
    broker->probed = cds_json_pack("{s:o}", "engines", engines);
    broker->probed_ms = cds_now_ms();
    broker->probing = NULL;
    answer_all(probe);
    free(probe);
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
        broker->probing = probe;
    }
    if (!wait_for(probe, client, request->id)) {
        cds_fail(&err, CDS_BUSY, __func__, "Too many wait for the answer of this probe.");
        err.retry_after_ms = 1000;
        client_error(client, request->id, &err);
    }
    if (first)
        probe_engines(broker, on_engines, probe, &probe->engines);
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
    probe_engines_drop(&probe->engines);
    free(probe);
    broker->probing = NULL;
}
