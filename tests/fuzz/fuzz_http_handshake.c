// link: cds_http
/* tests/fuzz/fuzz_http_handshake.c: answers of a part to the handshake of a tunnel. */
#include <stdlib.h>
#include <string.h>

#include "lib/http/handshake.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    struct http_handshake head;
    char *text = malloc(size ? size : 1); /* exactly as long, so that reading past the end is seen */
    if (!text)
        return 0;
    memcpy(text, data, size);
    int rc = http_handshake_parse(text, size, &head);
    if (rc == 1 && (head.head_len > size || head.head_len + head.body_len > size || head.status < 100))
        abort();
    free(text);
    return 0;
}
