/* sandbox/call_watch.c: fs.watch: tells a client what changes in a project until it cancels or leaves. */
#include <stdlib.h>
#include <unistd.h>

#include "lib/base/cleanup.h"
#include "lib/log/log.h"
#include "sandbox/broker.h"
#include "sandbox/fs_watch.h"

struct watch_call {
    struct client *client; /* borrowed: the client drops its watches before it goes */
    struct watch_call *next, **prev;
    struct fs_watch *watch;
    cds_json *id;
    int64_t call;
};

static void call_free(struct watch_call *w)
{
    *w->prev = w->next;
    if (w->next)
        w->next->prev = w->prev;
    w->client->broker->watch_count--;
    fs_watch_stop(&w->watch);
    cds_json_unref(w->id);
    free(w);
}

static void on_changes(void *user, const struct fs_changes *changes)
{
    struct watch_call *w = user;
    cds_json *list = cds_json_array();
    /* Behind a slow reader one word is enough: look for yourself. */
    bool behind = cds_peer_pending(w->client->peer) > BROKER_HOLD_BYTES;
    for (size_t i = 0; i < changes->count && !behind; i++)
        cds_json_append(list, cds_json_pack("{s:s,s:s,s:s}", "path", changes->list[i].path, "type", changes->list[i].folder ? "dir" : "file",
                                            "change", fs_change_name(changes->list[i].what)));
    CDS_JSON_AUTO note_text =
        cds_rpc_notification("fs.changed", cds_json_pack("{s:I,s:o,s:b}", "call", w->call, "changes", list, "overflow", changes->overflow || behind));
    if (note_text && cds_peer_send(w->client->peer, note_text))
        cds_log(CDS_LOG_WARN, "changes of a project could not be queued");
}

void watch_call(struct client *client, const struct cds_rpc_request *request)
{
    struct broker *broker = client->broker;
    struct cds_err err;
    CDS_CLEANUP(cds_close_fd) int project = -1;
    if (broker->watch_count >= BROKER_WATCHES) {
        cds_fail(&err, CDS_BUSY, __func__, "%d projects are watched already.", BROKER_WATCHES);
        err.retry_after_ms = 5000;
        client_error(client, request->id, &err);
        return;
    }
    if (broker_project_open(broker, cds_json_get_str(request->params, "project"), &project, &err)) {
        client_error(client, request->id, &err);
        return;
    }
    struct watch_call *w = calloc(1, sizeof(*w));
    if (!w)
        abort();
    w->client = client;
    w->id = request->id ? cds_json_ref(request->id) : NULL;
    w->call = cds_json_i64(request->id, 0);
    if ((w->next = client->watches))
        w->next->prev = &w->next;
    w->prev = &client->watches;
    client->watches = w;
    broker->watch_count++;
    if (fs_watch_start(broker->loop, &broker->host->who, project, on_changes, w, &w->watch, &err)) {
        client_error(client, w->id, &err);
        call_free(w);
    }
}

bool watch_call_cancel(struct client *client, int64_t call)
{
    struct watch_call *w = client->watches;
    while (w && w->call != call)
        w = w->next;
    if (!w)
        return false;
    cds_json *id = cds_json_ref(w->id);
    call_free(w);
    client_result(client, id, cds_json_pack("{s:b}", "cancelled", true));
    cds_json_unref(id);
    return true;
}

void watch_call_drop_all(struct client *client)
{
    for (struct watch_call *w = client->watches, *next; w; w = next) {
        next = w->next;
        call_free(w);
    }
}
