// link: cds_base
/* tests/fuzz/fuzz_str.c: text helpers agree with each other on any bytes. */
#include <assert.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include "lib/base/str.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    const char *text = (const char *)data;
    size_t complete = cds_utf8_complete(text, size);
    assert(complete <= size && size - complete <= 3);
    if (cds_utf8_valid(text, size))
        assert(complete == size);
    unsigned char *out = malloc(size + 1);
    char *again = malloc(cds_base64_len(size) + 1);
    size_t n;
    if (out && again && !cds_base64_decode(text, size, out, &n)) { /* what decodes, encodes to the same digits */
        char *back = malloc(cds_base64_len(n) + 1);
        assert(back && n <= size);
        size_t len = cds_base64url(out, n, back);
        for (size_t i = 0; i < len; i++) {
            char c = text[i] == '+' ? '-' : text[i] == '/' ? '_' : text[i];
            assert(c == back[i]);
        }
        free(back);
    }
    if (again)
        assert(cds_base64(data, size, again) == cds_base64_len(size));
    free(out);
    free(again);
    char *number = strndup(text, size);
    uint64_t v;
    if (number && !cds_parse_u64(number, 3, 900, &v))
        assert(v >= 3 && v <= 900);
    free(number);
    return 0;
}
