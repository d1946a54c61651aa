/* sandbox/wasm.h: the engine for WebAssembly: a module in cds-wasmworker, the worker in a jail.
 *
 * Two walls: the module has no addresses but its own memory and no calls but those of WASI (boundary "language"), and the process around it is
 * confined like any run. One worker serves one module and is gone with it.
 *
 * Source:  docs/adr/0026-wasm-engine.md, sandbox/wasm/request.h.
 * Threads: loop thread only.
 */
#pragma once

#include "sandbox/host.h"
#include "sandbox/sandbox.h"

struct wasm_cache_counts;

struct wasm_settings {
    const char *library;   /**< libwasmer.so; may not be there (yet); copied */
    const char *worker;    /**< cds-wasmworker; copied */
    const char *cache_dir; /**< for compiled code; NULL: in memory only; copied */
    unsigned pool;         /**< workers kept ready at most; 0: none */
};
/** @param ret owned; free with ops->close. A library that is not there is no failure: acquire refuses with wasm.no_backend until it is. */
CDS_MUST_USE cds_rc cds_wasm_engine_new(struct sandbox_host *host, const struct wasm_settings *settings, struct cds_engine **ret,
                                        struct cds_err *reterr);
/** Workers that wait (tests, benchmark). */
size_t cds_wasm_engine_ready(const struct cds_engine *engine);
/** What the cache of compiled code did so far (tests, benchmark). */
void cds_wasm_engine_counts(const struct cds_engine *engine, struct wasm_cache_counts *ret);
