/* sandbox/wasm/worker.c: cds-wasmworker: the request, and the order of things. See worker.h. */
#include "sandbox/wasm/worker.h"

#include <errno.h>
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
        size != sizeof(*q) + q->value_count * sizeof(struct wasm_wire_value) + q->text_bytes + (size_t)q->module_bytes + q->aot_bytes)
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

/* Started ahead: the request comes later, and one byte says so. */
static void wait_for_request(void)
{
    char mark;
    if (read(WASM_FD_AOT, &mark, 1) != 1)
        _exit(WORKER_NOT_RUN); /* it will never come */
    close(WASM_FD_AOT);
}

int main(int argc, char **argv)
{
    struct worker w = {.aot = "none"};
    struct cds_err err = {0};
    bool ahead = argc > 1 && !strcmp(argv[1], "wait");
    cds_rc rc = worker_load(&w, &err);
    if (ahead)
        wait_for_request();
    if (!rc)
        rc = worker_request(&w, &err);
    if (!rc)
        rc = worker_compile(&w, &err);
    if (rc)
        worker_give_up(&w, &err);
    worker_run(&w);
}
