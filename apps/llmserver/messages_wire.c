/* apps/llmserver/messages_wire.c: an answer as Anthropic's Messages API tells it: content blocks, and events about them. */
#include <stdio.h>
#include <string.h>

#include "apps/llmserver/generation.h"
#include "lib/base/str.h"
#include "lib/json/problem.h"

static const char *message_id(const struct cds_gen *gen, char buf[static 48])
{
    size_t len = (size_t)snprintf(buf, 48, "msg_");
    for (const char *c = gen->request_id; *c && len < 46; c++)
        if (*c != '-')
            buf[len++] = *c;
    buf[len] = '\0';
    return buf;
}

static cds_json *piece_of(const struct cds_buf *buf, size_t from, size_t to)
{
    return buf->failed ? NULL : cds_json_stringn(buf->data && to > from ? buf->data + from : "", to > from ? to - from : 0);
}

/** A block as it begins, or with what it says. */
static cds_json *block_of(const struct cds_gen *gen, const struct cds_segment *segment, bool whole)
{
    const struct cds_choice *choice = &gen->choices[0];
    if (segment->kind == CDS_SEGMENT_REASONING)
        return cds_json_pack("{s:s,s:o,s:s}", "type", "thinking", "thinking",
                             piece_of(&choice->reasoning, segment->from, whole ? segment->to : segment->from), "signature", "");
    if (segment->kind == CDS_SEGMENT_TEXT)
        return cds_json_pack("{s:s,s:o,s:n}", "type", "text", "text", piece_of(&choice->text, segment->from, whole ? segment->to : segment->from),
                             "citations");
    const struct cds_call *call = &choice->calls[segment->call];
    char id[CDS_CALL_ID_MAX + 8];
    snprintf(id, sizeof(id), "toolu_%s", cds_starts_with(call->id, "call_") ? call->id + 5 : call->id);
    cds_json *input = NULL;
    /* Cut off by a limit, the arguments may be no JSON: such a call has no input that could be used. */
    if (!whole || !call->arguments.len || cds_json_parse(call->arguments.data, call->arguments.len, &input, NULL) != CDS_OK)
        input = cds_json_object();
    return cds_json_pack("{s:s,s:s,s:O,s:o}", "type", "tool_use", "id", id, "name", call->name, "input", input);
}

static cds_json *usage_of(const struct cds_wire_end *end)
{
    return cds_json_pack("{s:I,s:I,s:I,s:I}", "input_tokens", (long long)end->prompt_tokens - end->cached_tokens, "cache_creation_input_tokens", 0LL,
                         "cache_read_input_tokens", (long long)end->cached_tokens, "output_tokens", (long long)end->completion_tokens);
}

static const char *stop_reason(const struct cds_gen *gen)
{
    const struct cds_choice *choice = &gen->choices[0];
    if (cds_streq(choice->finish_reason, "length"))
        return "max_tokens";
    if (cds_streq(choice->finish_reason, "tool_calls"))
        return "tool_use";
    return choice->stop >= 0 ? "stop_sequence" : "end_turn";
}

static cds_json *stop_sequence(const struct cds_gen *gen)
{
    int stop = gen->choices[0].stop;
    cds_json *text = stop >= 0 ? cds_json_at(cds_json_get(gen->ask.prompt, "stop"), (size_t)stop) : NULL;
    return text ? cds_json_ref(text) : cds_json_null();
}

static cds_json *answer(struct cds_gen *gen)
{
    char id[48];
    const struct cds_choice *choice = &gen->choices[0];
    bool broken = choice->text.failed || choice->reasoning.failed || gen->segments_lost;
    cds_json *content = cds_json_array();
    for (unsigned i = 0; i < gen->segments.count; i++)
        broken = cds_json_append(content, block_of(gen, &gen->segments.list[i], true)) != 0 || broken;
    if (broken) {
        cds_json_unref(content);
        return NULL;
    }
    return cds_json_pack("{s:s,s:s,s:s,s:s,s:o,s:s,s:o,s:o,s:o}", "id", message_id(gen, id), "type", "message", "role", "assistant", "model",
                         gen->wire.model, "content", content, "stop_reason", stop_reason(gen), "stop_sequence", stop_sequence(gen), "usage",
                         usage_of(&gen->end), "cds", cds_wire_own(&gen->wire, &gen->end));
}

static cds_json *counted(const struct cds_gen *gen)
{
    return cds_json_pack("{s:I}", "input_tokens", (long long)gen->prompt_tokens);
}

/* --- events -------------------------------------------------------------------------------------------------------------- */

/** Steals event. */
static void emit(struct cds_buf *events, const char *type, cds_json *event)
{
    if (event)
        cds_json_set(event, "type", cds_json_string(type));
    cds_dialect_event(events, type, event);
}

static void begin(struct cds_gen *gen, struct cds_buf *events)
{
    char id[48];
    struct cds_wire_end so_far = {.prompt_tokens = gen->prompt_tokens};
    emit(events, "message_start",
         cds_json_pack("{s:{s:s,s:s,s:s,s:s,s:[],s:n,s:n,s:o}}", "message", "id", message_id(gen, id), "type", "message", "role", "assistant",
                       "model", gen->wire.model, "content", "stop_reason", "stop_sequence", "usage", usage_of(&so_far)));
    emit(events, "ping", cds_json_object());
}

static void close_block(const struct cds_gen *gen, struct cds_buf *events)
{
    if (gen->segments.count == 0)
        return;
    long long index = (long long)gen->segments.count - 1;
    if (gen->segments.list[index].kind == CDS_SEGMENT_REASONING)
        emit(events, "content_block_delta", cds_json_pack("{s:I,s:{s:s,s:s}}", "index", index, "delta", "type", "signature_delta", "signature", ""));
    emit(events, "content_block_stop", cds_json_pack("{s:I}", "index", index));
}

static struct cds_segment *segment_for(struct cds_gen *gen, enum cds_segment_kind kind, unsigned call, size_t at, struct cds_buf *events)
{
    bool is_new;
    const struct cds_segment *last = gen->segments.count ? &gen->segments.list[gen->segments.count - 1] : NULL;
    if (events && last && (last->kind != kind || (kind == CDS_SEGMENT_CALL && last->call != call)))
        close_block(gen, events);
    struct cds_segment *segment = cds_segments_take(&gen->segments, kind, call, at, &is_new);
    if (!segment) {
        gen->segments_lost = true;
        if (events)
            events->failed = true;
    } else if (is_new && events) {
        emit(events, "content_block_start",
             cds_json_pack("{s:I,s:o}", "index", (long long)gen->segments.count - 1, "content_block", block_of(gen, segment, false)));
    }
    return segment;
}

/** A piece of the last block. */
static void tell(const struct cds_gen *gen, const char *type, const char *name, cds_json *value, struct cds_buf *events)
{
    if (events)
        emit(events, "content_block_delta",
             cds_json_pack("{s:I,s:{s:s,s:o}}", "index", (long long)gen->segments.count - 1, "delta", "type", type, name, value));
    else
        cds_json_unref(value);
}

static void text(struct cds_gen *gen, unsigned index, const char *piece, size_t len, const cds_json *chances, struct cds_buf *events)
{
    struct cds_choice *choice = &gen->choices[0];
    if (len == 0)
        return;
    struct cds_segment *segment = segment_for(gen, CDS_SEGMENT_TEXT, 0, choice->text.len, events);
    (void)cds_buf_add(&choice->text, piece, len);
    if (!segment)
        return;
    segment->to = choice->text.len;
    tell(gen, "text_delta", "text", cds_json_stringn(piece, len), events);
}

static void call_delta(struct cds_gen *gen, const cds_json *one, struct cds_buf *events)
{
    cds_json *told = NULL, *arguments = cds_json_get(one, "arguments");
    cds_choice_take(&gen->choices[0], one, true, &told);
    bool taken = told != NULL;
    cds_json_unref(told);
    if (taken && segment_for(gen, CDS_SEGMENT_CALL, (unsigned)cds_json_get_i64(one, "call", 0), 0, events) && cds_json_str_len(arguments))
        tell(gen, "input_json_delta", "partial_json", cds_json_ref(arguments), events);
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
        if (!segment)
            return;
        segment->to = choice->reasoning.len;
        tell(gen, "thinking_delta", "thinking", cds_json_ref(thought), events);
    } else if (cds_json_str_len(content)) {
        text(gen, index, cds_json_str(content), cds_json_str_len(content), chances, events);
    }
}

static void end(struct cds_gen *gen, struct cds_buf *events)
{
    close_block(gen, events);
    cds_json *last = cds_json_pack("{s:{s:s,s:o},s:o}", "delta", "stop_reason", stop_reason(gen), "stop_sequence", stop_sequence(gen), "usage",
                                   usage_of(&gen->end));
    if (last)
        cds_json_set(last, "cds", cds_wire_own(&gen->wire, &gen->end));
    emit(events, "message_delta", last);
    emit(events, "message_stop", cds_json_object());
}

static void fail(struct cds_gen *gen, const struct cds_err *err, struct cds_buf *events)
{
    cds_dialect_event(events, "error", cds_anthropic_error(err, gen->http_id));
}

const struct cds_dialect cds_dialect_messages = {.path = "/v1/messages",
                                                 .task = CDS_TASK_CHAT,
                                                 .chat = true,
                                                 .keeps = true,
                                                 .alive = "event: ping\ndata: {\"type\":\"ping\"}\n\n",
                                                 .to_chat = cds_messages_to_chat,
                                                 .own_names = cds_messages_own_names,
                                                 .begin = begin,
                                                 .text = text,
                                                 .delta = delta,
                                                 .end = end,
                                                 .fail = fail,
                                                 .answer = answer,
                                                 .counted = counted};
