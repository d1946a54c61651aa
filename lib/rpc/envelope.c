/* lib/rpc/envelope.c: answers, notifications, calls and problem documents as JSON; and errors back from JSON. */
#include <ctype.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "lib/base/random.h"
#include "lib/base/str.h"
#include "lib/rpc/rpc.h"

/** Text of a cds_err, which may have been cut inside a character or hold foreign bytes: each of them becomes '?'. */
static cds_json *safe_string(const char *text)
{
    char copy[sizeof(((struct cds_err *)0)->message)];
    cds_strcpy(copy, sizeof(copy), text);
    copy[cds_utf8_complete(copy, strlen(copy))] = '\0';
    cds_json *s = cds_json_string(copy);
    for (char *p = copy; !s && *p; p++) {
        if ((unsigned char)*p >= 0x80)
            *p = '?';
    }
    return s ? s : cds_json_string(copy);
}

/** Sets a text member unless it is empty. */
static void set_text(cds_json *object, const char *key, const char *text)
{
    if (text && *text)
        cds_json_set(object, key, safe_string(text));
}

static const char *type_uri(cds_rc code, char *buf, size_t size)
{
    size_t len = (size_t)snprintf(buf, size, "urn:cyberdevstudio:problem:%s", cds_rc_name(code));
    for (size_t i = 0; i < len && i < size; i++)
        buf[i] = buf[i] == '_' ? '-' : (char)tolower((unsigned char)buf[i]);
    return buf;
}

cds_json *cds_problem(const struct cds_err *err, const char *request_id)
{
    char text[96];
    cds_json *problem = cds_json_object();
    set_text(problem, "type", type_uri(err->code, text, sizeof(text)));
    set_text(problem, "title", cds_rc_title(err->code));
    cds_json_set(problem, "status", cds_json_int(cds_rc_http(err->code)));
    set_text(problem, "detail", err->message);
    if (request_id && cds_uuid_valid(request_id)) {
        snprintf(text, sizeof(text), "urn:uuid:%s", request_id);
        set_text(problem, "instance", text);
    }
    set_text(problem, "request_id", request_id);
    set_text(problem, "rule", err->rule);
    set_text(problem, "hint", err->hint);
    if (err->retry_after_ms)
        cds_json_set(problem, "retry_after_ms", cds_json_int(err->retry_after_ms));
    if (*err->pointer || err->code == CDS_BAD_PARAM) {
        cds_json *one = cds_json_object(), *list = cds_json_array();
        cds_json_set(one, "pointer", safe_string(err->pointer));
        set_text(one, "detail", err->message);
        cds_json_append(list, one);
        cds_json_set(problem, "errors", list);
    }
    return problem;
}

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
    set_text(error, "message", *err->message ? err->message : cds_rc_title(err->code));
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
