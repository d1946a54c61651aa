#include "apps/llmserver/schema_rules.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "lib/base/cleanup.h"
#include "lib/base/str.h"
#include "lib/json/pattern.h"

struct walk {
    struct cds_err *reterr;
    const char *root;
    char place[256]; /**< JSON Pointer of the schema in work, cut if long */
    bool strict;
    unsigned nodes, depth;
};

static cds_rc refuse(struct walk *w, const char *keyword, const char *why)
{
    cds_fail(w->reterr, CDS_BAD_PARAM, "cds_schema_rules", "The schema cannot be enforced at %s/%.60s: %s.", w->place, keyword, why);
    cds_err_pointer(w->reterr, "%s/%.60s", w->place, keyword);
    return CDS_BAD_PARAM;
}

static cds_rc no_memory(struct walk *w)
{
    return cds_fail(w->reterr, CDS_EXHAUSTED, "cds_schema_rules", "There is not enough memory for the schema.");
}

static cds_rc walk(struct walk *w, const cds_json *schema, cds_json **ret, cds_json **ret_check);

/** A part at place/keyword[/name]. */
static cds_rc part(struct walk *w, const char *keyword, const char *name, const cds_json *schema, cds_json **ret, cds_json **ret_check)
{
    size_t before = strlen(w->place);
    snprintf(w->place + before, sizeof(w->place) - before, name ? "/%s/%s" : "/%s", keyword, name);
    cds_rc rc = walk(w, schema, ret, ret_check);
    w->place[before] = '\0';
    return rc;
}

/* --- patterns ----------------------------------------------------------------------------------------------------------- */

/** \d and \w written out; other escapes must name the character itself. */
static cds_rc plain_pattern(struct walk *w, const char *text, struct cds_buf *out)
{
    static const char sets_d[] = "0-9", sets_w[] = "a-zA-Z0-9_";
    bool in_class = false;
    for (const char *c = text; *c; c++) {
        if (*c == '(' && c[1] == '?' && !in_class)
            return refuse(w, "pattern", "groups that begin with (? are not supported");
        if (*c != '\\') {
            in_class = in_class ? *c != ']' : *c == '[';
            (void)cds_buf_add(out, c, 1);
            continue;
        }
        c++;
        if (*c == 'd' || *c == 'w') {
            (void)cds_buf_addf(out, in_class ? "%s" : "[%s]", *c == 'd' ? sets_d : sets_w);
        } else if (*c && strchr("^$.[]|(){}*+?\\/-", *c)) {
            (void)cds_buf_addf(out, "\\%c", *c);
        } else {
            char why[64];
            snprintf(why, sizeof(why), "the escape \\%c is not supported", *c ? *c : ' ');
            return refuse(w, "pattern", why);
        }
    }
    return out->failed ? no_memory(w) : CDS_OK;
}

static cds_rc check_pattern(struct walk *w, const cds_json *value, cds_json **ret)
{
    const char *text = cds_json_str(value);
    struct cds_err why = {0};
    struct cds_pattern *compiled = NULL;
    size_t len = text ? strlen(text) : 0;
    if (!text || len < 2 || text[0] != '^' || text[len - 1] != '$' || (len > 2 && text[len - 2] == '\\'))
        return refuse(w, "pattern", "it must begin with ^ and end with $");
    if (cds_pattern_compile(text, &compiled, &why) != CDS_OK)
        return refuse(w, "pattern", why.message);
    cds_pattern_free(&compiled);
    CDS_CLEANUP(cds_buf_free) struct cds_buf out = cds_buf_init(CDS_RULES_BYTES_MAX);
    cds_rc rc = plain_pattern(w, text, &out);
    if (rc != CDS_OK)
        return rc;
    *ret = cds_json_stringn(out.data, out.len);
    return *ret ? CDS_OK : no_memory(w);
}

/* --- keywords ----------------------------------------------------------------------------------------------------------- */

static bool known_format(const char *format)
{
    static const char *const known[] = {"date", "time", "date-time", "uuid"};
    for (size_t i = 0; i < CDS_ARRAY_LEN(known); i++)
        if (cds_streq(format, known[i]))
            return true;
    return false;
}

/** Keywords whose value is copied as it is, with what it must be. */
static cds_rc plain_value(struct walk *w, const cds_json *schema, const char *key, const cds_json *value)
{
    bool count = cds_streq(key, "minItems") || cds_streq(key, "maxItems") || cds_streq(key, "minLength") || cds_streq(key, "maxLength");
    if (count && (!cds_json_is(value, CDS_JSON_INTEGER) || cds_json_i64(value, -1) < 0 || cds_json_i64(value, -1) > CDS_RULES_COUNT_MAX))
        return refuse(w, key, "it must be an integer from 0 to 2000");
    bool bound = cds_streq(key, "minimum") || cds_streq(key, "maximum") || cds_streq(key, "exclusiveMinimum") || cds_streq(key, "exclusiveMaximum");
    if (bound && !cds_streq(cds_json_get_str(schema, "type"), "integer"))
        return refuse(w, key, "bounds are supported for \"type\":\"integer\" only");
    if (bound && !cds_json_is(value, CDS_JSON_INTEGER))
        return refuse(w, key, "it must be an integer");
    if (cds_streq(key, "enum") && (!cds_json_is(value, CDS_JSON_ARRAY) || cds_json_size(value) < 1))
        return refuse(w, key, "it must be a list that is not empty");
    return CDS_OK;
}

static bool is_one_of(const char *key, const char *const *list, size_t count)
{
    for (size_t i = 0; i < count; i++)
        if (cds_streq(key, list[i]))
            return true;
    return false;
}

/** An object of schemas. */
static cds_rc named_parts(struct walk *w, const char *key, const cds_json *value, cds_json **ret, cds_json **ret_check)
{
    void *iter = NULL;
    const char *name;
    cds_json *one;
    if (!cds_json_is(value, CDS_JSON_OBJECT))
        return refuse(w, key, "it must be an object");
    CDS_JSON_AUTO copy = cds_json_object();
    CDS_JSON_AUTO check = cds_json_object();
    while (cds_json_next(value, &iter, &name, &one)) {
        cds_json *part_copy = NULL, *part_check = NULL;
        cds_rc rc = part(w, key, name, one, &part_copy, &part_check);
        if (rc != CDS_OK)
            return rc;
        if (cds_json_set(copy, name, part_copy) != 0 || cds_json_set(check, name, part_check) != 0)
            return no_memory(w);
    }
    *ret = cds_json_ref(copy);
    *ret_check = cds_json_ref(check);
    return CDS_OK;
}

/** A list of schemas. */
static cds_rc listed_parts(struct walk *w, const char *key, const cds_json *value, cds_json **ret, cds_json **ret_check)
{
    if (!cds_json_is(value, CDS_JSON_ARRAY) || cds_json_size(value) < 1)
        return refuse(w, key, "it must be a list that is not empty");
    CDS_JSON_AUTO copy = cds_json_array();
    CDS_JSON_AUTO check = cds_json_array();
    for (size_t i = 0; i < cds_json_size(value); i++) {
        char index[24];
        snprintf(index, sizeof(index), "%zu", i);
        cds_json *part_copy = NULL, *part_check = NULL;
        cds_rc rc = part(w, key, index, cds_json_at(value, i), &part_copy, &part_check);
        if (rc != CDS_OK)
            return rc;
        if (cds_json_append(copy, part_copy) != 0 || cds_json_append(check, part_check) != 0)
            return no_memory(w);
    }
    *ret = cds_json_ref(copy);
    *ret_check = cds_json_ref(check);
    return CDS_OK;
}

/** "#", "#/$defs/x" or "#/definitions/x"; the checker knows the latter word only. */
static cds_rc reference(struct walk *w, const cds_json *value, cds_json **ret, cds_json **ret_check)
{
    const char *target = cds_json_str(value);
    char moved[300];
    if (!target || (!cds_streq(target, "#") && !cds_starts_with(target, "#/$defs/") && !cds_starts_with(target, "#/definitions/")))
        return refuse(w, "$ref", "it may point at #, #/$defs/<name> or #/definitions/<name> only");
    if (strlen(target) > 256)
        return refuse(w, "$ref", "it is too long");
    snprintf(moved, sizeof(moved), "%s%s", cds_starts_with(target, "#/$defs/") ? "#/definitions/" : "",
             cds_starts_with(target, "#/$defs/") ? target + strlen("#/$defs/") : target);
    *ret = cds_json_string(target);
    *ret_check = cds_json_string(moved);
    return *ret && *ret_check ? CDS_OK : no_memory(w);
}

static cds_rc copied(struct walk *w, const cds_json *value, cds_json **ret, cds_json **ret_check)
{
    *ret = cds_json_copy(value);
    *ret_check = cds_json_copy(value);
    return *ret && *ret_check ? CDS_OK : no_memory(w);
}

/** One keyword. Leaves *ret NULL for what is not handed on. */
static cds_rc keyword(struct walk *w, const cds_json *schema, const char *key, const cds_json *value, cds_json **ret, cds_json **ret_check)
{
    static const char *const notes[] = {"title",    "description", "default",  "examples",  "$schema", "$id",
                                        "$comment", "deprecated",  "readOnly", "writeOnly", "$anchor", "contentMediaType"};
    static const char *const plain[] = {"type",      "const",     "enum",    "required", "minItems",         "maxItems",
                                        "minLength", "maxLength", "minimum", "maximum",  "exclusiveMinimum", "exclusiveMaximum"};
    static const char *const named[] = {"properties", "$defs", "definitions"};
    static const char *const listed[] = {"anyOf", "oneOf", "allOf", "prefixItems"};
    if (is_one_of(key, notes, CDS_ARRAY_LEN(notes)))
        return CDS_OK;
    if (is_one_of(key, named, CDS_ARRAY_LEN(named)))
        return named_parts(w, key, value, ret, ret_check);
    if (is_one_of(key, listed, CDS_ARRAY_LEN(listed)))
        return listed_parts(w, key, value, ret, ret_check);
    if (cds_streq(key, "$ref"))
        return reference(w, value, ret, ret_check);
    if (cds_streq(key, "pattern")) {
        *ret_check = cds_json_copy(value);
        return check_pattern(w, value, ret);
    }
    bool is_bool = cds_json_is(value, CDS_JSON_TRUE) || cds_json_is(value, CDS_JSON_FALSE);
    if (cds_streq(key, "additionalProperties") && is_bool)
        return copied(w, value, ret, ret_check);
    if (cds_streq(key, "items") || cds_streq(key, "additionalProperties"))
        return part(w, key, NULL, value, ret, ret_check);
    if (cds_streq(key, "format")) {
        if (known_format(cds_json_str(value)))
            return copied(w, value, ret, ret_check);
        return w->strict ? refuse(w, key, "known formats are date, time, date-time and uuid") : CDS_OK;
    }
    if (!is_one_of(key, plain, CDS_ARRAY_LEN(plain)))
        return refuse(w, key, "this keyword is not supported");
    cds_rc rc = plain_value(w, schema, key, value);
    return rc == CDS_OK ? copied(w, value, ret, ret_check) : rc;
}

/** required names members; one that properties does not describe would not be asked for. */
static cds_rc check_required(struct walk *w, const cds_json *schema)
{
    const cds_json *required = cds_json_get(schema, "required"), *properties = cds_json_get(schema, "properties");
    for (size_t i = 0; i < cds_json_size(required); i++) {
        const char *name = cds_json_str(cds_json_at(required, i));
        if (!name || !cds_json_get(properties, name))
            return refuse(w, "required", "it names a member that \"properties\" does not describe");
    }
    return CDS_OK;
}

static cds_rc walk_members(struct walk *w, const cds_json *schema, cds_json *copy, cds_json *check)
{
    void *iter = NULL;
    const char *key;
    cds_json *value;
    bool tuple = cds_json_get(schema, "prefixItems") != NULL;
    while (cds_json_next(schema, &iter, &key, &value)) {
        cds_json *one = NULL, *one_check = NULL;
        cds_rc rc = keyword(w, schema, key, value, &one, &one_check);
        if (rc != CDS_OK) {
            cds_json_unref(one_check);
            return rc;
        }
        /* The checker of finished texts knows no tuples, and calls $defs by its older name. */
        const char *name = cds_streq(key, "$defs") ? "definitions" : key;
        bool unknown = tuple && (cds_streq(key, "prefixItems") || cds_streq(key, "items"));
        if (unknown || !one_check)
            cds_json_unref(one_check);
        else if (cds_json_set(check, name, one_check) != 0)
            return cds_json_unref(one), no_memory(w);
        if (one && cds_json_set(copy, key, one) != 0)
            return no_memory(w);
    }
    return CDS_OK;
}

static cds_rc walk(struct walk *w, const cds_json *schema, cds_json **ret, cds_json **ret_check)
{
    if (!cds_json_is(schema, CDS_JSON_OBJECT))
        return refuse(w, "", "a schema must be an object");
    if (++w->nodes > CDS_RULES_NODES_MAX)
        return refuse(w, "", "it consists of over 4096 schemas");
    if (++w->depth > CDS_RULES_DEPTH_MAX)
        return refuse(w, "", "it is nested over 64 deep");
    CDS_JSON_AUTO copy = cds_json_object();
    CDS_JSON_AUTO check = cds_json_object();
    cds_rc rc = copy && check ? walk_members(w, schema, copy, check) : no_memory(w);
    if (rc == CDS_OK && cds_json_get(schema, "required"))
        rc = check_required(w, schema);
    w->depth--;
    if (rc != CDS_OK)
        return rc;
    *ret = cds_json_ref(copy);
    *ret_check = cds_json_ref(check);
    return CDS_OK;
}

cds_rc cds_schema_rules(const cds_json *schema, const char *place, bool strict, cds_json **ret_schema, cds_json **ret_check, struct cds_err *reterr)
{
    struct walk w = {.reterr = reterr, .strict = strict};
    cds_strcpy(w.place, sizeof(w.place), place);
    size_t len = 0;
    CDS_CLEANUP(cds_free_ptr) char *text = cds_json_dumps(schema, &len);
    if (text && len > CDS_RULES_BYTES_MAX)
        return refuse(&w, "", "it has over 256 KB");
    cds_json *copy = NULL, *check = NULL;
    cds_rc rc = walk(&w, schema, &copy, &check);
    if (rc != CDS_OK)
        return rc;
    *ret_schema = copy;
    if (ret_check)
        *ret_check = check;
    else
        cds_json_unref(check);
    return CDS_OK;
}
