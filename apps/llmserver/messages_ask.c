/* apps/llmserver/messages_ask.c: a body of /v1/messages as one of /v1/chat/completions. */
#include <string.h>

#include "apps/llmserver/dialect.h"
#include "lib/base/str.h"

static const char *const text_parts[] = {"text", NULL};

static bool is_null(const cds_json *value)
{
    return cds_json_is(value, CDS_JSON_NULL);
}

/** Appends the text of a block to the text of a message that is being put together. */
static cds_rc add_text(struct cds_buf *text, const cds_json *block, const char *name, size_t m, size_t b, struct cds_err *reterr)
{
    const cds_json *piece = cds_json_get(block, name);
    if (!cds_json_str(piece))
        return cds_dialect_wrong(reterr, "a string", "messages[%zu].content[%zu].%s", m, b, name);
    return cds_buf_add(text, cds_json_str(piece), cds_json_str_len(piece)) == CDS_OK
               ? CDS_OK
               : cds_fail(reterr, CDS_EXHAUSTED, __func__, "There is not enough memory for the messages.");
}

/** The result of a call is a message of its own, before the text that stands beside it. */
static cds_rc take_result(cds_json *list, const cds_json *block, size_t m, size_t b, struct cds_err *reterr)
{
    const char *id = cds_json_get_str(block, "tool_use_id");
    const cds_json *content = cds_json_get(block, "content");
    if (!id)
        return cds_dialect_wrong(reterr, "the id of the tool_use this is the result of", "messages[%zu].content[%zu].tool_use_id", m, b);
    cds_json *text = is_null(content) ? cds_json_string("") : cds_dialect_text_of(content, text_parts);
    if (!text)
        return cds_dialect_wrong(reterr, "a string or a list of text blocks: this model reads text", "messages[%zu].content[%zu].content", m, b);
    cds_json_append(list, cds_json_pack("{s:s,s:s,s:o}", "role", "tool", "tool_call_id", id, "content", text));
    return CDS_OK;
}

static cds_rc take_use(cds_json *calls, const cds_json *block, size_t m, size_t b, struct cds_err *reterr)
{
    const char *id = cds_json_get_str(block, "id"), *name = cds_json_get_str(block, "name");
    const cds_json *input = cds_json_get(block, "input");
    if (!id || !name)
        return cds_dialect_wrong(reterr, "a string", "messages[%zu].content[%zu].%s", m, b, id ? "name" : "id");
    if (!cds_json_is(input, CDS_JSON_OBJECT))
        return cds_dialect_wrong(reterr, "an object", "messages[%zu].content[%zu].input", m, b);
    CDS_CLEANUP(cds_buf_free) struct cds_buf text = cds_buf_init(SIZE_MAX / 2);
    if (cds_json_dump(input, &text) != CDS_OK)
        return cds_fail(reterr, CDS_EXHAUSTED, __func__, "There is not enough memory for the messages.");
    cds_json_append(calls, cds_json_pack("{s:s,s:s,s:{s:s,s:s}}", "id", id, "type", "function", "function", "name", name, "arguments", text.data));
    return CDS_OK;
}

/** What the blocks of one message are made into. */
struct parts {
    struct cds_buf text, thoughts;
    cds_json *calls; /**< owned */
};

static cds_rc take_block(cds_json *list, struct parts *parts, const cds_json *block, bool assistant, size_t m, size_t b, struct cds_err *reterr)
{
    const char *type = cds_json_get_str(block, "type");
    if (cds_streq(type, "text"))
        return add_text(&parts->text, block, "text", m, b, reterr);
    if (assistant && cds_streq(type, "thinking"))
        return add_text(&parts->thoughts, block, "thinking", m, b, reterr);
    if (assistant && cds_streq(type, "redacted_thinking"))
        return CDS_OK;
    if (assistant && cds_streq(type, "tool_use"))
        return take_use(parts->calls, block, m, b, reterr);
    if (!assistant && cds_streq(type, "tool_result"))
        return take_result(list, block, m, b, reterr);
    return cds_dialect_wrong(reterr, assistant ? "\"text\", \"thinking\" or \"tool_use\"" : "\"text\" or \"tool_result\": this model reads text",
                             "messages[%zu].content[%zu].type", m, b);
}

/** Ends the message: text, thoughts and calls in one. A user's message of results alone has said everything already. */
static void add_message(cds_json *list, struct parts *parts, bool assistant, size_t blocks)
{
    size_t before = cds_json_size(list);
    if (!assistant && parts->text.len == 0 && blocks > 0 && before > 0 && cds_streq(cds_json_get_str(cds_json_at(list, before - 1), "role"), "tool"))
        return;
    cds_json *message = cds_json_pack("{s:s,s:o}", "role", assistant ? "assistant" : "user", "content",
                                      cds_json_stringn(parts->text.data ? parts->text.data : "", parts->text.len));
    if (parts->thoughts.len)
        cds_json_set(message, "reasoning_content", cds_json_stringn(parts->thoughts.data, parts->thoughts.len));
    if (cds_json_size(parts->calls))
        cds_json_set(message, "tool_calls", cds_json_ref(parts->calls));
    cds_json_append(list, message);
}

static cds_rc take_message(cds_json *list, const cds_json *message, size_t m, struct cds_err *reterr)
{
    const char *role = cds_json_get_str(message, "role");
    cds_json *content = cds_json_get(message, "content");
    bool assistant = cds_streq(role, "assistant");
    if (!assistant && !cds_streq(role, "user"))
        return cds_dialect_wrong(reterr, "\"user\" or \"assistant\"", "messages[%zu].role", m);
    if (cds_json_str(content)) {
        cds_json_append(list, cds_json_pack("{s:s,s:O}", "role", role, "content", content));
        return CDS_OK;
    }
    if (!cds_json_is(content, CDS_JSON_ARRAY))
        return cds_dialect_wrong(reterr, "a string or a list of blocks", "messages[%zu].content", m);
    struct parts parts = {cds_buf_init(SIZE_MAX / 2), cds_buf_init(SIZE_MAX / 2), cds_json_array()};
    cds_rc rc = CDS_OK;
    for (size_t b = 0; b < cds_json_size(content) && rc == CDS_OK; b++)
        rc = take_block(list, &parts, cds_json_at(content, b), assistant, m, b, reterr);
    if (rc == CDS_OK)
        add_message(list, &parts, assistant, cds_json_size(content));
    cds_buf_free(&parts.text);
    cds_buf_free(&parts.thoughts);
    cds_json_unref(parts.calls);
    return rc;
}

static cds_rc take_conversation(const cds_json *body, cds_json *chat, struct cds_err *reterr)
{
    const cds_json *system = cds_json_get(body, "system"), *messages = cds_json_get(body, "messages");
    cds_json *list = cds_json_array();
    cds_json_set(chat, "messages", list);
    if (!is_null(system)) {
        cds_json *text = cds_dialect_text_of(system, text_parts);
        if (!text)
            return cds_dialect_wrong(reterr, "a string or a list of text blocks", "system");
        cds_json_append(list, cds_json_pack("{s:s,s:o}", "role", "system", "content", text));
    }
    if (!cds_json_is(messages, CDS_JSON_ARRAY) || cds_json_size(messages) == 0)
        return cds_dialect_wrong(reterr, "a list of messages that is not empty", "messages");
    for (size_t m = 0; m < cds_json_size(messages); m++) {
        cds_rc rc = take_message(list, cds_json_at(messages, m), m, reterr);
        if (rc != CDS_OK)
            return rc;
    }
    /* A last message of the assistant is the beginning of the answer. */
    const cds_json *last = cds_json_at(list, cds_json_size(list) - 1);
    if (cds_streq(cds_json_get_str(last, "role"), "assistant") && !cds_json_get(last, "tool_calls"))
        cds_json_set(chat, "continue_final_message", cds_json_bool(true));
    return CDS_OK;
}

static cds_rc take_tools(const cds_json *body, cds_json *chat, struct cds_err *reterr)
{
    const cds_json *tools = cds_json_get(body, "tools");
    if (is_null(tools))
        return CDS_OK;
    if (!cds_json_is(tools, CDS_JSON_ARRAY))
        return cds_dialect_wrong(reterr, "a list of tools", "tools");
    cds_json *list = cds_json_array();
    cds_json_set(chat, "tools", list);
    for (size_t i = 0; i < cds_json_size(tools); i++) {
        const cds_json *tool = cds_json_at(tools, i), *schema = cds_json_get(tool, "input_schema");
        const char *type = cds_json_get_str(tool, "type");
        if (type && !cds_streq(type, "custom"))
            return cds_dialect_wrong(reterr, "\"custom\": this server has no tools of its own", "tools[%zu].type", i);
        if (!cds_json_is(schema, CDS_JSON_OBJECT))
            return cds_dialect_wrong(reterr, "a JSON schema of \"type\":\"object\"", "tools[%zu].input_schema", i);
        cds_json *function = cds_json_copy(tool);
        cds_json_del(function, "type");
        cds_json_del(function, "input_schema");
        cds_json_set(function, "parameters", cds_json_copy(schema));
        cds_json_append(list, cds_json_pack("{s:s,s:o}", "type", "function", "function", function));
    }
    return CDS_OK;
}

static cds_rc take_choice(const cds_json *body, cds_json *chat, struct cds_err *reterr)
{
    const cds_json *choice = cds_json_get(body, "tool_choice");
    const char *type = cds_json_get_str(choice, "type"), *name = cds_json_get_str(choice, "name");
    if (is_null(choice))
        return CDS_OK;
    if (cds_streq(type, "tool") && name)
        cds_json_set(chat, "tool_choice", cds_json_pack("{s:s,s:{s:s}}", "type", "function", "function", "name", name));
    else if (cds_streq(type, "auto") || cds_streq(type, "none") || cds_streq(type, "any"))
        cds_json_set(chat, "tool_choice", cds_json_string(cds_streq(type, "any") ? "required" : type));
    else
        return cds_dialect_wrong(reterr, "{\"type\":\"auto\"}, \"any\", \"none\" or {\"type\":\"tool\",\"name\":\"...\"}", "tool_choice");
    if (cds_json_true(cds_json_get(choice, "disable_parallel_tool_use"), false))
        cds_json_set(chat, "parallel_tool_calls", cds_json_bool(false));
    return CDS_OK;
}

static cds_rc take_thinking(const cds_json *body, cds_json *chat, struct cds_err *reterr)
{
    const cds_json *thinking = cds_json_get(body, "thinking"), *budget = cds_json_get(thinking, "budget_tokens");
    const char *type = cds_json_get_str(thinking, "type");
    if (is_null(thinking) || cds_streq(type, "adaptive"))
        return CDS_OK;
    if (cds_streq(type, "disabled")) {
        cds_json_set(chat, "thinking_budget_tokens", cds_json_int(0));
        return CDS_OK;
    }
    if (!cds_streq(type, "enabled"))
        return cds_dialect_wrong(reterr, "\"enabled\", \"disabled\" or \"adaptive\"", "thinking.type");
    if (!cds_json_is(budget, CDS_JSON_INTEGER) || cds_json_i64(budget, 0) < 1)
        return cds_dialect_wrong(reterr, "an integer of 1 or more", "thinking.budget_tokens");
    cds_json_set(chat, "thinking_budget_tokens", cds_json_copy(budget));
    return CDS_OK;
}

static cds_rc take_format(const cds_json *body, cds_json *chat, struct cds_err *reterr)
{
    const cds_json *format = cds_json_get(cds_json_get(body, "output_config"), "format");
    if (is_null(format))
        format = cds_json_get(body, "output_format");
    if (is_null(format))
        return CDS_OK;
    if (!cds_streq(cds_json_get_str(format, "type"), "json_schema") || !cds_json_is(cds_json_get(format, "schema"), CDS_JSON_OBJECT))
        return cds_dialect_wrong(reterr, "{\"type\":\"json_schema\",\"schema\":{...}}", "output_config.format");
    cds_json_set(
        chat, "response_format",
        cds_json_pack("{s:s,s:{s:s,s:O}}", "type", "json_schema", "json_schema", "name", "output", "schema", cds_json_get(format, "schema")));
    return CDS_OK;
}

cds_rc cds_messages_to_chat(const cds_json *body, bool counting, cds_json **ret, struct cds_err *reterr)
{
    static const char *const own[] = {"system",
                                      "stop_sequences",
                                      "tools",
                                      "tool_choice",
                                      "thinking",
                                      "metadata",
                                      "container",
                                      "mcp_servers",
                                      "n",
                                      "best_of",
                                      "logprobs",
                                      "top_logprobs",
                                      "stop",
                                      "stream_options",
                                      "messages",
                                      "response_format",
                                      "service_tier",
                                      "output_config",
                                      "output_format",
                                      "functions",
                                      "function_call",
                                      "continue_final_message",
                                      "max_completion_tokens",
                                      "parallel_tool_calls",
                                      "reasoning_effort"};
    CDS_JSON_AUTO chat = cds_json_copy(body);
    cds_json *stops = cds_json_get(body, "stop_sequences");
    for (size_t i = 0; i < CDS_ARRAY_LEN(own); i++)
        cds_json_del(chat, own[i]);
    if (counting) {
        cds_json_del(chat, "stream");
        cds_json_del(chat, "max_tokens");
    } else if (is_null(cds_json_get(body, "max_tokens"))) {
        return cds_dialect_wrong(reterr, "an integer of 1 or more", "max_tokens");
    }
    if (!is_null(stops) && cds_json_size(stops) > 0)
        cds_json_set(chat, "stop", cds_json_ref(stops));
    cds_rc rc = take_conversation(body, chat, reterr);
    if (rc == CDS_OK)
        rc = take_tools(body, chat, reterr);
    if (rc == CDS_OK)
        rc = take_choice(body, chat, reterr);
    if (rc == CDS_OK)
        rc = take_thinking(body, chat, reterr);
    if (rc == CDS_OK)
        rc = take_format(body, chat, reterr);
    if (rc == CDS_OK)
        *ret = cds_json_ref(chat);
    return rc;
}

void cds_messages_own_names(struct cds_err *err)
{
    static const struct cds_dialect_name names[] = {{"response_format.json_schema", "output_config.format"},
                                                    {"thinking_budget_tokens", "thinking.budget_tokens"},
                                                    {"continue_final_message", "messages"},
                                                    {"stop", "stop_sequences"}};
    cds_dialect_rename(err, names, CDS_ARRAY_LEN(names));
    /* /tools/0/parameters */
    char *at = cds_starts_with(err->pointer, "/tools/") ? strstr(err->pointer, "/parameters") : NULL;
    if (at && (at[sizeof("/parameters") - 1] == '\0' || at[sizeof("/parameters") - 1] == '/')) {
        char rest[sizeof(err->pointer)];
        cds_strcpy(rest, sizeof(rest), at + sizeof("/parameters") - 1);
        *at = '\0';
        char before[sizeof(err->pointer)];
        cds_strcpy(before, sizeof(before), err->pointer);
        cds_err_pointer(err, "%s/input_schema%s", before, rest);
    }
}
