/* lib/json/schema_node.h: a compiled schema as schema.c builds and validate.c walks it. Private to lib/json.
 *
 * Threads: nodes are built by one thread and read-only afterwards.
 */
#pragma once

#include "lib/json/pattern.h"
#include "lib/json/schema.h"

/** Bits of node.types. */
enum {
    TYPE_OBJECT = 1,
    TYPE_ARRAY = 2,
    TYPE_STRING = 4,
    TYPE_NUMBER = 8,
    TYPE_INTEGER = 16,
    TYPE_BOOLEAN = 32,
    TYPE_NULL = 64,
};

/** A bound that may be absent. long double holds every int64 and every double exactly (x86: 64-bit mantissa, else quad). */
struct bound {
    bool set;
    long double value;
};
/** A length ceiling or floor; absent floors are 0, absent ceilings SIZE_MAX. */
struct span {
    size_t least, most;
};
struct node_list {
    struct node **nodes; /**< owned array; the nodes belong to the schema */
    size_t count;
};
struct property {
    const char *name; /**< borrowed from the schema's copy */
    struct node *node;
};

struct node {
    struct node *next;       /**< all nodes of one schema, for freeing */
    bool never;              /**< the schema false */
    unsigned types;          /**< 0: any */
    const cds_json *choices; /**< enum, borrowed from the copy */
    const cds_json *fixed;   /**< const, borrowed */
    const cds_json *required;
    struct property *properties; /**< owned array */
    size_t property_count;
    struct node *additional; /**< NULL: anything goes */
    struct node *items;      /**< NULL: anything goes */
    bool unique;
    struct span item_span, length_span, member_span;
    struct bound minimum, maximum, above, below;
    int64_t multiple_of; /**< 0: absent */
    struct cds_pattern *pattern;
    const char *pattern_text; /**< borrowed */
    struct node_list any_of, one_of, all_of;
    struct node *not_this;
    const char *ref_name; /**< borrowed; NULL: no $ref; "" the root */
    struct node *ref;
};

struct cds_schema {
    cds_json *copy;     /**< names and constants point into it */
    struct node *nodes; /**< every node */
    struct node *root;
    struct property *definitions; /**< owned array */
    size_t definition_count;
};
