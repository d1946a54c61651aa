#include "apps/llmworker/calls.h"

#include <stdio.h>
#include <string.h>

#include "lib/base/cleanup.h"
#include "lib/base/str.h"

const char cds_calls_trigger[] = "^\\s*(\\{\\s*\"tool_calls\")";

/* --- what the model is told --------------------------------------------------------------------------------------------- */

/** Takes "description" out of a schema and all below it; a property of that name stays. */
static void strip(cds_json *schema, bool names)
{
    void *iter = NULL;
    const char *key;
    cds_json *value;
    for (size_t i = 0; cds_json_is(schema, CDS_JSON_ARRAY) && i < cds_json_size(schema); i++)
        strip(cds_json_at(schema, i), false);
    if (!cds_json_is(schema, CDS_JSON_OBJECT))
        return;
    if (!names)
        (void)cds_json_del(schema, "description");
    while (cds_json_next(schema, &iter, &key, &value))
        strip(value, !names && (cds_streq(key, "properties") || cds_streq(key, "$defs")));
}

void cds_calls_undescribe(cds_json *tools)
{
    for (size_t i = 0; i < cds_json_size(tools); i++)
        strip(cds_json_get(cds_json_get(cds_json_at(tools, i), "function"), "parameters"), false);
}

cds_rc cds_calls_explain(const cds_json *tools, bool documented, bool required, bool parallel, struct cds_buf *out)
{
    (void)cds_buf_add_str(out, documented ? "You can call functions. Each line is one function with the JSON schema of its arguments:\n"
                                          : "You can call functions. Each line is one function:\n");
    for (size_t i = 0; i < cds_json_size(tools); i++) {
        CDS_JSON_AUTO function = cds_json_copy(cds_json_get(cds_json_at(tools, i), "function"));
        if (!documented)
            (void)cds_json_del(function, "parameters");
        cds_rc rc = cds_json_dump(function, out);
        if (rc != CDS_OK)
            return rc;
        (void)cds_buf_add_str(out, "\n");
    }
    (void)cds_buf_add_str(out, "To call a function, answer with nothing but this JSON:\n"
                               "{\"tool_calls\":[{\"name\":\"<function>\",\"arguments\":{<arguments>}}]}\n");
    (void)cds_buf_add_str(out, parallel ? "Several calls may stand in the list. " : "The list holds exactly one call. ");
    (void)cds_buf_add_str(out, required ? "You must call a function now." : "When no function helps, answer in plain words.");
    return cds_buf_trouble(out);
}

/** Parameters live deep inside the whole schema: their own references "#..." have to follow. */
static void move_references(cds_json *schema, const char *base)
{
    void *iter = NULL;
    const char *key;
    cds_json *value;
    for (size_t i = 0; cds_json_is(schema, CDS_JSON_ARRAY) && i < cds_json_size(schema); i++)
        move_references(cds_json_at(schema, i), base);
    if (!cds_json_is(schema, CDS_JSON_OBJECT))
        return;
    const char *target = cds_json_get_str(schema, "$ref");
    if (target && *target == '#') {
        CDS_CLEANUP(cds_buf_free) struct cds_buf moved = cds_buf_init(65536);
        (void)cds_buf_addf(&moved, "%s%s", base, target + 1);
        cds_json_set(schema, "$ref", cds_json_stringn(moved.data ? moved.data : "", moved.len));
    }
    while (cds_json_next(schema, &iter, &key, &value))
        move_references(value, base);
}

static cds_json *parameters(const cds_json *function, size_t index)
{
    const cds_json *given = cds_json_get(function, "parameters");
    if (cds_json_size(given) == 0)
        return cds_json_pack("{s:s,s:{},s:b}", "type", "object", "properties", "additionalProperties", 0);
    cds_json *copy = cds_json_copy(given);
    char base[96];
    snprintf(base, sizeof(base), "#/properties/tool_calls/items/anyOf/%zu/properties/arguments", index);
    move_references(copy, base);
    /* A function without named arguments takes none. */
    if (copy && cds_json_size(cds_json_get(copy, "properties")) == 0 && !cds_json_get(copy, "additionalProperties") &&
        cds_streq(cds_json_get_str(copy, "type"), "object")) {
        cds_json_set(copy, "properties", cds_json_object());
        cds_json_set(copy, "additionalProperties", cds_json_bool(false));
    }
    return copy;
}

cds_json *cds_calls_schema(const cds_json *tools, uint32_t max_calls)
{
    cds_json *choices = cds_json_array();
    for (size_t i = 0; i < cds_json_size(tools); i++) {
        const cds_json *function = cds_json_get(cds_json_at(tools, i), "function");
        cds_json *one =
            cds_json_pack("{s:s,s:{s:{s:O},s:o},s:[s,s],s:b}", "type", "object", "properties", "name", "const", cds_json_get(function, "name"),
                          "arguments", parameters(function, i), "required", "name", "arguments", "additionalProperties", 0);
        cds_json_append(choices, one);
    }
    return cds_json_pack("{s:s,s:{s:{s:s,s:i,s:I,s:{s:o}}},s:[s],s:b}", "type", "object", "properties", "tool_calls", "type", "array", "minItems", 1,
                         "maxItems", (long long)max_calls, "items", "anyOf", choices, "required", "tool_calls", "additionalProperties", 0);
}

/* --- how it is read ----------------------------------------------------------------------------------------------------- */

void cds_calls_begin(struct cds_calls *calls)
{
    *calls = (struct cds_calls){.held = cds_buf_init(CDS_CALLS_HELD_MAX)};
}

void cds_calls_clear(struct cds_calls *calls)
{
    cds_buf_free(&calls->held);
}

static bool is_space(char c)
{
    return c == ' ' || c == '\n' || c == '\r' || c == '\t';
}

/** Does data begin like {"tool_calls":[ ? @return 1 yes and *ret_used says how far, 0 not, -1 it may become one */
static int opening(const char *data, size_t len, size_t *ret_used)
{
    static const char *const parts[] = {"{", "\"tool_calls\"", ":", "["};
    size_t at = 0;
    for (size_t i = 0; i < CDS_ARRAY_LEN(parts); i++) {
        while (at < len && is_space(data[at]))
            at++;
        for (const char *c = parts[i]; *c; c++, at++) {
            if (at == len)
                return -1;
            if (data[at] != *c)
                return 0;
        }
    }
    *ret_used = at;
    return 1;
}

static bool append(cds_json *deltas, cds_json *delta)
{
    return delta && cds_json_append(deltas, delta) == 0;
}

static bool flush_text(struct cds_calls *calls, cds_json *deltas)
{
    bool ok = calls->held.len == 0 || append(deltas, cds_json_pack("{s:o}", "content", cds_json_stringn(calls->held.data, calls->held.len)));
    cds_buf_clear(&calls->held);
    calls->state = CDS_CALLS_TEXT;
    return ok;
}

/** The name stands in held as a JSON string. */
static bool take_name(struct cds_calls *calls, cds_json *deltas)
{
    CDS_JSON_AUTO list = NULL;
    CDS_CLEANUP(cds_buf_free) struct cds_buf text = cds_buf_init(CDS_CALLS_HELD_MAX + 8);
    (void)cds_buf_add_str(&text, "[");
    (void)cds_buf_add(&text, calls->held.data, calls->held.len);
    (void)cds_buf_add_str(&text, "]");
    cds_buf_clear(&calls->held);
    if (text.failed)
        return false;
    if (cds_json_parse(text.data, text.len, &list, NULL) != CDS_OK || !cds_json_str(cds_json_at(list, 0)))
        return true; /* not a name; the grammar does not let it come to that */
    return append(deltas, cds_json_pack("{s:I,s:O}", "call", (long long)calls->count - 1, "name", cds_json_at(list, 0)));
}

/** Follows strings and brackets. @return true when the value is over with this character */
static bool value_over(struct cds_calls *calls, char c)
{
    if (calls->in_string) {
        bool closes = c == '"' && !calls->escaped;
        calls->escaped = c == '\\' && !calls->escaped;
        calls->in_string = !closes;
        return closes && calls->depth == 0;
    }
    if (c == '"')
        calls->in_string = true;
    else if ((c == '{' || c == '[') && calls->depth < CDS_CALLS_DEPTH_MAX)
        calls->depth++;
    else if ((c == '}' || c == ']') && calls->depth > 0)
        return --calls->depth == 0;
    return false;
}

/** One character of the list of calls; what belongs to arguments goes to out. */
static bool step(struct cds_calls *calls, char c, struct cds_buf *out, cds_json *deltas)
{
    switch (calls->state) {
    case CDS_CALLS_ITEM:
        if (c == '{') {
            calls->state = CDS_CALLS_KEY;
            calls->count++;
        } else if (c == ']') {
            calls->state = CDS_CALLS_OVER;
        }
        return true;
    case CDS_CALLS_KEY:
        if (calls->in_key && c != '"')
            return cds_buf_add(&calls->held, &c, 1) == CDS_OK;
        if (c == '"' && calls->in_key) {
            calls->is_name = calls->held.len == 4 && memcmp(calls->held.data, "name", 4) == 0;
            cds_buf_clear(&calls->held);
            calls->state = CDS_CALLS_COLON;
        } else if (c == '}') {
            calls->state = CDS_CALLS_ITEM;
        }
        calls->in_key = c == '"' && !calls->in_key;
        return true;
    case CDS_CALLS_COLON:
        if (c == ':') {
            calls->state = CDS_CALLS_VALUE;
            calls->depth = 0;
            calls->in_string = calls->escaped = false;
        }
        return true;
    case CDS_CALLS_VALUE:
        if (is_space(c) && !calls->in_string)
            return true;
        if (cds_buf_add(calls->is_name ? &calls->held : out, &c, 1) != CDS_OK)
            return false;
        if (!value_over(calls, c))
            return true;
        calls->state = CDS_CALLS_KEY;
        return !calls->is_name || take_name(calls, deltas);
    default:
        return true;
    }
}

static bool flush_arguments(const struct cds_calls *calls, struct cds_buf *out, cds_json *deltas)
{
    if (out->len == 0)
        return true;
    bool ok = append(deltas, cds_json_pack("{s:I,s:o}", "call", (long long)calls->count - 1, "arguments", cds_json_stringn(out->data, out->len)));
    cds_buf_clear(out);
    return ok;
}

bool cds_calls_feed(struct cds_calls *calls, const char *data, size_t len, bool last, cds_json *deltas)
{
    size_t used = 0;
    if (calls->state == CDS_CALLS_UNDECIDED) {
        size_t before = calls->held.len;
        if (cds_buf_add(&calls->held, data, len) != CDS_OK) {
            /* So much white space is an answer. */
            return before > 0 && cds_buf_trouble(&calls->held) == CDS_TOO_LARGE && (calls->held.failed = false, flush_text(calls, deltas)) &&
                   append(deltas, cds_json_pack("{s:o}", "content", cds_json_stringn(data, len)));
        }
        int is = opening(calls->held.data ? calls->held.data : "", calls->held.len, &used);
        if (is < 0 && !last)
            return true;
        if (is <= 0)
            return flush_text(calls, deltas);
        used -= before;
        cds_buf_clear(&calls->held);
        calls->state = CDS_CALLS_ITEM;
    }
    if (calls->state == CDS_CALLS_TEXT)
        return len == used || append(deltas, cds_json_pack("{s:o}", "content", cds_json_stringn(data + used, len - used)));
    CDS_CLEANUP(cds_buf_free) struct cds_buf out = cds_buf_init(len + 1);
    for (size_t i = used; i < len; i++) {
        bool in_arguments = calls->state == CDS_CALLS_VALUE && !calls->is_name;
        if (!step(calls, data[i], &out, deltas))
            return false;
        if (in_arguments && calls->state != CDS_CALLS_VALUE && !flush_arguments(calls, &out, deltas))
            return false;
    }
    return flush_arguments(calls, &out, deltas);
}
