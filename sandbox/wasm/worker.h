/* sandbox/wasm/worker.h: cds-wasmworker: one module, once, inside the jail.
 *
 * Order:   request.c (read and check the request) → module.c (look at the module) → compile.c (compile, or take compiled code) → call.c (run).
 * Reports: descriptor 4 gets lines of JSON; the last one counts. {"step":"compile"} and {"step":"run"} say how far it came; the end is
 *          {"end":"ok"|"exit"|"trap"|"fuel"|"refused"|"failed","code":n,"rule":...,"reason":...,"values":[{type,value}],"aot":...}.
 * Exit:    the code of the module's own proc_exit; 134 for a trap, as a shell says for SIGABRT; 125 when it did not come to run.
 * Threads: the module runs on the main thread; the compiler and WASI of the library have threads of their own.
 */
#pragma once

#include "lib/base/err.h"
#include "sandbox/wasm/module.h"
#include "sandbox/wasm/request.h"
#include "sandbox/wasm/wasmer_api.h"

enum { WORKER_NOT_RUN = 125, WORKER_TRAP = 134 };
#define WORKER_LIBRARY "/opt/libwasmer.so"

struct worker {
    const struct wasm_request *request;
    const struct wasm_wire_value *values;
    const char *name;         /**< export to call, or name of the program */
    const char *args, *env;   /**< each text with its NUL, one behind the other */
    const uint8_t *module;    /**< bytes as they came; compiled code behind them */
    struct wasm_facts facts;  /**< of the module */
    struct wasmer_api wasmer; /**< the library */
    wasm_store_t *store;
    wasm_module_t *code;
    const char *aot; /**< "made", "used", "refused", "none" */
};

/** Maps descriptor 5 and sets the pointers into it. */
CDS_MUST_USE cds_rc worker_request(struct worker *w, struct cds_err *reterr);
/** Loads the library and makes w->store: what can be done before the request is there. */
CDS_MUST_USE cds_rc worker_load(struct worker *w, struct cds_err *reterr);
/** From bytes to w->code. @return CDS_OK; CDS_DENIED with a rule; CDS_SYSTEM */
CDS_MUST_USE cds_rc worker_compile(struct worker *w, struct cds_err *reterr);
/** Runs it; reports and ends the process. */
_Noreturn void worker_run(struct worker *w);

/** What the library said last, in one line; thread storage. */
const char *worker_last_error(const struct worker *w);
/** Text that is left off at a whole character, quoted as JSON. */
void worker_quote(const char *text, char *out, size_t size);
void worker_step(const char *step);
/** {"end":"failed"} or {"end":"refused"} by err->code, and exit 125. */
_Noreturn void worker_give_up(const struct worker *w, const struct cds_err *err);
/** {"end": how, ...} and exit with code. values: JSON array, or NULL. */
_Noreturn void worker_end(const struct worker *w, const char *how, int code, const char *reason, const char *values);
