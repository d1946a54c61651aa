#include "apps/llmworker/speculation.h"

cds_rc cds_speculation_read(const cds_json *params, struct cds_speculation *ret, struct cds_err *reterr)
{
    const cds_json *given = cds_json_get(params, "speculation");
    *ret = (struct cds_speculation){0};
    if (!given)
        return CDS_OK;
    int64_t min = cds_json_get_i64(given, "min", 0), most = cds_json_get_i64(given, "most", CDS_DRAFT_MAX);
    double confidence = cds_json_num(cds_json_get(given, "confidence"), 0);
    if (!cds_json_is(given, CDS_JSON_OBJECT) || most < 1 || most > CDS_DRAFT_MAX || min < 0 || min > most || !(confidence >= 0 && confidence <= 1)) {
        cds_fail(reterr, CDS_BAD_PARAM, __func__, "\"speculation\" is out of range.");
        cds_err_pointer(reterr, "/speculation");
        return CDS_BAD_PARAM;
    }
    ret->lookup = cds_json_true(cds_json_get(given, "lookup"), false);
    ret->grammar = cds_json_true(cds_json_get(given, "grammar"), false);
    ret->draft = cds_json_true(cds_json_get(given, "draft"), false);
    ret->always = cds_json_true(cds_json_get(given, "always"), false);
    ret->min = (uint32_t)min;
    ret->most = (uint32_t)most;
    ret->confidence = (float)confidence;
    return CDS_OK;
}
