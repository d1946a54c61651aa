/* sandbox/wasm/reader.h: bytes of a module from front to back; what does not fit sets `bad` and reads as 0. Threads: one owner. */
#pragma once

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

struct wasm_reader {
    const uint8_t *data;
    size_t at, end;
    bool bad; /**< stays */
};

static inline bool wasm_more(const struct wasm_reader *r)
{
    return !r->bad && r->at < r->end;
}

static inline uint8_t wasm_u8(struct wasm_reader *r)
{
    if (r->bad || r->at >= r->end) {
        r->bad = true;
        return 0;
    }
    return r->data[r->at++];
}

/** LEB128 of at most 32 bits, as the specification bounds it: five bytes, no bits beyond. */
static inline uint32_t wasm_u32(struct wasm_reader *r)
{
    uint32_t value = 0;
    for (unsigned shift = 0; shift < 35; shift += 7) {
        uint8_t byte = wasm_u8(r);
        if (shift == 28 && byte > 0x0f)
            break;
        value |= (uint32_t)(byte & 0x7f) << shift;
        if (!(byte & 0x80))
            return value;
    }
    r->bad = true;
    return 0;
}

/** Steps over a signed or unsigned LEB128 of at most that many bytes. */
static inline void wasm_skip_leb(struct wasm_reader *r, unsigned bytes)
{
    while (bytes--)
        if (!(wasm_u8(r) & 0x80))
            return;
    r->bad = true;
}

static inline void wasm_skip(struct wasm_reader *r, size_t len)
{
    if (r->bad || r->end - r->at < len)
        r->bad = true;
    else
        r->at += len;
}

/** Takes the next len bytes out as a reader of their own. */
static inline struct wasm_reader wasm_sub(struct wasm_reader *r, size_t len)
{
    struct wasm_reader sub = {r->data, r->at, r->at, false};
    wasm_skip(r, len);
    sub.bad = r->bad;
    if (!r->bad)
        sub.end = r->at;
    return sub;
}
