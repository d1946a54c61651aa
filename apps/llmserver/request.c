#include "apps/llmserver/request.h"

#include <ctype.h>
#include <string.h>

#include "lib/base/str.h"

static cds_rc wrong(struct cds_err *reterr, const char *name, const char *expected)
{
    cds_fail(reterr, CDS_BAD_PARAM, __func__, "\"%s\" must be %s.", name, expected);
    cds_err_pointer(reterr, "/%s", name);
    return CDS_BAD_PARAM;
}

/** A member, with null counted as absent. */
static cds_json *member(const cds_json *body, const char *name)
{
    cds_json *value = cds_json_get(body, name);
    return cds_json_is(value, CDS_JSON_NULL) ? NULL : value;
}

static bool is_number(const cds_json *value)
{
    return cds_json_is(value, CDS_JSON_INTEGER) || cds_json_is(value, CDS_JSON_REAL);
}

static bool is_bool(const cds_json *value)
{
    return cds_json_is(value, CDS_JSON_TRUE) || cds_json_is(value, CDS_JSON_FALSE);
}

/* --- what is not offered ------------------------------------------------------------------------------------------------ */

/** true when a member asks for nothing: absent, null, false, 0, empty. */
static bool asks_nothing(const cds_json *value)
{
    switch (cds_json_type(value)) {
    case CDS_JSON_NULL:
    case CDS_JSON_FALSE:
        return true;
    case CDS_JSON_INTEGER:
        return cds_json_i64(value, 1) == 0;
    case CDS_JSON_STRING:
        return cds_json_str_len(value) == 0;
    case CDS_JSON_ARRAY:
    case CDS_JSON_OBJECT:
        return cds_json_size(value) == 0;
    default:
        return false;
    }
}

static cds_rc refuse_unoffered(const cds_json *body, struct cds_err *reterr)
{
    static const char *const names[] = {"tools", "functions", "logprobs", "top_logprobs", "logit_bias",
                                        "echo",  "suffix",    "audio",    "grammar",      "json_schema"};
    for (size_t i = 0; i < CDS_ARRAY_LEN(names); i++)
        if (!asks_nothing(cds_json_get(body, names[i])))
            return wrong(reterr, names[i], "left out: this server does not offer it");
    static const char *const counts[] = {"n", "best_of"};
    for (size_t i = 0; i < CDS_ARRAY_LEN(counts); i++) {
        const cds_json *n = member(body, counts[i]);
        if (n && !(cds_json_is(n, CDS_JSON_INTEGER) && cds_json_i64(n, 0) == 1))
            return wrong(reterr, counts[i], "1: this server gives one answer per request");
    }
    const cds_json *format = member(body, "response_format");
    if (format && !cds_streq(cds_json_get_str(format, "type"), "text"))
        return wrong(reterr, "response_format", "{\"type\":\"text\"}: this server does not force other formats");
    return CDS_OK;
}

/* --- messages and prompt ------------------------------------------------------------------------------------------------ */

static cds_rc wrong_message(struct cds_err *reterr, size_t index, const char *name, const char *expected)
{
    cds_fail(reterr, CDS_BAD_PARAM, __func__, "\"messages[%zu].%s\" must be %s.", index, name, expected);
    cds_err_pointer(reterr, "/messages/%zu/%s", index, name);
    return CDS_BAD_PARAM;
}

/** Content in one of its three forms to one string. */
static cds_rc read_content(const cds_json *message, size_t index, cds_json **ret, struct cds_err *reterr)
{
    static const char expected[] = "a string or a list of {\"type\":\"text\",\"text\":\"...\"} parts";
    cds_json *content = cds_json_get(message, "content");
    if (cds_json_is(content, CDS_JSON_STRING)) {
        *ret = cds_json_ref(content);
        return CDS_OK;
    }
    if (!content || cds_json_is(content, CDS_JSON_NULL)) {
        if (!cds_streq(cds_json_get_str(message, "role"), "assistant"))
            return wrong_message(reterr, index, "content", expected);
        *ret = cds_json_string("");
        return CDS_OK;
    }
    if (!cds_json_is(content, CDS_JSON_ARRAY))
        return wrong_message(reterr, index, "content", expected);
    CDS_CLEANUP(cds_buf_free) struct cds_buf text = cds_buf_init(SIZE_MAX / 2);
    for (size_t i = 0; i < cds_json_size(content); i++) {
        const cds_json *part = cds_json_at(content, i), *piece = cds_json_get(part, "text");
        if (!cds_streq(cds_json_get_str(part, "type"), "text") || !cds_json_str(piece))
            return wrong_message(reterr, index, "content", expected);
        if (cds_buf_add(&text, cds_json_str(piece), cds_json_str_len(piece)) != CDS_OK)
            return cds_fail(reterr, CDS_EXHAUSTED, __func__, "There is not enough memory for the messages.");
    }
    *ret = cds_json_stringn(text.data ? text.data : "", text.len);
    return CDS_OK;
}

static cds_rc read_messages(const cds_json *body, cds_json *prompt, struct cds_err *reterr)
{
    const cds_json *messages = member(body, "messages");
    size_t count = cds_json_size(messages);
    if (!cds_json_is(messages, CDS_JSON_ARRAY) || count < 1 || count > CDS_ASK_MESSAGES_MAX)
        return wrong(reterr, "messages", "a list of 1 to 256 messages");
    cds_json *list = cds_json_array();
    cds_json_set(prompt, "messages", list);
    for (size_t i = 0; i < count; i++) {
        const cds_json *message = cds_json_at(messages, i);
        const char *role = cds_json_get_str(message, "role");
        if (cds_streq(role, "developer"))
            role = "system";
        if (!cds_streq(role, "system") && !cds_streq(role, "user") && !cds_streq(role, "assistant"))
            return wrong_message(reterr, i, "role", "\"system\", \"developer\", \"user\" or \"assistant\"");
        cds_json *content = NULL, *copy = cds_json_object();
        cds_rc rc = read_content(message, i, &content, reterr);
        if (rc != CDS_OK) {
            cds_json_unref(copy);
            return rc;
        }
        cds_json_set(copy, "role", cds_json_string(role));
        cds_json_set(copy, "content", content);
        cds_json_append(list, copy);
    }
    return CDS_OK;
}

static cds_rc read_prompt(const cds_json *body, cds_json *prompt, struct cds_err *reterr)
{
    cds_json *text = member(body, "prompt");
    if (cds_json_is(text, CDS_JSON_ARRAY) && cds_json_size(text) == 1)
        text = cds_json_at(text, 0);
    if (cds_json_str_len(text) == 0)
        return wrong(reterr, "prompt", "a string that is not empty (or a list with one)");
    cds_json_set(prompt, "prompt", cds_json_ref(text));
    return CDS_OK;
}

/* --- how to sample ------------------------------------------------------------------------------------------------------ */

static cds_rc read_numbers(const cds_json *body, cds_json *prompt, struct cds_err *reterr)
{
    static const struct {
        const char *name;
        double min, max;
        bool whole;
        const char *expected;
    } rules[] = {
        {"temperature", 0, 2, false, "a number from 0 to 2"},
        {"top_p", 0, 1, false, "a number from 0 to 1"},
        {"min_p", 0, 1, false, "a number from 0 to 1"},
        {"top_k", 0, 1000000, true, "an integer from 0 to 1000000"},
        {"presence_penalty", -2, 2, false, "a number from -2 to 2"},
        {"frequency_penalty", -2, 2, false, "a number from -2 to 2"},
        {"repeat_penalty", 0.01, 10, false, "a number from 0.01 to 10"},
    };
    for (size_t i = 0; i < CDS_ARRAY_LEN(rules); i++) {
        cds_json *value = member(body, rules[i].name);
        if (!value)
            continue;
        double number = cds_json_num(value, 0);
        if (!is_number(value) || (rules[i].whole && !cds_json_is(value, CDS_JSON_INTEGER)) || number < rules[i].min || number > rules[i].max)
            return wrong(reterr, rules[i].name, rules[i].expected);
        cds_json_set(prompt, rules[i].name, cds_json_ref(value));
    }
    const cds_json *seed = member(body, "seed");
    if (seed && !cds_json_is(seed, CDS_JSON_INTEGER))
        return wrong(reterr, "seed", "an integer");
    if (seed)
        cds_json_set(prompt, "seed", cds_json_int((int64_t)((uint64_t)cds_json_i64(seed, 0) & UINT32_MAX)));
    return CDS_OK;
}

static cds_rc read_stop(const cds_json *body, cds_json *prompt, struct cds_err *reterr)
{
    static const char expected[] = "a string or a list of at most 4 strings, each of 1 to 256 bytes";
    cds_json *stop = member(body, "stop");
    if (!stop)
        return CDS_OK;
    cds_json *list = cds_json_array();
    cds_json_set(prompt, "stop", list);
    bool one = cds_json_is(stop, CDS_JSON_STRING);
    size_t count = one ? 1 : cds_json_size(stop);
    if ((!one && !cds_json_is(stop, CDS_JSON_ARRAY)) || count > CDS_ASK_STOP_MAX)
        return wrong(reterr, "stop", expected);
    for (size_t i = 0; i < count; i++) {
        cds_json *text = one ? stop : cds_json_at(stop, i);
        size_t len = cds_json_str_len(text);
        if (!cds_json_str(text) || len == 0 || len > CDS_ASK_STOP_BYTES)
            return wrong(reterr, "stop", expected);
        cds_json_append(list, cds_json_ref(text));
    }
    return CDS_OK;
}

/* --- the rest ----------------------------------------------------------------------------------------------------------- */

static cds_rc read_limit(const cds_json *body, struct cds_ask *ask, struct cds_err *reterr)
{
    static const char *const names[] = {"max_tokens", "max_completion_tokens"}; /* the latter wins */
    for (size_t i = 0; i < CDS_ARRAY_LEN(names); i++) {
        const cds_json *value = member(body, names[i]);
        if (!value)
            continue;
        int64_t tokens = cds_json_i64(value, 0);
        if (!cds_json_is(value, CDS_JSON_INTEGER) || tokens < 1)
            return wrong(reterr, names[i], "an integer of 1 or more");
        ask->max_tokens = tokens > CDS_ASK_TOKENS_MAX ? CDS_ASK_TOKENS_MAX : (uint32_t)tokens;
    }
    return CDS_OK;
}

static cds_rc read_stream(const cds_json *body, struct cds_ask *ask, struct cds_err *reterr)
{
    const cds_json *stream = member(body, "stream");
    if (stream && !is_bool(stream))
        return wrong(reterr, "stream", "true or false");
    ask->stream = cds_json_true(stream, false);
    const cds_json *options = member(body, "stream_options");
    if (!options)
        return CDS_OK;
    if (!cds_json_is(options, CDS_JSON_OBJECT))
        return wrong(reterr, "stream_options", "an object");
    const cds_json *usage = member(options, "include_usage");
    if (usage && !is_bool(usage)) {
        cds_fail(reterr, CDS_BAD_PARAM, __func__, "\"stream_options.include_usage\" must be true or false.");
        cds_err_pointer(reterr, "/stream_options/include_usage");
        return CDS_BAD_PARAM;
    }
    ask->include_usage = cds_json_true(usage, false);
    return CDS_OK;
}

static cds_rc read_model(const cds_json *body, struct cds_ask *ask, struct cds_err *reterr)
{
    const cds_json *model = member(body, "model");
    size_t len = cds_json_str_len(model);
    if (model && (!cds_json_str(model) || len > CDS_ASK_MODEL_MAX))
        return wrong(reterr, "model", "a string of at most 128 bytes");
    for (size_t i = 0; i <= len && model; i++)
        ask->model[i] = (char)tolower((unsigned char)cds_json_str(model)[i]);
    return CDS_OK;
}

cds_rc cds_ask_parse(const char *body, size_t len, bool chat, struct cds_ask *ret, struct cds_err *reterr)
{
    CDS_JSON_AUTO json = NULL;
    cds_rc rc = cds_json_parse(body, len, &json, reterr);
    if (rc != CDS_OK)
        return rc;
    if (!cds_json_is(json, CDS_JSON_OBJECT))
        return cds_fail(reterr, CDS_BAD_PARAM, __func__, "The request body must be a JSON object.");
    struct cds_ask ask = {.chat = chat};
    CDS_JSON_AUTO prompt = cds_json_object();
    rc = read_model(json, &ask, reterr);
    if (rc == CDS_OK)
        rc = chat ? read_messages(json, prompt, reterr) : read_prompt(json, prompt, reterr);
    if (rc == CDS_OK)
        rc = read_stream(json, &ask, reterr);
    if (rc == CDS_OK)
        rc = read_limit(json, &ask, reterr);
    if (rc == CDS_OK)
        rc = read_numbers(json, prompt, reterr);
    if (rc == CDS_OK)
        rc = read_stop(json, prompt, reterr);
    if (rc == CDS_OK)
        rc = refuse_unoffered(json, reterr);
    const char *tier = cds_json_get_str(json, "service_tier");
    ask.priority = cds_streq(tier, "flex") ? 0 : cds_streq(tier, "priority") ? 2 : 1;
    if (rc != CDS_OK)
        return rc;
    ask.prompt = cds_json_ref(prompt);
    *ret = ask;
    return CDS_OK;
}

void cds_ask_clear(struct cds_ask *ask)
{
    cds_json_unref(ask->prompt);
    ask->prompt = NULL;
}
