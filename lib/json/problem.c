/* lib/json/problem.c: see problem.h. */
#include "lib/json/problem.h"

#include <ctype.h>
#include <stdio.h>
#include <string.h>

#include "lib/base/random.h"
#include "lib/base/str.h"

/** Text of a cds_err, which may have been cut inside a character or hold foreign bytes: each of them becomes '?'. */
static cds_json *safe_string(const char *text)
{
    char copy[sizeof(((struct cds_err *)0)->message) + sizeof(((struct cds_err *)0)->hint)]; /* the longest: a sentence and its hint */
    cds_strcpy(copy, sizeof(copy), text);
    copy[cds_utf8_complete(copy, strlen(copy))] = '\0';
    cds_json *s = cds_json_string(copy);
    for (char *p = copy; !s && *p; p++) {
        if ((unsigned char)*p >= 0x80)
            *p = '?';
    }
    return s ? s : cds_json_string(copy);
}

void cds_json_set_text(cds_json *object, const char *key, const char *text)
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
    cds_json_set_text(problem, "type", type_uri(err->code, text, sizeof(text)));
    cds_json_set_text(problem, "title", cds_rc_title(err->code));
    cds_json_set(problem, "status", cds_json_int(cds_rc_http(err->code)));
    cds_json_set_text(problem, "detail", err->message);
    if (request_id && cds_uuid_valid(request_id)) {
        snprintf(text, sizeof(text), "urn:uuid:%s", request_id);
        cds_json_set_text(problem, "instance", text);
    }
    cds_json_set_text(problem, "request_id", request_id);
    cds_json_set_text(problem, "rule", err->rule);
    cds_json_set_text(problem, "hint", err->hint);
    if (err->retry_after_ms)
        cds_json_set(problem, "retry_after_ms", cds_json_int(err->retry_after_ms));
    if (*err->pointer || err->code == CDS_BAD_PARAM) {
        cds_json *one = cds_json_object(), *list = cds_json_array();
        cds_json_set(one, "pointer", safe_string(err->pointer));
        cds_json_set_text(one, "detail", err->message);
        cds_json_append(list, one);
        cds_json_set(problem, "errors", list);
    }
    return problem;
}

/* ---- the shape of OpenAI's API ---- */
static const char *openai_type(cds_rc code)
{
    int status = cds_rc_http(code);
    if (code == CDS_BUDGET_EXCEEDED)
        return "insufficient_quota";
    if (status == 401)
        return "authentication_error";
    if (status == 403)
        return "permission_error";
    if (status == 429)
        return "rate_limit_error";
    return status >= 500 ? "server_error" : "invalid_request_error";
}

cds_json *cds_openai_error(const struct cds_err *err)
{
    char message[sizeof(err->message) + sizeof(err->hint) + 2];
    snprintf(message, sizeof(message), "%s%s%s", *err->message ? err->message : cds_rc_title(err->code), *err->hint ? " " : "", err->hint);
    cds_json *answer = cds_json_object(), *error = cds_json_object();
    cds_json_set_text(error, "message", message);
    cds_json_set_text(error, "type", openai_type(err->code));
    cds_json_set(error, "param", *err->pointer == '/' ? safe_string(err->pointer + 1) : cds_json_null());
    cds_json_set_text(error, "code", cds_rc_openai(err->code));
    cds_json_set_text(error, "hint", err->hint);
    cds_json_set_text(error, "rule", err->rule);
    if (err->retry_after_ms)
        cds_json_set(error, "retry_after_ms", cds_json_int(err->retry_after_ms));
    cds_json_set(answer, "error", error);
    return answer;
}

static const char *anthropic_type(cds_rc code)
{
    static const struct {
        int status;
        const char *type;
    } types[] = {{400, "invalid_request_error"}, {401, "authentication_error"}, {403, "permission_error"}, {404, "not_found_error"},
                 {413, "request_too_large"},     {429, "rate_limit_error"},     {503, "overloaded_error"}, {504, "timeout_error"}};
    for (size_t i = 0; i < CDS_ARRAY_LEN(types); i++)
        if (types[i].status == cds_rc_http(code))
            return types[i].type;
    return cds_rc_http(code) >= 500 ? "api_error" : "invalid_request_error";
}

cds_json *cds_anthropic_error(const struct cds_err *err, const char *request_id)
{
    cds_json *answer = cds_openai_error(err);
    cds_json_set_text(cds_json_get(answer, "error"), "type", anthropic_type(err->code));
    cds_json_set_text(answer, "type", "error");
    cds_json_set_text(answer, "request_id", request_id);
    return answer;
}

void cds_openai_error_parse(const cds_json *answer, cds_rc otherwise, struct cds_err *ret)
{
    const cds_json *error = cds_json_get(answer, "error");
    const char *message = cds_json_get_str(error, "message"), *hint = cds_json_get_str(error, "hint");
    const char *param = cds_json_get_str(error, "param"), *rule = cds_json_get_str(error, "rule");
    int64_t retry_ms = cds_json_get_i64(error, "retry_after_ms", 0);
    cds_rc code = cds_rc_from_openai(cds_json_get_str(error, "code"));
    size_t len = message ? strlen(message) : 0, tail = hint ? strlen(hint) + 1 : 0;
    if (tail > 1 && len > tail && message[len - tail] == ' ' && cds_streq(message + len - tail + 1, hint))
        len -= tail;
    cds_fail(ret, code == CDS_INTERNAL ? otherwise : code, __func__, "%.*s", (int)len, message ? message : "");
    if (hint)
        cds_err_hint(ret, "%s", hint);
    if (rule)
        cds_err_rule(ret, rule);
    if (param && *param)
        cds_err_pointer(ret, "/%s", param);
    ret->retry_after_ms = retry_ms > 0 && retry_ms <= UINT32_MAX ? (uint32_t)retry_ms : 0;
}
