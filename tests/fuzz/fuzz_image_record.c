// link: app_sandbox
/* tests/fuzz/fuzz_image_record.c: whatever a record of an image, or the report of the jail that made one, holds: what is taken is in its bounds. */
#include <assert.h>
#include <stdint.h>
#include <string.h>

#include "sandbox/image_maker.h"
#include "sandbox/image_store.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    struct image image;
    struct image_facts facts;
    struct cds_err err;
    if (!image_record_parse((const char *)data, size, "name", &image, &err)) {
        assert(strcmp(image.name, "name") == 0 && strlen(image.digest) == IMAGE_DIGEST_LEN);
        assert(image.languages && image.languages < 1U << IMAGE_LANGUAGES);
    }
    cds_rc rc = image_report_parse((const char *)data, size, &facts, &err);
    assert(rc || (facts.languages && facts.languages < 1U << IMAGE_LANGUAGES));
    assert(rc != CDS_DENIED || strncmp(err.rule, "image.", strlen("image.")) == 0);
    return 0;
}
