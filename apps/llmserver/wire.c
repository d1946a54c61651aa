#include "apps/llmserver/wire.h"

#include <stdio.h>

static cds_json *start(const struct cds_wire *wire, const char *object)
{
    char id[64];
    snprintf(id, sizeof(id), "%s-%s", wire->chat ? "chatcmpl" : "cmpl", wire->request_id);
    return cds_json_pack("{s:s,s:s,s:I,s:s}", "id", id, "object", object, "created", (long long)wire->created_s, "model", wire->model);
}

static cds_json *chunk(const struct cds_wire *wire, cds_json *choices)
{
    cds_json *chunk = start(wire, wire->chat ? "chat.completion.chunk" : "text_completion");
    cds_json_set(chunk, "choices", choices);
    if (wire->include_usage)
        cds_json_set(chunk, "usage", cds_json_null());
    return chunk;
}

/** One choice of a chunk; steals delta. finish NULL: it goes on. */
static cds_json *choice(const struct cds_wire *wire, cds_json *delta, const char *finish)
{
    cds_json *one = cds_json_pack("{s:i,s:o,s:n,s:s?}", "index", 0, wire->chat ? "delta" : "text", delta, "logprobs", "finish_reason", finish);
    cds_json *choices = cds_json_array();
    cds_json_append(choices, one);
    return choices;
}

cds_json *cds_wire_role(const struct cds_wire *wire)
{
    if (!wire->chat)
        return NULL;
    return chunk(wire, choice(wire, cds_json_pack("{s:s,s:s}", "role", "assistant", "content", ""), NULL));
}

cds_json *cds_wire_text(const struct cds_wire *wire, const char *text, size_t len)
{
    cds_json *delta = cds_json_stringn(text, len);
    if (wire->chat)
        delta = cds_json_pack("{s:o}", "content", delta);
    return chunk(wire, choice(wire, delta, NULL));
}

static cds_json *usage(const struct cds_wire_end *end)
{
    return cds_json_pack("{s:I,s:I,s:I,s:{s:I}}", "prompt_tokens", (long long)end->prompt_tokens, "completion_tokens",
                         (long long)end->completion_tokens, "total_tokens", (long long)end->prompt_tokens + end->completion_tokens,
                         "prompt_tokens_details", "cached_tokens", (long long)end->cached_tokens);
}

/** Our own member: what OpenAI clients ignore. */
static cds_json *own(const struct cds_wire *wire, const struct cds_wire_end *end)
{
    cds_json *cds = cds_json_pack("{s:I,s:s,s:s}", "cost_micro", (long long)end->cost_micro, "request_id", wire->request_id, "ended", end->ended);
    if (end->notice)
        cds_json_set(cds, "notice", cds_json_string(end->notice));
    return cds;
}

cds_json *cds_wire_finish(const struct cds_wire *wire, const struct cds_wire_end *end)
{
    cds_json *last = chunk(wire, choice(wire, wire->chat ? cds_json_object() : cds_json_string(""), end->finish_reason));
    if (!wire->include_usage)
        cds_json_set(last, "cds", own(wire, end));
    return last;
}

cds_json *cds_wire_usage(const struct cds_wire *wire, const struct cds_wire_end *end)
{
    cds_json *last = chunk(wire, cds_json_array());
    cds_json_set(last, "usage", usage(end));
    cds_json_set(last, "cds", own(wire, end));
    return last;
}

cds_json *cds_wire_answer(const struct cds_wire *wire, const char *text, size_t len, const struct cds_wire_end *end)
{
    cds_json *answer = start(wire, wire->chat ? "chat.completion" : "text_completion");
    cds_json *body = cds_json_stringn(text, len);
    if (wire->chat)
        body = cds_json_pack("{s:s,s:o,s:n}", "role", "assistant", "content", body, "refusal");
    cds_json *one =
        cds_json_pack("{s:i,s:o,s:n,s:s}", "index", 0, wire->chat ? "message" : "text", body, "logprobs", "finish_reason", end->finish_reason);
    cds_json *choices = cds_json_array();
    cds_json_append(choices, one);
    cds_json_set(answer, "choices", choices);
    cds_json_set(answer, "usage", usage(end));
    cds_json_set(answer, "cds", own(wire, end));
    return answer;
}
