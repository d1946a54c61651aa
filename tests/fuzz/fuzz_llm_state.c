// link: app_llmserver
/* tests/fuzz/fuzz_llm_state.c: no beginning of a file makes the reader of states read too far. */
#include <assert.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include "apps/llmserver/state_file.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    const char *head = NULL;
    size_t len = 0;
    uint64_t bytes = 0;
    struct cds_err err = {0};
    cds_rc rc = cds_state_parse(data, size, size, &head, &len, &bytes, &err);
    assert(rc == CDS_OK || (rc == CDS_BAD_PARAM && err.message[0]));
    if (rc == CDS_OK) {
        const uint8_t *at = (const uint8_t *)head;
        assert(len >= 2 && len <= CDS_STATE_HEAD_MAX && at >= data && (size_t)(at - data) + len + bytes + 32 == size);
    }
    return 0;
}
