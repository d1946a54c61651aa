#include <sys/statvfs.h>

#include "apps/fetch/facts.h"
#include "apps/fetch/gguf.h"
#include "apps/fetch/inspect.h"
#include "apps/fetch/pulling.h"

static uint64_t free_bytes(const char *dir)
{
    struct statvfs fs;
    return statvfs(dir, &fs) == 0 ? (uint64_t)fs.f_bavail * fs.f_frsize : UINT64_MAX;
}

static cds_rc read_header(struct cds_pulling *pulling, struct cds_web *web, unsigned index, cds_json **ret, struct cds_err *reterr)
{
    struct cds_part *part = &pulling->parts[index];
    for (uint64_t need = CDS_PIECE_BYTES;; need += CDS_PIECE_BYTES) {
        cds_rc rc = cds_get_until(pulling, web, index, need, reterr);
        if (rc == CDS_OK)
            rc = cds_inspect(part->fd, part->done, ret, reterr);
        if (rc == CDS_OK && (uint64_t)cds_json_get_i64(*ret, "needed_bytes", INT64_MAX) > part->size) {
            cds_json_unref(*ret);
            *ret = NULL;
            return cds_fail(reterr, CDS_BAD_PARAM, __func__, "%.100s is cut off at its server: its tensors need more than its %llu bytes.",
                            part->name, (unsigned long long)part->size);
        }
        if (rc == CDS_BUSY && part->done == part->size)
            return cds_fail(reterr, CDS_BAD_PARAM, __func__, "The file is no usable GGUF model: it ends inside its header.");
        if (rc != CDS_BUSY || need >= CDS_GGUF_HEADER_MAX)
            return rc;
    }
}

cds_rc cds_head_read(struct cds_pulling *pulling, struct cds_web *web, struct cds_err *reterr)
{
    CDS_JSON_AUTO sum = NULL;
    unsigned count = pulling->reach.remote.count;
    cds_rc rc = CDS_OK;
    cds_tell_state(pulling, "inspecting");
    for (unsigned i = 0; rc == CDS_OK && i < count; i++) {
        CDS_JSON_AUTO facts = NULL;
        rc = read_header(pulling, web, i, &facts, reterr);
        if (rc == CDS_OK)
            rc = cds_facts_add(&sum, facts, i, count, pulling->parts[i].name, reterr);
        if (rc == CDS_OK)
            rc = cds_facts_gate(sum, pulling->options->parameters_max, reterr);
    }
    if (rc == CDS_OK)
        pulling->facts = cds_json_ref(sum);
    return rc;
}

cds_rc cds_head_room(const struct cds_pulling *pulling, struct cds_err *reterr)
{
    uint64_t need = pulling->options->reserve_bytes, sum = 0, have = free_bytes(pulling->options->dir);
    for (unsigned i = 0; i < pulling->reach.remote.count; i++) {
        uint64_t size = i < pulling->opened && pulling->parts[i].size ? pulling->parts[i].size : pulling->reach.remote.files[i].size;
        sum += size;
        need += size - (i < pulling->opened && pulling->parts[i].done <= size ? pulling->parts[i].done : 0);
    }
    if (sum > pulling->options->file_bytes_max)
        return cds_fail(reterr, CDS_TOO_LARGE, __func__,
                        "The model has %llu bytes; the most that may be downloaded is %llu (llm.download_max_bytes).", (unsigned long long)sum,
                        (unsigned long long)pulling->options->file_bytes_max);
    if (need <= have)
        return CDS_OK;
    cds_fail(reterr, CDS_EXHAUSTED, __func__, "The disk of the models has %llu MiB free and this model needs %llu MiB, %llu of them a reserve.",
             (unsigned long long)(have >> 20), (unsigned long long)(need >> 20), (unsigned long long)(pulling->options->reserve_bytes >> 20));
    cds_err_rule(reterr, "llm.disk");
    return cds_err_hint(reterr, "Remove models you do not need, or give the data folder more room.");
}
