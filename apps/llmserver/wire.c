#include "apps/llmserver/wire.h"

#include <stdio.h>

static cds_json *start(const struct cds_wire *wire, const char *object)
{
    char id[64];
    snprintf(id, sizeof(id), "%s-%s", wire->chat ? "chatcmpl" : "cmpl", wire->request_id);
    return cds_json_pack("{s:s,s:s,s:I,s:s,s:s?}", "id", id, "object", object, "created", (long long)wire->created_s, "model", wire->model,
                         "system_fingerprint", wire->fingerprint);
}

/** A chunk with one choice (NULL: without any, which happens to the last one); steals choice. */
static cds_json *chunk(const struct cds_wire *wire, cds_json *choice)
{
    cds_json *chunk = start(wire, wire->chat ? "chat.completion.chunk" : "text_completion"), *choices = cds_json_array();
    if (choice)
        cds_json_append(choices, choice);
    cds_json_set(chunk, "choices", choices);
    if (wire->include_usage)
        cds_json_set(chunk, "usage", cds_json_null());
    return chunk;
}

/** One choice of a chunk; steals delta and logprobs. finish NULL: it goes on. */
static cds_json *choice(const struct cds_wire *wire, unsigned index, cds_json *delta, cds_json *logprobs, const char *finish)
{
    return cds_json_pack("{s:I,s:o,s:o,s:s?}", "index", (long long)index, wire->chat ? "delta" : "text", delta, "logprobs",
                         logprobs ? logprobs : cds_json_null(), "finish_reason", finish);
}

cds_json *cds_wire_role(const struct cds_wire *wire, unsigned index)
{
    if (!wire->chat)
        return NULL;
    return chunk(wire, choice(wire, index, cds_json_pack("{s:s,s:s}", "role", "assistant", "content", ""), NULL, NULL));
}

cds_json *cds_wire_text(const struct cds_wire *wire, unsigned index, const char *text, size_t len, cds_json *logprobs)
{
    cds_json *delta = cds_json_stringn(text, len);
    if (wire->chat)
        delta = cds_json_pack("{s:o}", "content", delta);
    return chunk(wire, choice(wire, index, delta, logprobs, NULL));
}

cds_json *cds_wire_delta(const struct cds_wire *wire, unsigned index, cds_json *delta, cds_json *logprobs)
{
    return chunk(wire, choice(wire, index, delta, logprobs, NULL));
}

static cds_json *usage(const struct cds_wire_end *end)
{
    return cds_json_pack("{s:I,s:I,s:I,s:{s:I},s:{s:I}}", "prompt_tokens", (long long)end->prompt_tokens, "completion_tokens",
                         (long long)end->completion_tokens, "total_tokens", (long long)end->prompt_tokens + end->completion_tokens,
                         "prompt_tokens_details", "cached_tokens", (long long)end->cached_tokens, "completion_tokens_details", "reasoning_tokens",
                         (long long)end->reasoning_tokens);
}

/* What OpenAI clients ignore. */
cds_json *cds_wire_own(const struct cds_wire *wire, const struct cds_wire_end *end)
{
    cds_json *cds = cds_json_pack("{s:I,s:s,s:s}", "cost_micro", (long long)end->cost_micro, "request_id", wire->request_id, "ended", end->ended);
    if (end->notice)
        cds_json_set(cds, "notice", cds_json_string(end->notice));
    if (end->soft_percent)
        cds_json_set(cds, "budget", cds_json_pack("{s:s,s:I}", "name", end->soft_budget, "percent", (long long)end->soft_percent));
    if (end->thought.to_ms)
        cds_json_set(cds, "segments",
                     cds_json_pack("[{s:s,s:I,s:I},{s:s,s:I,s:I}]", "type", "thought", "start_ms", (long long)end->thought.from_ms, "end_ms",
                                   (long long)end->thought.to_ms, "type", "text", "start_ms", (long long)end->text.from_ms, "end_ms",
                                   (long long)end->text.to_ms));
    if (end->dropped_messages || end->dropped_tokens)
        cds_json_set(
            cds, "context_shift",
            cds_json_pack("{s:I,s:I}", "dropped_messages", (long long)end->dropped_messages, "dropped_tokens", (long long)end->dropped_tokens));
    if (end->state)
        cds_json_set(
            cds, "state",
            cds_json_pack("{s:s,s:I,s:I}", "name", end->state, "tokens", (long long)end->state_tokens, "bytes", (long long)end->state_bytes));
    if (end->validated_tokens || end->refuted_tokens)
        cds_json_set(cds, "speculation",
                     cds_json_pack("{s:I,s:I,s:I}", "validated", (long long)end->validated_tokens, "refuted", (long long)end->refuted_tokens,
                                   "forced", (long long)end->forced_tokens));
    return cds;
}

cds_json *cds_wire_finish(const struct cds_wire *wire, unsigned index, const char *reason, bool last, const struct cds_wire_end *end)
{
    cds_json *finish = chunk(wire, choice(wire, index, wire->chat ? cds_json_object() : cds_json_string(""), NULL, reason));
    if (last && !wire->include_usage) {
        /* OpenAI's clients must not see "usage" unless they asked for it; the last chunk tells it all the same. */
        cds_json *own = cds_wire_own(wire, end);
        cds_json_set(own, "usage", usage(end));
        cds_json_set(finish, "cds", own);
    }
    return finish;
}

cds_json *cds_wire_usage(const struct cds_wire *wire, const struct cds_wire_end *end)
{
    cds_json *last = chunk(wire, NULL);
    cds_json_set(last, "usage", usage(end));
    cds_json_set(last, "cds", cds_wire_own(wire, end));
    return last;
}

cds_json *cds_wire_choice(const struct cds_wire *wire, unsigned index, cds_json *body, cds_json *logprobs, const char *reason)
{
    return cds_json_pack("{s:I,s:o,s:o,s:s}", "index", (long long)index, wire->chat ? "message" : "text", body, "logprobs",
                         logprobs ? logprobs : cds_json_null(), "finish_reason", reason);
}

cds_json *cds_wire_answer(const struct cds_wire *wire, cds_json *choices, const struct cds_wire_end *end)
{
    cds_json *answer = start(wire, wire->chat ? "chat.completion" : "text_completion");
    cds_json_set(answer, "choices", choices);
    cds_json_set(answer, "usage", usage(end));
    cds_json_set(answer, "cds", cds_wire_own(wire, end));
    return answer;
}
