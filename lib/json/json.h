/* lib/json/json.h: JSON values. The only folder that includes jansson.h.
 *
 * Source:  RFC 8259; jansson 2.14 (strict: duplicate keys, bad UTF-8, lone surrogates, NUL are refused, also when building:
 *          text that holds a NUL travels as base64).
 * Threads: a value belongs to one thread at a time.
 * Memory out: what builds answers NULL or -1. A text that is being read ends the process (json.c says why).
 * Memory:  values are reference counted. "new" functions and parse return an owned reference; get functions borrow.
 *          The *_set/_append functions STEAL the value they are given, also when they fail.
 */
#pragma once

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "lib/base/buf.h"
#include "lib/base/err.h"

typedef struct json_t cds_json;
enum cds_json_type {
    CDS_JSON_OBJECT,
    CDS_JSON_ARRAY,
    CDS_JSON_STRING,
    CDS_JSON_INTEGER,
    CDS_JSON_REAL,
    CDS_JSON_TRUE,
    CDS_JSON_FALSE,
    CDS_JSON_NULL
};

/** Most nesting a parsed text may have; deeper is CDS_BAD_SYNTAX. */
enum { CDS_JSON_DEPTH_MAX = 64 };

/** Parses exactly one JSON text. @return CDS_OK; CDS_BAD_SYNTAX with line and column in the message */
CDS_MUST_USE cds_rc cds_json_parse(const char *data, size_t len, cds_json **ret, struct cds_err *reterr);
/** Compact text appended to buf. @return CDS_OK, CDS_TOO_LARGE, CDS_EXHAUSTED */
CDS_MUST_USE cds_rc cds_json_dump(const cds_json *value, struct cds_buf *buf);
/** Compact text, malloc'ed; NULL when out of memory. */
char *cds_json_dumps(const cds_json *value, size_t *ret_len);

cds_json *cds_json_ref(cds_json *value);
void cds_json_unref(cds_json *value); /**< NULL is fine */
static inline void cds_json_cleanup(cds_json **value)
{
    cds_json_unref(*value);
}
#define CDS_JSON_AUTO CDS_CLEANUP(cds_json_cleanup) cds_json *

enum cds_json_type cds_json_type(const cds_json *value); /**< NULL pointer counts as JSON null */
bool cds_json_is(const cds_json *value, enum cds_json_type type);

/* Building. */
cds_json *cds_json_object(void);
cds_json *cds_json_array(void);
cds_json *cds_json_string(const char *text);              /**< NULL for text that is not UTF-8 or NULL */
cds_json *cds_json_stringn(const char *text, size_t len); /**< same, with length; NULL also when a NUL byte is inside */
cds_json *cds_json_int(int64_t value);
cds_json *cds_json_real(double value); /**< NULL for NaN and the infinities, which JSON cannot write */
cds_json *cds_json_bool(bool value);
cds_json *cds_json_null(void);
cds_json *cds_json_copy(const cds_json *value); /**< deep copy */
/** Equal in the sense of JSON Schema: 1 equals 1.0, members in any order. NULL counts as JSON null. */
bool cds_json_equal(const cds_json *a, const cds_json *b);
/** jansson pack format: {s:s, s:i, s:I(int64_t), s:b, s:o(steals), s:O(refs), s:s? ...}, [..]. NULL on error. */
cds_json *cds_json_pack(const char *fmt, ...);
int cds_json_set(cds_json *object, const char *key, cds_json *value); /**< steals value; -1 on failure */
int cds_json_del(cds_json *object, const char *key);
int cds_json_append(cds_json *array, cds_json *value); /**< steals value; -1 on failure */

/* Reading; all borrow, and take NULL or a wrong type without harm. */
cds_json *cds_json_get(const cds_json *object, const char *key);
cds_json *cds_json_at(const cds_json *array, size_t index);
size_t cds_json_size(const cds_json *array_or_object);
const char *cds_json_str(const cds_json *value); /**< NULL unless a string */
size_t cds_json_str_len(const cds_json *value);
int64_t cds_json_i64(const cds_json *value, int64_t otherwise); /**< integers, and reals that are whole numbers (up to 2^53) */
double cds_json_num(const cds_json *value, double otherwise);   /**< integer or real */
bool cds_json_true(const cds_json *value, bool otherwise);
/** Shorthands: member by key. */
const char *cds_json_get_str(const cds_json *object, const char *key);
int64_t cds_json_get_i64(const cds_json *object, const char *key, int64_t otherwise);
/** Iteration over object members in insertion order; start with *iter = NULL, false at the end. */
bool cds_json_next(const cds_json *object, void **iter, const char **ret_key, cds_json **ret_value);
