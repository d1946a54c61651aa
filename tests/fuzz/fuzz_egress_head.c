// link: app_egress
/* tests/fuzz/fuzz_egress_head.c: heads of proxy requests, as a job sends them; and messages that name ranges and hosts. */
#include <stdlib.h>
#include <string.h>

#include "apps/egress/head.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    struct egress_head head;
    struct cds_buf out = cds_buf_init(EGRESS_HEAD_MAX + 1024);
    char *text = malloc(size ? size : 1); /* exactly as long, so that reading past the end is seen */
    if (!text)
        return 0;
    memcpy(text, data, size);
    if (!egress_head_parse(text, size, &head, &out, NULL)) {
        if (head.len > size || head.port == 0 || (head.good_host != (head.host[0] != '\0')))
            abort();
        /* What is sent on has one Host, no line of ours can be forged, and it ends as a head does. */
        if (!head.connect && (out.len < 4 || memcmp(out.data + out.len - 4, "\r\n\r\n", 4) != 0 || memmem(out.data, out.len - 4, "\r\n\r\n", 4) ||
                              memchr(out.data, '\0', out.len)))
            abort();
    }
    cds_buf_free(&out);
    free(text);
    return 0;
}
