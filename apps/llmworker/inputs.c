#include "apps/llmworker/inputs.h"

#include <string.h>

#include "apps/llmworker/param.h"
#include "lib/base/str.h"

/* --- the frame ------------------------------------------------------------------------------------------------------------ */

bool cds_inputs_meant(const cds_json *params)
{
    const char *task = cds_json_get_str(params, "task");
    return cds_streq(task, "embed") || cds_streq(task, "rank");
}

static cds_rc read_embed(const cds_json *params, struct cds_inputs *ret, struct cds_err *reterr)
{
    const char *pooling = cds_json_get_str(params, "pooling");
    enum cds_pooling named = CDS_POOL_NONE;
    ret->inputs = cds_json_get(params, "inputs");
    if (!cds_json_is(ret->inputs, CDS_JSON_ARRAY) || cds_json_size(ret->inputs) < 1 || cds_json_size(ret->inputs) > CDS_INPUTS_MAX)
        return cds_param_wrong(reterr, "inputs");
    for (size_t i = 0; i < cds_json_size(ret->inputs); i++)
        if (!cds_param_is_prompt(cds_json_at(ret->inputs, i)))
            return cds_param_wrong(reterr, "inputs");
    int64_t dimensions = cds_json_get_i64(params, "dimensions", 0), norm = cds_json_get_i64(params, "norm", CDS_NORM_EUCLID);
    if (dimensions < 0 || dimensions > CDS_VECTOR_WIDTH_MAX)
        return cds_param_wrong(reterr, "dimensions");
    if (norm < CDS_NORM_NONE || norm > CDS_NORM_MOST)
        return cds_param_wrong(reterr, "norm");
    if (pooling && (!cds_pooling_parse(pooling, &named) || named == CDS_POOL_RANK))
        return cds_param_wrong(reterr, "pooling");
    ret->pooling = pooling ? (int)named : -1;
    ret->dimensions = (uint32_t)dimensions;
    ret->norm = (int32_t)norm;
    return CDS_OK;
}

static cds_rc read_rank(const cds_json *params, struct cds_inputs *ret, struct cds_err *reterr)
{
    const char *method = cds_json_get_str(params, "method");
    int64_t overlap = cds_json_get_i64(params, "overlap", 0);
    ret->query = cds_json_get_str(params, "query");
    ret->documents = cds_json_get(params, "documents");
    ret->form = cds_json_get_str(params, "form");
    ret->chunks = cds_json_true(cds_json_get(params, "chunks"), false);
    ret->kind = cds_streq(method, "cosine") ? CDS_VECTORS_COSINE : CDS_VECTORS_RANK;
    if (!ret->query || !*ret->query)
        return cds_param_wrong(reterr, "query");
    if (!cds_json_is(ret->documents, CDS_JSON_ARRAY) || cds_json_size(ret->documents) < 1 || cds_json_size(ret->documents) > CDS_INPUTS_MAX)
        return cds_param_wrong(reterr, "documents");
    for (size_t i = 0; i < cds_json_size(ret->documents); i++)
        if (cds_json_str_len(cds_json_at(ret->documents, i)) < 1)
            return cds_param_wrong(reterr, "documents");
    if (overlap < 0 || overlap > INT32_MAX)
        return cds_param_wrong(reterr, "overlap");
    if (ret->form && (strlen(ret->form) > CDS_RANK_TEMPLATE_MAX || !strstr(ret->form, "{query}") || !strstr(ret->form, "{document}")))
        return cds_param_wrong(reterr, "form");
    ret->overlap = (uint32_t)overlap;
    return CDS_OK;
}

cds_rc cds_inputs_read(const cds_json *params, struct cds_inputs *ret, struct cds_err *reterr)
{
    *ret = (struct cds_inputs){.id = cds_json_get_i64(params, "job", 0), .kind = CDS_VECTORS_EMBED, .norm = CDS_NORM_EUCLID, .pooling = -1};
    if (ret->id <= 0)
        return cds_param_wrong(reterr, "job");
    return cds_streq(cds_json_get_str(params, "task"), "rank") ? read_rank(params, ret, reterr) : read_embed(params, ret, reterr);
}
