// link: app_sandbox
/* tests/fuzz/fuzz_micro_frames.c: the bytes of a guest. The first byte: bit 0 restored, bit 1 a job was sent, bit 2 an answer is due, bit 3 the
 * files of the job return; the rest of it says in what pieces they arrive. */
#include <stdlib.h>
#include <string.h>

#include "sandbox/micro_frames.h"
#include "sandbox/returned.h"

struct seen {
    bool ready, started, exited, back, over;
    uint64_t output, back_bytes;
    size_t entries;
    struct returned *returned;
    size_t frames;
};

static bool on_frame(void *user, enum micro_type type, uint32_t id, const char *payload, size_t len)
{
    struct seen *seen = user;
    volatile char sum = 0;
    for (size_t i = 0; i < len; i++)
        sum = (char)(sum + payload[i]);
    bool of_job =
        type == MICRO_STARTED || type == MICRO_OUT || type == MICRO_ERR || type == MICRO_EXIT || type == MICRO_OVERFLOW || type >= MICRO_BACK;
    bool of_back = type >= MICRO_BACK;
    /* What a caller may rely on, whatever came: order, one job, a ceiling, sizes. */
    if (seen->over || (of_back != seen->exited) || (of_back && !seen->back) || (of_job && id != 1) ||
        (of_job && type != MICRO_STARTED && !seen->started) || (type == MICRO_STARTED && seen->started) || (type == MICRO_READY && seen->ready) ||
        len > MICRO_PAYLOAD_MAX || (type == MICRO_EXIT && len != sizeof(struct micro_exit)))
        abort();
    seen->ready = seen->ready || type == MICRO_READY;
    seen->started = seen->started || type == MICRO_STARTED;
    seen->exited = seen->exited || type == MICRO_EXIT;
    seen->over = type == MICRO_BACK_END || (type == MICRO_EXIT && !seen->back);
    if (type == MICRO_BACK) {
        struct micro_back head;
        memcpy(&head, payload, sizeof(head));
        if (head.path_len + sizeof(head) != len || ++seen->entries > MICRO_BACK_FILES || (seen->back_bytes += head.size) > MICRO_BACK_BYTES)
            abort();
        if (returned_add(seen->returned, &head, payload + sizeof(head)))
            return false;
    } else if (type == MICRO_BACK_DATA && returned_data(seen->returned, payload, len)) {
        return false;
    }
    if (type == MICRO_OUT || type == MICRO_ERR)
        seen->output += len;
    if (seen->output > 4096)
        abort();
    seen->frames++;
    return true;
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    static struct micro_decoder d;
    struct seen seen = {0};
    if (size < 1 || size > 300000)
        return 0;
    micro_decoder_init(&d, data[0] & 1);
    seen.ready = data[0] & 1;
    d.job = data[0] & 2 ? 1 : 0;
    d.output_max = 4096;
    d.asked = data[0] & 4 ? 7 : 0;
    d.back = seen.back = data[0] & 8;
    if (!(seen.returned = returned_new()) || !returned_given(seen.returned, "a/b", "0123456789abcdef"))
        abort();
    size_t step = 1 + (data[0] >> 4) * 64u;
    bool good = true;
    for (size_t at = 1; at < size && good; at += step)
        good = micro_decode(&d, (const char *)data + at, size - at < step ? size - at : step, on_frame, &seen);
    if (good == (d.broken[0] != '\0'))
        abort();
    size_t before = seen.frames;
    if (!good && (micro_decode(&d, (const char *)data, size, on_frame, &seen) || seen.frames != before)) /* broken stays broken */
        abort();
    cds_json *told = returned_json(seen.returned, NULL); /* any path must be told as text */
    if (!told)
        abort();
    cds_json_unref(told);
    returned_free(&seen.returned);
    return 0;
}
