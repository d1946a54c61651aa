#include "apps/llmserver/weights.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>

#include "apps/llmserver/adapters.h"
#include "apps/llmserver/app.h"
#include "lib/base/cleanup.h"
#include "lib/base/str.h"
#include "lib/jwt/jwt.h"

/* --- how files look ------------------------------------------------------------------------------------------------------- */

static uint64_t mix(uint64_t hash, uint64_t value)
{
    for (int i = 0; i < 8; i++)
        hash = (hash ^ (value >> (8 * i) & 255)) * 1099511628211ULL;
    return hash;
}

/** What the file system says of a file; never 0. */
static uint64_t look_of(const struct stat *st)
{
    const uint64_t facts[] = {st->st_dev,
                              st->st_ino,
                              (uint64_t)st->st_size,
                              (uint64_t)st->st_mtim.tv_sec,
                              (uint64_t)st->st_mtim.tv_nsec,
                              (uint64_t)st->st_ctim.tv_sec,
                              (uint64_t)st->st_ctim.tv_nsec};
    uint64_t hash = 1469598103934665603ULL;
    for (size_t i = 0; i < CDS_ARRAY_LEN(facts); i++)
        hash = mix(hash, facts[i]);
    return hash ? hash : 1;
}

static uint64_t look(const char *path)
{
    struct stat st;
    return stat(path, &st) == 0 ? look_of(&st) : 0;
}

bool cds_weights_part(const char *path, unsigned index, char ret[static PATH_MAX])
{
    enum { TAIL = 20 }; /* "-00001-of-00003.gguf" */
    size_t len = strlen(path);
    unsigned part, parts;
    int end = 0;
    if (index == 0) {
        cds_strcpy(ret, PATH_MAX, path);
        return true;
    }
    if (len <= TAIL || sscanf(path + len - TAIL, "-%5u-of-%5u%n", &part, &parts, &end) != 2 || end != TAIL - 5 || part != 1 || index >= parts ||
        parts > CDS_WEIGHTS_PARTS)
        return false;
    int n = snprintf(ret, PATH_MAX, "%.*s-%05u-of-%05u%s", (int)(len - TAIL), path, index + 1, parts, path + len - 5);
    return n > 0 && n < PATH_MAX;
}

static void adapter_path(const char *dir, const char *file, char ret[static PATH_MAX])
{
    snprintf(ret, PATH_MAX, "%.3800s/%.200s", dir, file ? file : "");
}

uint64_t cds_weights_mark(const struct cds_model *model)
{
    CDS_JSON_AUTO adapters = cds_adapters_show(model);
    char path[PATH_MAX];
    uint64_t mark = 1469598103934665603ULL;
    for (unsigned i = 0; cds_weights_part(model->path, i, path); i++)
        mark = mix(mark, look(path));
    for (size_t i = 0; i < cds_json_size(adapters); i++) {
        adapter_path(model->app->models.dirs[0], cds_json_get_str(cds_json_at(adapters, i), "file"), path);
        mark = mix(mark, look(path));
    }
    return mark;
}

cds_rc cds_weights_unchanged(const struct cds_model *model, struct cds_err *reterr)
{
    if (cds_weights_mark(model) == model->weights_mark)
        return CDS_OK;
    cds_fail(reterr, CDS_CONFLICT, __func__,
             "A file of the model %s, or of one of its adapters, was written or replaced since it was loaded: what it computes may not be what the "
             "file would give.",
             model->id);
    return cds_err_hint(reterr, "An administrator can unload the model and load it again.");
}

/* --- what is in them ------------------------------------------------------------------------------------------------------ */

static cds_rc unreadable(struct cds_err *reterr, const char *path)
{
    const char *slash = strrchr(path, '/');
    return cds_fail_errno(reterr, errno, __func__, "The file %.128s cannot be read.", slash ? slash + 1 : path);
}

static cds_rc digest_of(struct cds_weights_known *known, const char *path, char ret[static CDS_WEIGHTS_HEX + 1], struct cds_err *reterr)
{
    struct stat st;
    CDS_CLEANUP(cds_close_fd) int fd = open(path, O_RDONLY | O_CLOEXEC);
    if (fd < 0 || fstat(fd, &st) != 0)
        return unreadable(reterr, path);
    uint64_t its = look_of(&st);
    for (unsigned i = 0; i < CDS_WEIGHTS_KNOWN; i++)
        if (known->files[i].look == its) {
            memcpy(ret, known->files[i].hex, CDS_WEIGHTS_HEX + 1);
            return CDS_OK;
        }
    if (!cds_sha256_file_hex(fd, ret))
        return unreadable(reterr, path);
    known->read_bytes += (uint64_t)st.st_size;
    if (fstat(fd, &st) != 0 || look_of(&st) != its)
        return CDS_OK; /* it is being written: true of nothing for long */
    known->files[known->next].look = its;
    memcpy(known->files[known->next].hex, ret, CDS_WEIGHTS_HEX + 1);
    known->next = (known->next + 1) % CDS_WEIGHTS_KNOWN;
    return CDS_OK;
}

/** Of one file its own digest; of several the digest of theirs, in their order. */
static cds_rc digest_all(struct cds_weights_known *known, const char *model_path, char ret[static CDS_WEIGHTS_HEX + 1], struct cds_err *reterr)
{
    char path[PATH_MAX], hex[CDS_WEIGHTS_HEX + 1];
    cds_rc rc = digest_of(known, model_path, ret, reterr);
    for (unsigned i = 1; rc == CDS_OK && cds_weights_part(model_path, i, path); i++) {
        char both[2 * CDS_WEIGHTS_HEX];
        rc = digest_of(known, path, hex, reterr);
        if (rc != CDS_OK)
            break;
        memcpy(both, ret, CDS_WEIGHTS_HEX);
        memcpy(both + CDS_WEIGHTS_HEX, hex, CDS_WEIGHTS_HEX);
        cds_sha256_hex(both, sizeof(both), ret);
    }
    return rc;
}

cds_rc cds_weights_note(struct cds_weights_known *known, const char *path, const char *adapter_dir, cds_json *head, struct cds_err *reterr)
{
    char hex[CDS_WEIGHTS_HEX + 1], file[PATH_MAX];
    cds_json *adapters = cds_json_get(head, "adapters");
    cds_rc rc = digest_all(known, path, hex, reterr);
    if (rc == CDS_OK)
        cds_json_set(head, "weights", cds_json_string(hex));
    for (size_t i = 0; rc == CDS_OK && i < cds_json_size(adapters); i++) {
        cds_json *one = cds_json_at(adapters, i);
        adapter_path(adapter_dir, cds_json_get_str(one, "file"), file);
        rc = digest_of(known, file, hex, reterr);
        if (rc == CDS_OK)
            cds_json_set(one, "sha256", cds_json_string(hex));
    }
    return rc;
}

static cds_rc another(struct cds_err *reterr)
{
    return cds_err_hint(reterr, "Put the file back and load the model again, or save the state again.");
}

cds_rc cds_weights_same(struct cds_weights_known *known, const char *path, const char *adapter_dir, const cds_json *head, struct cds_err *reterr)
{
    char hex[CDS_WEIGHTS_HEX + 1], file[PATH_MAX];
    const cds_json *adapters = cds_json_get(head, "adapters");
    cds_rc rc = digest_all(known, path, hex, reterr);
    if (rc == CDS_OK && !cds_streq(cds_json_get_str(head, "weights"), hex)) {
        cds_fail(reterr, CDS_CONFLICT, __func__, "The state was made with another file of this model: its weights have changed.");
        return another(reterr);
    }
    for (size_t i = 0; rc == CDS_OK && i < cds_json_size(adapters); i++) {
        const cds_json *one = cds_json_at(adapters, i);
        const char *id = cds_json_get_str(one, "id");
        adapter_path(adapter_dir, cds_json_get_str(one, "file"), file);
        rc = digest_of(known, file, hex, reterr);
        if (rc == CDS_OK && !cds_streq(cds_json_get_str(one, "sha256"), hex)) {
            cds_fail(reterr, CDS_CONFLICT, __func__, "The state was made with another file of the adapter \"%.64s\": its weights have changed.",
                     id ? id : "");
            return another(reterr);
        }
    }
    return rc;
}
