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
