/* lib/rpc/envelope.c: answers, notifications and calls as JSON; and errors back from JSON. */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "lib/base/str.h"
#include "lib/json/problem.h"
#include "lib/rpc/rpc.h"

static cds_json *envelope(cds_json *id, const char *key, cds_json *value)
{
    cds_json *message = cds_json_object();
    if (cds_json_set(message, "jsonrpc", cds_json_string("2.0")) || cds_json_set(message, "id", id ? cds_json_ref(id) : cds_json_null())) {
        cds_json_unref(value);
        cds_json_unref(message);
        return NULL;
    }
    if (cds_json_set(message, key, value)) {
        cds_json_unref(message);
        return NULL;
    }
    return message;
}

cds_json *cds_rpc_result(cds_json *id, cds_json *result)
{
    if (result)
        return envelope(id, "result", result);
    /* Building the result failed; an answer must go out all the same. */
    struct cds_err err;
    cds_fail(&err, CDS_EXHAUSTED, __func__, "The answer could not be built.");
    return cds_rpc_error(id, &err, NULL);
}

cds_json *cds_rpc_error(cds_json *id, const struct cds_err *err, const char *request_id)
{
    cds_json *error = cds_json_object();
    cds_json_set(error, "code", cds_json_int(cds_rc_jsonrpc(err->code)));
    cds_json_set_text(error, "message", *err->message ? err->message : cds_rc_title(err->code));
    cds_json_set(error, "data", cds_problem(err, request_id));
    return envelope(id, "error", error);
}

cds_json *cds_rpc_notification(const char *method, cds_json *params)
{
    return cds_json_pack("{s:s, s:s, s:o}", "jsonrpc", "2.0", "method", method, "params", params);
}

cds_json *cds_rpc_call(int64_t id, const char *method, cds_json *params)
{
    return cds_json_pack("{s:s, s:I, s:s, s:o}", "jsonrpc", "2.0", "id", (long long)id, "method", method, "params", params);
}

/* --- back from JSON ------------------------------------------------------------------------------------------------------ */

static void read_text(char *dst, size_t size, const char *text)
{
    if (text)
        cds_strcpy(dst, size, text);
}

void cds_rpc_error_parse(const cds_json *error, struct cds_err *ret)
{
    const cds_json *data = cds_json_get(error, "data");
    *ret = (struct cds_err){.code = cds_rc_from_jsonrpc(cds_json_get_i64(error, "code", 0))};
    read_text(ret->message, sizeof(ret->message), cds_json_get_str(data, "detail"));
    if (!*ret->message)
        read_text(ret->message, sizeof(ret->message), cds_json_get_str(error, "message"));
    if (!*ret->message)
        read_text(ret->message, sizeof(ret->message), cds_rc_title(ret->code));
    read_text(ret->rule, sizeof(ret->rule), cds_json_get_str(data, "rule"));
    read_text(ret->hint, sizeof(ret->hint), cds_json_get_str(data, "hint"));
    read_text(ret->pointer, sizeof(ret->pointer), cds_json_get_str(cds_json_at(cds_json_get(data, "errors"), 0), "pointer"));
    int64_t wait = cds_json_get_i64(data, "retry_after_ms", 0);
    ret->retry_after_ms = wait > 0 && wait <= UINT32_MAX ? (uint32_t)wait : 0;
}
