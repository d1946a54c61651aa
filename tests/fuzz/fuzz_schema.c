// link: cds_json
/* tests/fuzz/fuzz_schema.c: input {"schema": .., "value": ..}; any schema compiles or is refused, any value gets a verdict. */
#include <stdlib.h>
#include <string.h>

#include "lib/base/cleanup.h"
#include "lib/json/schema.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    CDS_JSON_AUTO input = NULL;
    CDS_CLEANUP(cds_schema_free) struct cds_schema *schema = NULL;
    struct cds_err err = {0};
    /* Time grows with schema x value, which are both from outside here only. */
    if (size > 4096 || cds_json_parse((const char *)data, size, &input, NULL))
        return 0;
    if (cds_schema_compile(cds_json_get(input, "schema"), &schema, &err)) {
        if (schema || !err.message[0])
            abort();
        return 0;
    }
    const cds_json *value = cds_json_get(input, "value");
    cds_rc first = cds_schema_validate(schema, value, &err), second = cds_schema_validate(schema, value, NULL);
    if (first != second || (first && !err.message[0]))
        abort();
    return 0;
}
