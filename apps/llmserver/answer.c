#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "apps/llmserver/results.h"
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

/** Text of the prompt an answer belongs to, when it is to be repeated; NULL: not. */
static const cds_json *echoed(const struct cds_gen *gen, unsigned index)
{
    return gen->ask.echo ? cds_json_at(cds_json_get(gen->ask.prompt, "prompts"), index / gen->ask.shown) : NULL;
}

/** Begins the stream; its first events, if it has some, go to events. */
static void begin_stream(struct cds_gen *gen, struct cds_buf *events)
{
    gen->streaming = true;
    gen->status = 200;
    cds_http_add_header(gen->req, "Cache-Control", "no-cache");
    cds_http_stream_begin(gen->req, 200, "text/event-stream; charset=utf-8", STREAM_BUFFER);
    for (unsigned i = 0; i < gen->choice_count; i++) {
        const cds_json *text = echoed(gen, i);
        if (gen->wire.chat)
            add_event(events, cds_wire_role(&gen->wire, i));
        else if (text)
            add_event(events, cds_wire_text(&gen->wire, i, cds_json_str(text), cds_json_str_len(text), NULL));
    }
}

void cds_gen_open_stream(struct cds_gen *gen)
{
    CDS_CLEANUP(cds_buf_free) struct cds_buf events = cds_buf_init(CDS_GEN_OUT_MAX);
    if (!gen->req || !gen->ask.stream || gen->streaming)
        return;
    begin_stream(gen, &events);
    push_events(gen, &events);
}

/** Whole answers, and texts that are checked at their end, are kept. */
static bool keeps(const struct cds_gen *gen)
{
    return !gen->ask.stream || gen->ask.schema;
}

static cds_json *logprobs_of(struct cds_gen *gen, struct cds_choice *choice, const cds_json *chances)
{
    return chances && gen->ask.logprobs ? cds_choice_logprobs(choice, chances, gen->wire.chat) : NULL;
}

void cds_gen_write_text(struct cds_gen *gen, unsigned index, const char *text, size_t len, const cds_json *chances)
{
    struct cds_choice *choice = &gen->choices[index];
    if (keeps(gen))
        (void)cds_buf_add(&choice->text, text, len);
    if (!gen->ask.stream && chances)
        cds_choice_keep_chances(choice, chances);
    if (gen->req && gen->ask.stream && (len > 0 || chances))
        push_event(gen, cds_wire_text(&gen->wire, index, text, len, logprobs_of(gen, choice, chances)));
}

void cds_gen_write_deltas(struct cds_gen *gen, unsigned index, const cds_json *deltas, const cds_json *chances)
{
    struct cds_choice *choice = &gen->choices[index];
    CDS_CLEANUP(cds_buf_free) struct cds_buf events = cds_buf_init(CDS_GEN_OUT_MAX);
    if (!gen->ask.stream && chances)
        cds_choice_keep_chances(choice, chances);
    for (size_t i = 0; i < cds_json_size(deltas); i++) {
        cds_json *delta = NULL;
        cds_choice_take(choice, cds_json_at(deltas, i), keeps(gen), &delta);
        if (delta && gen->ask.stream)
            add_event(&events, cds_wire_delta(&gen->wire, index, delta, i == 0 ? logprobs_of(gen, choice, chances) : NULL));
        else
            cds_json_unref(delta);
    }
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
    for (unsigned i = 0; i < gen->choice_count; i++)
        add_event(&events, cds_wire_finish(&gen->wire, i, gen->choices[i].finish_reason, i + 1 == gen->choice_count, &gen->end));
    if (gen->wire.include_usage)
        add_event(&events, cds_wire_usage(&gen->wire, &gen->end));
    (void)cds_buf_add_str(&events, "data: [DONE]\n\n");
    gen->finished = true;
    push_events(gen, &events); /* nothing after it: a stream that is cut here takes gen with it */
}

static cds_json *choice_json(struct cds_gen *gen, struct cds_choice *choice, unsigned index)
{
    cds_json *body;
    CDS_CLEANUP(cds_buf_free) struct cds_buf text = cds_buf_init(SIZE_MAX / 2);
    const cds_json *before = echoed(gen, index);
    if (gen->wire.chat) {
        body = cds_choice_message(choice);
    } else {
        (void)cds_buf_add(&text, cds_json_str(before) ? cds_json_str(before) : "", cds_json_str_len(before));
        (void)cds_buf_add(&text, choice->text.data ? choice->text.data : "", choice->text.len);
        body = text.failed ? NULL : cds_json_stringn(text.data ? text.data : "", text.len);
    }
    cds_json *logprobs = gen->ask.logprobs ? cds_choice_logprobs(choice, choice->chances ? choice->chances : cds_json_array(), gen->wire.chat) : NULL;
    return cds_wire_choice(&gen->wire, index, body, logprobs, choice->finish_reason);
}

/** Chance per token, so that short answers are not preferred. */
static double worth(const struct cds_choice *choice)
{
    return choice->tokens ? choice->score / choice->tokens : -1e9;
}

/** The best choice of a prompt that was not taken yet. */
static struct cds_choice *best_left(struct cds_choice *choices, unsigned count, bool *taken)
{
    unsigned best = count;
    for (unsigned i = 0; i < count; i++)
        if (!taken[i] && (best == count || worth(&choices[i]) > worth(&choices[best])))
            best = i;
    taken[best] = true;
    return &choices[best];
}

static cds_json *whole_answer(struct cds_gen *gen)
{
    const struct cds_ask *ask = &gen->ask;
    cds_json *list = cds_json_array();
    bool ranked = ask->per_prompt > ask->shown;
    for (unsigned p = 0; p < ask->prompts; p++) {
        bool taken[CDS_ASK_CHOICES_MAX] = {false};
        struct cds_choice *choices = &gen->choices[(size_t)p * ask->per_prompt];
        for (unsigned k = 0; k < ask->shown; k++) {
            struct cds_choice *choice = ranked ? best_left(choices, ask->per_prompt, taken) : &choices[k];
            if (choice->text.failed || choice->reasoning.failed || cds_json_append(list, choice_json(gen, choice, p * ask->shown + k)) != 0) {
                cds_json_unref(list);
                return NULL;
            }
        }
    }
    return cds_wire_answer(&gen->wire, list, &gen->end);
}

void cds_gen_write_end(struct cds_gen *gen)
{
    if (!cds_task_generates(gen->ask.task)) {
        cds_results_write(gen);
        return;
    }
    gen->status = 200;
    if (gen->ask.stream) {
        write_stream_end(gen);
        return;
    }
    CDS_JSON_AUTO answer = whole_answer(gen);
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
