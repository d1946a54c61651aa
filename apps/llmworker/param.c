#include "apps/llmworker/param.h"

#include "apps/llmworker/message.h"

cds_rc cds_param_wrong(struct cds_err *reterr, const char *name)
{
    cds_fail(reterr, CDS_BAD_PARAM, __func__, "\"%s\" is missing or out of range.", name);
    cds_err_pointer(reterr, "/%s", name);
    return CDS_BAD_PARAM;
}

bool cds_param_is_prompt(const cds_json *value)
{
    if (cds_json_is(value, CDS_JSON_STRING))
        return cds_json_str_len(value) > 0 && cds_json_str_len(value) <= CDS_PROMPT_BYTES_MAX;
    if (!cds_json_is(value, CDS_JSON_ARRAY) || cds_json_size(value) < 1)
        return false;
    for (size_t i = 0; i < cds_json_size(value); i++) {
        int64_t token = cds_json_i64(cds_json_at(value, i), -1);
        if (token < 0 || token > INT32_MAX)
            return false;
    }
    return true;
}
