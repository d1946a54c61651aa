// link: app_llmserver
/* tests/fuzz/fuzz_llm_adapters.c: a text of the setting "adapters" is refused, or gives an id, a plain file name and a finite scale. */
#include <assert.h>
#include <math.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include "apps/llmserver/adapters.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    struct cds_adapter adapter;
    char *text = malloc(size + 1);
    if (!text)
        return 0;
    memcpy(text, data, size);
    text[size] = '\0';
    if (cds_adapter_parse(text, &adapter)) {
        assert(adapter.id[0] && adapter.file[0] && !strchr(adapter.file, '/') && adapter.file[0] != '.' && isfinite(adapter.scale));
        assert(fabs(adapter.scale) <= CDS_ADAPTER_SCALE_MAX && strlen(adapter.id) <= CDS_ADAPTER_ID_MAX);
    }
    free(text);
    return 0;
}
