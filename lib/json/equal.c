/* lib/json/equal.c: equality as JSON Schema means it (draft 7 core, section 4.2.3): numbers compare by value, not by spelling. */
#include <math.h>
#include <string.h>

#include "lib/json/json.h"

static bool is_number(const cds_json *v)
{
    return cds_json_is(v, CDS_JSON_INTEGER) || cds_json_is(v, CDS_JSON_REAL);
}

/** Exact: a double that is no whole number, or lies outside of int64, equals no integer. */
static bool equal_int_real(int64_t i, double d)
{
    return floor(d) == d && d >= -0x1p63 && d < 0x1p63 && (int64_t)d == i;
}

static bool equal_numbers(const cds_json *a, const cds_json *b)
{
    bool a_int = cds_json_is(a, CDS_JSON_INTEGER), b_int = cds_json_is(b, CDS_JSON_INTEGER);
    if (a_int && b_int)
        return cds_json_i64(a, 0) == cds_json_i64(b, 0);
    if (a_int)
        return equal_int_real(cds_json_i64(a, 0), cds_json_num(b, 0));
    if (b_int)
        return equal_int_real(cds_json_i64(b, 0), cds_json_num(a, 0));
    return cds_json_num(a, 0) == cds_json_num(b, 0);
}

/* Values may be built deeper than texts may be read; past the cap two values count as different. */
static bool equal_at(const cds_json *a, const cds_json *b, int depth)
{
    if (is_number(a) && is_number(b))
        return equal_numbers(a, b);
    if (cds_json_type(a) != cds_json_type(b) || depth > 2 * CDS_JSON_DEPTH_MAX)
        return false;
    if (cds_json_is(a, CDS_JSON_STRING))
        return cds_json_str_len(a) == cds_json_str_len(b) && memcmp(cds_json_str(a), cds_json_str(b), cds_json_str_len(a)) == 0;
    if (!cds_json_is(a, CDS_JSON_ARRAY) && !cds_json_is(a, CDS_JSON_OBJECT))
        return true;
    size_t n = cds_json_size(a);
    if (n != cds_json_size(b))
        return false;
    if (cds_json_is(a, CDS_JSON_ARRAY)) {
        for (size_t i = 0; i < n; i++) {
            if (!equal_at(cds_json_at(a, i), cds_json_at(b, i), depth + 1))
                return false;
        }
        return true;
    }
    void *iter = NULL;
    const char *key;
    cds_json *value;
    while (cds_json_next(a, &iter, &key, &value)) {
        const cds_json *other = cds_json_get(b, key);
        if (!other || !equal_at(value, other, depth + 1))
            return false;
    }
    return true;
}

bool cds_json_equal(const cds_json *a, const cds_json *b)
{
    return equal_at(a, b, 0);
}
