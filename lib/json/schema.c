/* lib/json/schema.c: compiles a schema into nodes and refuses every keyword it does not check. */
#include "lib/json/schema.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "lib/base/str.h"
#include "lib/json/schema_node.h"

struct compiler {
    struct cds_schema *schema;
    struct cds_err *reterr;
    int depth;
    char place[128]; /**< JSON Pointer of the schema in work, cut if long */
};

static cds_rc compile(struct compiler *c, const cds_json *text, struct node **ret);

static cds_rc refuse(struct compiler *c, const char *keyword, const char *why)
{
    cds_fail(c->reterr, CDS_BAD_PARAM, "cds_schema_compile", "The schema is refused at %s/%.60s: %s.", c->place, keyword, why);
    cds_err_pointer(c->reterr, "%s/%.60s", c->place, keyword);
    return CDS_BAD_PARAM;
}

static cds_rc no_memory(struct compiler *c)
{
    return cds_fail(c->reterr, CDS_EXHAUSTED, "cds_schema_compile", "There is not enough memory for a schema.");
}

/** Compiles a part that stands at place/keyword[/name]. */
static cds_rc compile_part(struct compiler *c, const char *keyword, const char *name, const cds_json *text, struct node **ret)
{
    size_t before = strlen(c->place);
    snprintf(c->place + before, sizeof(c->place) - before, name ? "/%s/%s" : "/%s", keyword, name);
    cds_rc rc = compile(c, text, ret);
    c->place[before] = '\0';
    return rc;
}

/* --- keywords ------------------------------------------------------------------------------------------------------------ */

static cds_rc kw_ignore(struct compiler *c, struct node *node, const char *key, const cds_json *v)
{
    return CDS_OK;
}

static cds_rc kw_root_only(struct compiler *c, struct node *node, const char *key, const cds_json *v)
{
    return c->depth == 1 ? CDS_OK : refuse(c, key, "it may stand at the root only");
}

static cds_rc add_type(struct compiler *c, struct node *node, const cds_json *v)
{
    static const struct {
        const char *name;
        unsigned bit;
    } names[] = {{"object", TYPE_OBJECT},   {"array", TYPE_ARRAY},     {"string", TYPE_STRING}, {"number", TYPE_NUMBER},
                 {"integer", TYPE_INTEGER}, {"boolean", TYPE_BOOLEAN}, {"null", TYPE_NULL}};
    for (size_t i = 0; i < CDS_ARRAY_LEN(names); i++) {
        if (cds_json_str(v) && cds_streq(names[i].name, cds_json_str(v))) {
            node->types |= names[i].bit;
            return CDS_OK;
        }
    }
    return refuse(c, "type", "it names no type");
}

static cds_rc kw_type(struct compiler *c, struct node *node, const char *key, const cds_json *v)
{
    if (!cds_json_is(v, CDS_JSON_ARRAY))
        return add_type(c, node, v);
    cds_rc rc = cds_json_size(v) ? CDS_OK : refuse(c, key, "the list is empty");
    for (size_t i = 0; i < cds_json_size(v) && !rc; i++)
        rc = add_type(c, node, cds_json_at(v, i));
    return rc;
}

static cds_rc kw_enum(struct compiler *c, struct node *node, const char *key, const cds_json *v)
{
    if (!cds_json_is(v, CDS_JSON_ARRAY) || !cds_json_size(v))
        return refuse(c, key, "it must be a list with at least one value");
    node->choices = v;
    return CDS_OK;
}

static cds_rc kw_const(struct compiler *c, struct node *node, const char *key, const cds_json *v)
{
    node->fixed = v;
    return CDS_OK;
}

static cds_rc kw_required(struct compiler *c, struct node *node, const char *key, const cds_json *v)
{
    bool good = cds_json_is(v, CDS_JSON_ARRAY);
    for (size_t i = 0; i < cds_json_size(v); i++)
        good = good && cds_json_str(cds_json_at(v, i));
    if (!good)
        return refuse(c, key, "it must be a list of names");
    node->required = v;
    return CDS_OK;
}

static cds_rc compile_map(struct compiler *c, const char *key, const cds_json *v, struct property **ret, size_t *ret_count)
{
    if (!cds_json_is(v, CDS_JSON_OBJECT))
        return refuse(c, key, "it must be an object of schemas");
    struct property *list = calloc(cds_json_size(v) + 1, sizeof(*list));
    if (!list)
        return no_memory(c);
    *ret = list; /* owned by the schema from here on, also when a part fails */
    void *iter = NULL;
    const char *name;
    cds_json *part;
    while (cds_json_next(v, &iter, &name, &part)) {
        cds_rc rc = compile_part(c, key, name, part, &list[*ret_count].node);
        if (rc)
            return rc;
        list[(*ret_count)++].name = name;
    }
    return CDS_OK;
}

static cds_rc kw_properties(struct compiler *c, struct node *node, const char *key, const cds_json *v)
{
    return compile_map(c, key, v, &node->properties, &node->property_count);
}

static cds_rc kw_definitions(struct compiler *c, struct node *node, const char *key, const cds_json *v)
{
    if (c->depth != 1)
        return refuse(c, key, "it may stand at the root only");
    return compile_map(c, key, v, &c->schema->definitions, &c->schema->definition_count);
}

static cds_rc kw_additional(struct compiler *c, struct node *node, const char *key, const cds_json *v)
{
    return compile_part(c, key, NULL, v, &node->additional);
}

static cds_rc kw_items(struct compiler *c, struct node *node, const char *key, const cds_json *v)
{
    if (cds_json_is(v, CDS_JSON_ARRAY))
        return refuse(c, key, "a list of schemas is not supported; give one schema for all items");
    return compile_part(c, key, NULL, v, &node->items);
}

static cds_rc kw_not(struct compiler *c, struct node *node, const char *key, const cds_json *v)
{
    return compile_part(c, key, NULL, v, &node->not_this);
}

static cds_rc kw_unique(struct compiler *c, struct node *node, const char *key, const cds_json *v)
{
    if (!cds_json_is(v, CDS_JSON_TRUE) && !cds_json_is(v, CDS_JSON_FALSE))
        return refuse(c, key, "it must be true or false");
    node->unique = cds_json_is(v, CDS_JSON_TRUE);
    return CDS_OK;
}

static cds_rc kw_span(struct compiler *c, struct node *node, const char *key, const cds_json *v)
{
    int64_t n = cds_json_i64(v, -1);
    if (n < 0)
        return refuse(c, key, "it must be a whole number, 0 or more");
    struct span *span = strstr(key, "Items") ? &node->item_span : strstr(key, "Length") ? &node->length_span : &node->member_span;
    if (key[1] == 'i')
        span->least = (size_t)n;
    else
        span->most = (size_t)n;
    return CDS_OK;
}

static cds_rc kw_bound(struct compiler *c, struct node *node, const char *key, const cds_json *v)
{
    struct bound bound = {.set = true};
    if (cds_json_is(v, CDS_JSON_INTEGER))
        bound.value = (long double)cds_json_i64(v, 0);
    else if (cds_json_is(v, CDS_JSON_REAL))
        bound.value = (long double)cds_json_num(v, 0);
    else
        return refuse(c, key, "it must be a number");
    if (cds_streq(key, "minimum"))
        node->minimum = bound;
    else if (cds_streq(key, "maximum"))
        node->maximum = bound;
    else if (cds_streq(key, "exclusiveMinimum"))
        node->above = bound;
    else
        node->below = bound;
    return CDS_OK;
}

static cds_rc kw_multiple(struct compiler *c, struct node *node, const char *key, const cds_json *v)
{
    node->multiple_of = cds_json_i64(v, 0);
    return node->multiple_of > 0 ? CDS_OK : refuse(c, key, "only whole numbers above 0 are supported");
}

static cds_rc kw_pattern(struct compiler *c, struct node *node, const char *key, const cds_json *v)
{
    struct cds_err why = {0};
    node->pattern_text = cds_json_str(v);
    if (!node->pattern_text)
        return refuse(c, key, "it must be a string");
    cds_rc rc = cds_pattern_compile(node->pattern_text, &node->pattern, &why);
    if (rc == CDS_EXHAUSTED)
        return no_memory(c);
    return rc ? refuse(c, key, why.message) : CDS_OK;
}

static cds_rc kw_list(struct compiler *c, struct node *node, const char *key, const cds_json *v)
{
    struct node_list *list = cds_streq(key, "anyOf") ? &node->any_of : cds_streq(key, "oneOf") ? &node->one_of : &node->all_of;
    if (!cds_json_is(v, CDS_JSON_ARRAY) || !cds_json_size(v))
        return refuse(c, key, "it must be a list with at least one schema");
    list->nodes = calloc(cds_json_size(v), sizeof(struct node *));
    if (!list->nodes)
        return no_memory(c);
    for (size_t i = 0; i < cds_json_size(v); i++) {
        char index[24];
        snprintf(index, sizeof(index), "%zu", i);
        cds_rc rc = compile_part(c, key, index, cds_json_at(v, i), &list->nodes[i]);
        if (rc)
            return rc;
        list->count++;
    }
    return CDS_OK;
}

static cds_rc kw_ref(struct compiler *c, struct node *node, const char *key, const cds_json *v)
{
    static const char begin[] = "#/definitions/";
    const char *text = cds_json_str(v);
    if (text && cds_streq(text, "#")) {
        node->ref_name = "";
        return CDS_OK;
    }
    /* Escapes (~ and %) would need decoding; our names have none. */
    if (!text || !cds_starts_with(text, begin) || strpbrk(text + strlen(begin), "/~%") || !text[strlen(begin)])
        return refuse(c, key, "only \"#\" and \"#/definitions/<name>\" are supported");
    node->ref_name = text + strlen(begin);
    return CDS_OK;
}

typedef cds_rc keyword_fn(struct compiler *c, struct node *node, const char *key, const cds_json *v);
static const struct keyword {
    const char *name;
    keyword_fn *fn;
    bool beside_ref; /**< may stand beside $ref, where draft 7 ignores everything */
} keywords[] = {
    {"$comment", kw_ignore, true},
    {"$id", kw_root_only, true},
    {"$ref", kw_ref, true},
    {"$schema", kw_root_only, true},
    {"additionalProperties", kw_additional, false},
    {"allOf", kw_list, false},
    {"anyOf", kw_list, false},
    {"const", kw_const, false},
    {"default", kw_ignore, true},
    {"definitions", kw_definitions, true},
    {"description", kw_ignore, true},
    {"enum", kw_enum, false},
    {"examples", kw_ignore, true},
    {"exclusiveMaximum", kw_bound, false},
    {"exclusiveMinimum", kw_bound, false},
    {"format", kw_ignore, true},
    {"items", kw_items, false},
    {"maxItems", kw_span, false},
    {"maxLength", kw_span, false},
    {"maxProperties", kw_span, false},
    {"maximum", kw_bound, false},
    {"minItems", kw_span, false},
    {"minLength", kw_span, false},
    {"minProperties", kw_span, false},
    {"minimum", kw_bound, false},
    {"multipleOf", kw_multiple, false},
    {"not", kw_not, false},
    {"oneOf", kw_list, false},
    {"pattern", kw_pattern, false},
    {"properties", kw_properties, false},
    {"required", kw_required, false},
    {"title", kw_ignore, true},
    {"type", kw_type, false},
    {"uniqueItems", kw_unique, false},
};

static const struct keyword *find_keyword(const char *name)
{
    for (size_t i = 0; i < CDS_ARRAY_LEN(keywords); i++) {
        if (cds_streq(keywords[i].name, name))
            return &keywords[i];
    }
    return NULL;
}

static struct node *new_node(struct compiler *c)
{
    struct node *node = calloc(1, sizeof(*node));
    if (!node)
        return NULL;
    node->item_span.most = node->length_span.most = node->member_span.most = SIZE_MAX;
    node->next = c->schema->nodes;
    c->schema->nodes = node;
    return node;
}

static cds_rc compile_object(struct compiler *c, const cds_json *text, struct node *node)
{
    bool has_ref = cds_json_get(text, "$ref") != NULL;
    void *iter = NULL;
    const char *key;
    cds_json *value;
    while (cds_json_next(text, &iter, &key, &value)) {
        const struct keyword *keyword = find_keyword(key);
        if (!keyword)
            return refuse(c, key, "this keyword is not supported");
        if (has_ref && !keyword->beside_ref)
            return refuse(c, key, "it would be ignored beside $ref");
        cds_rc rc = keyword->fn(c, node, key, value);
        if (rc)
            return rc;
    }
    return CDS_OK;
}

static cds_rc compile(struct compiler *c, const cds_json *text, struct node **ret)
{
    struct node *node = new_node(c);
    if (!node)
        return no_memory(c);
    *ret = node;
    if (cds_json_is(text, CDS_JSON_TRUE))
        return CDS_OK;
    if (cds_json_is(text, CDS_JSON_FALSE)) {
        node->never = true;
        return CDS_OK;
    }
    if (!cds_json_is(text, CDS_JSON_OBJECT))
        return refuse(c, "", "a schema is an object, true or false");
    if (c->depth == CDS_SCHEMA_DEPTH_MAX)
        return refuse(c, "", "it is nested too deep");
    c->depth++;
    cds_rc rc = compile_object(c, text, node);
    c->depth--;
    return rc;
}

static cds_rc resolve_refs(struct compiler *c)
{
    for (struct node *node = c->schema->nodes; node; node = node->next) {
        if (!node->ref_name)
            continue;
        if (!*node->ref_name)
            node->ref = c->schema->root;
        for (size_t i = 0; i < c->schema->definition_count && !node->ref; i++) {
            if (cds_streq(c->schema->definitions[i].name, node->ref_name))
                node->ref = c->schema->definitions[i].node;
        }
        if (!node->ref)
            return refuse(c, "$ref", "it names a definition that does not exist");
    }
    return CDS_OK;
}

cds_rc cds_schema_compile(const cds_json *schema, struct cds_schema **ret, struct cds_err *reterr)
{
    struct compiler c = {.reterr = reterr, .place = "#"};
    c.schema = calloc(1, sizeof(*c.schema));
    if (!c.schema)
        return no_memory(&c);
    c.schema->copy = cds_json_copy(schema);
    cds_rc rc = c.schema->copy ? compile(&c, c.schema->copy, &c.schema->root) : no_memory(&c);
    if (!rc)
        rc = resolve_refs(&c);
    if (rc) {
        cds_schema_free(&c.schema);
        return rc;
    }
    *ret = c.schema;
    return CDS_OK;
}

void cds_schema_free(struct cds_schema **schema)
{
    struct cds_schema *s = *schema;
    if (!s)
        return;
    for (struct node *node = s->nodes, *next; node; node = next) {
        next = node->next;
        free(node->properties);
        free(node->any_of.nodes);
        free(node->one_of.nodes);
        free(node->all_of.nodes);
        cds_pattern_free(&node->pattern);
        free(node);
    }
    free(s->definitions);
    cds_json_unref(s->copy);
    free(s);
    *schema = NULL;
}
