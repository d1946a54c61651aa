// link: app_llmserver
#include <stdlib.h>

#include "apps/llmserver/schema_rules.h"

/* A JSON schema of a client: what passes must pass again as it was made. */
int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    CDS_JSON_AUTO schema = NULL;
    CDS_JSON_AUTO made = NULL;
    CDS_JSON_AUTO again = NULL;
    CDS_JSON_AUTO check = NULL;
    struct cds_err err = {0};
    if (cds_json_parse((const char *)data, size, &schema, &err) != CDS_OK)
        return 0;
    if (cds_schema_rules(schema, "/s", false, &made, &check, &err) != CDS_OK)
        return 0;
    if (cds_schema_rules(made, "/s", true, &again, NULL, &err) != CDS_OK || !cds_json_equal(made, again))
        abort();
    return 0;
}
