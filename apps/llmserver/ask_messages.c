#include <stdlib.h>

#include "apps/llmserver/ask.h"
#include "lib/base/str.h"

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

/** Calls the assistant made: {"id", "type": "function", "function": {"name", "arguments": JSON text}}. */
static cds_rc read_calls(const cds_json *message, size_t index, cds_json *copy, struct cds_err *reterr)
{
    static const char expected[] = "a list of at most 64 {\"id\",\"type\":\"function\",\"function\":{\"name\",\"arguments\"}}, arguments a JSON text";
    cds_json *calls = cds_ask_member(message, "tool_calls");
    if (!calls)
        return CDS_OK;
    if (!cds_json_is(calls, CDS_JSON_ARRAY) || cds_json_size(calls) > 64)
        return wrong_message(reterr, index, "tool_calls", expected);
    cds_json *list = cds_json_array();
    for (size_t i = 0; i < cds_json_size(calls); i++) {
        const cds_json *call = cds_json_at(calls, i), *function = cds_json_get(call, "function");
        const char *name = cds_json_get_str(function, "name"), *id = cds_json_get_str(call, "id");
        const cds_json *arguments = cds_json_get(function, "arguments");
        CDS_JSON_AUTO parsed = NULL;
        bool good =
            name && cds_json_str(arguments) &&
            (cds_json_str_len(arguments) == 0 ||
             (cds_json_parse(cds_json_str(arguments), cds_json_str_len(arguments), &parsed, NULL) == CDS_OK && cds_json_is(parsed, CDS_JSON_OBJECT)));
        if (!good) {
            cds_json_unref(list);
            return wrong_message(reterr, index, "tool_calls", expected);
        }
        cds_json_append(list, cds_json_pack("{s:s,s:s,s:{s:s,s:s}}", "id", id ? id : "", "type", "function", "function", "name", name, "arguments",
                                            cds_json_str_len(arguments) ? cds_json_str(arguments) : "{}"));
    }
    if (cds_json_size(list) > 0)
        cds_json_set(copy, "tool_calls", list);
    else
        cds_json_unref(list);
    return CDS_OK;
}

/** What the roles have beside role and content. */
static cds_rc read_more(const cds_json *message, size_t index, const char *role, cds_json *copy, struct cds_err *reterr)
{
    const cds_json *id = cds_ask_member(message, "tool_call_id"), *name = cds_ask_member(message, "name");
    const cds_json *reasoning = cds_ask_member(message, "reasoning_content");
    if (cds_streq(role, "tool")) {
        if (!cds_json_str(id))
            return wrong_message(reterr, index, "tool_call_id", "the id of the call this is the result of");
        cds_json_set(copy, "tool_call_id", cds_json_string(cds_json_str(id)));
        if (cds_json_str(name))
            cds_json_set(copy, "name", cds_json_string(cds_json_str(name)));
        return CDS_OK;
    }
    if (!cds_streq(role, "assistant"))
        return CDS_OK;
    if (reasoning && !cds_json_str(reasoning))
        return wrong_message(reterr, index, "reasoning_content", "a string");
    if (reasoning)
        cds_json_set(copy, "reasoning_content", cds_json_string(cds_json_str(reasoning)));
    return read_calls(message, index, copy, reterr);
}

static cds_rc read_message(const cds_json *message, size_t index, cds_json *list, struct cds_err *reterr)
{
    const char *role = cds_json_get_str(message, "role");
    if (cds_streq(role, "developer"))
        role = "system";
    if (!cds_streq(role, "system") && !cds_streq(role, "user") && !cds_streq(role, "assistant") && !cds_streq(role, "tool"))
        return wrong_message(reterr, index, "role", "\"system\", \"developer\", \"user\", \"assistant\" or \"tool\"");
    cds_json *content = NULL;
    cds_rc rc = read_content(message, index, &content, reterr);
    if (rc != CDS_OK)
        return rc;
    cds_json *copy = cds_json_object();
    cds_json_set(copy, "role", cds_json_string(role));
    cds_json_set(copy, "content", content);
    rc = read_more(message, index, role, copy, reterr);
    cds_json_append(list, copy);
    return rc;
}

cds_rc cds_ask_messages(const cds_json *body, cds_json *prompt, struct cds_err *reterr)
{
    const cds_json *messages = cds_ask_member(body, "messages");
    size_t count = cds_json_size(messages);
    if (!cds_json_is(messages, CDS_JSON_ARRAY) || count < 1 || count > CDS_ASK_MESSAGES_MAX)
        return cds_ask_wrong(reterr, "messages", "a list of 1 to 256 messages");
    cds_json *list = cds_json_array();
    cds_json_set(prompt, "messages", list);
    for (size_t i = 0; i < count; i++) {
        cds_rc rc = read_message(cds_json_at(messages, i), i, list, reterr);
        if (rc != CDS_OK)
            return rc;
    }
    return CDS_OK;
}

/* --- text prompts ------------------------------------------------------------------------------------------------------- */

cds_rc cds_ask_prompts(const cds_json *body, struct cds_ask *ask, cds_json *prompt, struct cds_err *reterr)
{
    static const char expected[] = "a string that is not empty, a list of token ids, or a list of at most 16 of them";
    cds_json *given = cds_ask_member(body, "prompt");
    cds_json *list = cds_json_array();
    cds_json_set(prompt, "prompts", list);
    if (cds_json_str_len(given) > 0 || cds_ask_is_tokens(given)) {
        cds_json_append(list, cds_json_ref(given));
        return CDS_OK;
    }
    ask->prompts = (unsigned)cds_json_size(given);
    if (!cds_json_is(given, CDS_JSON_ARRAY) || cds_json_size(given) < 1 || cds_json_size(given) > CDS_ASK_PROMPTS_MAX)
        return cds_ask_wrong(reterr, "prompt", expected);
    for (size_t i = 0; i < cds_json_size(given); i++) {
        cds_json *one = cds_json_at(given, i);
        if (cds_json_str_len(one) == 0 && !cds_ask_is_tokens(one))
            return cds_ask_wrong(reterr, "prompt", expected);
        cds_json_append(list, cds_json_ref(one));
    }
    return CDS_OK;
}
