// link: cds_json
/* tests/fuzz/fuzz_json.c: what parses is written and read back as the same value. */
#include <stdlib.h>

#include "lib/base/cleanup.h"
#include "lib/json/json.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    CDS_JSON_AUTO value = NULL;
    struct cds_err err;
    if (cds_json_parse((const char *)data, size, &value, &err)) {
        if (value || !err.message[0])
            abort();
        return 0;
    }
    size_t len = 0;
    CDS_CLEANUP(cds_free_ptr) char *text = cds_json_dumps(value, &len);
    CDS_JSON_AUTO back = NULL;
    if (!text || cds_json_parse(text, len, &back, NULL) || !cds_json_equal(value, back))
        abort();
    return 0;
}
