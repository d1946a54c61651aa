#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "apps/llmserver/once.h"
#include "apps/llmserver/pace.h"
#include "apps/llmserver/results.h"
#include "apps/llmserver/turns.h"
#include "lib/base/clock.h"
#include "lib/http/reply.h"
#include "lib/json/problem.h"
#include "lib/log/log.h"

#define STREAM_TYPE "text/event-stream; charset=utf-8"
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

/** Events of a resumable stream: who reads them is the replay's matter, and the last of them ends it. */
static void keep_events(struct cds_gen *gen, const struct cds_buf *events)
{
    struct cds_replay *replay = gen->replay;
    if (gen->finished || events->failed)
        gen->replay = NULL;
    if (events->failed) {
        cds_replay_drop(replay);
        if (!gen->finished) /* else its end goes on with whoever called */
            cds_gen_left(gen, true);
        return;
    }
    cds_replay_add(replay, events->data ? events->data : "", events->len);
    if (gen->finished)
        cds_replay_end(replay);
}

/** Sends events as a whole; a stream that lacks some (memory is out) is cut. The request may be over after it. */
static void push_events(struct cds_gen *gen, struct cds_buf *events)
{
    if (gen->once && events->failed)
        cds_once_lose(&gen->once);
    else if (gen->once && events->len)
        cds_once_add(gen->once, events->data, events->len);
    if (gen->finished)
        cds_once_keep(&gen->once, 200, STREAM_TYPE);
    if (gen->replay) {
        keep_events(gen, events);
        return;
    }
    if (!gen->req)
        return;
    if (events->failed)
        cut(gen);
    else
        push(gen, events->data, events->len);
}

/* --- the parts of an answer --------------------------------------------------------------------------------------------- */

bool cds_gen_has_reader(const struct cds_gen *gen)
{
    return gen->req || gen->replay || gen->once;
}

bool cds_gen_keeps(const struct cds_gen *gen)
{
    return !gen->ask.stream || gen->ask.schema || gen->dialect->keeps;
}

/** Begins the stream; its first events go to events. A resumable one belongs to its replay from now on. */
static void begin_stream(struct cds_gen *gen, struct cds_buf *events)
{
    cds_pace_tell(gen);
    gen->streaming = true;
    gen->status = 200;
    if (gen->replay) {
        struct cds_http_req *req = gen->req;
        gen->req = NULL;
        cds_replay_also(gen->replay, gen->request_id);
        if (req)
            cds_replay_read(gen->replay, req, -1);
    } else if (gen->req) {
        cds_http_add_header(gen->req, "Cache-Control", "no-cache");
        cds_http_stream_begin(gen->req, 200, STREAM_TYPE, STREAM_BUFFER);
    }
    gen->dialect->begin(gen, events);
}

void cds_gen_open_stream(struct cds_gen *gen)
{
    CDS_CLEANUP(cds_buf_free) struct cds_buf events = cds_buf_init(CDS_GEN_OUT_MAX);
    if (!cds_gen_has_reader(gen) || !gen->ask.stream || gen->streaming)
        return;
    begin_stream(gen, &events);
    push_events(gen, &events);
}

/** Chances of a stream go out with their tokens; otherwise, or when they are told again, they are kept. */
static void keep_chances(struct cds_gen *gen, struct cds_choice *choice, const cds_json *chances)
{
    if (chances && gen->ask.logprobs && (!gen->ask.stream || gen->dialect->keeps))
        cds_choice_keep_chances(choice, chances);
}

void cds_gen_write_text(struct cds_gen *gen, unsigned index, const char *text, size_t len, const cds_json *chances)
{
    CDS_CLEANUP(cds_buf_free) struct cds_buf events = cds_buf_init(CDS_GEN_OUT_MAX);
    bool told = cds_gen_has_reader(gen) && gen->ask.stream;
    keep_chances(gen, &gen->choices[index], chances);
    if (len > 0 || chances)
        gen->dialect->text(gen, index, text, len, chances, told ? &events : NULL);
    if (events.len || events.failed)
        push_events(gen, &events);
}

void cds_gen_write_deltas(struct cds_gen *gen, unsigned index, const cds_json *deltas, const cds_json *chances)
{
    CDS_CLEANUP(cds_buf_free) struct cds_buf events = cds_buf_init(CDS_GEN_OUT_MAX);
    bool told = cds_gen_has_reader(gen) && gen->ask.stream;
    keep_chances(gen, &gen->choices[index], chances);
    for (size_t i = 0; i < cds_json_size(deltas); i++)
        gen->dialect->delta(gen, index, cds_json_at(deltas, i), i == 0 ? chances : NULL, told ? &events : NULL);
    if (events.len || events.failed)
        push_events(gen, &events);
}

static cds_rc check_text(const struct cds_gen *gen, const struct cds_choice *choice, struct cds_err *reterr)
{
    CDS_JSON_AUTO value = NULL;
    struct cds_err why = {0};
    cds_rc rc = choice->text.failed ? CDS_TOO_LARGE : cds_json_parse(choice->text.data ? choice->text.data : "", choice->text.len, &value, &why);
    if (rc == CDS_OK)
        rc = cds_schema_validate(gen->ask.schema, value, &why);
    if (rc == CDS_OK)
        return rc;
    cds_fail(reterr, CDS_INTERNAL, __func__, "The model's text does not fit the schema, so it is not given out; nothing was charged.");
    cds_err_hint(reterr, "Simplify the schema, or ask again.");
    cds_err_detail(reterr, "%s", why.message);
    return CDS_INTERNAL;
}

cds_rc cds_gen_check_texts(const struct cds_gen *gen, struct cds_err *reterr)
{
    cds_rc rc = CDS_OK;
    for (unsigned i = 0; gen->ask.schema && rc == CDS_OK && i < gen->choice_count; i++)
        if (strcmp(gen->choices[i].finish_reason, "stop") == 0)
            rc = check_text(gen, &gen->choices[i], reterr);
    return rc;
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
    bool quiet = cds_now_ms() - gen->wrote_ms >= CDS_GEN_ALIVE_MS - 500;
    if (!cds_gen_has_reader(gen) || !gen->ask.stream || (!gen->replay && !quiet))
        return;
    bool opens = !gen->streaming; /* its first bytes are a sign of life as well */
    if (opens)
        begin_stream(gen, &events);
    if (place)
        add_place(&events, place);
    else if (!opens)
        (void)cds_buf_add_str(&events, gen->dialect->alive);
    if (gen->replay && !opens)
        cds_replay_alive(gen->replay, events.data ? events.data : "", CDS_GEN_ALIVE_MS - 500);
    else
        push_events(gen, &events);
}

static void write_stream_end(struct cds_gen *gen)
{
    CDS_CLEANUP(cds_buf_free) struct cds_buf events = cds_buf_init(CDS_GEN_OUT_MAX);
    if (!gen->streaming)
        begin_stream(gen, &events);
    gen->dialect->end(gen, &events);
    gen->finished = true;
    push_events(gen, &events); /* nothing after it: a stream that is cut here takes gen with it */
}

/** An answer in one piece, for whoever asks again. */
static void keep_whole(struct cds_gen *gen, const cds_json *answer)
{
    CDS_CLEANUP(cds_buf_free) struct cds_buf text = cds_buf_init(CDS_ONCE_ANSWER_MAX);
    if (gen->once && cds_json_dump(answer, &text) == CDS_OK)
        cds_once_add(gen->once, text.data, text.len);
    cds_once_keep(&gen->once, 200, "application/json");
}

void cds_gen_write_end(struct cds_gen *gen)
{
    cds_pace_tell(gen);
    if (!cds_task_generates(gen->ask.task)) {
        cds_results_write(gen);
        return;
    }
    gen->status = 200;
    if (gen->ask.stream) {
        write_stream_end(gen);
        return;
    }
    CDS_JSON_AUTO answer = gen->dialect->answer(gen);
    if (answer) {
        keep_whole(gen, answer);
        if (gen->req)
            cds_http_reply_json(gen->req, 200, answer);
        return;
    }
    cds_once_lose(&gen->once);
    cds_fail(&gen->failure, CDS_EXHAUSTED, __func__, "The answer is too long to be sent in one piece.");
    cds_err_hint(&gen->failure, "Ask with \"stream\": true.");
    gen->status = cds_rc_http(gen->failure.code);
    if (gen->req)
        cds_routes_reply_error(gen->req, &gen->failure);
}

void cds_gen_write_error(struct cds_gen *gen, const struct cds_err *err)
{
    CDS_CLEANUP(cds_buf_free) struct cds_buf events = cds_buf_init(CDS_GEN_OUT_MAX);
    gen->status = cds_rc_http(err->code);
    cds_pace_tell(gen);
    if (gen->req && !gen->streaming) {
        cds_routes_reply_error(gen->req, err);
        if (gen->replay)
            cds_replay_drop(gen->replay); /* there is no stream to come back to */
        gen->replay = NULL;
        return;
    }
    gen->streaming = gen->finished = true;
    gen->dialect->fail(gen, err, &events);
    push_events(gen, &events);
}
