#include "apps/llmserver/choice.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "lib/base/clock.h"
#include "lib/base/random.h"
#include "lib/base/str.h"

void cds_choice_init(struct cds_choice *choice)
{
    *choice = (struct cds_choice){
        .text = cds_buf_init(CDS_CHOICE_TEXT_MAX), .reasoning = cds_buf_init(CDS_CHOICE_TEXT_MAX), .finish_reason = "stop", .stop = -1};
}

void cds_choice_clear(struct cds_choice *choice)
{
    cds_buf_free(&choice->text);
    cds_buf_free(&choice->reasoning);
    for (unsigned i = 0; i < choice->call_count; i++) {
        cds_json_unref(choice->calls[i].name);
        cds_buf_free(&choice->calls[i].arguments);
    }
    free(choice->calls);
    choice->calls = NULL;
    choice->call_count = 0;
    cds_json_unref(choice->chances);
    choice->chances = NULL;
    cds_json_unref(choice->ids);
    choice->ids = NULL;
}

void cds_choice_saw(struct cds_choice *choice, bool thought)
{
    uint64_t now = cds_now_ms(), *from = thought ? &choice->thought_from_ms : &choice->text_from_ms;
    *from = *from ? *from : now;
    *(thought ? &choice->thought_to_ms : &choice->text_to_ms) = now;
}

/* --- deltas ------------------------------------------------------------------------------------------------------------- */

/** The call of that number; a new one gets its id. NULL: too many, or memory is out. */
static struct cds_call *call_of(struct cds_choice *choice, int64_t index)
{
    if (index < 0 || index > choice->call_count || index >= CDS_CHOICE_CALLS_MAX)
        return NULL;
    if (!choice->calls)
        choice->calls = calloc(CDS_CHOICE_CALLS_MAX, sizeof(*choice->calls));
    if (!choice->calls)
        return NULL;
    struct cds_call *call = &choice->calls[index];
    if (index == choice->call_count) {
        unsigned char bytes[12];
        cds_random(bytes, sizeof(bytes));
        cds_strcpy(call->id, sizeof(call->id), "call_");
        for (size_t i = 0; i < sizeof(bytes); i++)
            snprintf(call->id + 5 + 2 * i, 3, "%02x", bytes[i]);
        call->arguments = cds_buf_init(CDS_CHOICE_TEXT_MAX);
        choice->call_count++;
    }
    return call;
}

static void take_call(struct cds_choice *choice, const cds_json *delta, bool keep, cds_json **ret_delta)
{
    int64_t index = cds_json_get_i64(delta, "call", -1);
    unsigned before = choice->call_count;
    struct cds_call *call = call_of(choice, index);
    const cds_json *name = cds_json_get(delta, "name"), *arguments = cds_json_get(delta, "arguments");
    if (!call)
        return;
    if (keep)
        (void)cds_buf_add(&call->arguments, cds_json_str(arguments) ? cds_json_str(arguments) : "", cds_json_str_len(arguments));
    if (keep && name && !call->name)
        call->name = cds_json_copy(name);
    cds_json *function, *one;
    if (choice->call_count > before) {
        function = cds_json_pack("{s:O,s:s}", "name", name, "arguments", cds_json_str(arguments) ? cds_json_str(arguments) : "");
        one = cds_json_pack("{s:I,s:s,s:s,s:o}", "index", (long long)index, "id", call->id, "type", "function", "function", function);
    } else {
        function = cds_json_pack("{s:s}", "arguments", cds_json_str(arguments) ? cds_json_str(arguments) : "");
        one = cds_json_pack("{s:I,s:o}", "index", (long long)index, "function", function);
    }
    *ret_delta = one ? cds_json_pack("{s:[o]}", "tool_calls", one) : NULL;
}

void cds_choice_take(struct cds_choice *choice, const cds_json *delta, bool keep, cds_json **ret_delta)
{
    const cds_json *content = cds_json_get(delta, "content"), *reasoning = cds_json_get(delta, "reasoning");
    *ret_delta = NULL;
    if (cds_json_get(delta, "call")) {
        take_call(choice, delta, keep, ret_delta);
        return;
    }
    struct cds_buf *into = reasoning ? &choice->reasoning : &choice->text;
    const cds_json *text = reasoning ? reasoning : content;
    if (cds_json_str_len(text) == 0)
        return;
    cds_choice_saw(choice, reasoning != NULL);
    if (keep)
        (void)cds_buf_add(into, cds_json_str(text), cds_json_str_len(text));
    *ret_delta = cds_json_pack("{s:O}", reasoning ? "reasoning_content" : "content", text);
}

cds_json *cds_choice_message(const struct cds_choice *choice)
{
    cds_json *content = choice->text.len || choice->call_count == 0 ? cds_json_stringn(choice->text.data ? choice->text.data : "", choice->text.len)
                                                                    : cds_json_null();
    cds_json *message = cds_json_pack("{s:s,s:o,s:n}", "role", "assistant", "content", content, "refusal");
    if (choice->reasoning.len)
        cds_json_set(message, "reasoning_content", cds_json_stringn(choice->reasoning.data, choice->reasoning.len));
    if (choice->call_count == 0)
        return message;
    cds_json *calls = cds_json_array();
    for (unsigned i = 0; i < choice->call_count; i++) {
        const struct cds_call *call = &choice->calls[i];
        cds_json *arguments = call->arguments.len ? cds_json_stringn(call->arguments.data, call->arguments.len) : cds_json_string("{}");
        cds_json_append(calls, cds_json_pack("{s:s,s:s,s:{s:O,s:o}}", "id", call->id, "type", "function", "function", "name", call->name, "arguments",
                                             arguments));
    }
    cds_json_set(message, "tool_calls", calls);
    return message;
}

/* --- chances ------------------------------------------------------------------------------------------------------------ */

void cds_choice_keep_chances(struct cds_choice *choice, const cds_json *list)
{
    if (!choice->chances)
        choice->chances = cds_json_array();
    for (size_t i = 0; i < cds_json_size(list); i++)
        cds_json_append(choice->chances, cds_json_ref(cds_json_at(list, i)));
}

cds_json *cds_choice_token_text(const cds_json *bytes)
{
    char raw[512];
    CDS_CLEANUP(cds_buf_free) struct cds_buf text = cds_buf_init(sizeof(raw) * 3 + 1);
    size_t len = 0;
    for (; len < cds_json_size(bytes) && len < sizeof(raw); len++)
        raw[len] = (char)cds_json_i64(cds_json_at(bytes, len), 0);
    for (size_t at = 0, n; at < len; at += n) {
        for (n = 1; n < 4 && at + n < len && !cds_utf8_valid(raw + at, n); n++)
            ;
        bool good = raw[at] && at + n <= len && cds_utf8_valid(raw + at, n);
        n = good ? n : 1;
        (void)(good ? cds_buf_add(&text, raw + at, n) : cds_buf_add_str(&text, "\xEF\xBF\xBD"));
    }
    return cds_json_stringn(text.data ? text.data : "", text.len);
}

static cds_json *candidate(const cds_json *entry)
{
    return cds_json_pack("{s:o,s:O,s:O}", "token", cds_choice_token_text(cds_json_at(entry, 0)), "logprob", cds_json_at(entry, 1), "bytes",
                         cds_json_at(entry, 0));
}

static cds_json *chat_logprobs(const cds_json *list)
{
    cds_json *content = cds_json_array();
    for (size_t i = 0; i < cds_json_size(list); i++) {
        const cds_json *entry = cds_json_at(list, i), *tops = cds_json_at(entry, 2);
        cds_json *one = candidate(entry), *top = cds_json_array();
        for (size_t k = 0; k < cds_json_size(tops); k++)
            cds_json_append(top, candidate(cds_json_at(tops, k)));
        cds_json_set(one, "top_logprobs", top);
        cds_json_append(content, one);
    }
    return cds_json_pack("{s:o,s:n}", "content", content, "refusal");
}

/** Characters of a text. */
static size_t characters(const char *text)
{
    size_t n = 0;
    for (; text && *text; text++)
        n += ((unsigned char)*text & 0xC0) != 0x80;
    return n;
}

static cds_json *text_logprobs(struct cds_choice *choice, const cds_json *list)
{
    cds_json *tokens = cds_json_array(), *chances = cds_json_array(), *tops = cds_json_array(), *offsets = cds_json_array();
    for (size_t i = 0; i < cds_json_size(list); i++) {
        const cds_json *entry = cds_json_at(list, i), *others = cds_json_at(entry, 2);
        cds_json *text = cds_choice_token_text(cds_json_at(entry, 0)), *top = cds_json_size(others) ? cds_json_object() : cds_json_null();
        for (size_t k = 0; k < cds_json_size(others); k++) {
            CDS_JSON_AUTO name = cds_choice_token_text(cds_json_at(cds_json_at(others, k), 0));
            /* Two tokens may read alike; the likelier one comes first and stays. */
            if (cds_json_str(name) && !cds_json_get(top, cds_json_str(name)))
                cds_json_set(top, cds_json_str(name), cds_json_ref(cds_json_at(cds_json_at(others, k), 1)));
        }
        cds_json_append(offsets, cds_json_int((int64_t)choice->characters));
        choice->characters += characters(cds_json_str(text));
        cds_json_append(tokens, text);
        cds_json_append(chances, cds_json_ref(cds_json_at(entry, 1)));
        cds_json_append(tops, top);
    }
    return cds_json_pack("{s:o,s:o,s:o,s:o}", "tokens", tokens, "token_logprobs", chances, "top_logprobs", tops, "text_offset", offsets);
}

cds_json *cds_choice_logprobs(struct cds_choice *choice, const cds_json *list, bool chat)
{
    if (!list)
        return cds_json_null();
    return chat ? chat_logprobs(list) : text_logprobs(choice, list);
}
