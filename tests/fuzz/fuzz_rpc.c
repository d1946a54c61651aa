// link: cds_rpc
/* tests/fuzz/fuzz_rpc.c: one message as a client sends it: envelope, method, parameters; and as an error from another process. */
#include <stdlib.h>

#include "lib/rpc/rpc.h"

static void check_element(const cds_json *element)
{
    struct cds_rpc_request request;
    struct cds_err err = {0};
    cds_rc rc = cds_rpc_parse_request(element, &request, &err);
    if (!rc) {
        const struct cds_rpc_method *method = cds_rpc_find(request.method);
        rc = method ? cds_rpc_check_params(method, request.params, &err) : cds_fail(&err, CDS_NO_METHOD, __func__, "There is no such method.");
    }
    if (!rc)
        return;
    CDS_JSON_AUTO answer = cds_rpc_error(NULL, &err, "fuzz");
    struct cds_err back;
    cds_rpc_error_parse(cds_json_get(answer, "error"), &back);
    if (!answer || back.code != rc)
        abort();
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    CDS_JSON_AUTO message = NULL;
    struct cds_err err;
    if (cds_rpc_table_init(&err))
        abort();
    if (cds_json_parse((const char *)data, size, &message, NULL))
        return 0;
    check_element(message);
    for (size_t i = 0; cds_json_is(message, CDS_JSON_ARRAY) && i < cds_json_size(message) && i < CDS_RPC_BATCH_MAX; i++)
        check_element(cds_json_at(message, i));
    cds_rpc_error_parse(message, &err);
    return 0;
}
