// link: app_llmworker
#include <stdlib.h>

#include "apps/llmworker/inputs.h"

/* A "prepare" of the server for vectors or ranks. What is accepted is within what inputs_make.c counts on. */
int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    CDS_JSON_AUTO params = NULL;
    struct cds_inputs in;
    struct cds_err err = {0};
    if (cds_json_parse((const char *)data, size, &params, &err) != CDS_OK || !cds_inputs_meant(params))
        return 0;
    if (cds_inputs_read(params, &in, &err) != CDS_OK) {
        if (!err.message[0])
            abort();
        return 0;
    }
    bool embeds = in.kind == CDS_VECTORS_EMBED;
    size_t count = cds_json_size(embeds ? in.inputs : in.documents);
    if (in.id <= 0 || count < 1 || count > CDS_INPUTS_MAX || in.norm < CDS_NORM_NONE || in.pooling > CDS_POOL_LAST || (!embeds && !in.query))
        abort();
    return 0;
}
