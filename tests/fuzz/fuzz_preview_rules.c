// link: app_preview
/* tests/fuzz/fuzz_preview_rules.c: what browsers and programs write into headers: our cookies never pass, and no text is read past its end. */
#include <assert.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include "apps/preview/rules.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    char label[RULES_LABEL_LEN + 1];
    size_t len = 0;
    struct cds_buf out = cds_buf_init(2 * size + 64), again = cds_buf_init(2 * size + 64);
    char *text = malloc(size + 1); /* exactly as long, so that reading past the end is seen */
    if (!text)
        return 0;
    memcpy(text, data, size);
    text[size] = '\0';
    size_t text_len = strlen(text);
    if (rules_label(text, ".localhost:6733", label))
        assert(strlen(label) == RULES_LABEL_LEN);
    rules_is_ours(text);
    rules_may_set_cookie(text);
    rules_passes_in(text);
    rules_passes_back(text);
    rules_ticket(text, text_len, &len);
    const char *path = rules_location(text, 8000);
    assert(!path || (path[0] == '/' && path[1] != '/'));
    if (rules_strip_cookies(text, &out) && !out.failed) {
        /* What passed passes again, as it is: nothing of ours came to light by taking something out. */
        assert(rules_strip_cookies(out.data, &again) && again.len == out.len && !memcmp(again.data, out.data, out.len));
        assert(!rules_cookie(out.data, "cds_preview", 64));
    }
    cds_buf_free(&out);
    cds_buf_free(&again);
    free(text);
    return 0;
}
