// link: app_api
/* tests/fuzz/fuzz_sse.c: the events of a stream do not depend on where it is cut, and never pass the ceiling. */
#include <assert.h>
#include <stdint.h>

#include "apps/api/sse.h"

enum { EVENT_MAX = 64 };

struct sum {
    uint64_t hash;
    unsigned events;
};

static bool on_event(void *user, const char *data, size_t len)
{
    struct sum *sum = user;
    assert(len <= EVENT_MAX);
    for (size_t i = 0; i < len; i++)
        sum->hash = (sum->hash ^ (unsigned char)data[i]) * 1099511628211u;
    sum->hash = (sum->hash ^ 0x1ff) * 1099511628211u;
    sum->events++;
    return true;
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    struct sum whole = {0}, pieces = {0};
    struct cds_sse a = cds_sse_init(EVENT_MAX), b = cds_sse_init(EVENT_MAX);
    cds_rc rc_a = cds_sse_feed(&a, (const char *)data, size, on_event, &whole), rc_b = CDS_OK;
    for (size_t i = 0; i < size && !rc_b; i++)
        rc_b = cds_sse_feed(&b, (const char *)data + i, 1, on_event, &pieces);
    assert(rc_a == rc_b && whole.hash == pieces.hash && whole.events == pieces.events);
    cds_sse_free(&a);
    cds_sse_free(&b);
    return 0;
}
