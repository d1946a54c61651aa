/* sandbox/wasm_request.c: from a specification to the request of a worker, and to the key of its compiled code. See wasm/request.h. */
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <unistd.h>

#include "lib/base/buf.h"
#include "lib/base/cleanup.h"
#include "lib/base/fd.h"
#include "lib/base/str.h"
#include "sandbox/confine/beneath.h"
#include "sandbox/wasm/module.h"
#include "sandbox/wasm/request.h"
#include "sandbox/wasm_priv.h"

enum { TEXT_MAX = 4 << 20, CPU_TEXT = 16384, ORDER_MAX = TEXT_MAX + WASM_MODULE_MAX + WASM_AOT_MAX + (1 << 16) };

static cds_rc refuse(struct cds_err *reterr, const char *rule, const char *why, const char *path)
{
    cds_fail(reterr, CDS_DENIED, "wasm_request_make", "%.200s cannot be run: %s", path, why);
    cds_err_rule(reterr, rule);
    return CDS_DENIED;
}

/* The broker reads it once and hands over what it has read: what is hashed is what is compiled, whoever writes to the file meanwhile. */
static cds_rc read_module(const struct wasm_engine *engine, const struct cds_job_spec *spec, struct cds_buf *to, struct cds_err *reterr)
{
    CDS_CLEANUP(cds_close_fd) int fd = -1;
    struct stat st;
    cds_rc rc = cds_fs_identity_enter(&engine->jail.host->who, reterr);
    if (rc)
        return rc;
    /* O_NONBLOCK: a pipe without a writer would hold us. */
    rc = cds_beneath_open(spec->project_fd, spec->path, strlen(spec->path), O_RDONLY | O_NONBLOCK, &fd, reterr);
    cds_fs_identity_leave(&engine->jail.host->who);
    if (rc)
        return rc;
    if (fstat(fd, &st))
        return cds_fail_errno(reterr, errno, __func__, "%.200s cannot be looked at.", spec->path);
    if (!S_ISREG(st.st_mode))
        return refuse(reterr, "fs.special", "it is not a file.", spec->path);
    if (st.st_nlink > 1)
        return refuse(reterr, "fs.hardlink", "it has a second name (hard link), which may lie outside of the project.", spec->path);
    if (st.st_size > WASM_MODULE_MAX)
        return refuse(reterr, "wasm.too_big", "a module has at most 16 MiB.", spec->path);
    for (;;) {
        char *room = cds_buf_reserve(to, 1 << 16);
        if (!room)
            return to->len + (1 << 16) > to->ceiling ? refuse(reterr, "wasm.too_big", "a module has at most 16 MiB.", spec->path)
                                                     : cds_fail(reterr, CDS_EXHAUSTED, __func__, "Out of memory.");
        ssize_t n = read(fd, room, 1 << 16);
        if (n < 0 && errno == EINTR)
            continue;
        if (n < 0)
            return cds_fail_errno(reterr, errno, __func__, "%.200s cannot be read.", spec->path);
        if (n == 0)
            return CDS_OK;
        cds_buf_commit(to, (size_t)n);
    }
}

/* ---- key ---- */
/* Features of the processor: code is made for them. */
static size_t cpu_features(char *to, size_t size)
{
    CDS_CLEANUP(cds_close_file) FILE *f = fopen("/proc/cpuinfo", "re");
    while (f && fgets(to, (int)size, f))
        if (cds_starts_with(to, "flags") || cds_starts_with(to, "Features"))
            return strlen(to);
    return 0;
}

/* Library, worker and processor; again when the library on disk is another. */
static cds_rc know_build(struct wasm_engine *engine, struct cds_err *reterr)
{
    uint8_t library[WASM_DIGEST], worker[WASM_DIGEST];
    char cpu[CPU_TEXT];
    struct stat st;
    if (stat(engine->library, &st))
        return cds_fail_errno(reterr, errno, __func__, "libwasmer.so cannot be looked at.");
    const struct stat *before = &engine->library_stat;
    if (engine->build_known && st.st_dev == before->st_dev && st.st_ino == before->st_ino && st.st_size == before->st_size &&
        st.st_mtim.tv_sec == before->st_mtim.tv_sec && st.st_mtim.tv_nsec == before->st_mtim.tv_nsec)
        return CDS_OK;
    if (!wasm_sha256_file(engine->library, library) || !wasm_sha256_file(engine->worker, worker))
        return cds_fail(reterr, CDS_SYSTEM, __func__, "libwasmer.so or cds-wasmworker cannot be read.");
    const struct wasm_part parts[] = {{library, WASM_DIGEST}, {worker, WASM_DIGEST}, {cpu, cpu_features(cpu, sizeof(cpu))}};
    wasm_sha256(parts, CDS_ARRAY_LEN(parts), engine->build);
    engine->library_stat = st;
    engine->build_known = true;
    return CDS_OK;
}

static void make_key(const struct wasm_engine *engine, const void *module, size_t len, uint32_t pages, uint8_t ret[static WASM_DIGEST])
{
    uint8_t digest[WASM_DIGEST];
    const uint8_t size[] = {(uint8_t)pages, (uint8_t)(pages >> 8), (uint8_t)(pages >> 16), (uint8_t)(pages >> 24)};
    wasm_sha256(&(struct wasm_part){module, len}, 1, digest);
    const struct wasm_part parts[] = {{digest, WASM_DIGEST}, {engine->build, WASM_DIGEST}, {size, sizeof(size)}};
    wasm_sha256(parts, CDS_ARRAY_LEN(parts), ret);
}

/* ---- request ---- */
static void add_text(struct cds_buf *to, const char *text)
{
    cds_buf_add(to, text, strlen(text) + 1);
}

static void add_values(struct cds_buf *to, const struct cds_job_spec *spec)
{
    for (size_t i = 0; i < spec->value_count; i++) {
        const struct cds_wasm_value *v = &spec->values[i];
        struct wasm_wire_value wire = {.type = v->type};
        if (v->type == CDS_WASM_I32)
            wire.bits = (uint32_t)v->of.i32;
        else if (v->type == CDS_WASM_I64)
            wire.bits = (uint64_t)v->of.i64;
        else if (v->type == CDS_WASM_F32)
            memcpy(&wire.bits, &v->of.f32, sizeof(v->of.f32));
        else
            memcpy(&wire.bits, &v->of.f64, sizeof(v->of.f64));
        cds_buf_add(to, &wire, sizeof(wire));
    }
}

cds_rc wasm_request_seal(struct wasm_run *run, struct cds_err *reterr)
{
    CDS_CLEANUP(cds_close_fd) int fd = memfd_create("request", MFD_CLOEXEC | MFD_ALLOW_SEALING);
    if (fd < 0 || cds_write_all(fd, run->order.data, run->order.len, 0, NULL) ||
        fcntl(fd, F_ADD_SEALS, F_SEAL_SEAL | F_SEAL_SHRINK | F_SEAL_GROW | F_SEAL_WRITE))
        return cds_fail_errno(reterr, errno, __func__, "No memory for the module.");
    run->request_fd = cds_steal_fd(&fd);
    if (run->aot_fd < 0)
        run->aot_fd = memfd_create("compiled", MFD_CLOEXEC | MFD_ALLOW_SEALING);
    return run->aot_fd < 0 ? cds_fail_errno(reterr, errno, __func__, "No descriptor for a run.") : CDS_OK;
}

/* Kept code behind all the rest; what cannot be read is compiled. */
static void add_kept(struct cds_buf *to, int kept, struct wasm_request *head)
{
    struct stat st;
    char *room = kept >= 0 && !fstat(kept, &st) && st.st_size <= WASM_AOT_MAX ? cds_buf_reserve(to, (size_t)st.st_size) : NULL;
    if (!room || pread(kept, room, (size_t)st.st_size, 0) != st.st_size)
        return;
    cds_buf_commit(to, (size_t)st.st_size);
    head->aot_bytes = (uint32_t)st.st_size;
}

static cds_rc write_request(const struct cds_job_spec *spec, struct wasm_request *head, const void *module, size_t len, int kept,
                            struct wasm_run *run, struct cds_err *reterr)
{
    CDS_CLEANUP(cds_buf_free) struct cds_buf texts = cds_buf_init(TEXT_MAX);
    run->order = cds_buf_init((size_t)ORDER_MAX);
    add_text(&texts, spec->export_name ? spec->export_name : spec->path ? spec->path : "module.wasm");
    for (size_t i = 0; i < spec->arg_count; i++)
        add_text(&texts, spec->args[i]);
    for (size_t i = 0; i < spec->env_count; i++)
        add_text(&texts, spec->env[i]);
    head->text_bytes = (uint32_t)texts.len;
    cds_buf_add(&run->order, head, sizeof(*head));
    add_values(&run->order, spec);
    cds_buf_add(&run->order, texts.data, texts.len);
    cds_buf_add(&run->order, module, len);
    if (texts.failed || run->order.failed)
        return cds_fail(reterr, CDS_BAD_PARAM, __func__, "Arguments, variables or values of the module are more than it can be given.");
    add_kept(&run->order, kept, head);
    run->leave = head->aot_bytes == 0;
    head->flags |= run->leave ? WASM_AOT_LEAVE : WASM_AOT_USE;
    memcpy(run->order.data, head, sizeof(*head));
    return CDS_OK;
}

cds_rc wasm_request_make(struct wasm_engine *engine, const struct cds_job_spec *spec, struct wasm_run *run, struct cds_err *reterr)
{
    CDS_CLEANUP(cds_buf_free) struct cds_buf file = cds_buf_init(WASM_MODULE_MAX + (1 << 17));
    cds_rc rc = spec->path ? read_module(engine, spec, &file, reterr) : CDS_OK;
    if (rc || (rc = know_build(engine, reterr)))
        return rc;
    const void *module = spec->path ? (file.data ? file.data : "") : spec->code;
    size_t len = spec->path ? file.len : spec->code_len;
    if (len > WASM_MODULE_MAX)
        return refuse(reterr, "wasm.too_big", "a module has at most 16 MiB.", spec->path ? spec->path : "The module");
    uint64_t pages = spec->limits.memory_bytes / WASM_PAGE;
    struct wasm_request head = {.magic = WASM_REQUEST_MAGIC,
                                .flags = spec->export_name ? WASM_CALL : 0,
                                .pages_max = pages < WASM_PAGES_MAX ? (uint32_t)pages : WASM_PAGES_MAX,
                                .value_count = (uint32_t)spec->value_count,
                                .arg_count = (uint32_t)spec->arg_count,
                                .env_count = (uint32_t)spec->env_count,
                                .module_bytes = (uint32_t)len,
                                .fuel = spec->limits.fuel};
    make_key(engine, module, len, head.pages_max, run->key);
    return write_request(spec, &head, module, len, wasm_cache_find(engine->cache, run->key), run, reterr);
}
