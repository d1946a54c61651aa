/* sandbox/wasm_priv.h: what the halves of the wasm engine share. Threads: loop thread only. */
#pragma once

#include <sys/stat.h>

#include "sandbox/job.h"
#include "sandbox/wasm.h"
#include "sandbox/wasm_cache.h"

enum {
    WASM_ENGINE_BYTES = 160 << 20, /**< memory of compiler, library and WASI, on top of what the module may have */
    WASM_TASKS = 16                /**< threads the worker needs at least; a module has none of its own */
};

/** From acquire to on_end. */
struct wasm_run {
    struct wasm_run *next, **prev;
    struct wasm_engine *engine;
    struct cds_job_events events;
    void *user;
    struct cds_job *job;
    struct cds_buf order; /**< the request; empty once it was handed over */
    uint8_t key[WASM_DIGEST];
    int request_fd, aot_fd;
    bool leave; /**< aot_fd is for what the worker compiles */
};

struct wasm_engine {
    struct jail_engine jail; /**< first */
    char library[4096], worker[4096];
    struct wasm_cache *cache;
    struct wasm_run *runs;
    struct wasm_run *starting; /**< the one the command hook is called for */
    char aot[12];              /**< what the worker said last about compiled code; valid from verdict to on_end */
    struct stat library_stat;  /**< what build was made from */
    uint8_t build[WASM_DIGEST];
    bool build_known;
};

/** wasm_request.c: the module and all that goes with it, and its key. @return CDS_OK; CDS_DENIED with a rule; ... */
CDS_MUST_USE cds_rc wasm_request_make(struct wasm_engine *engine, const struct cds_job_spec *spec, struct wasm_run *run, struct cds_err *reterr);
/** The descriptors of a worker that is started for this run. */
CDS_MUST_USE cds_rc wasm_request_seal(struct wasm_run *run, struct cds_err *reterr);
/** wasm_verdict.c */
void wasm_verdict(struct jail_engine *base, const char *said, size_t len, struct cds_job_result *result);
