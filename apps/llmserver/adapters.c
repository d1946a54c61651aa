#include "apps/llmserver/adapters.h"

#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>

#include "apps/llmserver/app.h"
#include "apps/llmserver/settings.h"
#include "lib/base/str.h"

static const char id_letters[] = "abcdefghijklmnopqrstuvwxyz0123456789._-",
                  file_letters[] = "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789._-";

bool cds_adapter_parse(const char *text, struct cds_adapter *ret)
{
    const char *equals = text ? strchr(text, '=') : NULL, *file = equals ? equals + 1 : NULL, *colon = file ? strchr(file, ':') : NULL;
    size_t id_len = equals ? (size_t)(equals - text) : 0, file_len = !file ? 0 : colon ? (size_t)(colon - file) : strlen(file);
    char id[CDS_MODEL_ID_MAX + 1], alias[CDS_MODEL_ID_MAX + 1], *end = NULL;
    struct cds_adapter adapter = {.scale = colon ? strtod(colon + 1, &end) : 0};
    if (id_len < 1 || id_len >= sizeof(adapter.id) || strspn(text, id_letters) != id_len || file_len < 1 || file_len >= sizeof(adapter.file) ||
        strspn(file, file_letters) != file_len)
        return false;
    if (colon && (!colon[1] || colon[1] == ' ' || *end || !isfinite(adapter.scale) || fabs(adapter.scale) > CDS_ADAPTER_SCALE_MAX))
        return false;
    memcpy(adapter.id, text, id_len);
    memcpy(adapter.file, file, file_len);
    if (!cds_model_name(adapter.file, id, alias))
        return false;
    *ret = adapter;
    return true;
}

bool cds_adapters_are(const cds_json *list)
{
    struct cds_adapter seen[CDS_ADAPTERS_MAX];
    size_t count = cds_json_size(list);
    bool good = cds_json_is(list, CDS_JSON_ARRAY) && count <= CDS_ADAPTERS_MAX;
    for (size_t i = 0; good && i < count; i++) {
        good =
            cds_json_str_len(cds_json_at(list, i)) <= CDS_SETTINGS_OVERRIDE_BYTES && cds_adapter_parse(cds_json_str(cds_json_at(list, i)), &seen[i]);
        for (size_t k = 0; good && k < i; k++)
            good = !cds_streq(seen[k].id, seen[i].id);
    }
    return good;
}

static bool path_of(const struct cds_model *model, const struct cds_adapter *adapter, char path[static PATH_MAX])
{
    char wanted[PATH_MAX];
    int n = snprintf(wanted, sizeof(wanted), "%.3800s/%s", model->app->models.dirs[0], adapter->file);
    return n > 0 && (size_t)n < sizeof(wanted) && realpath(wanted, path) != NULL;
}

static cds_rc refuse(const struct cds_adapter *adapter, struct cds_err *reterr, const char *fmt, ...) CDS_PRINTF(3, 4);
static cds_rc refuse(const struct cds_adapter *adapter, struct cds_err *reterr, const char *fmt, ...)
{
    char why[200];
    va_list args;
    va_start(args, fmt);
    vsnprintf(why, sizeof(why), fmt, args);
    va_end(args);
    cds_fail(reterr, CDS_BAD_PARAM, __func__, "The adapter \"%s\" (%s) %s", adapter->id, adapter->file, why);
    cds_err_pointer(reterr, "/adapters");
    return cds_err_hint(reterr, "Adapters are GGUF files in the folder models of the data folder, made for this very model.");
}

static cds_rc check_one(const struct cds_model *model, const struct cds_adapter *adapter, struct cds_err *reterr)
{
    char path[PATH_MAX];
    if (!path_of(model, adapter, path))
        return refuse(adapter, reterr, "is not there.");
    const struct cds_model *file = model->app->models.first;
    while (file && !cds_streq(file->path, path))
        file = file->next;
    if (!file)
        return CDS_OK; /* not seen yet */
    if (file->file.state == CDS_FILE_CORRUPT)
        return refuse(adapter, reterr, "is corrupt: %.150s", file->file.problem);
    if (file->file.state != CDS_FILE_FINE || model->file.state != CDS_FILE_FINE)
        return CDS_OK;
    const char *type = cds_json_get_str(file->file.facts, "type"), *its = cds_json_get_str(file->file.facts, "architecture");
    const char *ours = cds_json_get_str(model->file.facts, "architecture");
    if (!cds_streq(type, "adapter"))
        return refuse(adapter, reterr, "is no adapter, but a file of the kind \"%.60s\".", type ? type : "");
    if (!cds_streq(its, ours))
        return refuse(adapter, reterr, "was made for the architecture \"%.60s\", but %.60s is of \"%.60s\".", its ? its : "", model->id,
                      ours ? ours : "");
    return CDS_OK;
}

cds_rc cds_adapters_check(const struct cds_model *model, const cds_json *list, struct cds_err *reterr)
{
    struct cds_adapter adapter;
    cds_rc rc = CDS_OK;
    for (size_t i = 0; rc == CDS_OK && i < cds_json_size(list); i++)
        if (cds_adapter_parse(cds_json_str(cds_json_at(list, i)), &adapter))
            rc = check_one(model, &adapter, reterr);
    return rc;
}

uint64_t cds_adapters_bytes(const struct cds_model *model)
{
    CDS_JSON_AUTO list = cds_settings_value(model, "adapters", NULL);
    uint64_t bytes = 0;
    for (size_t i = 0; i < cds_json_size(list); i++) {
        struct cds_adapter adapter;
        struct stat st;
        char path[PATH_MAX];
        if (cds_adapter_parse(cds_json_str(cds_json_at(list, i)), &adapter) && path_of(model, &adapter, path) && stat(path, &st) == 0)
            bytes += (uint64_t)st.st_size;
    }
    return bytes;
}

static cds_json *size_of(const struct cds_model *model, const struct cds_adapter *adapter)
{
    struct stat st;
    char path[PATH_MAX];
    return path_of(model, adapter, path) && stat(path, &st) == 0 ? cds_json_int((int64_t)st.st_size) : cds_json_null();
}

cds_json *cds_adapters_show(const struct cds_model *model)
{
    bool used = (model->state == CDS_MODEL_LOADED || model->state == CDS_MODEL_LOADING) && model->loaded_with;
    CDS_JSON_AUTO list = used ? cds_json_ref(cds_json_get(model->loaded_with, "adapters")) : cds_settings_value(model, "adapters", NULL);
    cds_json *rows = cds_json_array();
    for (size_t i = 0; i < cds_json_size(list); i++) {
        struct cds_adapter adapter;
        if (cds_adapter_parse(cds_json_str(cds_json_at(list, i)), &adapter))
            cds_json_append(rows, cds_json_pack("{s:s,s:s,s:f,s:o}", "id", adapter.id, "file", adapter.file, "scale", adapter.scale, "size_bytes",
                                                size_of(model, &adapter)));
    }
    return rows;
}

bool cds_adapters_is_model(const struct cds_model *model)
{
    return !model->file.facts || cds_streq(cds_json_get_str(model->file.facts, "type"), "model");
}
