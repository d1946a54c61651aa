#include "apps/llmserver/events.h"

#include <stdlib.h>
#include <string.h>

#include "lib/base/clock.h"
#include "lib/http/reply.h"
#include "lib/metrics/metrics.h"

struct reader {
    struct reader *next;
    struct cds_events *events;
    struct cds_http_req *req; /* NULL: gone, freed at the next walk */
    struct cds_credential who;
};
struct cds_events {
    struct cds_timer *alive;
    struct reader *first;
    unsigned count;
};

/** Ends a reader; its place in the list is cleared by the walk that notices. */
static void cut(struct reader *reader)
{
    struct cds_http_req *req = reader->req;
    reader->req = NULL;
    cds_http_set_user(req, NULL, NULL, NULL);
    cds_http_stream_finish(req, true);
}

static void sweep(struct cds_events *events)
{
    for (struct reader **link = &events->first; *link;) {
        struct reader *reader = *link;
        if (reader->req) {
            link = &reader->next;
            continue;
        }
        *link = reader->next;
        events->count--;
        free(reader);
    }
}

static void on_alive(void *user)
{
    static const char comment[] = ": alive\n\n";
    struct cds_events *events = user;
    for (struct reader *reader = events->first; reader; reader = reader->next)
        if (reader->req && cds_http_stream_write(reader->req, comment, sizeof(comment) - 1) != CDS_OK && reader->req)
            cut(reader);
    sweep(events);
    cds_timer_set(events->alive, cds_now_ms() + CDS_EVENT_ALIVE_MS);
}

cds_rc cds_events_new(struct cds_loop *loop, struct cds_events **ret, struct cds_err *reterr)
{
    struct cds_events *events = calloc(1, sizeof(*events));
    if (!events || cds_timer_add(loop, cds_now_ms() + CDS_EVENT_ALIVE_MS, on_alive, events, &events->alive) != CDS_OK) {
        free(events);
        return cds_fail(reterr, CDS_EXHAUSTED, __func__, "There is not enough memory.");
    }
    *ret = events;
    return CDS_OK;
}

void cds_events_free(struct cds_events **events)
{
    if (!*events)
        return;
    cds_timer_remove(&(*events)->alive);
    for (struct reader *reader = (*events)->first; reader; reader = reader->next)
        reader->req = NULL; /* the server that owned them is gone */
    sweep(*events);
    free(*events);
    *events = NULL;
}

void cds_events_tell(struct cds_events *events, const char *name, cds_json *value)
{
    CDS_JSON_AUTO event = value;
    if (!events || !event)
        return;
    for (struct reader *reader = events->first; reader; reader = reader->next)
        if (reader->req && cds_http_sse(reader->req, name, event) != CDS_OK && reader->req)
            cut(reader);
    sweep(events);
}

static void on_gone(void *user)
{
    struct reader *reader = user;
    reader->req = NULL;
}

void cds_events_recheck(struct cds_events *events, const struct cds_standing *standing, bool unknown)
{
    for (struct reader *reader = events ? events->first : NULL; reader; reader = reader->next)
        if (reader->req &&
            (unknown || cds_standing_check(standing, &reader->who, NULL) || cds_credential_need(&reader->who, CDS_ROLE_ADMIN, "", NULL))) {
            cds_metric_add(CDS_M_ACCESS_ENDED, "events", 1);
            cut(reader);
        }
    if (events)
        sweep(events);
}

void cds_events_read(struct cds_events *events, struct cds_http_req *req, const struct cds_credential *who, const cds_json *first)
{
    const char *user_id = who->claims.user_id;
    struct cds_err err = {0};
    sweep(events);
    struct reader *reader = events->count < CDS_EVENT_READERS_MAX ? calloc(1, sizeof(*reader)) : NULL;
    if (!reader) {
        cds_fail(&err, CDS_BUSY, __func__, "%d readers follow the events already.", CDS_EVENT_READERS_MAX);
        err.retry_after_ms = 5000;
        cds_routes_fail(req, user_id, &err);
        return;
    }
    *reader = (struct reader){.next = events->first, .events = events, .req = req, .who = *who};
    events->first = reader;
    events->count++;
    cds_http_set_user(req, reader, on_gone, on_gone);
    cds_http_add_header(req, "Cache-Control", "no-store");
    cds_http_stream_begin(req, 200, "text/event-stream", CDS_EVENT_BUFFER);
    cds_routes_log(req, user_id, 200);
    for (size_t i = 0; i < cds_json_size(first) && reader->req; i++) {
        const cds_json *one = cds_json_at(first, i);
        if (cds_http_sse(req, cds_json_str(cds_json_at(one, 0)), cds_json_at(one, 1)) != CDS_OK && reader->req)
            cut(reader);
    }
}
