#include <stdlib.h>
#include <string.h>

#include "apps/llmserver/ask.h"
#include "apps/llmserver/gbnf.h"
#include "apps/llmserver/schema_rules.h"
#include "apps/llmserver/simple_template.h"
#include "lib/base/cleanup.h"
#include "lib/base/str.h"

/* --- what the text must look like --------------------------------------------------------------------------------------- */

static cds_rc read_schema(const cds_json *schema, const char *place, bool strict, struct cds_ask *ask, cds_json *prompt, struct cds_err *reterr)
{
    cds_json *made = NULL;
    CDS_JSON_AUTO check = NULL;
    struct cds_err why = {0};
    cds_rc rc = cds_schema_rules(schema, place, strict, &made, &check, reterr);
    if (rc != CDS_OK)
        return rc;
    cds_json_set(prompt, "schema", made);
    rc = cds_schema_compile(check, &ask->schema, &why);
    if (rc == CDS_OK)
        return rc;
    cds_fail(reterr, rc, __func__, "%s", why.message);
    return cds_err_pointer(reterr, "%s%.200s", place, why.pointer), rc;
}

static cds_rc read_response_format(const cds_json *format, struct cds_ask *ask, cds_json *prompt, struct cds_err *reterr)
{
    const char *type = cds_json_get_str(format, "type");
    if (cds_streq(type, "text"))
        return CDS_OK;
    if (cds_streq(type, "json_object")) {
        const cds_json *schema = cds_ask_member(format, "schema");
        if (schema)
            return read_schema(schema, "/response_format/schema", false, ask, prompt, reterr);
        cds_strcpy(ask->grammar_name, sizeof(ask->grammar_name), "json");
        return CDS_OK;
    }
    if (!cds_streq(type, "json_schema"))
        return cds_ask_wrong(reterr, "response_format",
                             "{\"type\":\"text\"}, {\"type\":\"json_object\"} or {\"type\":\"json_schema\",\"json_schema\":{...}}");
    const cds_json *outer = cds_ask_member(format, "json_schema"), *schema = cds_ask_member(outer, "schema");
    if (!cds_json_is(schema, CDS_JSON_OBJECT)) {
        cds_fail(reterr, CDS_BAD_PARAM, __func__, "\"response_format.json_schema.schema\" must be an object.");
        cds_err_pointer(reterr, "/response_format/json_schema/schema");
        return CDS_BAD_PARAM;
    }
    bool strict;
    cds_rc rc = cds_ask_bool(outer, "strict", false, &strict, reterr);
    return rc == CDS_OK ? read_schema(schema, "/response_format/json_schema/schema", strict, ask, prompt, reterr) : rc;
}

/** GBNF, or the name of a grammar that comes with the server. */
static cds_rc read_grammar(const cds_json *grammar, struct cds_ask *ask, cds_json *prompt, struct cds_err *reterr)
{
    const char *text = cds_json_str(grammar);
    size_t len = cds_json_str_len(grammar);
    if (!text)
        return cds_ask_wrong(reterr, "grammar", "a text: a grammar in GBNF, or the name of one that comes with the server");
    bool name = len <= CDS_ASK_GRAMMAR_NAME_MAX;
    for (size_t i = 0; i < len; i++)
        name = name && ((text[i] >= 'a' && text[i] <= 'z') || text[i] == '_');
    if (name) {
        cds_strcpy(ask->grammar_name, sizeof(ask->grammar_name), text);
        return CDS_OK;
    }
    cds_rc rc = cds_gbnf_check(text, len, reterr);
    if (rc != CDS_OK)
        return cds_err_pointer(reterr, "/grammar"), rc;
    cds_json_set(prompt, "grammar", cds_json_string(text));
    return CDS_OK;
}

cds_rc cds_ask_format(const cds_json *body, struct cds_ask *ask, cds_json *prompt, struct cds_err *reterr)
{
    const cds_json *format = cds_ask_member(body, "response_format"), *grammar = cds_ask_member(body, "grammar");
    const cds_json *schema = cds_ask_member(body, "json_schema");
    bool formatted = format && !cds_streq(cds_json_get_str(format, "type"), "text");
    bool has_grammar = grammar && !(cds_json_str(grammar) && cds_json_str_len(grammar) == 0);
    if (formatted + has_grammar + (schema != NULL) > 1)
        return cds_ask_wrong(reterr, has_grammar ? "grammar" : "json_schema", "the only one of response_format, json_schema and grammar");
    cds_rc rc = format ? read_response_format(format, ask, prompt, reterr) : CDS_OK;
    if (rc == CDS_OK && schema)
        rc = cds_json_is(schema, CDS_JSON_OBJECT) ? read_schema(schema, "/json_schema", false, ask, prompt, reterr)
                                                  : cds_ask_wrong(reterr, "json_schema", "an object");
    if (rc == CDS_OK && has_grammar)
        rc = read_grammar(grammar, ask, prompt, reterr);
    return rc;
}

/* --- how it thinks, and with which template ----------------------------------------------------------------------------- */

/** Values go to the template as JSON texts. */
static cds_rc read_kwargs(const cds_json *body, cds_json *prompt, bool *thinking, struct cds_err *reterr)
{
    const cds_json *kwargs = cds_ask_member(body, "chat_template_kwargs");
    const cds_json *effort = cds_ask_member(body, "reasoning_effort");
    void *iter = NULL;
    const char *key;
    cds_json *value;
    if (kwargs && (!cds_json_is(kwargs, CDS_JSON_OBJECT) || cds_json_size(kwargs) > 64))
        return cds_ask_wrong(reterr, "chat_template_kwargs", "an object with at most 64 members");
    if (effort && !cds_json_str(effort))
        return cds_ask_wrong(reterr, "reasoning_effort", "a string");
    cds_json *texts = cds_json_object();
    cds_json_set(prompt, "kwargs", texts);
    while (cds_json_next(kwargs, &iter, &key, &value)) {
        CDS_CLEANUP(cds_free_ptr) char *text = cds_json_dumps(value, NULL);
        cds_json_set(texts, key, text ? cds_json_string(text) : NULL);
        if (cds_streq(key, "enable_thinking") && !cds_ask_is_bool(value))
            return cds_ask_wrong(reterr, "chat_template_kwargs", "an object whose enable_thinking is true or false");
        if (cds_streq(key, "enable_thinking"))
            *thinking = cds_json_true(value, true);
    }
    if (effort) {
        CDS_CLEANUP(cds_free_ptr) char *text = cds_json_dumps(effort, NULL);
        cds_json_set(texts, "reasoning_effort", text ? cds_json_string(text) : NULL);
        if (cds_streq(cds_json_str(effort), "none"))
            *thinking = false;
    }
    if (cds_json_size(texts) == 0)
        cds_json_del(prompt, "kwargs");
    return CDS_OK;
}

/** A simple template becomes a Jinja template, and the text behind its answer a stop text. */
static cds_rc read_simple(const char *text, const cds_json *forms, struct cds_ask *ask, cds_json *prompt, struct cds_err *reterr)
{
    char stop[CDS_SIMPLE_STOP_MAX + 1];
    CDS_CLEANUP(cds_buf_free) struct cds_buf jinja = cds_buf_init((size_t)CDS_ASK_TEMPLATE_MAX * 2);
    cds_rc rc = cds_simple_template(text, forms, &jinja, stop, reterr);
    if (rc != CDS_OK)
        return rc;
    if (*stop && !cds_json_get(prompt, "stop"))
        cds_json_set(prompt, "stop", cds_json_array());
    if (*stop)
        cds_json_append(cds_json_get(prompt, "stop"), cds_json_string(stop));
    ask->own_template = true;
    cds_json_set(prompt, "chat_template", cds_json_stringn(jinja.data, jinja.len));
    return CDS_OK;
}

/** "chatml", a simple template, or the text of a Jinja template, whose blocks are counted: it is read by a parser that goes as deep as they do. */
static cds_rc read_template(const cds_json *body, struct cds_ask *ask, cds_json *prompt, struct cds_err *reterr)
{
    const cds_json *given = cds_ask_member(body, "chat_template");
    const cds_json *forms = cds_json_is(given, CDS_JSON_OBJECT) ? cds_json_get(given, "history") : NULL;
    const cds_json *written = cds_json_is(given, CDS_JSON_OBJECT) ? cds_json_get(given, "template") : given;
    const char *text = cds_json_str(written);
    size_t deep = 0, deepest = 0;
    if (!given)
        return CDS_OK;
    if (!text || cds_json_str_len(written) < 1 || cds_json_str_len(written) > CDS_ASK_TEMPLATE_MAX || (forms && !cds_json_is(forms, CDS_JSON_OBJECT)))
        return cds_ask_wrong(reterr, "chat_template",
                             "\"chatml\", the text of a Jinja template of at most 65536 bytes, or {\"template\", \"history\"} of a simple one");
    if (written != given || cds_simple_is(text))
        return read_simple(text, forms, ask, prompt, reterr);
    for (const char *c = text; *c; c++) {
        if (strchr("([{", *c))
            deep++;
        else if (strchr(")]}", *c) && deep > 0)
            deep--;
        deepest = deep > deepest ? deep : deepest;
    }
    size_t blocks = 0;
    for (const char *c = text; (c = strstr(c, "{%")) != NULL; c += 2)
        blocks++;
    if (deepest > 64 || blocks > 1024)
        return cds_ask_wrong(reterr, "chat_template", "nested at most 64 brackets deep, with at most 1024 blocks");
    ask->own_template = !cds_streq(text, "chatml");
    cds_json_set(prompt, "chat_template", cds_json_string(text));
    return CDS_OK;
}

static cds_rc read_budget(const cds_json *body, cds_json *prompt, bool *thinking, struct cds_err *reterr)
{
    static const char *const names[] = {"reasoning_budget", "thinking_budget_tokens"};
    for (size_t i = 0; i < CDS_ARRAY_LEN(names); i++) {
        const cds_json *budget = cds_ask_member(body, names[i]);
        if (!budget)
            continue;
        int64_t tokens = cds_json_i64(budget, -2);
        if (!cds_json_is(budget, CDS_JSON_INTEGER) || tokens < -1 || tokens > CDS_ASK_TOKENS_MAX)
            return cds_ask_wrong(reterr, names[i], "an integer of 0 or more, or -1 for no limit");
        cds_json_set(prompt, "thinking_budget", cds_json_int(tokens));
        if (tokens == 0)
            *thinking = false;
    }
    return CDS_OK;
}

static cds_rc read_prefix(const cds_json *body, cds_json *prompt, struct cds_err *reterr)
{
    bool goes_on;
    cds_rc rc = cds_ask_bool(body, "continue_final_message", false, &goes_on, reterr);
    if (rc != CDS_OK || !goes_on)
        return rc;
    const cds_json *messages = cds_json_get(prompt, "messages");
    const cds_json *last = cds_json_at(messages, cds_json_size(messages) - 1);
    if (!cds_streq(cds_json_get_str(last, "role"), "assistant") || cds_json_get(last, "tool_calls"))
        return cds_ask_wrong(reterr, "continue_final_message", "false unless the last message is one of the assistant, without tool calls");
    cds_json_set(prompt, "continue", cds_json_bool(true));
    return CDS_OK;
}

cds_rc cds_ask_reasoning(const cds_json *body, struct cds_ask *ask, cds_json *prompt, struct cds_err *reterr)
{
    const char *format = cds_json_get_str(body, "reasoning_format");
    bool thinking = true;
    if (cds_ask_member(body, "reasoning_format") && !cds_streq(format, "none") && !cds_streq(format, "auto") && !cds_streq(format, "deepseek"))
        return cds_ask_wrong(reterr, "reasoning_format", "\"auto\", \"deepseek\" or \"none\"");
    if (cds_streq(format, "none"))
        cds_json_set(prompt, "raw", cds_json_bool(true));
    cds_rc rc = read_kwargs(body, prompt, &thinking, reterr);
    if (rc == CDS_OK)
        rc = read_template(body, ask, prompt, reterr);
    if (rc == CDS_OK)
        rc = read_budget(body, prompt, &thinking, reterr);
    if (rc == CDS_OK)
        rc = read_prefix(body, prompt, reterr);
    if (rc == CDS_OK && !thinking)
        cds_json_set(prompt, "thinking", cds_json_bool(false));
    return rc;
}
