#include <stdio.h>
#include <stdlib.h>

#include "apps/llmserver/turns.h"
#include "lib/base/clock.h"
#include "lib/http/reply.h"
#include "lib/json/problem.h"
#include "lib/log/log.h"

enum { STREAM_BUFFER = 128 * 1024, WRITE_MAX = 32 * 1024 };

/* --- bytes -------------------------------------------------------------------------------------------------------------- */

static void pump(struct cds_gen *gen);

static void on_drain(void *user)
{
    pump(user);
}

/** Hands waiting bytes to the connection, as many as it takes. */
static void pump(struct cds_gen *gen)
{
    while (gen->req && gen->out.len) {
        size_t n = gen->out.len < WRITE_MAX ? gen->out.len : WRITE_MAX;
        cds_rc rc = cds_http_stream_write(gen->req, gen->out.data, n);
        if (rc == CDS_BUSY) {
            cds_http_stream_on_drain(gen->req, on_drain, gen);
            return;
        }
        if (rc != CDS_OK)
            return; /* the client left; on_gone tells */
        cds_buf_consume(&gen->out, n);
        gen->wrote_ms = cds_now_ms();
    }
    if (gen->req && gen->finished)
        cds_http_stream_finish(gen->req, false);
}

/** Breaks the connection, so that the client sees that the stream is not whole. The request may be over after it. */
static void cut(struct cds_gen *gen)
{
    struct cds_http_req *req = gen->req;
    gen->req = NULL;
    cds_http_set_user(req, NULL, NULL, NULL);
    cds_http_stream_finish(req, true);
    cds_gen_left(gen, true);
}

static void push(struct cds_gen *gen, const char *data, size_t len)
{
    if (!gen->req)
        return;
    if (cds_buf_add(&gen->out, data, len) != CDS_OK)
        cut(gen); /* 4 MiB wait already: this client does not read */
    else
        pump(gen);
}

/** Appends one event; steals the chunk, NULL is one that could not be made. */
static void add_event(struct cds_buf *events, cds_json *chunk)
{
    CDS_JSON_AUTO value = chunk;
    (void)cds_buf_add_str(events, "data: ");
    if (!value || cds_json_dump(value, events) != CDS_OK)
        events->failed = true;
    (void)cds_buf_add_str(events, "\n\n");
}

/** Sends events as a whole; a stream that lacks some (memory is out) is cut. The request may be over after it. */
static void push_events(struct cds_gen *gen, struct cds_buf *events)
{
    if (!gen->req)
        return;
    if (events->failed)
        cut(gen);
    else
        push(gen, events->data, events->len);
}

static void push_event(struct cds_gen *gen, cds_json *chunk)
{
    CDS_CLEANUP(cds_buf_free) struct cds_buf event = cds_buf_init(CDS_GEN_OUT_MAX);
    add_event(&event, chunk);
    push_events(gen, &event);
}

/* --- the parts of an answer --------------------------------------------------------------------------------------------- */

/** Begins the stream; its first event, if it has one, goes to events. */
static void begin_stream(struct cds_gen *gen, struct cds_buf *events)
{
    gen->streaming = true;
    gen->status = 200;
    cds_http_add_header(gen->req, "Cache-Control", "no-cache");
    cds_http_stream_begin(gen->req, 200, "text/event-stream; charset=utf-8", STREAM_BUFFER);
    if (gen->wire.chat)
        add_event(events, cds_wire_role(&gen->wire));
}

void cds_gen_open_stream(struct cds_gen *gen)
{
    CDS_CLEANUP(cds_buf_free) struct cds_buf events = cds_buf_init(CDS_GEN_OUT_MAX);
    if (!gen->req || !gen->ask.stream || gen->streaming)
        return;
    begin_stream(gen, &events);
    push_events(gen, &events);
}

void cds_gen_write_text(struct cds_gen *gen, const char *text, size_t len)
{
    if (!gen->req)
        return;
    if (gen->ask.stream)
        push_event(gen, cds_wire_text(&gen->wire, text, len));
    else
        (void)cds_buf_add(&gen->text, text, len);
}

static void add_place(struct cds_buf *events, unsigned place)
{
    char comment[64];
    snprintf(comment, sizeof(comment), ": number %u in the queue\n\n", place);
    (void)cds_buf_add_str(events, comment);
}

void cds_gen_write_alive(struct cds_gen *gen)
{
    CDS_CLEANUP(cds_buf_free) struct cds_buf events = cds_buf_init(CDS_GEN_OUT_MAX);
    unsigned place = cds_turns_place(gen);
    if (!gen->req || !gen->ask.stream || cds_now_ms() - gen->wrote_ms < CDS_GEN_ALIVE_MS - 500)
        return;
    bool opens = !gen->streaming; /* its first bytes are a sign of life as well */
    if (opens)
        begin_stream(gen, &events);
    if (place)
        add_place(&events, place);
    else if (!opens)
        (void)cds_buf_add_str(&events, ": the model is at work\n\n");
    push_events(gen, &events);
}

static void write_stream_end(struct cds_gen *gen)
{
    CDS_CLEANUP(cds_buf_free) struct cds_buf events = cds_buf_init(CDS_GEN_OUT_MAX);
    if (!gen->streaming)
        begin_stream(gen, &events);
    add_event(&events, cds_wire_finish(&gen->wire, &gen->end));
    if (gen->wire.include_usage)
        add_event(&events, cds_wire_usage(&gen->wire, &gen->end));
    (void)cds_buf_add_str(&events, "data: [DONE]\n\n");
    gen->finished = true;
    push_events(gen, &events); /* nothing after it: a stream that is cut here takes gen with it */
}

void cds_gen_write_end(struct cds_gen *gen)
{
    gen->status = 200;
    if (gen->ask.stream) {
        write_stream_end(gen);
        return;
    }
    CDS_JSON_AUTO answer = NULL;
    if (!gen->text.failed)
        answer = cds_wire_answer(&gen->wire, gen->text.data ? gen->text.data : "", gen->text.len, &gen->end);
    if (answer) {
        cds_http_reply_json(gen->req, 200, answer);
        return;
    }
    cds_fail(&gen->failure, CDS_EXHAUSTED, __func__, "The answer is too long to be sent in one piece.");
    cds_err_hint(&gen->failure, "Ask with \"stream\": true.");
    gen->status = cds_rc_http(gen->failure.code);
    cds_http_reply_openai_err(gen->req, &gen->failure);
}

void cds_gen_write_error(struct cds_gen *gen, const struct cds_err *err)
{
    gen->status = cds_rc_http(err->code);
    if (!gen->streaming) {
        cds_http_reply_openai_err(gen->req, err);
        return;
    }
    gen->finished = true;
    push_event(gen, cds_openai_error(err));
}
