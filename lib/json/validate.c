/* lib/json/validate.c: walks a value along the nodes of a compiled schema; the first broken rule ends the walk. */
#include <math.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>

#include "lib/base/str.h"
#include "lib/json/schema_node.h"

/** Where the walk is: a chain on the stack, written out as a JSON Pointer only when something is wrong. */
struct place {
    const struct place *parent;
    const char *key; /**< NULL: the index counts */
    size_t index;
};
struct walk {
    struct cds_err *reterr; /**< NULL while one branch of anyOf, oneOf or not is tried */
    int depth;
    uint32_t *steps; /**< nodes visited so far, counted over all branches */
};

static cds_rc check(struct walk *w, const struct node *node, const cds_json *v, const struct place *place);

static void add_key(struct cds_buf *buf, const char *key)
{
    for (; *key; key++) {
        if (*key == '~')
            cds_buf_add_str(buf, "~0");
        else if (*key == '/')
            cds_buf_add_str(buf, "~1");
        else
            cds_buf_add(buf, key, 1);
    }
}

static void add_place(struct cds_buf *buf, const struct place *place)
{
    if (!place)
        return;
    add_place(buf, place->parent);
    cds_buf_add_str(buf, "/");
    if (place->key)
        add_key(buf, place->key);
    else
        cds_buf_addf(buf, "%zu", place->index);
}

/** Says once what is wrong at place; fmt ends without a full stop. */
static CDS_PRINTF(3, 4) cds_rc wrong(struct walk *w, const struct place *place, const char *fmt, ...)
{
    if (!w->reterr)
        return CDS_BAD_PARAM;
    CDS_CLEANUP(cds_buf_free) struct cds_buf pointer = cds_buf_init(65536);
    char what[200];
    va_list args;
    add_place(&pointer, place);
    va_start(args, fmt);
    vsnprintf(what, sizeof(what), fmt, args);
    va_end(args);
    what[cds_utf8_complete(what, strlen(what))] = '\0';
    /* A pointer that does not fit would point somewhere else: it stays empty then. */
    const char *text = pointer.data && pointer.len < sizeof(w->reterr->pointer) ? pointer.data : "";
    cds_fail(w->reterr, CDS_BAD_PARAM, "cds_schema_validate", "%.100s%s%s.", *text ? text : "", *text ? " " : "The value ", what);
    cds_err_pointer(w->reterr, "%s", text);
    return CDS_BAD_PARAM;
}

/** Tries a schema without saying why it fails. */
static bool fits(struct walk *w, const struct node *node, const cds_json *v)
{
    struct walk quiet = {.depth = w->depth, .steps = w->steps};
    return check(&quiet, node, v, NULL) == CDS_OK;
}

/* --- any value ----------------------------------------------------------------------------------------------------------- */

static bool is_whole(const cds_json *v)
{
    if (cds_json_is(v, CDS_JSON_INTEGER))
        return true;
    return cds_json_is(v, CDS_JSON_REAL) && floor(cds_json_num(v, 0)) == cds_json_num(v, 0);
}

static unsigned type_bits(const cds_json *v)
{
    switch (cds_json_type(v)) {
    case CDS_JSON_OBJECT:
        return TYPE_OBJECT;
    case CDS_JSON_ARRAY:
        return TYPE_ARRAY;
    case CDS_JSON_STRING:
        return TYPE_STRING;
    case CDS_JSON_INTEGER:
    case CDS_JSON_REAL:
        return TYPE_NUMBER | (is_whole(v) ? TYPE_INTEGER : 0u);
    case CDS_JSON_TRUE:
    case CDS_JSON_FALSE:
        return TYPE_BOOLEAN;
    case CDS_JSON_NULL:
        break;
    }
    return TYPE_NULL;
}

static const char *type_names(unsigned types, char *buf, size_t size)
{
    static const char *const names[] = {"an object", "an array", "a string", "a number", "a whole number", "true or false", "null"};
    size_t len = 0;
    buf[0] = '\0';
    for (unsigned i = 0; i < CDS_ARRAY_LEN(names) && len < size; i++) {
        if (types & 1u << i)
            len += (size_t)snprintf(buf + len, size - len, "%s%s", len ? " or " : "", names[i]);
    }
    return buf;
}

static bool in_choices(const cds_json *choices, const cds_json *v)
{
    for (size_t i = 0; i < cds_json_size(choices); i++) {
        if (cds_json_equal(cds_json_at(choices, i), v))
            return true;
    }
    return false;
}

static cds_rc check_choices(struct walk *w, const struct node *node, const cds_json *v, const struct place *place)
{
    if (!in_choices(node->choices, v)) {
        CDS_CLEANUP(cds_buf_free) struct cds_buf text = cds_buf_init(160);
        if (!w->reterr || cds_json_dump(node->choices, &text))
            return wrong(w, place, "is not one of the allowed values");
        return wrong(w, place, "must be one of %s", text.data);
    }
    return CDS_OK;
}

static cds_rc check_kind(struct walk *w, const struct node *node, const cds_json *v, const struct place *place)
{
    char names[120];
    if (node->never)
        return wrong(w, place, "is not allowed here");
    if (node->types && !(node->types & type_bits(v)))
        return wrong(w, place, "must be %s", type_names(node->types, names, sizeof(names)));
    if (node->choices && check_choices(w, node, v, place))
        return CDS_BAD_PARAM;
    if (node->fixed && !cds_json_equal(node->fixed, v))
        return wrong(w, place, "is not the one allowed value");
    return CDS_OK;
}

/* --- numbers, strings ---------------------------------------------------------------------------------------------------- */

static cds_rc check_number(struct walk *w, const struct node *node, const cds_json *v, const struct place *place)
{
    long double n = cds_json_is(v, CDS_JSON_INTEGER) ? (long double)cds_json_i64(v, 0) : (long double)cds_json_num(v, 0);
    if (node->minimum.set && n < node->minimum.value)
        return wrong(w, place, "must be at least %.17Lg", node->minimum.value);
    if (node->maximum.set && n > node->maximum.value)
        return wrong(w, place, "must be at most %.17Lg", node->maximum.value);
    if (node->above.set && n <= node->above.value)
        return wrong(w, place, "must be above %.17Lg", node->above.value);
    if (node->below.set && n >= node->below.value)
        return wrong(w, place, "must be below %.17Lg", node->below.value);
    if (node->multiple_of && fmodl(n, (long double)node->multiple_of) != 0)
        return wrong(w, place, "must be a multiple of %lld", (long long)node->multiple_of);
    return CDS_OK;
}

static size_t count_characters(const char *text, size_t len)
{
    size_t count = 0;
    for (size_t i = 0; i < len; i++)
        count += ((unsigned char)text[i] & 0xc0) != 0x80;
    return count;
}

static cds_rc check_string(struct walk *w, const struct node *node, const cds_json *v, const struct place *place)
{
    const char *text = cds_json_str(v);
    size_t len = cds_json_str_len(v);
    if (node->length_span.least > 0 || len > node->length_span.most) {
        size_t count = count_characters(text, len);
        if (count < node->length_span.least)
            return wrong(w, place, "must have at least %zu characters", node->length_span.least);
        if (count > node->length_span.most)
            return wrong(w, place, "must have at most %zu characters", node->length_span.most);
    }
    if (node->pattern && !cds_pattern_match(node->pattern, text, len))
        return wrong(w, place, "must match %s", node->pattern_text);
    return CDS_OK;
}

/* --- arrays, objects ----------------------------------------------------------------------------------------------------- */

static cds_rc check_unique(struct walk *w, const cds_json *v, const struct place *place)
{
    size_t n = cds_json_size(v);
    if (n > CDS_SCHEMA_UNIQUE_MAX)
        return wrong(w, place, "has too many items to compare them");
    for (size_t i = 0; i < n; i++) {
        for (size_t j = 0; j < i; j++) {
            if (cds_json_equal(cds_json_at(v, i), cds_json_at(v, j)))
                return wrong(w, &(struct place){place, NULL, i}, "stands in the list twice");
        }
    }
    return CDS_OK;
}

static cds_rc check_array(struct walk *w, const struct node *node, const cds_json *v, const struct place *place)
{
    size_t n = cds_json_size(v);
    if (n < node->item_span.least)
        return wrong(w, place, "must have at least %zu items", node->item_span.least);
    if (n > node->item_span.most)
        return wrong(w, place, "must have at most %zu items", node->item_span.most);
    for (size_t i = 0; i < n && node->items; i++) {
        cds_rc rc = check(w, node->items, cds_json_at(v, i), &(struct place){place, NULL, i});
        if (rc)
            return rc;
    }
    return node->unique ? check_unique(w, v, place) : CDS_OK;
}

static const struct node *find_property(const struct node *node, const char *name)
{
    for (size_t i = 0; i < node->property_count; i++) {
        // NOLINTNEXTLINE(clang-analyzer-core.NullDereference): there are properties where the count is not 0
        if (cds_streq(node->properties[i].name, name))
            return node->properties[i].node;
    }
    return NULL;
}

static cds_rc check_members(struct walk *w, const struct node *node, const cds_json *v, const struct place *place)
{
    void *iter = NULL;
    const char *key;
    cds_json *member;
    while (cds_json_next(v, &iter, &key, &member)) {
        struct place here = {place, key, 0};
        const struct node *rule = find_property(node, key);
        if (!rule)
            rule = node->additional;
        if (rule && rule == node->additional && rule->never)
            return wrong(w, &here, "is not a known member");
        cds_rc rc = rule ? check(w, rule, member, &here) : CDS_OK;
        if (rc)
            return rc;
    }
    return CDS_OK;
}

static cds_rc check_object(struct walk *w, const struct node *node, const cds_json *v, const struct place *place)
{
    size_t n = cds_json_size(v);
    if (n < node->member_span.least)
        return wrong(w, place, "must have at least %zu members", node->member_span.least);
    if (n > node->member_span.most)
        return wrong(w, place, "must have at most %zu members", node->member_span.most);
    for (size_t i = 0; i < cds_json_size(node->required); i++) {
        const char *key = cds_json_str(cds_json_at(node->required, i));
        if (!cds_json_get(v, key))
            return wrong(w, &(struct place){place, key, 0}, "is missing");
    }
    return node->properties || node->additional ? check_members(w, node, v, place) : CDS_OK;
}

/* --- combinations -------------------------------------------------------------------------------------------------------- */

/** "path, code" when every branch does nothing but ask for one member; else "". */
static const char *name_branches(const struct node_list *list, char *buf, size_t size)
{
    size_t len = 0;
    buf[0] = '\0';
    for (size_t i = 0; i < list->count && len < size; i++) {
        const char *name = cds_json_str(cds_json_at(list->nodes[i]->required, 0));
        if (!name || cds_json_size(list->nodes[i]->required) != 1)
            return "";
        len += (size_t)snprintf(buf + len, size - len, "%s%s", len ? ", " : "", name);
    }
    return buf;
}

static cds_rc check_combined(struct walk *w, const struct node *node, const cds_json *v, const struct place *place)
{
    size_t any = 0, one = 0;
    char names[120];
    for (size_t i = 0; i < node->all_of.count; i++) {
        cds_rc rc = check(w, node->all_of.nodes[i], v, place);
        if (rc)
            return rc;
    }
    for (size_t i = 0; i < node->any_of.count && !any; i++)
        any += fits(w, node->any_of.nodes[i], v);
    if (node->any_of.count && !any)
        return wrong(w, place, "fits none of the allowed forms");
    for (size_t i = 0; i < node->one_of.count && one < 2; i++)
        one += fits(w, node->one_of.nodes[i], v);
    if (node->one_of.count && one != 1) {
        const char *text = name_branches(&node->one_of, names, sizeof(names));
        if (*text)
            return wrong(w, place, "must have exactly one of these members: %s", text);
        return wrong(w, place, one ? "fits more than one of the allowed forms" : "fits none of the allowed forms");
    }
    if (node->not_this && fits(w, node->not_this, v))
        return wrong(w, place, "has a form that is not allowed");
    return CDS_OK;
}

static cds_rc check_rules(struct walk *w, const struct node *node, const cds_json *v, const struct place *place)
{
    cds_rc rc = check_kind(w, node, v, place);
    if (!rc && (cds_json_is(v, CDS_JSON_INTEGER) || cds_json_is(v, CDS_JSON_REAL)))
        rc = check_number(w, node, v, place);
    if (!rc && cds_json_is(v, CDS_JSON_STRING))
        rc = check_string(w, node, v, place);
    if (!rc && cds_json_is(v, CDS_JSON_ARRAY))
        rc = check_array(w, node, v, place);
    if (!rc && cds_json_is(v, CDS_JSON_OBJECT))
        rc = check_object(w, node, v, place);
    return rc ? rc : check_combined(w, node, v, place);
}

static cds_rc check(struct walk *w, const struct node *node, const cds_json *v, const struct place *place)
{
    /* The depth also ends a $ref that leads to itself, the steps one that does so in several branches. */
    if (w->depth >= CDS_SCHEMA_DEPTH_MAX)
        return wrong(w, place, "is nested deeper than %d levels", CDS_SCHEMA_DEPTH_MAX);
    if (++*w->steps > CDS_SCHEMA_STEPS_MAX)
        return wrong(w, place, "takes more than %d steps to check", CDS_SCHEMA_STEPS_MAX);
    w->depth++;
    cds_rc rc = node->ref ? check(w, node->ref, v, place) : check_rules(w, node, v, place);
    w->depth--;
    return rc;
}

cds_rc cds_schema_validate(const struct cds_schema *schema, const cds_json *value, struct cds_err *reterr)
{
    uint32_t steps = 0;
    struct walk w = {.reterr = reterr, .steps = &steps};
    return check(&w, schema->root, value, NULL);
}
