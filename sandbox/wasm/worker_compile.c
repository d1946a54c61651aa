/* sandbox/wasm/worker_compile.c: from the bytes of a module to code. See worker.h. */
#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

#include "lib/base/cleanup.h"
#include "lib/base/str.h"
#include "sandbox/wasm/worker.h"

enum { ALIGNED = 4096 };

/* One for each instruction: what fuel counts. The worker's own hash is part of the key of kept code, so a change here makes new keys. */
static uint64_t cost(wasmer_parser_operator_t instruction)
{
    return 1;
}

cds_rc worker_load(struct worker *w, struct cds_err *reterr)
{
    const struct wasmer_api *api = &w->wasmer;
    const char *missing = NULL;
    /* Threads count against the tasks of the job, and one module keeps one processor busy at most. */
    if (setenv("RAYON_NUM_THREADS", "1", 1) || setenv("TOKIO_WORKER_THREADS", "1", 1))
        return cds_fail_errno(reterr, errno, __func__, "No room for a variable.");
    if (!wasmer_api_load(WORKER_LIBRARY, &w->wasmer, &missing))
        return cds_fail(reterr, CDS_SYSTEM, __func__, "libwasmer.so cannot be used: %.200s", missing);
    wasm_config_t *config = api->wasm_config_new();
    wasmer_features_t *features = api->wasmer_features_new();
    api->wasmer_features_threads(features, false);
    api->wasm_config_set_features(config, features);
    api->wasm_config_set_backend(config, CRANELIFT);
    api->wasm_config_push_middleware(config, api->wasmer_metering_as_middleware(api->wasmer_metering_new(0, cost)));
    wasm_engine_t *engine = api->wasm_engine_new_with_config(config);
    w->store = engine ? api->wasm_store_new(engine) : NULL;
    return w->store ? CDS_OK : cds_fail(reterr, CDS_SYSTEM, __func__, "libwasmer gives no engine: %s", worker_last_error(w));
}

/* Code that was compiled before. The broker has vouched for it; the library looks at its head once more. */
static bool take_compiled(struct worker *w)
{
    const size_t len = w->request->aot_bytes;
    void *data = len ? aligned_alloc(ALIGNED, (len + ALIGNED - 1) / ALIGNED * ALIGNED) : NULL;
    if (!data)
        return false;
    memcpy(data, w->module + w->request->module_bytes, len);
    const wasm_byte_vec_t bytes = {len, data};
    w->code = w->wasmer.wasm_module_deserialize(w->store, &bytes);
    free(data);
    return w->code != NULL;
}

/* Before any of the code runs: what is written and sealed now is the compiler's work, whatever the module does later. */
static void leave_compiled(struct worker *w)
{
    wasm_byte_vec_t bytes = {0, NULL};
    w->wasmer.wasm_module_serialize(w->code, &bytes);
    size_t at = 0;
    if (bytes.size == 0 || bytes.size > WASM_AOT_MAX)
        return;
    while (at < bytes.size) {
        ssize_t n = write(WASM_FD_AOT, bytes.data + at, bytes.size - at);
        if (n <= 0 && errno != EINTR)
            return;
        at += n > 0 ? (size_t)n : 0;
    }
    if (!fcntl(WASM_FD_AOT, F_ADD_SEALS, F_SEAL_SEAL | F_SEAL_SHRINK | F_SEAL_GROW | F_SEAL_WRITE))
        w->aot = "made";
}

static cds_rc refuse_invalid(struct worker *w, struct cds_err *reterr)
{
    const char *said = worker_last_error(w);
    bool threads = strstr(said, "threads") || strstr(said, "atomic");
    cds_fail(reterr, CDS_DENIED, __func__, "The module was refused: %s (%.150s).",
             threads ? "it uses instructions for threads; modules run in one thread here" : "the compiler does not take it", said);
    cds_err_rule(reterr, threads ? "wasm.threads" : "wasm.malformed");
    return CDS_DENIED;
}

cds_rc worker_compile(struct worker *w, struct cds_err *reterr)
{
    const size_t len = w->request->module_bytes;
    CDS_CLEANUP(cds_buf_free) struct cds_buf copy = cds_buf_init(len + WASM_PREPARE_EXTRA);
    cds_rc rc = wasm_module_check(w->module, len, w->request->pages_max, &w->facts, reterr);
    if (rc)
        return rc;
    if (w->request->flags & WASM_AOT_USE) {
        w->aot = take_compiled(w) ? "used" : "refused";
        if (w->code)
            return CDS_OK;
    }
    worker_step("compile");
    if ((rc = wasm_module_prepare(w->module, len, &w->facts, w->request->pages_max, &copy, reterr)))
        return rc;
    const wasm_byte_vec_t bytes = {copy.len, copy.data};
    w->code = w->wasmer.wasm_module_new(w->store, &bytes);
    if (!w->code)
        return refuse_invalid(w, reterr);
    if (w->request->flags & WASM_AOT_LEAVE)
        leave_compiled(w);
    return CDS_OK;
}
