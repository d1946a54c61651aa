// link: app_llmserver
#include "apps/llmserver/gbnf.h"

/* A grammar of a client. */
int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    struct cds_err err = {0};
    cds_rc rc = cds_gbnf_check((const char *)data, size, &err);
    if (rc != CDS_OK && !*err.message)
        __builtin_trap();
    return 0;
}
