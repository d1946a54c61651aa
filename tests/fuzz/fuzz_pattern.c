// link: cds_json
/* tests/fuzz/fuzz_pattern.c: input is a pattern, a NUL byte, and a text. */
#include <string.h>

#include "lib/base/cleanup.h"
#include "lib/json/pattern.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    CDS_CLEANUP(cds_pattern_free) struct cds_pattern *pattern = NULL;
    const uint8_t *end = memchr(data, 0, size);
    if (size > 2048 || !end || cds_pattern_compile((const char *)data, &pattern, NULL))
        return 0;
    size_t used = (size_t)(end - data) + 1;
    (void)cds_pattern_match(pattern, (const char *)data + used, size - used);
    return 0;
}
