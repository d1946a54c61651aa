/* apps/llmserver/responses_wire.c: an answer as OpenAI's Responses API tells it: items, and events about them. */
#include <stdio.h>
#include <string.h>

#include "apps/llmserver/generation.h"
#include "lib/base/clock.h"
#include "lib/base/str.h"
#include "lib/json/problem.h"

enum { ID_MAX = 63 };

/** "resp_" and the digits of the request id; items have their number behind it. */
static const char *id_of(const struct cds_gen *gen, const char *prefix, int index, char buf[static ID_MAX + 1])
{
    size_t len = (size_t)snprintf(buf, ID_MAX + 1, "%s_", prefix);
    for (const char *c = gen->request_id; *c && len < ID_MAX - 8; c++)
        if (*c != '-')
            buf[len++] = *c;
    buf[len] = '\0';
    if (index >= 0)
        snprintf(buf + len, ID_MAX + 1 - len, "%04x", (unsigned)index);
    return buf;
}

static const char *const prefixes[] = {[CDS_SEGMENT_REASONING] = "rs", [CDS_SEGMENT_TEXT] = "msg", [CDS_SEGMENT_CALL] = "fc"};

/** One event; steals event. */
static void emit(struct cds_gen *gen, struct cds_buf *events, const char *type, cds_json *event)
{
    if (event) {
        cds_json_set(event, "type", cds_json_string(type));
        cds_json_set(event, "sequence_number", cds_json_int(gen->sequence++));
    }
    cds_dialect_event(events, type, event);
}

/* --- items --------------------------------------------------------------------------------------------------------------- */

static cds_json *piece_of(const struct cds_buf *buf, size_t from, size_t to)
{
    return buf->failed ? NULL : cds_json_stringn(buf->data && to > from ? buf->data + from : "", to > from ? to - from : 0);
}

static cds_json *logprobs_of(const struct cds_gen *gen, const cds_json *chances)
{
    if (!chances || !gen->ask.logprobs)
        return cds_json_array();
    CDS_JSON_AUTO both = cds_choice_logprobs(&gen->choices[0], chances, true);
    return cds_json_ref(cds_json_get(both, "content"));
}

/** The only part of a text or a thought. */
static cds_json *part_of(const struct cds_gen *gen, const struct cds_segment *segment, bool whole)
{
    const struct cds_choice *choice = &gen->choices[0];
    if (segment->kind == CDS_SEGMENT_REASONING)
        return cds_json_pack("{s:s,s:o}", "type", "reasoning_text", "text",
                             piece_of(&choice->reasoning, segment->from, whole ? segment->to : segment->from));
    return cds_json_pack("{s:s,s:o,s:[],s:o}", "type", "output_text", "text",
                         piece_of(&choice->text, segment->from, whole ? segment->to : segment->from), "annotations", "logprobs",
                         whole ? logprobs_of(gen, choice->chances) : cds_json_array());
}

static cds_json *arguments_of(const struct cds_call *call)
{
    return call->arguments.len ? piece_of(&call->arguments, 0, call->arguments.len) : cds_json_string("{}");
}

/** @param whole  with what it says; else as it begins */
static cds_json *item_of(const struct cds_gen *gen, unsigned index, bool whole, const char *status)
{
    const struct cds_segment *segment = &gen->segments.list[index];
    char id[ID_MAX + 1];
    id_of(gen, prefixes[segment->kind], (int)index, id);
    if (segment->kind == CDS_SEGMENT_CALL) {
        const struct cds_call *call = &gen->choices[0].calls[segment->call];
        return cds_json_pack("{s:s,s:s,s:s,s:s,s:O,s:o}", "id", id, "type", "function_call", "status", status, "call_id", call->id, "name",
                             call->name, "arguments", whole ? arguments_of(call) : cds_json_string(""));
    }
    cds_json *content = cds_json_array();
    if (whole)
        cds_json_append(content, part_of(gen, segment, true));
    if (segment->kind == CDS_SEGMENT_REASONING)
        return cds_json_pack("{s:s,s:s,s:[],s:o,s:s}", "id", id, "type", "reasoning", "summary", "content", content, "status", status);
    return cds_json_pack("{s:s,s:s,s:s,s:s,s:o}", "id", id, "type", "message", "status", status, "role", "assistant", "content", content);
}

/* --- the response -------------------------------------------------------------------------------------------------------- */

/** What the caller asked for is told again, with the value that stands where nothing was asked. */
static cds_json *asked(const struct cds_gen *gen, const char *name, cds_json *otherwise)
{
    cds_json *value = cds_json_get(gen->asked, name);
    if (!value || cds_json_is(value, CDS_JSON_NULL))
        return otherwise;
    cds_json_unref(otherwise);
    return cds_json_ref(value);
}

static cds_json *usage_of(const struct cds_wire_end *end)
{
    return cds_json_pack("{s:I,s:{s:I},s:I,s:{s:I},s:I}", "input_tokens", (long long)end->prompt_tokens, "input_tokens_details", "cached_tokens",
                         (long long)end->cached_tokens, "output_tokens", (long long)end->completion_tokens, "output_tokens_details",
                         "reasoning_tokens", (long long)end->reasoning_tokens, "total_tokens",
                         (long long)end->prompt_tokens + end->completion_tokens);
}

static cds_json *response_of(const struct cds_gen *gen, const char *status, cds_json *output)
{
    char id[ID_MAX + 1];
    const cds_json *text = cds_json_get(gen->asked, "text"), *reasoning = cds_json_get(gen->asked, "reasoning");
    cds_json *response = cds_json_pack("{s:s,s:s,s:I,s:s,s:b,s:n,s:n,s:s,s:o,s:n,s:b}", "id", id_of(gen, "resp", -1, id), "object", "response",
                                       "created_at", (long long)gen->wire.created_s, "status", status, "background", 0, "error", "incomplete_details",
                                       "model", gen->wire.model, "output", output, "previous_response_id", "store", 0);
    cds_json_set(response, "instructions", asked(gen, "instructions", cds_json_null()));
    cds_json_set(response, "max_output_tokens", asked(gen, "max_output_tokens", cds_json_null()));
    cds_json_set(response, "max_tool_calls", asked(gen, "max_tool_calls", cds_json_null()));
    cds_json_set(response, "metadata", asked(gen, "metadata", cds_json_object()));
    cds_json_set(response, "parallel_tool_calls", asked(gen, "parallel_tool_calls", cds_json_bool(true)));
    cds_json_set(response, "reasoning",
                 cds_json_is(reasoning, CDS_JSON_OBJECT) ? cds_json_copy(reasoning) : cds_json_pack("{s:n,s:n}", "effort", "summary"));
    cds_json_set(response, "service_tier", asked(gen, "service_tier", cds_json_string("default")));
    cds_json_set(response, "temperature", asked(gen, "temperature", cds_json_real(0.8)));
    cds_json_set(response, "text", cds_json_get(text, "format") ? cds_json_copy(text) : cds_json_pack("{s:{s:s}}", "format", "type", "text"));
    cds_json_set(response, "tool_choice", asked(gen, "tool_choice", cds_json_string("auto")));
    cds_json_set(response, "tools", asked(gen, "tools", cds_json_array()));
    cds_json_set(response, "top_logprobs", asked(gen, "top_logprobs", cds_json_int(0)));
    cds_json_set(response, "top_p", asked(gen, "top_p", cds_json_real(0.95)));
    cds_json_set(response, "truncation", asked(gen, "truncation", cds_json_string("disabled")));
    cds_json_set(response, "usage", cds_json_null());
    return response;
}

static const char *final_status(const struct cds_gen *gen)
{
    if (cds_streq(gen->choices[0].finish_reason, "length"))
        return "incomplete";
    return cds_streq(gen->end.ended, "cancelled") ? "incomplete" : "completed";
}

static cds_json *answer(struct cds_gen *gen)
{
    const struct cds_choice *choice = &gen->choices[0];
    const char *status = final_status(gen);
    bool broken = choice->text.failed || choice->reasoning.failed || gen->segments_lost;
    cds_json *output = cds_json_array();
    for (unsigned i = 0; i < gen->segments.count; i++)
        broken = cds_json_append(output, item_of(gen, i, true, i + 1 == gen->segments.count ? status : "completed")) != 0 || broken;
    if (broken) {
        cds_json_unref(output);
        return NULL;
    }
    cds_json *response = response_of(gen, status, output);
    if (cds_streq(status, "incomplete"))
        cds_json_set(response, "incomplete_details",
                     cds_json_pack("{s:s}", "reason", cds_streq(choice->finish_reason, "length") ? "max_output_tokens" : "cancelled"));
    else
        cds_json_set(response, "completed_at", cds_json_int((int64_t)(cds_wall_ms() / 1000)));
    cds_json_set(response, "usage", usage_of(&gen->end));
    cds_json_set(response, "cds", cds_wire_own(&gen->wire, &gen->end));
    return response;
}

static cds_json *counted(const struct cds_gen *gen)
{
    return cds_json_pack("{s:s,s:I}", "object", "response.input_tokens", "input_tokens", (long long)gen->prompt_tokens);
}

/* --- events -------------------------------------------------------------------------------------------------------------- */

static void begin(struct cds_gen *gen, struct cds_buf *events)
{
    emit(gen, events, "response.created", cds_json_pack("{s:o}", "response", response_of(gen, "in_progress", cds_json_array())));
    emit(gen, events, "response.in_progress", cds_json_pack("{s:o}", "response", response_of(gen, "in_progress", cds_json_array())));
}

/** Beginning of an event about the last item. */
static cds_json *about(const struct cds_gen *gen, bool part)
{
    unsigned index = gen->segments.count - 1;
    char id[ID_MAX + 1];
    cds_json *event =
        cds_json_pack("{s:s,s:I}", "item_id", id_of(gen, prefixes[gen->segments.list[index].kind], (int)index, id), "output_index", (long long)index);
    if (part)
        cds_json_set(event, "content_index", cds_json_int(0));
    return event;
}

static cds_json *with(cds_json *event, const char *name, cds_json *value)
{
    if (!event || !value || cds_json_set(event, name, value) != 0) {
        cds_json_unref(value && !event ? value : NULL);
        cds_json_unref(event);
        return NULL;
    }
    return event;
}

static void open_item(struct cds_gen *gen, struct cds_buf *events)
{
    unsigned index = gen->segments.count - 1;
    const struct cds_segment *segment = &gen->segments.list[index];
    emit(gen, events, "response.output_item.added",
         cds_json_pack("{s:I,s:o}", "output_index", (long long)index, "item", item_of(gen, index, false, "in_progress")));
    if (segment->kind != CDS_SEGMENT_CALL)
        emit(gen, events, "response.content_part.added", with(about(gen, true), "part", part_of(gen, segment, false)));
}

/** The last item is over. */
static void close_item(struct cds_gen *gen, const char *status, struct cds_buf *events)
{
    if (gen->segments.count == 0)
        return;
    unsigned index = gen->segments.count - 1;
    const struct cds_segment *segment = &gen->segments.list[index];
    const struct cds_choice *choice = &gen->choices[0];
    if (segment->kind == CDS_SEGMENT_CALL) {
        const struct cds_call *call = &choice->calls[segment->call];
        cds_json *event = with(about(gen, false), "arguments", arguments_of(call));
        emit(gen, events, "response.function_call_arguments.done", with(event, "name", cds_json_ref(call->name)));
    } else {
        bool thought = segment->kind == CDS_SEGMENT_REASONING;
        cds_json *event = with(about(gen, true), "text", piece_of(thought ? &choice->reasoning : &choice->text, segment->from, segment->to));
        if (!thought)
            event = with(event, "logprobs", logprobs_of(gen, choice->chances));
        emit(gen, events, thought ? "response.reasoning_text.done" : "response.output_text.done", event);
        emit(gen, events, "response.content_part.done", with(about(gen, true), "part", part_of(gen, segment, true)));
    }
    emit(gen, events, "response.output_item.done",
         cds_json_pack("{s:I,s:o}", "output_index", (long long)index, "item", item_of(gen, index, true, status)));
}

/** Finds the item of the next piece and tells of changes. @return NULL: none can be had */
static struct cds_segment *segment_for(struct cds_gen *gen, enum cds_segment_kind kind, unsigned call, size_t at, struct cds_buf *events)
{
    bool is_new, any = gen->segments.count > 0;
    const struct cds_segment *last = any ? &gen->segments.list[gen->segments.count - 1] : NULL;
    if (events && last && (last->kind != kind || (kind == CDS_SEGMENT_CALL && last->call != call)))
        close_item(gen, "completed", events);
    struct cds_segment *segment = cds_segments_take(&gen->segments, kind, call, at, &is_new);
    if (!segment) {
        gen->segments_lost = true;
        if (events)
            events->failed = true;
    } else if (is_new && events) {
        open_item(gen, events);
    }
    return segment;
}

static void text(struct cds_gen *gen, unsigned index, const char *piece, size_t len, const cds_json *chances, struct cds_buf *events)
{
    struct cds_choice *choice = &gen->choices[0];
    struct cds_segment *segment = segment_for(gen, CDS_SEGMENT_TEXT, 0, choice->text.len, events);
    (void)cds_buf_add(&choice->text, piece, len);
    if (!segment)
        return;
    segment->to = choice->text.len;
    if (events)
        emit(gen, events, "response.output_text.delta",
             with(with(about(gen, true), "delta", cds_json_stringn(piece, len)), "logprobs", logprobs_of(gen, chances)));
}

static void call_delta(struct cds_gen *gen, const cds_json *one, struct cds_buf *events)
{
    struct cds_choice *choice = &gen->choices[0];
    cds_json *told = NULL, *arguments = cds_json_get(one, "arguments");
    cds_choice_take(choice, one, true, &told);
    bool taken = told != NULL;
    cds_json_unref(told);
    if (!taken || !segment_for(gen, CDS_SEGMENT_CALL, (unsigned)cds_json_get_i64(one, "call", 0), 0, events))
        return;
    if (events && cds_json_str_len(arguments))
        emit(gen, events, "response.function_call_arguments.delta", with(about(gen, false), "delta", cds_json_ref(arguments)));
}

static void delta(struct cds_gen *gen, unsigned index, const cds_json *one, const cds_json *chances, struct cds_buf *events)
{
    struct cds_choice *choice = &gen->choices[0];
    cds_json *thought = cds_json_get(one, "reasoning");
    const cds_json *content = cds_json_get(one, "content");
    if (cds_json_get(one, "call")) {
        call_delta(gen, one, events);
    } else if (cds_json_str_len(thought)) {
        struct cds_segment *segment = segment_for(gen, CDS_SEGMENT_REASONING, 0, choice->reasoning.len, events);
        (void)cds_buf_add(&choice->reasoning, cds_json_str(thought), cds_json_str_len(thought));
        if (segment)
            segment->to = choice->reasoning.len;
        if (segment && events)
            emit(gen, events, "response.reasoning_text.delta", with(about(gen, true), "delta", cds_json_ref(thought)));
    } else if (cds_json_str_len(content)) {
        text(gen, index, cds_json_str(content), cds_json_str_len(content), chances, events);
    }
}

static void end(struct cds_gen *gen, struct cds_buf *events)
{
    const char *status = final_status(gen);
    close_item(gen, status, events);
    emit(gen, events, cds_streq(status, "completed") ? "response.completed" : "response.incomplete",
         with(cds_json_object(), "response", answer(gen)));
}

static void fail(struct cds_gen *gen, const struct cds_err *err, struct cds_buf *events)
{
    CDS_JSON_AUTO whole = cds_openai_error(err);
    cds_json *error = cds_json_get(whole, "error"), *response = response_of(gen, "failed", cds_json_array());
    cds_json_set(response, "error", cds_json_pack("{s:s,s:O}", "code", "server_error", "message", cds_json_get(error, "message")));
    emit(gen, events, "response.failed", cds_json_pack("{s:o}", "response", response));
    emit(gen, events, "error",
         cds_json_pack("{s:O,s:O,s:O,s:O}", "code", cds_json_get(error, "code"), "message", cds_json_get(error, "message"), "param",
                       cds_json_get(error, "param"), "error", error));
}

const struct cds_dialect cds_dialect_responses = {.path = "/v1/responses",
                                                  .task = CDS_TASK_CHAT,
                                                  .chat = true,
                                                  .keeps = true,
                                                  .alive = ": the model is at work\n\n",
                                                  .to_chat = cds_responses_to_chat,
                                                  .own_names = cds_responses_own_names,
                                                  .begin = begin,
                                                  .text = text,
                                                  .delta = delta,
                                                  .end = end,
                                                  .fail = fail,
                                                  .answer = answer,
                                                  .counted = counted};
