/* lib/rpc/discover.c: the OpenRPC 1.3 document (open-rpc.org), made from the schema files inside the table. */
#include <string.h>

#include "lib/rpc/rpc.h"

static bool is_required(const cds_json *schema, const char *name)
{
    const cds_json *list = cds_json_get(schema, "required");
    for (size_t i = 0; i < cds_json_size(list); i++) {
        if (strcmp(cds_json_str(cds_json_at(list, i)), name) == 0)
            return true;
    }
    return false;
}

/** The whole value or nothing: half a description would be a wrong one. Steals value. */
static cds_json *whole(cds_json *value, bool fine)
{
    if (fine)
        return value;
    cds_json_unref(value);
    return NULL;
}

/** A content descriptor. */
static cds_json *descriptor(const char *name, bool required, cds_json *schema)
{
    cds_json *d = cds_json_pack("{s:s, s:b, s:o}", "name", name, "required", (int)required, "schema", cds_json_copy(schema));
    const char *description = cds_json_get_str(schema, "description");
    return whole(d, !description || cds_json_set(d, "description", cds_json_string(description)) == 0);
}

static cds_json *describe_params(const cds_json *schema)
{
    cds_json *list = cds_json_array(), *part;
    void *iter = NULL;
    const char *name;
    bool fine = true;
    while (fine && cds_json_next(cds_json_get(schema, "properties"), &iter, &name, &part))
        fine = cds_json_append(list, descriptor(name, is_required(schema, name), part)) == 0;
    return whole(list, fine);
}

static cds_json *describe_errors(const cds_json *names)
{
    cds_json *list = cds_json_array();
    bool fine = true;
    for (size_t i = 0; i < cds_json_size(names); i++) {
        for (int code = 1; code < CDS_RC_COUNT && fine; code++) {
            if (strcmp(cds_rc_name((cds_rc)code), cds_json_str(cds_json_at(names, i))) == 0)
                fine = 0 == cds_json_append(list,
                                            cds_json_pack("{s:i, s:s}", "code", cds_rc_jsonrpc((cds_rc)code), "message", cds_rc_title((cds_rc)code)));
        }
    }
    return whole(list, fine);
}

static cds_json *describe_method(const struct cds_rpc_method *method, const cds_json *text)
{
    cds_json *m = cds_json_pack("{s:s, s:s, s:s}", "name", method->name, "summary", cds_json_get_str(text, "summary"), "paramStructure", "by-name");
    const cds_json *params = cds_json_get(text, "params");
    bool fine = cds_json_set(m, "params", describe_params(params)) == 0 &&
                cds_json_set(m, "result", descriptor("result", true, cds_json_get(text, "result"))) == 0 &&
                cds_json_set(m, "errors", describe_errors(cds_json_get(text, "errors"))) == 0 &&
                cds_json_set(m, "x-role", cds_json_string(cds_role_name(method->least_role))) == 0 &&
                cds_json_set(m, "x-deadline-ms", cds_json_int(method->deadline_ms)) == 0;
    if (fine && method->streams)
        fine = cds_json_set(m, "x-notifications", cds_json_copy(cds_json_get(text, "notifications"))) == 0;
    /* Rules between parameters have no place in content descriptors. */
    if (fine && cds_json_get(params, "oneOf"))
        fine = cds_json_set(m, "x-params-one-of", cds_json_copy(cds_json_get(params, "oneOf"))) == 0;
    return whole(m, fine);
}

cds_json *cds_rpc_discover(void)
{
    cds_json *list = cds_json_array();
    for (size_t i = 0; i < cds_rpc_method_count; i++) {
        const struct cds_rpc_method *method = &cds_rpc_methods[i];
        CDS_JSON_AUTO text = NULL;
        /* The text is our own and was parsed at start; it fails only when memory is out, and the document with it. */
        if (cds_json_parse(method->schema_json, strlen(method->schema_json), &text, NULL) || cds_json_append(list, describe_method(method, text))) {
            cds_json_unref(list);
            return NULL;
        }
    }
    return cds_json_pack("{s:s, s:{s:s, s:s, s:s}, s:o}", "openrpc", "1.3.2", "info", "title", "CyberDevStudio", "version", CDS_VERSION,
                         "description", "JSON-RPC 2.0 over POST /rpc and WebSocket /ws", "methods", list);
}
