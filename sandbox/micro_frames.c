/* sandbox/micro_frames.c: see micro_frames.h. Hosts and guests are both x86-64: the structures travel as they are, little endian. */
#include "sandbox/micro_frames.h"

#include <stdio.h>
#include <string.h>
#include <time.h>

#include "lib/base/random.h"

_Static_assert(sizeof(struct micro_header) == MICRO_HEADER, "the header has 12 bytes");
_Static_assert(__BYTE_ORDER__ == __ORDER_LITTLE_ENDIAN__, "frames are little endian");

void micro_decoder_init(struct micro_decoder *d, bool ready)
{
    d->have = 0;
    d->ready = ready;
    d->started = d->exited = false;
    d->asked = d->job = 0;
    d->output = d->output_max = 0;
    d->back = d->over = false;
    d->back_entries = d->back_left = 0;
    d->back_bytes = 0;
    d->broken[0] = '\0';
}

static bool breaks(struct micro_decoder *d, const char *rule, unsigned type)
{
    snprintf(d->broken, sizeof(d->broken), "protocol: %s (frame type %u)", rule, type);
    return false;
}

/* What may come when. */
static bool in_order(struct micro_decoder *d, const struct micro_header *h)
{
    bool running = d->started && !d->exited && h->id == d->job;
    if (d->over || (d->exited && (h->type < MICRO_BACK || h->id != d->job)))
        return breaks(d, d->back ? "another frame after EXIT than the files that return" : "a frame after EXIT", h->type);
    if (!d->ready && h->type != MICRO_READY && h->type != MICRO_FAILED)
        return breaks(d, "a frame before READY", h->type);
    switch (h->type) {
    case MICRO_READY:
        return !d->ready || breaks(d, "READY twice", h->type);
    case MICRO_STARTED:
        return (d->job && !d->started && h->id == d->job) || breaks(d, "STARTED without EXEC, twice, or with another id", h->type);
    case MICRO_OUT:
    case MICRO_ERR:
    case MICRO_OVERFLOW:
    case MICRO_EXIT:
        return running || breaks(d, "output or an end of no job, or with another id", h->type);
    case MICRO_PONG:
    case MICRO_WARMED:
        return (d->asked && h->id == d->asked) || breaks(d, "an answer that nobody asked for", h->type);
    case MICRO_BACK:
    case MICRO_BACK_END:
        return (d->exited && d->back_left == 0) || breaks(d, "files return before EXIT, or in the middle of one", h->type);
    case MICRO_BACK_DATA:
        return (d->exited && h->len <= d->back_left) || breaks(d, "data of no file, or more than it has", h->type);
    default: /* REFUSED and FAILED end the machine in any case */
        return true;
    }
}

static bool has_size(struct micro_decoder *d, const struct micro_header *h)
{
    static const struct {
        uint32_t least, most;
    } sizes[] = {[MICRO_READY - MICRO_READY] = {sizeof(struct micro_ready), sizeof(struct micro_ready)},
                 [MICRO_OUT - MICRO_READY] = {1, MICRO_PAYLOAD_MAX},
                 [MICRO_ERR - MICRO_READY] = {1, MICRO_PAYLOAD_MAX},
                 [MICRO_EXIT - MICRO_READY] = {sizeof(struct micro_exit), sizeof(struct micro_exit)},
                 [MICRO_REFUSED - MICRO_READY] = {0, MICRO_REASON_MAX},
                 [MICRO_FAILED - MICRO_READY] = {0, MICRO_REASON_MAX},
                 [MICRO_BACK - MICRO_READY] = {sizeof(struct micro_back) + 1, sizeof(struct micro_back) + MICRO_PATH_MAX},
                 [MICRO_BACK_DATA - MICRO_READY] = {1, MICRO_PAYLOAD_MAX},
                 [MICRO_BACK_END - MICRO_READY] = {sizeof(struct micro_back_end), sizeof(struct micro_back_end)}};
    if (h->type < MICRO_READY || h->type > MICRO_BACK_END)
        return breaks(d, "there is no such type", h->type);
    const uint32_t least = sizes[h->type - MICRO_READY].least, most = sizes[h->type - MICRO_READY].most;
    if (h->flags || h->zero)
        return breaks(d, "flags that are not zero", h->type);
    return (h->len >= least && h->len <= most) || breaks(d, "a length that this type cannot have", h->type);
}

/* A path that returns: its kind, size and the sums of all. */
static bool take_back(struct micro_decoder *d, const struct micro_header *h, const char *payload)
{
    struct micro_back b;
    memcpy(&b, payload, sizeof(b));
    if (b.kind < MICRO_BACK_GONE || b.kind > MICRO_BACK_UNREADABLE || b.zero)
        return breaks(d, "there is no such kind of return", h->type);
    if (b.path_len != h->len - sizeof(b))
        return breaks(d, "a path of another length than its frame", h->type);
    if (b.size > (b.kind == MICRO_BACK_FILE ? MICRO_BACK_FILE_MAX : 0))
        return breaks(d, "more bytes than a file may return", h->type);
    if (++d->back_entries > MICRO_BACK_FILES || (d->back_bytes += b.size) > MICRO_BACK_BYTES)
        return breaks(d, "more files than may return", h->type);
    d->back_left = b.size;
    return true;
}

static bool take(struct micro_decoder *d, const struct micro_header *h, const char *payload)
{
    struct micro_ready ready;
    struct micro_back_end back_end;
    if (!in_order(d, h))
        return false;
    switch (h->type) {
    case MICRO_READY:
        memcpy(&ready, payload, sizeof(ready));
        if (ready.version != MICRO_VERSION)
            return breaks(d, "another version of the protocol", h->type);
        d->ready = true;
        break;
    case MICRO_STARTED:
        d->started = true;
        break;
    case MICRO_OUT:
    case MICRO_ERR:
        d->output += h->len;
        if (d->output > d->output_max)
            return breaks(d, "more output than its ceiling", h->type);
        break;
    case MICRO_EXIT:
        d->exited = true;
        d->over = !d->back;
        break;
    case MICRO_BACK:
        return take_back(d, h, payload);
    case MICRO_BACK_DATA:
        d->back_left -= h->len;
        break;
    case MICRO_BACK_END:
        memcpy(&back_end, payload, sizeof(back_end));
        if (back_end.entries != d->back_entries)
            return breaks(d, "another number of files than came", h->type);
        d->over = true;
        break;
    case MICRO_PONG:
    case MICRO_WARMED:
        d->asked = 0;
        break;
    default:
        break;
    }
    return true;
}

bool micro_decode(struct micro_decoder *d, const char *data, size_t len, micro_frame_fn *fn, void *user)
{
    while (len && !d->broken[0]) {
        struct micro_header h;
        size_t want = MICRO_HEADER;
        if (d->have >= MICRO_HEADER) {
            memcpy(&h, d->frame, sizeof(h));
            want += h.len;
        }
        size_t n = want - d->have < len ? want - d->have : len;
        memcpy(d->frame + d->have, data, n);
        d->have += n;
        data += n;
        len -= n;
        if (d->have < MICRO_HEADER)
            continue;
        memcpy(&h, d->frame, sizeof(h));
        if (d->have == MICRO_HEADER && !has_size(d, &h)) /* before a byte of the payload is taken */
            break;
        if (d->have < MICRO_HEADER + h.len)
            continue;
        d->have = 0;
        if (!take(d, &h, d->frame + MICRO_HEADER))
            break;
        if (d->over && len) { /* seen now, because nobody listens after the last frame */
            breaks(d, "bytes after the last frame", h.type);
            break;
        }
        if (!fn(user, (enum micro_type)h.type, h.id, d->frame + MICRO_HEADER, h.len))
            return true;
    }
    return !d->broken[0];
}

cds_rc micro_frame_add(struct cds_buf *out, enum micro_type type, unsigned flags, uint32_t id, const void *data, size_t len)
{
    const struct micro_header h = {.len = (uint32_t)len, .type = (uint8_t)type, .flags = (uint8_t)flags, .id = id};
    cds_rc rc = cds_buf_add(out, &h, sizeof(h));
    return rc || !len ? rc : cds_buf_add(out, data, len);
}

cds_rc micro_frame_add_file(struct cds_buf *out, unsigned where, uint32_t id, const char *path, const char *data, size_t len)
{
    const uint16_t path_len = (uint16_t)strlen(path);
    const size_t head = sizeof(path_len) + path_len, most = MICRO_PAYLOAD_MAX - head;
    size_t at = 0;
    cds_rc rc = CDS_OK;
    do {
        size_t n = len - at < most ? len - at : most;
        const struct micro_header h = {
            .len = (uint32_t)(head + n), .type = MICRO_FILE, .flags = (uint8_t)(where | (at ? MICRO_FILE_MORE : 0)), .id = id};
        if ((rc = cds_buf_add(out, &h, sizeof(h))) || (rc = cds_buf_add(out, &path_len, sizeof(path_len))) ||
            (rc = cds_buf_add(out, path, path_len)) || (n && (rc = cds_buf_add(out, data + at, n))))
            return rc;
        at += n;
    } while (at < len);
    return rc;
}

cds_rc micro_frame_add_exec(struct cds_buf *out, uint32_t id, struct micro_exec e, const char *const *argv, size_t argc, const char *const *env,
                            size_t envc)
{
    size_t len = sizeof(e);
    cds_rc rc;
    if (argc + envc > MICRO_STRINGS_MAX)
        return CDS_TOO_LARGE;
    for (size_t i = 0; i < argc + envc; i++)
        len += strlen(i < argc ? argv[i] : env[i - argc]) + 1;
    if (len > MICRO_EXEC_MAX)
        return CDS_TOO_LARGE;
    e.argc = (uint16_t)argc;
    e.envc = (uint16_t)envc;
    const struct micro_header h = {.len = (uint32_t)len, .type = MICRO_EXEC, .id = id};
    if ((rc = cds_buf_add(out, &h, sizeof(h))) || (rc = cds_buf_add(out, &e, sizeof(e))))
        return rc;
    for (size_t i = 0; !rc && i < argc + envc; i++) {
        const char *text = i < argc ? argv[i] : env[i - argc];
        rc = cds_buf_add(out, text, strlen(text) + 1);
    }
    return rc;
}

cds_rc micro_frame_add_seed(struct cds_buf *out)
{
    struct micro_seed seed;
    struct timespec now;
    cds_random(seed.random, sizeof(seed.random));
    clock_gettime(CLOCK_REALTIME, &now);
    seed.host_ns = (uint64_t)now.tv_sec * 1000000000 + (uint64_t)now.tv_nsec;
    return micro_frame_add(out, MICRO_SEED, 0, 0, &seed, sizeof(seed));
}
