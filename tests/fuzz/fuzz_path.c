// link: app_sandbox
/* tests/fuzz/fuzz_path.c: a path that is let through names one place below the project, and its parts are what they claim to be. */
#include <assert.h>
#include <stdint.h>
#include <string.h>

#include "sandbox/path.h"

static void check_parts(const struct cds_path *path)
{
    size_t parts = 0;
    for (const char *at = path->text; *at; parts++) {
        size_t n = strcspn(at, "/");
        assert(n > 0 && n <= CDS_PATH_PART_MAX);
        assert(!(n == 1 && at[0] == '.') && !(n == 2 && at[0] == '.' && at[1] == '.'));
        assert(strncmp(at, CDS_PATH_TEMP_PREFIX, sizeof(CDS_PATH_TEMP_PREFIX) - 1) != 0);
        for (size_t i = 0; i < n; i++)
            assert((unsigned char)at[i] >= 0x20 && at[i] != 0x7f);
        at += n;
        assert(*at == '\0' || at[1] != '\0'); /* no slash at the end */
        at += *at == '/';
    }
    assert(parts == path->parts && parts <= CDS_PATH_DEPTH_MAX);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    static struct cds_path path, below;
    struct cds_err err = {.code = CDS_OK};
    memset(&path, 0x5a, sizeof(path));
    below = path;
    cds_rc rc = cds_path_parse((const char *)data, size, &path, &err);
    if (rc) {
        assert(rc == CDS_DENIED && err.code == rc && err.message[0]);
        assert(strcmp(err.rule, "fs.name") == 0 || strcmp(err.rule, "fs.outside_root") == 0);
        assert(memcmp(&path, &below, sizeof(path)) == 0); /* as it was */
        return 0;
    }
    assert(size <= CDS_PATH_MAX && strlen(path.text) == size && memcmp(path.text, data, size) == 0);
    check_parts(&path);
    assert(!strchr(cds_path_name(&path), '/'));
    assert(path.parts < 2 ? path.parent_len == 0 : path.text[path.parent_len] == '/' && path.name_at == path.parent_len + 1);
    assert(cds_path_parse_below((const char *)data, size, &below, NULL) == (size ? CDS_OK : CDS_DENIED));
    return 0;
}
