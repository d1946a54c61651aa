#include <stdio.h>
#include <string.h>

#include "apps/llmserver/ask.h"
#include "apps/llmserver/schema_rules.h"
#include "lib/base/str.h"

static cds_rc wrong_tool(struct cds_err *reterr, size_t index, const char *name, const char *expected)
{
    cds_fail(reterr, CDS_BAD_PARAM, __func__, "\"tools[%zu].%s\" must be %s.", index, name, expected);
    cds_err_pointer(reterr, "/tools/%zu/%s", index, name);
    return CDS_BAD_PARAM;
}

static bool name_usable(const char *name)
{
    size_t len = name ? strlen(name) : 0;
    for (size_t i = 0; i < len; i++)
        if (!((name[i] >= 'a' && name[i] <= 'z') || (name[i] >= 'A' && name[i] <= 'Z') || (name[i] >= '0' && name[i] <= '9') || name[i] == '_' ||
              name[i] == '-'))
            return false;
    return len >= 1 && len <= 64;
}

/** Types that may stand in parameters: an object, or nothing. */
static cds_rc read_parameters(const cds_json *function, size_t index, cds_json *copy, struct cds_err *reterr)
{
    const cds_json *parameters = cds_ask_member(function, "parameters");
    char place[64];
    bool strict;
    cds_rc rc = cds_ask_bool(function, "strict", false, &strict, reterr);
    if (rc != CDS_OK)
        return wrong_tool(reterr, index, "function/strict", "true or false");
    if (!parameters || (cds_json_is(parameters, CDS_JSON_OBJECT) && cds_json_size(parameters) == 0)) {
        cds_json_set(copy, "parameters", cds_json_pack("{s:s,s:{}}", "type", "object", "properties"));
        return CDS_OK;
    }
    if (!cds_json_is(parameters, CDS_JSON_OBJECT) || !cds_streq(cds_json_get_str(parameters, "type"), "object"))
        return wrong_tool(reterr, index, "function/parameters", "a JSON schema of \"type\":\"object\"");
    snprintf(place, sizeof(place), "/tools/%zu/function/parameters", index);
    cds_json *made = NULL;
    rc = cds_schema_rules(parameters, place, strict, &made, NULL, reterr);
    if (rc == CDS_OK)
        cds_json_set(copy, "parameters", made);
    return rc;
}

static cds_rc read_tool(const cds_json *tool, size_t index, cds_json *list, struct cds_err *reterr)
{
    const cds_json *function = cds_ask_member(tool, "function"), *description = cds_ask_member(function, "description");
    const char *name = cds_json_get_str(function, "name");
    if (!cds_streq(cds_json_get_str(tool, "type"), "function"))
        return wrong_tool(reterr, index, "type", "\"function\"");
    if (!name_usable(name))
        return wrong_tool(reterr, index, "function/name", "1 to 64 letters, digits, _ and -");
    for (size_t i = 0; i < cds_json_size(list); i++)
        if (cds_streq(cds_json_get_str(cds_json_get(cds_json_at(list, i), "function"), "name"), name))
            return wrong_tool(reterr, index, "function/name", "another one than that of an earlier tool");
    if (description && !cds_json_str(description))
        return wrong_tool(reterr, index, "function/description", "a string");
    cds_json *copy = cds_json_object(), *outer = cds_json_pack("{s:s}", "type", "function");
    cds_json_set(copy, "name", cds_json_string(name));
    if (description)
        cds_json_set(copy, "description", cds_json_string(cds_json_str(description)));
    cds_rc rc = read_parameters(function, index, copy, reterr);
    cds_json_set(outer, "function", copy);
    cds_json_append(list, outer);
    return rc;
}

/** Only the tool of that name stays. */
static cds_rc keep_named(cds_json *prompt, const char *name, struct cds_err *reterr)
{
    const cds_json *tools = cds_json_get(prompt, "tools");
    for (size_t i = 0; i < cds_json_size(tools); i++) {
        cds_json *tool = cds_json_at(tools, i);
        if (!cds_streq(cds_json_get_str(cds_json_get(tool, "function"), "name"), name))
            continue;
        cds_json *list = cds_json_array();
        cds_json_append(list, cds_json_ref(tool));
        cds_json_set(prompt, "tools", list);
        return CDS_OK;
    }
    return cds_ask_wrong(reterr, "tool_choice", "the name of one of \"tools\"");
}

static cds_rc read_choice(const cds_json *body, cds_json *prompt, struct cds_err *reterr)
{
    static const char expected[] = "\"auto\", \"none\", \"required\" or {\"type\":\"function\",\"function\":{\"name\":\"...\"}}";
    const cds_json *choice = cds_ask_member(body, "tool_choice");
    const char *word = choice ? cds_json_str(choice) : "auto";
    if (cds_json_is(choice, CDS_JSON_OBJECT)) {
        const char *name = cds_json_get_str(cds_json_get(choice, "function"), "name");
        if (!cds_streq(cds_json_get_str(choice, "type"), "function") || !name)
            return cds_ask_wrong(reterr, "tool_choice", expected);
        cds_rc rc = keep_named(prompt, name, reterr);
        if (rc != CDS_OK)
            return rc;
        /* One function is wanted, so one call is. */
        cds_json_set(prompt, "max_tool_calls", cds_json_int(1));
        word = "required";
    }
    if (!cds_streq(word, "auto") && !cds_streq(word, "none") && !cds_streq(word, "required"))
        return cds_ask_wrong(reterr, "tool_choice", expected);
    cds_json_set(prompt, "tool_choice", cds_json_string(word));
    return CDS_OK;
}

static cds_rc read_limits(const cds_json *body, cds_json *prompt, struct cds_err *reterr)
{
    bool parallel;
    const cds_json *most = cds_ask_member(body, "max_tool_calls");
    int64_t count = cds_json_i64(most, 0);
    cds_rc rc = cds_ask_bool(body, "parallel_tool_calls", true, &parallel, reterr);
    if (rc != CDS_OK)
        return rc;
    if (most && (!cds_json_is(most, CDS_JSON_INTEGER) || count < 1 || count > 64))
        return cds_ask_wrong(reterr, "max_tool_calls", "an integer from 1 to 64");
    if (most && !cds_json_get(prompt, "max_tool_calls"))
        cds_json_set(prompt, "max_tool_calls", cds_json_int(count));
    cds_json_set(prompt, "parallel_tool_calls", cds_json_bool(parallel));
    return CDS_OK;
}

cds_rc cds_ask_tools(const cds_json *body, struct cds_ask *ask, cds_json *prompt, struct cds_err *reterr)
{
    const cds_json *tools = cds_ask_member(body, "tools");
    if (tools && (!cds_json_is(tools, CDS_JSON_ARRAY) || cds_json_size(tools) > CDS_ASK_TOOLS_MAX))
        return cds_ask_wrong(reterr, "tools", "a list of at most 128 tools");
    if (cds_json_size(tools) == 0) {
        const cds_json *choice = cds_ask_member(body, "tool_choice");
        if (choice && !cds_streq(cds_json_str(choice), "none") && !cds_streq(cds_json_str(choice), "auto"))
            return cds_ask_wrong(reterr, "tool_choice", "left out without \"tools\"");
        return CDS_OK;
    }
    cds_json *list = cds_json_array();
    cds_json_set(prompt, "tools", list);
    for (size_t i = 0; i < cds_json_size(tools); i++) {
        cds_rc rc = read_tool(cds_json_at(tools, i), i, list, reterr);
        if (rc != CDS_OK)
            return rc;
    }
    cds_rc rc = read_choice(body, prompt, reterr);
    if (rc == CDS_OK)
        rc = read_limits(body, prompt, reterr);
    if (rc != CDS_OK)
        return rc;
    if (cds_streq(cds_json_get_str(prompt, "tool_choice"), "none"))
        return CDS_OK;
    if (*ask->grammar_name || cds_json_get(prompt, "grammar") || cds_json_get(prompt, "schema"))
        return cds_ask_wrong(reterr, "tools", "left out (or \"tool_choice\" be \"none\") where the text itself has a form");
    if (cds_json_get(prompt, "continue"))
        return cds_ask_wrong(reterr, "continue_final_message", "false together with \"tools\"");
    return CDS_OK;
}
