// link: app_api
/* tests/fuzz/fuzz_responses.c: messages of a socket of responses: what lane they name, and what the socket keeps of what was said. A JSON list of
 * messages; one with a "response" is an answer to the "input" beside it. */
#include <stdlib.h>
#include <string.h>

#include "apps/api/responses.h"

static void check_kept(const struct responses_socket *s)
{
    size_t count = 0, bytes = 0;
    for (const struct responses_kept *kept = s->kept; kept; kept = kept->next) {
        count++;
        bytes += kept->bytes;
        size_t its_bytes;
        if (!cds_json_is(kept->items, CDS_JSON_ARRAY) || !responses_kept_find(s, kept->id, &its_bytes))
            abort();
    }
    if (count > RESPONSES_KEPT_MAX || bytes > RESPONSES_KEPT_BYTES)
        abort();
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    CDS_JSON_AUTO messages = NULL;
    struct responses_socket s = {0};
    if (cds_json_parse((const char *)data, size, &messages, NULL) != CDS_OK)
        return 0;
    for (size_t i = 0; i < cds_json_size(messages); i++) {
        const cds_json *message = cds_json_at(messages, i);
        const char *lane = NULL;
        struct cds_err err = {0};
        cds_rc rc = responses_lane(message, &lane, &err);
        if (rc == CDS_OK ? lane && (!*lane || strlen(lane) > RESPONSES_LANE_MAX) : lane || !*err.message)
            abort();
        responses_kept_add(&s, cds_json_get(message, "input"), cds_json_get(message, "response"));
        check_kept(&s);
    }
    responses_kept_free(&s);
    return 0;
}
