#include "apps/llmworker/adapters.h"

#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "lib/base/buf.h"
#include "lib/base/cleanup.h"
#include "lib/base/str.h"

bool cds_adapter_sets_equal(const struct cds_adapter_set *a, const struct cds_adapter_set *b)
{
    bool equal = a->count == b->count;
    for (uint32_t i = 0; equal && i < a->count; i++)
        equal = a->use[i].index == b->use[i].index && a->use[i].scale == b->use[i].scale;
    return equal;
}

/* --- what the model has --------------------------------------------------------------------------------------------------- */

static bool is_scale(double scale)
{
    return isfinite(scale) && fabs(scale) <= CDS_ADAPTER_SCALE_MAX;
}

/** "id=file.gguf:0.5"; the server has checked it, this keeps a wrong text from harming the process. */
static bool read_one(const char *text, const char *dir, struct cds_adapter_list *list)
{
    const char *equals = text ? strchr(text, '=') : NULL, *file = equals ? equals + 1 : NULL, *colon = file ? strchr(file, ':') : NULL;
    size_t id_len = equals ? (size_t)(equals - text) : 0, file_len = !file ? 0 : colon ? (size_t)(colon - file) : strlen(file);
    if (id_len < 1 || id_len > CDS_ADAPTER_ID_MAX || file_len < 1 || memchr(file, '/', file_len) || list->count == CDS_ADAPTERS_MAX)
        return false;
    char *end = NULL;
    double scale = colon ? strtod(colon + 1, &end) : 0;
    if (colon && (end == colon + 1 || *end || !is_scale(scale)))
        return false;
    memcpy(list->one[list->count].id, text, id_len);
    list->one[list->count].id[id_len] = '\0';
    list->one[list->count].scale = (float)scale;
    int n = snprintf(list->one[list->count].path, PATH_MAX, "%s/%.*s", dir, (int)file_len, file);
    list->count++;
    return n > 0 && n < PATH_MAX;
}

cds_rc cds_adapters_read(const char *load, const char *dir, struct cds_adapter_list *ret, struct cds_err *reterr)
{
    CDS_JSON_AUTO object = NULL;
    *ret = (struct cds_adapter_list){0};
    cds_rc rc = load ? cds_json_parse(load, strlen(load), &object, reterr) : CDS_OK;
    const cds_json *list = cds_json_get(object, "adapters");
    for (size_t i = 0; rc == CDS_OK && i < cds_json_size(list); i++) {
        if (!dir || !read_one(cds_json_str(cds_json_at(list, i)), dir, ret))
            rc = cds_fail(reterr, CDS_BAD_PARAM, __func__, "The setting \"adapters\" of the load cannot be read.");
    }
    return rc;
}

/* --- what a request has --------------------------------------------------------------------------------------------------- */

static cds_rc refuse(const struct cds_adapter_list *list, const char *id, struct cds_err *reterr)
{
    CDS_CLEANUP(cds_buf_free) struct cds_buf names = cds_buf_init((size_t)CDS_ADAPTERS_MAX * (CDS_ADAPTER_ID_MAX + 4));
    for (unsigned i = 0; i < list->count; i++)
        (void)cds_buf_addf(&names, "%s\"%s\"", i ? ", " : "", list->one[i].id);
    if (list->count)
        cds_fail(reterr, CDS_BAD_PARAM, __func__, "This model has no adapter \"%.64s\"; it has %s.", id, names.data ? names.data : "others");
    else
        cds_fail(reterr, CDS_BAD_PARAM, __func__, "This model has no adapter \"%.64s\", nor any other.", id);
    cds_err_hint(reterr, "An administrator registers adapters with the setting \"adapters\" of the model and loads it again.");
    cds_err_pointer(reterr, "/lora");
    return CDS_BAD_PARAM;
}

static void add(const float scales[CDS_ADAPTERS_MAX], unsigned count, struct cds_adapter_set *ret)
{
    *ret = (struct cds_adapter_set){0};
    for (unsigned i = 0; i < count; i++) {
        if (scales[i] == 0)
            continue;
        ret->use[ret->count].index = i;
        ret->use[ret->count++].scale = scales[i];
    }
}

cds_rc cds_adapters_choose(const struct cds_adapter_list *list, const cds_json *lora, struct cds_adapter_set *ret, struct cds_err *reterr)
{
    float scales[CDS_ADAPTERS_MAX] = {0};
    for (unsigned i = 0; !lora && i < list->count; i++)
        scales[i] = list->one[i].scale;
    for (size_t k = 0; k < cds_json_size(lora); k++) {
        const cds_json *entry = cds_json_at(lora, k);
        const char *id = cds_json_get_str(entry, "id");
        double scale = cds_json_num(cds_json_get(entry, "scale"), 1);
        unsigned i = 0;
        while (i < list->count && !cds_streq(list->one[i].id, id))
            i++;
        if (!id || i == list->count)
            return refuse(list, id ? id : "", reterr);
        if (!is_scale(scale)) {
            cds_fail(reterr, CDS_BAD_PARAM, __func__, "\"lora\" has a scale that is out of range.");
            cds_err_pointer(reterr, "/lora");
            return CDS_BAD_PARAM;
        }
        scales[i] = (float)scale;
    }
    add(scales, list->count, ret);
    return CDS_OK;
}
