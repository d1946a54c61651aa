/* apps/llmserver/responses_ask.c: a body of /v1/responses as one of /v1/chat/completions. */
#include <string.h>

#include "apps/llmserver/dialect.h"
#include "lib/base/str.h"

/** The conversation as far as it was read. */
struct history {
    cds_json *messages;        /**< owned */
    const cds_json *reasoning; /**< thoughts before the next message of the assistant; borrowed */
};

static const char *const text_parts[] = {"input_text", "output_text", "text", "refusal", NULL};

static const cds_json *last_of(const struct history *history)
{
    return cds_json_at(history->messages, cds_json_size(history->messages) - 1);
}

/** A message of the assistant, with the thoughts that came before it; steals content. */
static cds_json *assistant(struct history *history, cds_json *content)
{
    cds_json *message = cds_json_pack("{s:s,s:o}", "role", "assistant", "content", content);
    if (history->reasoning)
        cds_json_set(message, "reasoning_content", cds_json_copy(history->reasoning));
    history->reasoning = NULL;
    cds_json_append(history->messages, message);
    return message;
}

static cds_rc take_message(struct history *history, const cds_json *item, size_t index, struct cds_err *reterr)
{
    const char *role = cds_json_get_str(item, "role");
    if (!cds_streq(role, "user") && !cds_streq(role, "assistant") && !cds_streq(role, "system") && !cds_streq(role, "developer"))
        return cds_dialect_wrong(reterr, "\"user\", \"assistant\", \"system\" or \"developer\"", "input[%zu].role", index);
    cds_json *text = cds_dialect_text_of(cds_json_get(item, "content"), text_parts);
    if (!text)
        return cds_dialect_wrong(reterr, "a string or a list of {\"type\":\"input_text\",\"text\":\"...\"} parts: this model reads text",
                                 "input[%zu].content", index);
    if (cds_streq(role, "assistant"))
        assistant(history, text);
    else
        cds_json_append(history->messages, cds_json_pack("{s:s,s:o}", "role", role, "content", text));
    return CDS_OK;
}

static cds_rc take_call(struct history *history, const cds_json *item, size_t index, struct cds_err *reterr)
{
    const char *name = cds_json_get_str(item, "name"), *id = cds_json_get_str(item, "call_id");
    const cds_json *arguments = cds_json_get(item, "arguments");
    CDS_JSON_AUTO parsed = NULL;
    size_t len = cds_json_str_len(arguments);
    if (!name || !id)
        return cds_dialect_wrong(reterr, "a string", "input[%zu].%s", index, name ? "call_id" : "name");
    if (!cds_json_str(arguments) ||
        (len && (cds_json_parse(cds_json_str(arguments), len, &parsed, NULL) != CDS_OK || !cds_json_is(parsed, CDS_JSON_OBJECT))))
        return cds_dialect_wrong(reterr, "the JSON text of an object", "input[%zu].arguments", index);
    cds_json *message = (cds_json *)(uintptr_t)last_of(history);
    if (!cds_streq(cds_json_get_str(message, "role"), "assistant"))
        message = assistant(history, cds_json_string(""));
    cds_json *calls = cds_json_get(message, "tool_calls");
    if (!calls) {
        calls = cds_json_array();
        cds_json_set(message, "tool_calls", calls);
    }
    cds_json_append(calls, cds_json_pack("{s:s,s:s,s:{s:s,s:s}}", "id", id, "type", "function", "function", "name", name, "arguments",
                                         len ? cds_json_str(arguments) : "{}"));
    return CDS_OK;
}

static cds_rc take_output(struct history *history, const cds_json *item, size_t index, struct cds_err *reterr)
{
    const char *id = cds_json_get_str(item, "call_id");
    if (!id)
        return cds_dialect_wrong(reterr, "the call_id of the function_call this is the result of", "input[%zu].call_id", index);
    cds_json *text = cds_dialect_text_of(cds_json_get(item, "output"), text_parts);
    if (!text)
        return cds_dialect_wrong(reterr, "a string or a list of {\"type\":\"input_text\",\"text\":\"...\"} parts", "input[%zu].output", index);
    cds_json_append(history->messages, cds_json_pack("{s:s,s:s,s:o}", "role", "tool", "tool_call_id", id, "content", text));
    return CDS_OK;
}

/** Thoughts of an earlier answer: its own text if there is one, else the summary. */
static void take_reasoning(struct history *history, const cds_json *item)
{
    const cds_json *part = cds_json_at(cds_json_get(item, "content"), 0);
    if (!part)
        part = cds_json_at(cds_json_get(item, "summary"), 0);
    const cds_json *text = cds_json_get(part, "text");
    history->reasoning = cds_json_str_len(text) ? text : NULL;
}

static cds_rc take_item(struct history *history, const cds_json *item, size_t index, struct cds_err *reterr)
{
    const char *type = cds_json_get_str(item, "type");
    if ((!type && cds_json_get(item, "role")) || cds_streq(type, "message"))
        return take_message(history, item, index, reterr);
    if (cds_streq(type, "function_call"))
        return take_call(history, item, index, reterr);
    if (cds_streq(type, "function_call_output"))
        return take_output(history, item, index, reterr);
    if (cds_streq(type, "reasoning"))
        return take_reasoning(history, item), CDS_OK;
    if (cds_streq(type, "item_reference"))
        return cds_dialect_wrong(reterr, "the item itself: this server keeps no items", "input[%zu]", index);
    return cds_dialect_wrong(reterr, "a \"message\", \"function_call\", \"function_call_output\" or \"reasoning\"", "input[%zu].type", index);
}

static cds_rc take_input(const cds_json *body, cds_json *chat, struct cds_err *reterr)
{
    struct history history = {.messages = cds_json_array()};
    cds_json *input = cds_json_get(body, "input");
    const cds_json *instructions = cds_json_get(body, "instructions");
    cds_json_set(chat, "messages", history.messages);
    if (instructions && !cds_json_is(instructions, CDS_JSON_NULL) && !cds_json_str(instructions))
        return cds_dialect_wrong(reterr, "a string", "instructions");
    if (cds_json_str(instructions))
        cds_json_append(history.messages, cds_json_pack("{s:s,s:O}", "role", "system", "content", instructions));
    if (cds_json_str(input)) {
        cds_json_append(history.messages, cds_json_pack("{s:s,s:O}", "role", "user", "content", input));
        return CDS_OK;
    }
    if (!cds_json_is(input, CDS_JSON_ARRAY) || cds_json_size(input) == 0)
        return cds_dialect_wrong(reterr, "a string or a list of items that is not empty", "input");
    for (size_t i = 0; i < cds_json_size(input); i++) {
        cds_rc rc = take_item(&history, cds_json_at(input, i), i, reterr);
        if (rc != CDS_OK)
            return rc;
    }
    return CDS_OK;
}

/* --- tools and format ---------------------------------------------------------------------------------------------------- */

static cds_rc take_tools(const cds_json *body, cds_json *chat, struct cds_err *reterr)
{
    const cds_json *tools = cds_json_get(body, "tools");
    if (!tools || cds_json_is(tools, CDS_JSON_NULL))
        return CDS_OK;
    if (!cds_json_is(tools, CDS_JSON_ARRAY))
        return cds_dialect_wrong(reterr, "a list of functions", "tools");
    cds_json *list = cds_json_array();
    cds_json_set(chat, "tools", list);
    for (size_t i = 0; i < cds_json_size(tools); i++) {
        const cds_json *tool = cds_json_at(tools, i);
        if (!cds_streq(cds_json_get_str(tool, "type"), "function"))
            return cds_dialect_wrong(reterr, "\"function\": this server has no tools of its own", "tools[%zu].type", i);
        cds_json *function = cds_json_copy(tool);
        cds_json_del(function, "type");
        cds_json_append(list, cds_json_pack("{s:s,s:o}", "type", "function", "function", function));
    }
    return CDS_OK;
}

/** Only the tools that {"type": "allowed_tools"} names stay. */
static cds_rc allow(const cds_json *choice, cds_json *chat, struct cds_err *reterr)
{
    const cds_json *names = cds_json_get(choice, "tools"), *tools = cds_json_get(chat, "tools");
    cds_json *list = cds_json_array();
    for (size_t i = 0; i < cds_json_size(names); i++)
        for (size_t k = 0; k < cds_json_size(tools); k++)
            if (cds_streq(cds_json_get_str(cds_json_at(names, i), "name"), cds_json_get_str(cds_json_get(cds_json_at(tools, k), "function"), "name")))
                cds_json_append(list, cds_json_ref(cds_json_at(tools, k)));
    bool all = cds_json_size(list) == cds_json_size(names) && cds_json_size(names) > 0;
    cds_json_set(chat, "tools", list);
    const char *mode = cds_json_get_str(choice, "mode");
    if (!all)
        return cds_dialect_wrong(reterr, "a list of names of \"tools\"", "tool_choice.tools");
    if (!cds_streq(mode, "auto") && !cds_streq(mode, "required"))
        return cds_dialect_wrong(reterr, "\"auto\" or \"required\"", "tool_choice.mode");
    cds_json_set(chat, "tool_choice", cds_json_string(mode));
    return CDS_OK;
}

static cds_rc take_choice(const cds_json *body, cds_json *chat, struct cds_err *reterr)
{
    cds_json *choice = cds_json_get(body, "tool_choice");
    const char *type = cds_json_get_str(choice, "type"), *name = cds_json_get_str(choice, "name");
    if (!choice || cds_json_is(choice, CDS_JSON_NULL))
        return CDS_OK;
    if (cds_streq(type, "allowed_tools"))
        return allow(choice, chat, reterr);
    if (cds_json_is(choice, CDS_JSON_OBJECT) && !(cds_streq(type, "function") && name))
        return cds_dialect_wrong(
            reterr, "\"auto\", \"none\", \"required\", {\"type\":\"function\",\"name\":\"...\"} or {\"type\":\"allowed_tools\",...}", "tool_choice");
    cds_json_set(chat, "tool_choice", name ? cds_json_pack("{s:s,s:{s:s}}", "type", "function", "function", "name", name) : cds_json_ref(choice));
    return CDS_OK;
}

static cds_rc take_format(const cds_json *body, cds_json *chat, struct cds_err *reterr)
{
    const cds_json *text = cds_json_get(body, "text");
    cds_json *format = cds_json_get(text, "format");
    if (text && !cds_json_is(text, CDS_JSON_NULL) && !cds_json_is(text, CDS_JSON_OBJECT))
        return cds_dialect_wrong(reterr, "an object", "text");
    if (!format || cds_json_is(format, CDS_JSON_NULL))
        return CDS_OK;
    if (!cds_streq(cds_json_get_str(format, "type"), "json_schema")) {
        cds_json_set(chat, "response_format", cds_json_ref(format));
        return CDS_OK;
    }
    cds_json *inner = cds_json_copy(format);
    cds_json_del(inner, "type");
    cds_json_set(chat, "response_format", cds_json_pack("{s:s,s:o}", "type", "json_schema", "json_schema", inner));
    return CDS_OK;
}

/* --- the rest ------------------------------------------------------------------------------------------------------------ */

/** What would need answers that are kept here (docs/adr/0050): it is refused, not forgotten. */
static cds_rc refuse_kept(const cds_json *body, struct cds_err *reterr)
{
    static const struct {
        const char *name, *instead;
    } members[] = {
        {"previous_response_id", "null or left out: this server keeps no answers, so send the whole conversation as \"input\""},
        {"conversation", "null or left out: this server keeps no conversations, so send the whole one as \"input\""},
        {"prompt", "null or left out: this server keeps no prompts, so send its text as \"instructions\""},
    };
    for (size_t i = 0; i < CDS_ARRAY_LEN(members); i++)
        if (!cds_json_is(cds_json_get(body, members[i].name), CDS_JSON_NULL))
            return cds_dialect_wrong(reterr, members[i].instead, "%s", members[i].name);
    if (cds_json_true(cds_json_get(body, "background"), false))
        return cds_dialect_wrong(
            reterr, "false: an answer is made while its request is open (with \"resumable\": true a stream outlives its connection)", "background");
    const cds_json *truncation = cds_json_get(body, "truncation");
    const char *how = cds_json_str(truncation);
    if (!cds_json_is(truncation, CDS_JSON_NULL) && !cds_streq(how, "disabled") && !cds_streq(how, "auto"))
        return cds_dialect_wrong(reterr, "\"disabled\" or \"auto\"", "truncation");
    return CDS_OK;
}

static cds_rc take_rest(const cds_json *body, cds_json *chat, struct cds_err *reterr)
{
    cds_json *most = cds_json_get(body, "max_output_tokens"), *reasoning = cds_json_get(body, "reasoning");
    const cds_json *include = cds_json_get(body, "include");
    bool chances = !cds_json_is(cds_json_get(body, "top_logprobs"), CDS_JSON_NULL);
    if (cds_streq(cds_json_get_str(body, "truncation"), "auto"))
        cds_json_set(chat, "context_shift", cds_json_bool(true));
    if (most)
        cds_json_set(chat, "max_completion_tokens", cds_json_ref(most));
    if (cds_json_get(reasoning, "effort"))
        cds_json_set(chat, "reasoning_effort", cds_json_ref(cds_json_get(reasoning, "effort")));
    else if (!cds_json_is(reasoning, CDS_JSON_NULL) && !cds_json_is(reasoning, CDS_JSON_OBJECT))
        return cds_dialect_wrong(reterr, "an object", "reasoning");
    for (size_t i = 0; i < cds_json_size(include); i++)
        chances = chances || cds_streq(cds_json_str(cds_json_at(include, i)), "message.output_text.logprobs");
    if (chances)
        cds_json_set(chat, "logprobs", cds_json_bool(true));
    return CDS_OK;
}

cds_rc cds_responses_to_chat(const cds_json *body, bool counting, cds_json **ret, struct cds_err *reterr)
{
    /* What both APIs call the same, and our own members, go through as they are; these do not. */
    static const char *const own[] = {"input",
                                      "instructions",
                                      "text",
                                      "tools",
                                      "tool_choice",
                                      "reasoning",
                                      "include",
                                      "store",
                                      "truncation",
                                      "background",
                                      "previous_response_id",
                                      "conversation",
                                      "prompt",
                                      "max_output_tokens",
                                      "n",
                                      "best_of",
                                      "logprobs",
                                      "messages",
                                      "max_tokens",
                                      "max_completion_tokens",
                                      "response_format",
                                      "stream_options",
                                      "functions",
                                      "function_call",
                                      "reasoning_effort"};
    CDS_JSON_AUTO chat = cds_json_copy(body);
    for (size_t i = 0; i < CDS_ARRAY_LEN(own); i++)
        cds_json_del(chat, own[i]);
    if (counting)
        cds_json_del(chat, "stream");
    cds_rc rc = refuse_kept(body, reterr);
    if (rc == CDS_OK)
        rc = take_input(body, chat, reterr);
    if (rc == CDS_OK)
        rc = take_tools(body, chat, reterr);
    if (rc == CDS_OK)
        rc = take_choice(body, chat, reterr);
    if (rc == CDS_OK)
        rc = take_format(body, chat, reterr);
    if (rc == CDS_OK)
        rc = take_rest(body, chat, reterr);
    if (rc == CDS_OK)
        *ret = cds_json_ref(chat);
    return rc;
}

void cds_responses_own_names(struct cds_err *err)
{
    static const struct cds_dialect_name names[] = {{"response_format.json_schema", "text.format"},
                                                    {"response_format", "text.format"},
                                                    {"max_completion_tokens", "max_output_tokens"},
                                                    {"reasoning_effort", "reasoning.effort"},
                                                    {"messages", "input"}};
    cds_dialect_rename(err, names, CDS_ARRAY_LEN(names));
}
