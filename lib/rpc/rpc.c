/* lib/rpc/rpc.c: the method table at run time, and requests. */
#include "lib/rpc/rpc.h"

#include <stdlib.h>
#include <string.h>

#include "lib/base/str.h"

enum { ID_LEN_MAX = 128, METHOD_LEN_MAX = 128 };
/** Whole numbers that every JSON reader keeps exact. */
static const int64_t ID_MAX = 9007199254740991;

/** One method, compiled. Lives as long as the process. */
struct compiled {
    struct cds_schema *params, *result;
};
static struct compiled *table;

/* --- roles --------------------------------------------------------------------------------------------------------------- */

static const char *const role_names[] = {"none", "viewer", "developer", "admin"};

const char *cds_role_name(enum cds_role role)
{
    return (unsigned)role < CDS_ARRAY_LEN(role_names) ? role_names[role] : role_names[0];
}

enum cds_role cds_role_parse(const char *text)
{
    for (size_t i = 1; text && i < CDS_ARRAY_LEN(role_names); i++) {
        if (cds_streq(text, role_names[i]))
            return (enum cds_role)i;
    }
    return cds_streq(text, "user") ? CDS_ROLE_DEVELOPER : CDS_ROLE_NONE;
}

/* --- table --------------------------------------------------------------------------------------------------------------- */

static void free_table(struct compiled *rows)
{
    for (size_t i = 0; rows && i < cds_rpc_method_count; i++) {
        cds_schema_free(&rows[i].params);
        cds_schema_free(&rows[i].result);
    }
    free(rows);
}

static cds_rc compile_method(const struct cds_rpc_method *method, struct compiled *row, struct cds_err *reterr)
{
    CDS_JSON_AUTO text = NULL;
    cds_rc rc = cds_json_parse(method->schema_json, strlen(method->schema_json), &text, reterr);
    if (!rc)
        rc = cds_schema_compile(cds_json_get(text, "params"), &row->params, reterr);
    if (!rc)
        rc = cds_schema_compile(cds_json_get(text, "result"), &row->result, reterr);
    if (rc)
        cds_err_detail(reterr, "schemas/rpc/%s.json", method->name);
    return rc;
}

cds_rc cds_rpc_table_init(struct cds_err *reterr)
{
    if (table)
        return CDS_OK;
    struct compiled *rows = calloc(cds_rpc_method_count, sizeof(*rows));
    if (!rows)
        return cds_fail(reterr, CDS_EXHAUSTED, __func__, "There is not enough memory for the method table.");
    for (size_t i = 0; i < cds_rpc_method_count; i++) {
        cds_rc rc = compile_method(&cds_rpc_methods[i], &rows[i], reterr);
        if (rc) {
            free_table(rows);
            return rc;
        }
    }
    table = rows;
    return CDS_OK;
}

static int compare_name(const void *name, const void *method)
{
    return strcmp(name, ((const struct cds_rpc_method *)method)->name);
}

const struct cds_rpc_method *cds_rpc_find(const char *name)
{
    return name ? bsearch(name, cds_rpc_methods, cds_rpc_method_count, sizeof(cds_rpc_methods[0]), compare_name) : NULL;
}

/** The validator's pointer is relative to what it looked at; the caller's is relative to the request. */
static void move_pointer(struct cds_err *err, const char *below)
{
    char old[sizeof(err->pointer)];
    if (!err)
        return;
    cds_strcpy(old, sizeof(old), err->pointer);
    /* Cut, it would name another place. */
    bool fits = strlen(below) + strlen(old) < sizeof(old);
    cds_err_pointer(err, "%s%s", below, fits ? old : "");
}

static cds_rc check(const struct cds_schema *schema, const cds_json *value, const char *below, struct cds_err *reterr)
{
    cds_rc rc = cds_schema_validate(schema, value, reterr);
    if (rc)
        move_pointer(reterr, below);
    return rc;
}

static cds_rc not_ready(struct cds_err *reterr)
{
    return cds_fail(reterr, CDS_INTERNAL, "cds_rpc_check", "The method table was not prepared at start.");
}

cds_rc cds_rpc_check_params(const struct cds_rpc_method *method, const cds_json *params, struct cds_err *reterr)
{
    if (!table)
        return not_ready(reterr);
    CDS_JSON_AUTO none = params ? NULL : cds_json_object();
    return check(table[method - cds_rpc_methods].params, params ? params : none, "/params", reterr);
}

cds_rc cds_rpc_check_result(const struct cds_rpc_method *method, const cds_json *result, struct cds_err *reterr)
{
    if (!table)
        return not_ready(reterr);
    return check(table[method - cds_rpc_methods].result, result, "/result", reterr);
}

/* --- requests ------------------------------------------------------------------------------------------------------------ */

static cds_rc bad_request(struct cds_err *reterr, const char *pointer, const char *why)
{
    cds_fail(reterr, CDS_BAD_REQUEST, "cds_rpc_parse_request", "The message is not a JSON-RPC 2.0 request: %s.", why);
    cds_err_pointer(reterr, "%s", pointer);
    return CDS_BAD_REQUEST;
}

static bool good_id(const cds_json *id)
{
    if (cds_json_is(id, CDS_JSON_STRING))
        return cds_json_str_len(id) <= ID_LEN_MAX;
    if (cds_json_is(id, CDS_JSON_INTEGER))
        return cds_json_i64(id, INT64_MAX) <= ID_MAX && cds_json_i64(id, INT64_MIN) >= -ID_MAX;
    return cds_json_is(id, CDS_JSON_NULL);
}

cds_rc cds_rpc_parse_request(const cds_json *element, struct cds_rpc_request *ret, struct cds_err *reterr)
{
    if (!cds_json_is(element, CDS_JSON_OBJECT))
        return bad_request(reterr, "", "it is not an object");
    if (!cds_streq(cds_json_get_str(element, "jsonrpc"), "2.0"))
        return bad_request(reterr, "/jsonrpc", "the member jsonrpc must be \"2.0\"");
    cds_json *id = cds_json_get(element, "id"), *method = cds_json_get(element, "method"), *params = cds_json_get(element, "params");
    if (!cds_json_str(method) || cds_json_str_len(method) == 0 || cds_json_str_len(method) > METHOD_LEN_MAX)
        return bad_request(reterr, "/method", "the member method must be a string of 1 to 128 bytes");
    if (id && !good_id(id))
        return bad_request(reterr, "/id", "the member id must be a whole number up to 2^53, a string up to 128 bytes, or null");
    if (params && !cds_json_is(params, CDS_JSON_OBJECT) && !cds_json_is(params, CDS_JSON_ARRAY))
        return bad_request(reterr, "/params", "the member params must be an object");
    *ret = (struct cds_rpc_request){.id = id, .method = cds_json_str(method), .params = params};
    return CDS_OK;
}
