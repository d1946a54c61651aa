/* sandbox/wasm/wasmer_api.h: the part of Wasmer's C API that the worker uses, found at run time in libwasmer.so.
 *
 * The library is optional, so nothing here needs its headers: the types are declared as wasm.h and wasmer.h declare them, and a test compares
 * both where the headers are there (CDS_WASMER_HEADERS).
 *
 * Source:  wasm.h of crate wasmer-c-api 7.4.2 (the standard wasm-c-api), wasmer.h generated from it.
 * Threads: as in wasm-c-api: a store belongs to one thread.
 */
#pragma once

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#ifdef CDS_WASMER_HEADERS
#include <wasmer.h>
#else
typedef struct wasm_config_t wasm_config_t;
typedef struct wasm_engine_t wasm_engine_t;
typedef struct wasm_store_t wasm_store_t;
typedef struct wasm_module_t wasm_module_t;
typedef struct wasm_instance_t wasm_instance_t;
typedef struct wasm_extern_t wasm_extern_t;
typedef struct wasm_func_t wasm_func_t;
typedef struct wasm_functype_t wasm_functype_t;
typedef struct wasm_valtype_t wasm_valtype_t;
typedef struct wasm_exporttype_t wasm_exporttype_t;
typedef struct wasm_trap_t wasm_trap_t;
typedef struct wasm_ref_t wasm_ref_t;
typedef struct wasmer_metering_t wasmer_metering_t;
typedef struct wasmer_middleware_t wasmer_middleware_t;
typedef struct wasmer_features_t wasmer_features_t;
typedef struct wasi_config_t wasi_config_t;
typedef struct wasi_env_t wasi_env_t;
typedef uint8_t wasm_valkind_t;
enum wasm_valkind_enum { WASM_I32, WASM_I64, WASM_F32, WASM_F64 };
typedef struct wasm_val_t {
    wasm_valkind_t kind;
    union {
        int32_t i32;
        int64_t i64;
        float f32;
        double f64;
        wasm_ref_t *ref;
    } of;
} wasm_val_t;
typedef struct wasm_byte_vec_t {
    size_t size;
    char *data;
} wasm_byte_vec_t;
typedef wasm_byte_vec_t wasm_name_t;
typedef wasm_byte_vec_t wasm_message_t;
typedef struct wasm_val_vec_t {
    size_t size;
    wasm_val_t *data;
} wasm_val_vec_t;
typedef struct wasm_extern_vec_t {
    size_t size;
    wasm_extern_t **data;
} wasm_extern_vec_t;
typedef struct wasm_valtype_vec_t {
    size_t size;
    wasm_valtype_t **data;
} wasm_valtype_vec_t;
typedef struct wasm_exporttype_vec_t {
    size_t size;
    wasm_exporttype_t **data;
} wasm_exporttype_vec_t;
typedef enum wasmer_backend_t { CRANELIFT, LLVM, SINGLEPASS } wasmer_backend_t;
typedef int wasmer_parser_operator_t; /* an enumeration of operators; only counted here */
#endif

/** X(result, name, parameters): every symbol that is used, once. */
#define WASMER_SYMBOLS(X)                                                                                                                            \
    X(const char *, wasmer_version, (void))                                                                                                          \
    X(int, wasmer_last_error_length, (void))                                                                                                         \
    X(int, wasmer_last_error_message, (char *, int))                                                                                                 \
    X(wasm_config_t *, wasm_config_new, (void))                                                                                                      \
    X(void, wasm_config_set_backend, (wasm_config_t *, wasmer_backend_t))                                                                            \
    X(void, wasm_config_set_features, (wasm_config_t *, wasmer_features_t *))                                                                        \
    X(wasmer_features_t *, wasmer_features_new, (void))                                                                                              \
    X(bool, wasmer_features_threads, (wasmer_features_t *, bool))                                                                                    \
    X(wasmer_metering_t *, wasmer_metering_new, (uint64_t, uint64_t(*)(wasmer_parser_operator_t)))                                                   \
    X(wasmer_middleware_t *, wasmer_metering_as_middleware, (wasmer_metering_t *))                                                                   \
    X(void, wasm_config_push_middleware, (wasm_config_t *, wasmer_middleware_t *))                                                                   \
    X(bool, wasmer_metering_points_are_exhausted, (wasm_instance_t *))                                                                               \
    X(void, wasmer_metering_set_remaining_points, (wasm_instance_t *, uint64_t))                                                                     \
    X(wasm_engine_t *, wasm_engine_new_with_config, (wasm_config_t *))                                                                               \
    X(wasm_store_t *, wasm_store_new, (wasm_engine_t *))                                                                                             \
    X(wasm_module_t *, wasm_module_new, (wasm_store_t *, const wasm_byte_vec_t *))                                                                   \
    X(wasm_module_t *, wasm_module_deserialize, (wasm_store_t *, const wasm_byte_vec_t *))                                                           \
    X(void, wasm_module_serialize, (const wasm_module_t *, wasm_byte_vec_t *))                                                                       \
    X(void, wasm_module_exports, (const wasm_module_t *, wasm_exporttype_vec_t *))                                                                   \
    X(const wasm_name_t *, wasm_exporttype_name, (const wasm_exporttype_t *))                                                                        \
    X(wasm_instance_t *, wasm_instance_new, (wasm_store_t *, const wasm_module_t *, const wasm_extern_vec_t *, wasm_trap_t **))                      \
    X(void, wasm_instance_exports, (const wasm_instance_t *, wasm_extern_vec_t *))                                                                   \
    X(wasm_func_t *, wasm_extern_as_func, (wasm_extern_t *))                                                                                         \
    X(wasm_functype_t *, wasm_func_type, (const wasm_func_t *))                                                                                      \
    X(const wasm_valtype_vec_t *, wasm_functype_params, (const wasm_functype_t *))                                                                   \
    X(const wasm_valtype_vec_t *, wasm_functype_results, (const wasm_functype_t *))                                                                  \
    X(wasm_valkind_t, wasm_valtype_kind, (const wasm_valtype_t *))                                                                                   \
    X(wasm_trap_t *, wasm_func_call, (const wasm_func_t *, const wasm_val_vec_t *, wasm_val_vec_t *))                                                \
    X(void, wasm_trap_message, (const wasm_trap_t *, wasm_message_t *))                                                                              \
    X(wasi_config_t *, wasi_config_new, (const char *))                                                                                              \
    X(void, wasi_config_arg, (wasi_config_t *, const char *))                                                                                        \
    X(void, wasi_config_env, (wasi_config_t *, const char *, const char *))                                                                          \
    X(bool, wasi_config_mapdir, (wasi_config_t *, const char *, const char *))                                                                       \
    X(wasi_env_t *, wasi_env_new, (wasm_store_t *, wasi_config_t *))                                                                                 \
    X(bool, wasi_get_imports, (const wasm_store_t *, wasi_env_t *, const wasm_module_t *, wasm_extern_vec_t *))                                      \
    X(bool, wasi_env_initialize_instance, (wasi_env_t *, wasm_store_t *, wasm_instance_t *))

/** The loaded library: wasmer.wasm_store_new(...) and so on. */
struct wasmer_api {
#define WASMER_MEMBER(result, name, parameters) result(*name) parameters;
    WASMER_SYMBOLS(WASMER_MEMBER)
#undef WASMER_MEMBER
};

/**
 * Loads the library for the rest of the process.
 * @param ret_missing  set on failure: what the loader said, or the name of the first symbol that is not there; static or thread storage
 * @return false: not usable
 */
bool wasmer_api_load(const char *path, struct wasmer_api *ret, const char **ret_missing);
