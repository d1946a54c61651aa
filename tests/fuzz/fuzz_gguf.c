// link: app_fetch
/* tests/fuzz/fuzz_gguf.c: no header makes the reader read too far; what it takes is bounded; a longer prefix never contradicts a shorter one. */
#include <assert.h>
#include <stdint.h>
#include <string.h>

#include "apps/fetch/gguf.h"
#include "lib/base/str.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    struct cds_gguf whole = {0}, part = {0};
    struct cds_err err = {0};
    cds_rc rc = cds_gguf_read(data, size, true, &whole, &err);
    assert(rc == CDS_OK || ((rc == CDS_BAD_PARAM || rc == CDS_TOO_LARGE) && err.message[0]));
    cds_rc half = cds_gguf_read(data, size / 2, false, &part, &err);
    if (half == CDS_OK)
        assert(rc == CDS_OK && part.parameters == whole.parameters);
    if (rc == CDS_OK) {
        assert(whole.tensors <= CDS_GGUF_TENSORS_MAX && whole.keys <= CDS_GGUF_KEYS_MAX && whole.file_bytes >= whole.data_offset);
        assert(cds_utf8_valid(whole.architecture, strlen(whole.architecture)) && cds_utf8_valid(whole.name, strlen(whole.name)));
        assert(whole.architecture[0] && (whole.parts == 0 || whole.part < whole.parts));
    }
    return 0;
}
