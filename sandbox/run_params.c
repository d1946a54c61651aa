/* sandbox/run_params.c: see run_params.h. */
#include "sandbox/run_params.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "lib/base/cleanup.h"
#include "lib/base/str.h"
#include "sandbox/image_store.h"

enum {
    TMP_BYTES = 128 << 20,
    LIMIT_MS_MIN = 100,
    LIMIT_MS_MAX = 600000,
    ENV_NAME_MAX = 128,
    ENV_VALUE_MAX = 32768,
    ARG_MAX_BYTES = 4096,
    MODULE_MAX = 16 << 20,
    POINTER_MAX = 64
};
static const uint64_t memory_min = 16777216, memory_max = 17179869184u, fuel_default = 10000000000u, fuel_max = 1000000000000000u;

static cds_rc refuse(struct cds_err *err, const char *pointer, const char *why)
{
    cds_fail(err, CDS_BAD_PARAM, "run_params", "%s", why);
    cds_err_pointer(err, "%s", pointer);
    return CDS_BAD_PARAM;
}

static void *keep(struct run_params *p, void *memory)
{
    if (memory)
        p->owned[p->owned_count++] = memory;
    return memory;
}

/* ---- limits ---- */
/* What is named must be a number: a text, a fraction or null that fell back to the default would be a limit nobody asked for. */
static cds_rc limit_of(const cds_json *limits, const char *key, uint64_t otherwise, uint64_t *ret, struct cds_err *err)
{
    char pointer[POINTER_MAX];
    const cds_json *asked = cds_json_get(limits, key);
    int64_t value = asked ? cds_json_i64(asked, -1) : (int64_t)otherwise;
    *ret = (uint64_t)value;
    if (value > 0)
        return CDS_OK;
    snprintf(pointer, sizeof(pointer), "/params/limits/%.16s", key);
    return refuse(err, pointer, "A limit is a whole number above 0.");
}

static cds_rc take_limits(const cds_json *params, const struct cds_config *c, struct cds_run_limits *ret, struct cds_err *err)
{
    const cds_json *asked = cds_json_get(params, "limits");
    uint64_t wall_ms, cpu_ms = cds_config_u64(c, CDS_OPT_RUN_CPU_MS), memory, fuel;
    if (asked && !cds_json_is(asked, CDS_JSON_OBJECT))
        return refuse(err, "/params/limits", "Limits are an object of numbers.");
    cds_rc rc = limit_of(asked, "wall_ms", cds_config_u64(c, CDS_OPT_RUN_WALL_MS), &wall_ms, err);
    /* Who asks for less wall clock only does not mean to be refused for a default of CPU time. */
    if (rc || (rc = limit_of(asked, "cpu_ms", cpu_ms < wall_ms ? cpu_ms : wall_ms, &cpu_ms, err)) ||
        (rc = limit_of(asked, "memory_bytes", cds_config_u64(c, CDS_OPT_RUN_MEMORY_BYTES), &memory, err)) ||
        (rc = limit_of(asked, "fuel", fuel_default, &fuel, err)))
        return rc;
    if (wall_ms < LIMIT_MS_MIN || wall_ms > LIMIT_MS_MAX)
        return refuse(err, "/params/limits/wall_ms", "The limit of the wall clock must be 100 to 600000 ms.");
    if (cpu_ms < LIMIT_MS_MIN || cpu_ms > LIMIT_MS_MAX)
        return refuse(err, "/params/limits/cpu_ms", "The limit of CPU time must be 100 to 600000 ms.");
    if (memory < memory_min || memory > memory_max)
        return refuse(err, "/params/limits/memory_bytes", "The limit of memory must be 16 MiB to 16 GiB.");
    if (fuel < 1 || fuel > fuel_max)
        return refuse(err, "/params/limits/fuel", "The limit of fuel must be 1 to 1000000000000000 instructions.");
    if (wall_ms < cpu_ms) {
        refuse(err, "/params/limits/wall_ms", "The limit of the wall clock is below that of CPU time, so the latter could never be reached.");
        return cds_err_hint(err, "Ask for at least as much wall clock as CPU time, or leave cpu_ms out.");
    }
    *ret = (struct cds_run_limits){.wall_ms = (uint32_t)wall_ms,
                                   .cpu_ms = (uint32_t)cpu_ms,
                                   .memory_bytes = memory,
                                   .output_bytes = cds_config_u64(c, CDS_OPT_RUN_OUTPUT_BYTES),
                                   .max_tasks = (uint32_t)cds_config_u64(c, CDS_OPT_RUN_TASKS),
                                   .tmp_bytes = TMP_BYTES,
                                   .fuel = fuel};
    return CDS_OK;
}

/* ---- engine and source ---- */
static cds_rc take_engine(struct run_params *p, const cds_json *params, struct cds_err *err)
{
    const char *engine = cds_json_get_str(params, "engine"), *language = cds_json_get_str(params, "language");
    const char *colon = engine ? strchr(engine, ':') : NULL;
    snprintf(p->engine, sizeof(p->engine), "%.*s", engine ? (int)strcspn(engine, ":") : 3, engine ? engine : "run");
    if (colon && language && !cds_streq(colon + 1, language))
        return refuse(err, "/params/language", "The engine names another language already; leave one of the two out.");
    cds_strcpy(p->language, sizeof(p->language), colon ? colon + 1 : language ? language : "");
    if (!p->language[0] && !cds_streq(p->engine, "wasm"))
        return refuse(err, "/params/language", "The parameter language is missing: name python, node, sh, c or cpp.");
    p->may_fall_back = cds_streq(cds_json_get_str(params, "fallback"), "run");
    return CDS_OK;
}

/* The process sandbox has no images, so it cannot stand in for a machine that has one. */
static cds_rc take_image(struct run_params *p, const cds_json *params, struct cds_err *err)
{
    const cds_json *image = cds_json_get(params, "image");
    if (!image)
        return CDS_OK;
    cds_rc rc = image_name_check(cds_json_str(image), "/params/image", err);
    if (rc)
        return rc;
    if (!cds_streq(p->engine, "micro"))
        return refuse(err, "/params/image", "Only microVMs have images: name the engine micro:python, micro:node or micro:sh, or leave image out.");
    if (cds_streq(cds_json_str(image), IMAGE_DEFAULT))
        return CDS_OK;
    if (p->may_fall_back)
        return refuse(err, "/params/fallback", "The process sandbox has no images, so it cannot take a run that names one; leave fallback out.");
    p->image = cds_json_str(image);
    return CDS_OK;
}

static cds_rc decode(struct run_params *p, const cds_json *text, size_t most, const char *pointer, const char **ret, size_t *ret_len,
                     struct cds_err *err)
{
    size_t len = cds_json_str_len(text);
    if (len / 4 * 3 > most)
        return refuse(err, pointer, "This is larger than a run may bring along.");
    unsigned char *bytes = keep(p, malloc(len + 1));
    if (!bytes)
        return cds_fail(err, CDS_EXHAUSTED, __func__, "Out of memory.");
    if (cds_base64_decode(cds_json_str(text), len, bytes, ret_len))
        return refuse(err, pointer, "This is not base64 (RFC 4648, padded).");
    *ret = (const char *)bytes;
    return CDS_OK;
}

static cds_rc take_source(struct run_params *p, const cds_json *params, struct cds_err *err)
{
    const cds_json *file = cds_json_get(params, "path"), *code = cds_json_get(params, "code"), *module = cds_json_get(params, "module");
    bool wasm = cds_streq(p->engine, "wasm");
    if (!!file + !!code + !!module != 1)
        return cds_fail(err, CDS_BAD_PARAM, __func__, "Name one of path, code and module to run.");
    if (!file && wasm != !!module)
        return refuse(err, code ? "/params/code" : "/params/module", "The engine wasm takes a module, the others take code.");
    if (module)
        return decode(p, module, MODULE_MAX, "/params/module", &p->spec.code, &p->spec.code_len, err);
    p->spec.code = cds_json_str(code);
    p->spec.code_len = cds_json_str_len(code);
    if (!file)
        return p->spec.code ? CDS_OK : refuse(err, "/params/code", "The code to run must be text.");
    cds_rc rc = cds_path_parse_below(cds_json_str(file), cds_json_str_len(file), &p->path, err);
    if (rc)
        cds_err_pointer(err, "/params/path");
    p->spec.path = p->path.text;
    return rc;
}

/* ---- arguments, variables, files ---- */
static cds_rc take_args(struct run_params *p, const cds_json *params, struct cds_err *err)
{
    const cds_json *argv = cds_json_get(params, "argv");
    if (cds_json_size(argv) > RUN_ARGS)
        return refuse(err, "/params/argv", "A program gets at most 64 arguments.");
    for (size_t i = 0; i < cds_json_size(argv); i++) {
        const cds_json *arg = cds_json_at(argv, i);
        if (!cds_json_str(arg) || cds_json_str_len(arg) > ARG_MAX_BYTES || strlen(cds_json_str(arg)) != cds_json_str_len(arg))
            return refuse(err, "/params/argv", "An argument is a text of at most 4096 bytes without a NUL.");
        p->args[p->spec.arg_count++] = cds_json_str(arg);
    }
    p->spec.args = p->args;
    return CDS_OK;
}

static bool is_env_name(const char *name)
{
    size_t len = name ? strlen(name) : 0;
    if (len == 0 || len > ENV_NAME_MAX || (name[0] >= '0' && name[0] <= '9'))
        return false;
    return strspn(name, "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789_") == len;
}

static cds_rc take_env(struct run_params *p, const cds_json *params, struct cds_err *err)
{
    const cds_json *env = cds_json_get(params, "env");
    char pointer[POINTER_MAX];
    if (cds_json_size(env) > RUN_ENV)
        return refuse(err, "/params/env", "A program gets at most 64 variables.");
    for (size_t i = 0; i < cds_json_size(env); i++) {
        const cds_json *one = cds_json_at(env, i), *value = cds_json_get(one, "value");
        const char *name = cds_json_get_str(one, "name");
        snprintf(pointer, sizeof(pointer), "/params/env/%zu", i);
        if (!is_env_name(name))
            return refuse(err, pointer, "The name of a variable is 1 to 128 letters, digits and underscores, not beginning with a digit.");
        if (!cds_json_str(value) || cds_json_str_len(value) > ENV_VALUE_MAX || strlen(cds_json_str(value)) != cds_json_str_len(value))
            return refuse(err, pointer, "The value of a variable is a text of at most 32768 bytes without a NUL.");
        size_t size = strlen(name) + cds_json_str_len(value) + 2;
        char *text = keep(p, malloc(size));
        if (!text)
            return cds_fail(err, CDS_EXHAUSTED, __func__, "Out of memory.");
        snprintf(text, size, "%s=%s", name, cds_json_str(value));
        p->env[p->spec.env_count++] = text;
    }
    p->spec.env = p->env;
    return CDS_OK;
}

static cds_rc take_files(struct run_params *p, const cds_json *params, struct cds_err *err)
{
    const cds_json *files = cds_json_get(params, "files");
    char pointer[POINTER_MAX];
    size_t bytes = 0;
    if (cds_json_size(files) > RUN_FILES)
        return refuse(err, "/params/files", "A run brings at most 16 files along.");
    for (size_t i = 0; i < cds_json_size(files); i++) {
        const cds_json *one = cds_json_at(files, i), *name = cds_json_get(one, "path"), *content = cds_json_get(one, "content");
        struct cds_job_file *file = &p->files[i];
        snprintf(pointer, sizeof(pointer), "/params/files/%zu", i);
        cds_rc rc = cds_path_parse_below(cds_json_str(name) ? cds_json_str(name) : "", cds_json_str_len(name), &p->file_paths[i], err);
        if (rc) {
            cds_err_pointer(err, "%s", pointer);
            return rc;
        }
        for (size_t k = 0; k < i; k++)
            if (cds_streq(p->file_paths[k].text, p->file_paths[i].text))
                return refuse(err, pointer, "Two files have the same path.");
        *file = (struct cds_job_file){p->file_paths[i].text, cds_json_str(content), cds_json_str_len(content)};
        if (!file->data)
            return refuse(err, pointer, "A file has a path and a content.");
        if (cds_streq(cds_json_get_str(one, "encoding"), "base64") &&
            (rc = decode(p, content, RUN_FILES_BYTES, pointer, &file->data, &file->len, err)))
            return rc;
        if ((bytes += file->len) > RUN_FILES_BYTES)
            return refuse(err, "/params/files", "All files of a run together hold at most 2 MiB.");
        p->spec.file_count++;
    }
    p->spec.files = p->files;
    return CDS_OK;
}

static cds_rc take_access(struct run_params *p, const cds_json *params, struct cds_err *err)
{
    static const char *const names[] = {[CDS_PROJECT_READ_WRITE] = "read_write", [CDS_PROJECT_READ_ONLY] = "read_only", [CDS_PROJECT_NONE] = "none"};
    const char *asked = cds_json_get_str(params, "project_access");
    size_t at = 0;
    while (asked && at < CDS_ARRAY_LEN(names) && !cds_streq(asked, names[at]))
        at++;
    if (at == CDS_ARRAY_LEN(names))
        return refuse(err, "/params/project_access", "A project is mounted read_write, read_only or not at all (none).");
    p->spec.access = (enum cds_project_access)at;
    if (p->spec.access == CDS_PROJECT_NONE && p->spec.path)
        return refuse(err, "/params/project_access", "A file of the project cannot be run without the project; send its text as code.");
    return CDS_OK;
}

/* ---- typed values ---- */
/* An i64 may come as text, since JSON's numbers end at 2^53 in many languages. */
static bool take_value(const cds_json *one, struct cds_wasm_value *ret)
{
    static const char *const types[] = {[CDS_WASM_I32] = "i32", [CDS_WASM_I64] = "i64", [CDS_WASM_F32] = "f32", [CDS_WASM_F64] = "f64"};
    const char *type = cds_json_get_str(one, "type");
    const cds_json *value = cds_json_get(one, "value");
    const char *text = cds_json_str(value);
    char *end = NULL;
    errno = 0;
    long long whole = text ? strtoll(text, &end, 10) : cds_json_i64(value, 0);
    bool number = cds_json_is(value, CDS_JSON_INTEGER) || cds_json_is(value, CDS_JSON_REAL);
    size_t at = 0;
    while (at < CDS_ARRAY_LEN(types) && !cds_streq(type, types[at]))
        at++;
    ret->type = (enum cds_wasm_type)at;
    switch (at) {
    case CDS_WASM_I32:
        ret->of.i32 = (int32_t)(uint32_t)whole;
        return cds_json_is(value, CDS_JSON_INTEGER) && whole >= INT32_MIN && whole <= (long long)UINT32_MAX;
    case CDS_WASM_I64:
        ret->of.i64 = whole;
        return cds_json_is(value, CDS_JSON_INTEGER) || (text && *text && end && !*end && !errno);
    case CDS_WASM_F32:
        ret->of.f32 = (float)cds_json_num(value, 0);
        return number;
    case CDS_WASM_F64:
        ret->of.f64 = cds_json_num(value, 0);
        return number;
    default:
        return false;
    }
}

static cds_rc take_call(struct run_params *p, const cds_json *params, struct cds_err *err)
{
    const cds_json *values = cds_json_get(params, "values");
    char pointer[POINTER_MAX];
    p->spec.export_name = cds_json_get_str(params, "export");
    if ((p->spec.export_name || values) && !cds_streq(p->engine, "wasm"))
        return refuse(err, p->spec.export_name ? "/params/export" : "/params/values", "Only the engine wasm calls functions of a module.");
    if (values && !p->spec.export_name)
        return refuse(err, "/params/values", "Typed values are for a function: name it with export. A program gets its arguments by argv.");
    if (cds_json_size(values) > RUN_VALUES)
        return refuse(err, "/params/values", "A function gets at most 64 values.");
    for (size_t i = 0; i < cds_json_size(values); i++) {
        snprintf(pointer, sizeof(pointer), "/params/values/%zu", i);
        if (!take_value(cds_json_at(values, i), &p->values[p->spec.value_count++]))
            return refuse(err, pointer, "A value is {\"type\": i32, i64, f32 or f64, \"value\": a number in its range}; an i64 may be text.");
    }
    p->spec.values = p->values;
    return CDS_OK;
}

bool run_params_network(const cds_json *params, struct cds_job_network *ret, char **ret_rules)
{
    const cds_json *rules = cds_json_get(cds_json_get(params, "network"), "rules");
    const char *project = cds_json_get_str(params, "project"), *request_id = cds_json_get_str(params, "request_id");
    if (!cds_json_is(rules, CDS_JSON_ARRAY) || !(*ret_rules = cds_json_dumps(rules, NULL)))
        return false;
    *ret = (struct cds_job_network){.project = project ? project : "", .request_id = request_id ? request_id : "", .rules = *ret_rules};
    return true;
}

cds_rc run_params_read(const cds_json *params, const struct cds_config *config, struct run_params *ret, struct cds_err *reterr)
{
    const cds_json *input = cds_json_get(params, "stdin");
    *ret = (struct run_params){.owned_count = 0};
    cds_rc rc = take_limits(params, config, &ret->spec.limits, reterr);
    if (rc || (rc = take_engine(ret, params, reterr)) || (rc = take_image(ret, params, reterr)) || (rc = take_source(ret, params, reterr)) ||
        (rc = take_args(ret, params, reterr)) || (rc = take_env(ret, params, reterr)) || (rc = take_files(ret, params, reterr)) ||
        (rc = take_access(ret, params, reterr)) || (rc = take_call(ret, params, reterr)))
        return rc;
    ret->spec.language = ret->language;
    ret->spec.stdin_data = cds_json_str(input);
    ret->spec.stdin_len = cds_json_str_len(input);
    ret->spec.project_fd = -1;
    char *rules = NULL;
    if (run_params_network(params, &ret->network, &rules)) {
        ret->owned[ret->owned_count++] = rules;
        ret->spec.network = &ret->network;
    }
    return CDS_OK;
}

void run_params_free(struct run_params *params)
{
    while (params->owned_count)
        free(params->owned[--params->owned_count]);
}
