/* sandbox/broker.c: connections and dispatch. See broker.h. */
#include "sandbox/broker.h"

#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#include "lib/base/str.h"
#include "lib/log/log.h"
#include "lib/metrics/metrics.h"
#include "sandbox/image_desk.h"
#include "sandbox/listen.h"
#include "sandbox/preview.h"
#include "sandbox/term.h"

void client_ref(struct client *client)
{
    client->refs++;
}

void client_unref(struct client *client)
{
    if (--client->refs == 0)
        free(client);
}

static void send_message(struct client *client, cds_json *message)
{
    CDS_JSON_AUTO owned = message;
    if (!client->peer || !owned || !cds_peer_send(client->peer, owned))
        return;
    /* An answer that cannot be queued would leave its caller waiting: the connection is given up instead. */
    cds_log(CDS_LOG_ERROR, "the gateway does not read; its connection is closed");
    cds_peer_close(&client->peer);
    broker_client_closed(client);
}

void client_result(struct client *client, cds_json *id, cds_json *result)
{
    if (id && client->peer)
        send_message(client, cds_rpc_result(id, result));
    else
        cds_json_unref(result);
}

void client_error(struct client *client, cds_json *id, const struct cds_err *err)
{
    if (id && client->peer)
        send_message(client, cds_rpc_error(id, err, NULL));
}

struct cds_engine *broker_engine(const struct broker *broker, const char *name)
{
    for (size_t i = 0; i < broker->engine_count; i++)
        if (cds_streq(broker->engines[i]->ops->name, name))
            return broker->engines[i];
    return NULL;
}

static void reply_metrics(struct client *client, cds_json *id)
{
    static const enum cds_metric always[] = {CDS_M_SANDBOX_RUNTIME, CDS_M_RUNS_ACTIVE, CDS_M_TERMS_ACTIVE, CDS_M_COUNT};
    CDS_CLEANUP(cds_buf_free) struct cds_buf text = cds_buf_init(BROKER_FRAME_MAX / 2);
    cds_metric_set(CDS_M_RUNS_ACTIVE, NULL, client->broker->host->active);
    cds_metric_set(CDS_M_TERMS_ACTIVE, NULL, term_count(client->broker));
    cds_rc rc = cds_metrics_text(&text, always);
    (void)rc; /* over the ceiling: what fits is sent */
    client_result(client, id, cds_json_pack("{s:o}", "text", cds_json_stringn(text.data ? text.data : "", text.len)));
}

static void on_request(void *user, struct cds_peer *peer, const struct cds_rpc_request *request, cds_json *message)
{
    struct client *client = user;
    struct cds_err err;
    if (fs_call_knows(request->method)) {
        fs_call(client, request);
    } else if (cds_streq(request->method, "run.exec")) {
        run_call(client, request);
    } else if (cds_streq(request->method, "run.cancel") && request->id) {
        run_stop_call(client, request);
    } else if (cds_streq(request->method, "run.cancel")) {
        int64_t call = cds_json_get_i64(request->params, "call", 0);
        if (!watch_call_cancel(client, call)) {
            run_call_cancel(client, call);
            term_call_cancel(client, call);
            image_call_cancel(client, call);
        }
    } else if (cds_streq(request->method, "fs.watch")) {
        watch_call(client, request);
    } else if (cds_starts_with(request->method, "term.")) {
        term_call(client, request);
    } else if (cds_starts_with(request->method, "image.") && client->broker->images) {
        image_call(client, request);
    } else if (cds_starts_with(request->method, "preview.")) {
        preview_call(client, request);
    } else if (cds_streq(request->method, "sandbox.probe")) {
        probe_call(client, request);
    } else if (cds_streq(request->method, "sandboxd.metrics")) {
        reply_metrics(client, request->id);
    } else {
        cds_fail(&err, CDS_NO_METHOD, __func__, "The sandbox has no method %.64s.", request->method);
        client_error(client, request->id, &err);
    }
}

void broker_client_closed(struct client *client)
{
    struct broker *broker = client->broker;
    client->peer = NULL;
    run_call_drop_all(client);
    watch_call_drop_all(client);
    term_call_drop_all(client);
    image_call_drop_all(client);
    if (client->prev) {
        *client->prev = client->next;
        if (client->next)
            client->next->prev = client->prev;
        client->prev = NULL;
        broker->client_count--;
        client_unref(client);
    }
}

static bool is_local(int fd)
{
    struct ucred who;
    socklen_t len = sizeof(who);
    return !getsockopt(fd, SOL_SOCKET, SO_PEERCRED, &who, &len) && (who.uid == 0 || who.uid == geteuid());
}

bool broker_may_connect(const struct broker *broker, int fd)
{
    struct ucred who;
    socklen_t len = sizeof(who);
    if (getsockopt(fd, SOL_SOCKET, SO_PEERCRED, &who, &len))
        return false;
    return who.uid == 0 || who.uid == geteuid() || who.uid == broker->services_uid;
}

static void on_close(void *user, struct cds_peer *peer, const char *reason)
{
    cds_log(CDS_LOG_INFO, "a connection ended", CDS_LS("reason", reason));
    broker_client_closed(user);
}

cds_rc broker_add_client(struct broker *broker, int fd, struct cds_err *reterr)
{
    static const struct cds_peer_ops ops = {on_request, on_close};
    struct client *client = calloc(1, sizeof(*client));
    if (!client)
        return cds_fail(reterr, CDS_EXHAUSTED, __func__, "Out of memory.");
    client->broker = broker;
    client->refs = 1;
    client->local = is_local(fd);
    cds_rc rc = cds_peer_new(broker->loop, fd, BROKER_FRAME_MAX, BROKER_OUT_MAX, &ops, client, &client->peer, reterr);
    if (rc) {
        free(client);
        return rc;
    }
    if ((client->next = broker->clients))
        client->next->prev = &client->next;
    client->prev = &broker->clients;
    broker->clients = client;
    broker->client_count++;
    return CDS_OK;
}
