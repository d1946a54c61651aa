/* sandbox/wasm/module_prepare.c: the copy of a module that is compiled. See module.h; what is here was looked at by module.c. */
#include "sandbox/wasm/module.h"

enum { SECTION_MEMORY = 5, SECTION_EXPORT = 7 };

static void add_u32(struct cds_buf *out, uint32_t value)
{
    do {
        uint8_t byte = (uint8_t)(value & 0x7f) | (value > 0x7f ? 0x80 : 0);
        cds_buf_add(out, &byte, 1);
    } while (value >>= 7);
}

static size_t u32_len(uint32_t value)
{
    size_t len = 1;
    while (value >>= 7)
        len++;
    return len;
}

static void add_memory(struct cds_buf *out, const struct wasm_facts *f, uint32_t max)
{
    const uint8_t id = SECTION_MEMORY, one_with_max[] = {1, 1};
    cds_buf_add(out, &id, 1);
    add_u32(out, (uint32_t)(sizeof(one_with_max) + u32_len(f->memory_pages_min) + u32_len(max)));
    cds_buf_add(out, one_with_max, sizeof(one_with_max));
    add_u32(out, f->memory_pages_min);
    add_u32(out, max);
}

static void add_exports(struct cds_buf *out, const uint8_t *data, const struct wasm_facts *f)
{
    const uint8_t id = SECTION_EXPORT, function = 0;
    const size_t name = sizeof(WASM_START_EXPORT) - 1;
    size_t len = u32_len(f->exports + 1) + f->export_entries.len + u32_len((uint32_t)name) + name + 1 + u32_len(f->start);
    cds_buf_add(out, &id, 1);
    add_u32(out, (uint32_t)len);
    add_u32(out, f->exports + 1);
    cds_buf_add(out, data + f->export_entries.at, f->export_entries.len);
    add_u32(out, (uint32_t)name);
    cds_buf_add(out, WASM_START_EXPORT, name);
    cds_buf_add(out, &function, 1);
    add_u32(out, f->start);
}

cds_rc wasm_module_prepare(const uint8_t *data, size_t len, const struct wasm_facts *f, uint32_t pages_max, struct cds_buf *out,
                           struct cds_err *reterr)
{
    size_t done = 0;
    /* In the order they stand: memory, exports, start. The new exports replace the old section, or stand where the start section was. */
    const struct wasm_span exports = f->export_section.len ? f->export_section : f->start_section;
    if (f->has_memory && f->memory_pages_max > pages_max) {
        cds_buf_add(out, data, f->memory_section.at);
        add_memory(out, f, pages_max);
        done = f->memory_section.at + f->memory_section.len;
    }
    if (f->has_start) {
        cds_buf_add(out, data + done, exports.at - done);
        add_exports(out, data, f);
        done = exports.at + exports.len;
        if (f->export_section.len) {
            cds_buf_add(out, data + done, f->start_section.at - done);
            done = f->start_section.at + f->start_section.len;
        }
    }
    cds_buf_add(out, data + done, len - done);
    return out->failed ? cds_fail(reterr, CDS_EXHAUSTED, __func__, "No room for a copy of the module.") : CDS_OK;
}
