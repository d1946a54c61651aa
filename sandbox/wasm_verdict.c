/* sandbox/wasm_verdict.c: how a module ended, by what its worker reported. The worker shares its process with the module: what it says is taken
 * apart like anything else that comes out of a jail. */
#include <signal.h>
#include <stdio.h>
#include <string.h>

#include "lib/base/str.h"
#include "lib/json/json.h"
#include "sandbox/wasm_priv.h"

enum { VALUES_MAX = 16, NUMBER_TEXT_MAX = 24 };

/* The last whole line; NULL: none, or no JSON. */
static cds_json *last_line(const char *said, size_t len)
{
    cds_json *line = NULL;
    size_t end = len;
    while (end && said[end - 1] != '\n')
        end--;
    if (!end)
        return NULL;
    size_t at = end - 1;
    while (at && said[at - 1] != '\n')
        at--;
    return cds_json_parse(said + at, end - 1 - at, &line, NULL) ? NULL : line;
}

static void take_text(char *to, size_t size, const char *text)
{
    cds_strcpy(to, size, text ? text : "");
    to[cds_utf8_complete(to, strlen(to))] = '\0';
}

static bool is_value(const cds_json *one)
{
    static const char *const types[] = {"i32", "i64", "f32", "f64"};
    const cds_json *value = cds_json_get(one, "value");
    const char *type = cds_json_get_str(one, "type");
    bool known = false;
    for (size_t i = 0; i < CDS_ARRAY_LEN(types); i++)
        known = known || cds_streq(type, types[i]);
    return known && cds_json_size(one) == 2 &&
           (cds_json_is(value, CDS_JSON_INTEGER) || cds_json_is(value, CDS_JSON_REAL) ||
            (cds_json_str(value) && cds_json_str_len(value) <= NUMBER_TEXT_MAX));
}

static void take_values(const cds_json *said, struct cds_job_result *r)
{
    const cds_json *values = cds_json_get(said, "values");
    size_t count = cds_json_size(values);
    bool fit = cds_json_is(values, CDS_JSON_ARRAY) && count > 0 && count <= VALUES_MAX;
    for (size_t i = 0; fit && i < count; i++)
        fit = is_value(cds_json_at(values, i));
    struct cds_buf text = cds_buf_init(sizeof(r->values) - 1);
    if (fit && !cds_json_dump(values, &text))
        cds_strcpy(r->values, sizeof(r->values), text.data);
    cds_buf_free(&text);
}

static void failed(struct cds_job_result *r, const char *why)
{
    r->end = CDS_END_ENGINE_FAILED;
    r->exit_code = -1;
    take_text(r->reason, sizeof(r->reason), why);
}

/* It exited and said why. */
static void take_end(const cds_json *said, struct cds_job_result *r)
{
    const char *end = cds_json_get_str(said, "end"), *reason = cds_json_get_str(said, "reason");
    if (cds_streq(end, "ok") && r->exit_code == 0) {
        take_values(said, r);
    } else if (cds_streq(end, "exit") && r->exit_code != 0) {
        r->end = CDS_END_EXIT;
    } else if (cds_streq(end, "trap") && r->exit_code != 0) {
        r->end = CDS_END_EXIT;
        snprintf(r->reason, sizeof(r->reason), "The module trapped: %.200s", reason ? reason : "?");
        take_text(r->reason, sizeof(r->reason), r->reason);
    } else if (cds_streq(end, "fuel") && r->exit_code != 0) {
        r->end = CDS_END_CPU_TIME;
        r->exit_code = -1;
        take_text(r->reason, sizeof(r->reason), "The module has executed as many instructions as limits.fuel allows.");
    } else if (cds_streq(end, "refused") && r->exit_code != 0) {
        r->end = CDS_END_REFUSED;
        r->exit_code = -1;
        take_text(r->rule, sizeof(r->rule), cds_json_get_str(said, "rule"));
        take_text(r->reason, sizeof(r->reason), reason);
    } else {
        failed(r, cds_streq(end, "failed") && reason ? reason : "The worker ended without saying how.");
    }
}

void wasm_verdict(struct jail_engine *base, const char *said, size_t len, struct cds_job_result *r)
{
    struct wasm_engine *engine = (struct wasm_engine *)base;
    CDS_JSON_AUTO line = last_line(said, len);
    const char *aot = cds_json_get_str(line, "aot");
    cds_strcpy(engine->aot, sizeof(engine->aot), aot ? aot : "");
    if (r->end == CDS_END_OK || r->end == CDS_END_EXIT) {
        take_end(line, r);
    } else if (r->end == CDS_END_SIGNAL && r->signo == SIGABRT && cds_streq(cds_json_get_str(line, "step"), "compile")) {
        /* The library gives up this way on what it does not know. Nothing of the module ran. */
        r->end = CDS_END_REFUSED;
        r->signo = 0;
        take_text(r->rule, sizeof(r->rule), "wasm.unsupported");
        take_text(r->reason, sizeof(r->reason), "The module was refused: the compiler does not know an instruction of it.");
    }
}
