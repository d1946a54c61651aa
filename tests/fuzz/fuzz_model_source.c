// link: app_fetch
/* tests/fuzz/fuzz_model_source.c: whatever an admin types, what is taken has bounded, clean parts and a name that stays in our folder. */
#include <assert.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include "apps/fetch/source.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    char *text = malloc(size + 1);
    struct cds_source s;
    struct cds_err err = {0};
    if (!text)
        return 0;
    memcpy(text, data, size);
    text[size] = '\0';
    cds_rc rc = cds_source_parse(text, &s, &err);
    assert(rc == CDS_OK || (rc == CDS_BAD_PARAM && err.message[0]));
    if (rc == CDS_OK) {
        char name[CDS_FILE_NAME_MAX + 1];
        assert(s.hub ? strchr(s.repo, '/') != NULL : !strchr(s.url, '#') && !strchr(s.url, ' '));
        if (*s.file)
            assert(cds_source_file_name(s.file, name) && !strchr(name, '/') && name[0] != '.');
    }
    bool inside;
    struct cds_host_rules rules = {.hosts = text, .hub = "https://hub.example"};
    if (cds_host_allowed(&rules, "http", "127.0.0.1", 80, &inside)) /* plain HTTP needs a whole origin in the list */
        assert(inside && strstr(text, "://"));
    unsigned part, parts;
    if (cds_source_part(text, &part, &parts))
        assert(part >= 1 && part <= parts && parts <= 99999);
    free(text);
    return 0;
}
