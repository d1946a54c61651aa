/* sandbox/wasm/worker_run.c: an instance and a call. See worker.h. */
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "lib/base/str.h"
#include "sandbox/wasm/worker.h"

enum { RESULTS_MAX = 16, VALUES_TEXT = 1000, DESCRIPTORS = 1024 };

struct run {
    struct worker *w;
    const struct wasmer_api *api;
    wasi_env_t *wasi;
    wasm_instance_t *instance;
    wasm_exporttype_vec_t types;
    wasm_extern_vec_t exports;
};

static _Noreturn void refuse(struct run *r, const char *rule, const char *why)
{
    struct cds_err err = {0};
    cds_fail(&err, CDS_DENIED, __func__, "%s", why);
    cds_err_rule(&err, rule);
    worker_give_up(r->w, &err);
}

static _Noreturn void fail(struct run *r, const char *what)
{
    struct cds_err err = {0};
    cds_fail(&err, CDS_SYSTEM, __func__, "%s", what);
    cds_err_detail(&err, "%s", worker_last_error(r->w));
    worker_give_up(r->w, &err);
}

/* WASI's fd_close, taken by a module that does nothing but import it: the library has no call of its own that writes out what it holds. */
static const wasm_func_t *take_close(struct run *r)
{
    /* (module (import "wasi_snapshot_preview1" "fd_close" (func (param i32) (result i32)))) */
    static const char closer[] = "\0asm\1\0\0\0\1\6\1\x60\1\x7f\1\x7f\2\x23\1\x16wasi_snapshot_preview1\x08"
                                 "fd_close\0\0";
    const wasm_byte_vec_t bytes = {sizeof(closer) - 1, (char *)closer};
    wasm_extern_vec_t imports = {0, NULL};
    struct worker *w = r->w;
    /* An engine of its own: one that meters takes one module only. */
    wasm_engine_t *engine = r->api->wasm_engine_new_with_config(r->api->wasm_config_new());
    wasm_module_t *module = engine ? r->api->wasm_module_new(r->api->wasm_store_new(engine), &bytes) : NULL;
    if (!module || !r->api->wasi_get_imports(w->store, r->wasi, module, &imports) || imports.size != 1)
        return NULL;
    return r->api->wasm_extern_as_func(imports.data[0]);
}

/* A file of the module is written by a thread of the library; closing it waits for that thread. */
static void close_wasi(struct run *r)
{
    const wasm_func_t *close_one = r->wasi ? take_close(r) : NULL;
    for (int fd = 0; close_one && fd < DESCRIPTORS; fd++) {
        wasm_val_t which = {.kind = WASM_I32, .of = {.i32 = fd}}, got = {.kind = WASM_I32};
        const wasm_val_vec_t in = {1, &which};
        wasm_val_vec_t out = {1, &got};
        r->api->wasm_func_call(close_one, &in, &out);
    }
    r->wasi = NULL;
}

/* A call came back with a trap: the program ended itself, used up its fuel, or did something impossible. */
static _Noreturn void end_by_trap(struct run *r, const wasm_trap_t *trap)
{
    static const char exited[] = "WASI exited with code: ExitCode::";
    wasm_message_t message = {0, NULL};
    char text[256];
    r->api->wasm_trap_message(trap, &message);
    snprintf(text, sizeof(text), "%.*s", message.data ? (int)message.size : 0, message.data ? message.data : "");
    bool fuel = r->instance && r->api->wasmer_metering_points_are_exhausted(r->instance);
    const char *code = strstr(text, exited);
    close_wasi(r);
    if (fuel)
        worker_end(r->w, "fuel", WORKER_TRAP, "", NULL);
    if (code) {
        int number = atoi(code + sizeof(exited) - 1) & 0xff;
        worker_end(r->w, number ? "exit" : "ok", number, "", NULL);
    }
    worker_end(r->w, "trap", WORKER_TRAP, text, NULL);
}

/* ---- instance ---- */
static void open_wasi(struct run *r)
{
    static const struct {
        const char *inside, *outside;
    } folders[] = {{"work", "/work"}, {"tmp", "/tmp"}, {".", "/work"}};
    const struct worker *w = r->w;
    wasi_config_t *config = r->api->wasi_config_new(w->request->flags & WASM_CALL ? "module" : w->name);
    const char *text = w->args;
    for (uint32_t i = 0; i < w->request->arg_count; i++, text += strlen(text) + 1)
        r->api->wasi_config_arg(config, text);
    text = w->env;
    for (uint32_t i = 0; i < w->request->env_count; i++, text += strlen(text) + 1) {
        char name[256];
        const char *equals = strchr(text, '=');
        if (!equals || (size_t)(equals - text) >= sizeof(name))
            continue;
        snprintf(name, sizeof(name), "%.*s", (int)(equals - text), text);
        r->api->wasi_config_env(config, name, equals + 1);
    }
    for (size_t i = 0; i < CDS_ARRAY_LEN(folders); i++)
        if (!r->api->wasi_config_mapdir(config, folders[i].inside, folders[i].outside))
            fail(r, "WASI cannot open the project.");
    r->wasi = r->api->wasi_env_new(w->store, config);
    if (!r->wasi)
        fail(r, "WASI cannot be set up.");
}

static void instantiate(struct run *r)
{
    struct worker *w = r->w;
    wasm_extern_vec_t imports = {0, NULL};
    wasm_trap_t *trap = NULL;
    if (w->facts.wasi) {
        open_wasi(r);
        if (!r->api->wasi_get_imports(w->store, r->wasi, w->code, &imports))
            fail(r, "An import of the module cannot be given.");
    }
    r->instance = r->api->wasm_instance_new(w->store, w->code, &imports, &trap);
    if (!r->instance && trap)
        end_by_trap(r, trap);
    if (!r->instance)
        fail(r, "The module cannot be linked.");
    if (r->wasi && !r->api->wasi_env_initialize_instance(r->wasi, w->store, r->instance))
        fail(r, "WASI does not take the module; it must export a memory named \"memory\".");
    r->api->wasmer_metering_set_remaining_points(r->instance, w->request->fuel);
    r->api->wasm_module_exports(w->code, &r->types);
    r->api->wasm_instance_exports(r->instance, &r->exports);
    if (r->types.size != r->exports.size)
        fail(r, "The exports of the module cannot be told apart.");
}

/* The function of that name; NULL: there is none. */
static const wasm_func_t *find(struct run *r, const char *name)
{
    for (size_t i = 0; i < r->types.size; i++) {
        const wasm_name_t *found = r->api->wasm_exporttype_name(r->types.data[i]);
        if (found->size == strlen(name) && !memcmp(found->data, name, found->size))
            return r->api->wasm_extern_as_func(r->exports.data[i]);
    }
    return NULL;
}

static void call_without_values(struct run *r, const char *name)
{
    wasm_val_vec_t none = {0, NULL}, results = {0, NULL};
    const wasm_func_t *function = find(r, name);
    if (!function)
        return;
    wasm_functype_t *type = r->api->wasm_func_type(function);
    if (r->api->wasm_functype_params(type)->size || r->api->wasm_functype_results(type)->size)
        refuse(r, "wasm.export", "The function that starts the module takes or returns values, which it must not.");
    const wasm_trap_t *trap = r->api->wasm_func_call(function, &none, &results);
    if (trap)
        end_by_trap(r, trap);
}

/* ---- values ---- */
static const char *const type_names[] = {"i32", "i64", "f32", "f64"};

static void take_values(struct run *r, const wasm_valtype_vec_t *params, wasm_val_t *to)
{
    const struct worker *w = r->w;
    char why[200];
    if (params->size != w->request->value_count) {
        snprintf(why, sizeof(why), "The function takes %zu values and got %u.", params->size, w->request->value_count);
        refuse(r, "wasm.values", why);
    }
    for (size_t i = 0; i < params->size; i++) {
        wasm_valkind_t kind = r->api->wasm_valtype_kind(params->data[i]);
        const struct wasm_wire_value *value = &w->values[i];
        if (kind > WASM_F64 || kind != value->type) {
            snprintf(why, sizeof(why), "Value %zu of the function must be of type %s, and %s was given.", i + 1,
                     kind > WASM_F64 ? "reference, which cannot be given" : type_names[kind], type_names[value->type & 3]);
            refuse(r, "wasm.values", why);
        }
        to[i] = (wasm_val_t){.kind = kind};
        memcpy(&to[i].of, &value->bits, sizeof(value->bits));
    }
}

/* JSON has no NaN and no infinities, and its numbers are doubles: those and large i64 go as text. */
static int put_real(char *out, size_t size, const char *type, double value, int digits)
{
    if (isnan(value))
        return snprintf(out, size, "{\"type\":\"%s\",\"value\":\"NaN\"}", type);
    if (isinf(value))
        return snprintf(out, size, "{\"type\":\"%s\",\"value\":\"%sInfinity\"}", type, value < 0 ? "-" : "");
    return snprintf(out, size, "{\"type\":\"%s\",\"value\":%.*g}", type, digits, value);
}

static int put_value(char *out, size_t size, const wasm_val_t *value)
{
    const int64_t exact = (int64_t)1 << 53;
    switch (value->kind) {
    case WASM_I32:
        return snprintf(out, size, "{\"type\":\"i32\",\"value\":%d}", (int)value->of.i32);
    case WASM_I64:
        return snprintf(out, size,
                        value->of.i64 > exact || value->of.i64 < -exact ? "{\"type\":\"i64\",\"value\":\"%lld\"}"
                                                                        : "{\"type\":\"i64\",\"value\":%lld}",
                        (long long)value->of.i64);
    case WASM_F32:
        return put_real(out, size, "f32", (double)value->of.f32, 9);
    default:
        return put_real(out, size, "f64", value->of.f64, 17);
    }
}

static void call_export(struct run *r)
{
    struct worker *w = r->w;
    wasm_val_t given[64], got[RESULTS_MAX];
    char values[VALUES_TEXT] = "[";
    size_t at = 1;
    const wasm_func_t *function = find(r, w->name);
    if (!function)
        refuse(r, "wasm.export", "The module exports no function of that name.");
    wasm_functype_t *type = r->api->wasm_func_type(function);
    const wasm_valtype_vec_t *params = r->api->wasm_functype_params(type), *results = r->api->wasm_functype_results(type);
    if (params->size > CDS_ARRAY_LEN(given) || results->size > RESULTS_MAX)
        refuse(r, "wasm.values", "The function takes more than 64 or returns more than 16 values.");
    for (size_t i = 0; i < results->size; i++)
        if (r->api->wasm_valtype_kind(results->data[i]) > WASM_F64)
            refuse(r, "wasm.values", "The function returns a reference, which has no meaning outside of the module.");
    take_values(r, params, given);
    const wasm_val_vec_t in = {params->size, given};
    wasm_val_vec_t out = {results->size, got};
    const wasm_trap_t *trap = r->api->wasm_func_call(function, &in, &out);
    if (trap)
        end_by_trap(r, trap);
    for (size_t i = 0; i < results->size && at < sizeof(values) - 64; i++) {
        at += (size_t)snprintf(values + at, sizeof(values) - at, i ? "," : "");
        at += (size_t)put_value(values + at, sizeof(values) - at, &got[i]);
    }
    snprintf(values + at, sizeof(values) - at, "]");
    close_wasi(r);
    worker_end(w, "ok", 0, "", values);
}

_Noreturn void worker_run(struct worker *w)
{
    struct run r = {.w = w, .api = &w->wasmer};
    bool call = w->request->flags & WASM_CALL;
    worker_step("run");
    instantiate(&r);
    if (!call && !find(&r, "_start"))
        refuse(&r, "wasm.export", "The module has no _start, so it is no program; name one of its functions with export.");
    call_without_values(&r, WASM_START_EXPORT);
    if (call) {
        call_without_values(&r, "_initialize"); /* of a library for WASI */
        call_export(&r);
    }
    call_without_values(&r, "_start");
    close_wasi(&r);
    worker_end(w, "ok", 0, "", NULL);
}
