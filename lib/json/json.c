/* lib/json/json.c: JSON values on jansson: strict reading, building, asking. */
#include "lib/json/json.h"

#include <jansson.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "lib/base/str.h"

enum { PARSE_FLAGS = JSON_REJECT_DUPLICATES | JSON_DECODE_ANY, DUMP_FLAGS = JSON_COMPACT | JSON_ENCODE_ANY };
/** Whole numbers above this do not all exist as a double. */
#define WHOLE_MAX 9007199254740992.0

/* --- reading a text ---------------------------------------------------------------------------------------------------- */

/**
 * Counts brackets outside of strings. jansson reads by recursion, so a hostile text must be stopped before it gets there;
 * a text that is wrong in another way is left to jansson, which then says what is wrong.
 */
static cds_rc check_depth(const char *data, size_t len, struct cds_err *reterr)
{
    size_t depth = 0, line = 1, line_start = 0;
    bool in_string = false;
    for (size_t i = 0; i < len; i++) {
        char c = data[i];
        if (in_string) {
            if (c == '\\')
                i++;
            else if (c == '"')
                in_string = false;
        } else if (c == '"') {
            in_string = true;
        } else if (c == '\n') {
            line++;
            line_start = i + 1;
        } else if (c == '{' || c == '[') {
            if (++depth > CDS_JSON_DEPTH_MAX)
                return cds_fail(reterr, CDS_BAD_SYNTAX, __func__, "The JSON text is nested deeper than %d levels at line %zu, column %zu.",
                                CDS_JSON_DEPTH_MAX, line, i - line_start + 1);
        } else if ((c == '}' || c == ']') && depth > 0) {
            depth--;
        }
    }
    return CDS_OK;
}

/** Own words instead of jansson's text, which repeats pieces of the input. */
static const char *what_is_wrong(enum json_error_code code)
{
    switch (code) {
    case json_error_premature_end_of_input:
        return "it ends too early";
    case json_error_end_of_input_expected:
        return "something follows after its end";
    case json_error_invalid_utf8:
        return "it is not UTF-8";
    case json_error_null_character:
    case json_error_null_byte_in_key:
        return "it holds a NUL character";
    case json_error_duplicate_key:
        return "an object names the same member twice";
    case json_error_numeric_overflow:
        return "a number is too large";
    default:
        return "it is not JSON";
    }
}

/**
 * jansson 2.14 reads on after an allocation of its scanner failed, and then writes behind its buffer. A process that ends there is started again;
 * one whose heap is spoilt goes on. Everything else in jansson answers NULL, and so do we.
 */
static _Thread_local bool reading;

static void *json_memory(size_t size)
{
    void *memory = malloc(size);
    if (!memory && reading) {
        fputs("{\"level\":\"error\",\"msg\":\"Out of memory while a JSON text was read: the process ends.\"}\n", stderr);
        abort();
    }
    return memory;
}

__attribute__((constructor)) static void choose_memory(void)
{
    json_set_alloc_funcs(json_memory, free);
}

cds_rc cds_json_parse(const char *data, size_t len, cds_json **ret, struct cds_err *reterr)
{
    if (!data)
        return cds_fail(reterr, CDS_BAD_SYNTAX, __func__, "There is no JSON text.");
    /* jansson takes a NUL byte for the end of the text and would let anything follow. */
    if (memchr(data, '\0', len))
        return cds_fail(reterr, CDS_BAD_SYNTAX, __func__, "The JSON text is malformed: it holds a NUL character.");
    cds_rc rc = check_depth(data, len, reterr);
    if (rc)
        return rc;
    json_error_t wrong;
    reading = true;
    json_t *value = json_loadb(data, len, PARSE_FLAGS, &wrong);
    reading = false;
    if (value) {
        *ret = value;
        return CDS_OK;
    }
    return cds_fail(reterr, CDS_BAD_SYNTAX, __func__, "The JSON text is malformed at line %d, column %d: %s.", wrong.line > 0 ? wrong.line : 1,
                    wrong.column > 0 ? wrong.column : 0, what_is_wrong(json_error_code(&wrong)));
}

/* --- writing a text ---------------------------------------------------------------------------------------------------- */

struct dump {
    struct cds_buf *buf;
    cds_rc rc;
};

static int dump_piece(const char *piece, size_t len, void *user)
{
    struct dump *dump = user;
    dump->rc = cds_buf_add(dump->buf, piece, len);
    return dump->rc ? -1 : 0;
}

cds_rc cds_json_dump(const cds_json *value, struct cds_buf *buf)
{
    if (!value)
        return cds_buf_add_str(buf, "null");
    struct dump dump = {.buf = buf};
    size_t before = buf->len;
    if (json_dump_callback(value, dump_piece, &dump, DUMP_FLAGS) == 0)
        return CDS_OK;
    /* Half a text is worse than none. */
    buf->len = before;
    if (buf->data)
        buf->data[before] = '\0';
    return dump.rc ? dump.rc : CDS_EXHAUSTED;
}

char *cds_json_dumps(const cds_json *value, size_t *ret_len)
{
    CDS_CLEANUP(cds_buf_free) struct cds_buf buf = cds_buf_init(SIZE_MAX / 4);
    if (cds_json_dump(value, &buf))
        return NULL;
    return cds_buf_steal(&buf, ret_len);
}

/* --- life ---------------------------------------------------------------------------------------------------------------- */

cds_json *cds_json_ref(cds_json *value)
{
    return json_incref(value);
}

void cds_json_unref(cds_json *value)
{
    json_decref(value);
}

enum cds_json_type cds_json_type(const cds_json *value)
{
    if (!value)
        return CDS_JSON_NULL;
    switch (json_typeof(value)) {
    case JSON_OBJECT:
        return CDS_JSON_OBJECT;
    case JSON_ARRAY:
        return CDS_JSON_ARRAY;
    case JSON_STRING:
        return CDS_JSON_STRING;
    case JSON_INTEGER:
        return CDS_JSON_INTEGER;
    case JSON_REAL:
        return CDS_JSON_REAL;
    case JSON_TRUE:
        return CDS_JSON_TRUE;
    case JSON_FALSE:
        return CDS_JSON_FALSE;
    case JSON_NULL:
        break;
    }
    return CDS_JSON_NULL;
}

bool cds_json_is(const cds_json *value, enum cds_json_type type)
{
    return cds_json_type(value) == type;
}

/* --- building ------------------------------------------------------------------------------------------------------------ */

cds_json *cds_json_object(void)
{
    return json_object();
}

cds_json *cds_json_array(void)
{
    return json_array();
}

cds_json *cds_json_string(const char *text)
{
    return text ? json_string(text) : NULL;
}

cds_json *cds_json_stringn(const char *text, size_t len)
{
    /* A NUL would be written as \u0000, which no reader of ours takes. */
    if (!text || memchr(text, '\0', len))
        return NULL;
    return json_stringn(text, len);
}

cds_json *cds_json_int(int64_t value)
{
    return json_integer(value);
}

cds_json *cds_json_real(double value)
{
    return json_real(value);
}

cds_json *cds_json_bool(bool value)
{
    return json_boolean(value);
}

cds_json *cds_json_null(void)
{
    return json_null();
}

cds_json *cds_json_copy(const cds_json *value)
{
    return value ? json_deep_copy(value) : json_null();
}

cds_json *cds_json_pack(const char *fmt, ...)
{
    va_list args;
    va_start(args, fmt);
    json_t *value = json_vpack_ex(NULL, 0, fmt, args);
    va_end(args);
    return value;
}

int cds_json_set(cds_json *object, const char *key, cds_json *value)
{
    if (!key) {
        json_decref(value);
        return -1;
    }
    return json_object_set_new(object, key, value);
}

int cds_json_del(cds_json *object, const char *key)
{
    return json_object_del(object, key);
}

int cds_json_append(cds_json *array, cds_json *value)
{
    return json_array_append_new(array, value);
}

/* --- asking -------------------------------------------------------------------------------------------------------------- */

cds_json *cds_json_get(const cds_json *object, const char *key)
{
    return key ? json_object_get(object, key) : NULL;
}

cds_json *cds_json_at(const cds_json *array, size_t index)
{
    return json_array_get(array, index);
}

size_t cds_json_size(const cds_json *array_or_object)
{
    return json_is_array(array_or_object) ? json_array_size(array_or_object) : json_object_size(array_or_object);
}

const char *cds_json_str(const cds_json *value)
{
    return json_string_value(value);
}

size_t cds_json_str_len(const cds_json *value)
{
    return json_string_length(value);
}

int64_t cds_json_i64(const cds_json *value, int64_t otherwise)
{
    if (json_is_integer(value))
        return json_integer_value(value);
    if (!json_is_real(value))
        return otherwise;
    double real = json_real_value(value);
    return fabs(real) <= WHOLE_MAX && floor(real) == real ? (int64_t)real : otherwise;
}

double cds_json_num(const cds_json *value, double otherwise)
{
    return json_is_number(value) ? json_number_value(value) : otherwise;
}

bool cds_json_true(const cds_json *value, bool otherwise)
{
    return json_is_boolean(value) ? json_is_true(value) : otherwise;
}

const char *cds_json_get_str(const cds_json *object, const char *key)
{
    return cds_json_str(cds_json_get(object, key));
}

int64_t cds_json_get_i64(const cds_json *object, const char *key, int64_t otherwise)
{
    return cds_json_i64(cds_json_get(object, key), otherwise);
}

bool cds_json_next(const cds_json *object, void **iter, const char **ret_key, cds_json **ret_value)
{
    /* jansson's iterators take a pointer to a non-const object but do not change it. */
    json_t *o = (json_t *)(uintptr_t)object;
    *iter = *iter ? json_object_iter_next(o, *iter) : json_object_iter(o);
    if (!*iter)
        return false;
    *ret_key = json_object_iter_key(*iter);
    *ret_value = json_object_iter_value(*iter);
    return true;
}
