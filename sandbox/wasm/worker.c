/* sandbox/wasm/worker.c: cds-wasmworker: the request, and the order of things. See worker.h. */
#include "sandbox/wasm/worker.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <unistd.h>

/* Walks over count texts that lie behind each other; NULL: they do not fit. */
static const char *behind(const char *text, const char *end, uint32_t count)
{
    while (text && count--) {
        const char *nul = memchr(text, '\0', (size_t)(end - text));
        text = nul ? nul + 1 : NULL;
    }
    return text;
}

static bool lay_out(struct worker *w, const void *data, size_t size)
{
    const struct wasm_request *q = data;
    if (size < sizeof(*q) || q->magic != WASM_REQUEST_MAGIC || q->value_count > 64 || q->arg_count > 1024 || q->env_count > 1024 ||
        q->module_bytes > WASM_MODULE_MAX + 1 ||
        size != sizeof(*q) + q->value_count * sizeof(struct wasm_wire_value) + q->text_bytes + (size_t)q->module_bytes)
        return false;
    w->request = q;
    w->values = (const struct wasm_wire_value *)(q + 1);
    w->name = (const char *)(w->values + q->value_count);
    const char *end = w->name + q->text_bytes;
    w->args = behind(w->name, end, 1);
    w->env = behind(w->args, end, q->arg_count);
    w->module = (const uint8_t *)end;
    return behind(w->env, end, q->env_count) == end;
}

cds_rc worker_request(struct worker *w, struct cds_err *reterr)
{
    struct stat st;
    if (fstat(WASM_FD_REQUEST, &st) || st.st_size <= 0)
        return cds_fail_errno(reterr, errno, __func__, "There is no request; this program is started by cds-sandboxd.");
    void *data = mmap(NULL, (size_t)st.st_size, PROT_READ, MAP_PRIVATE, WASM_FD_REQUEST, 0);
    if (data == MAP_FAILED)
        return cds_fail_errno(reterr, errno, __func__, "The request cannot be read.");
    return lay_out(w, data, (size_t)st.st_size) ? CDS_OK : cds_fail(reterr, CDS_SYSTEM, __func__, "The request is not whole.");
}

int main(void)
{
    struct worker w = {.aot = "none"};
    struct cds_err err = {0};
    const char *missing = NULL;
    cds_rc rc = worker_request(&w, &err);
    /* Threads count against the tasks of the job, and one module keeps one processor busy at most. */
    if (!rc && (setenv("RAYON_NUM_THREADS", "1", 1) || setenv("TOKIO_WORKER_THREADS", "1", 1)))
        rc = cds_fail_errno(&err, errno, __func__, "No room for a variable.");
    if (!rc && !wasmer_api_load(WORKER_LIBRARY, &w.wasmer, &missing))
        rc = cds_fail(&err, CDS_SYSTEM, __func__, "libwasmer.so cannot be used: %.200s", missing);
    if (!rc)
        rc = worker_compile(&w, &err);
    if (rc)
        worker_give_up(&w, &err);
    worker_run(&w);
}
