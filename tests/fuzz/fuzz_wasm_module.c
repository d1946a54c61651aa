// link: wasm_module
/* tests/fuzz/fuzz_wasm_module.c: no module makes the check read too far, and what it lets through becomes a module it would let through again. */
#include <assert.h>
#include <string.h>

#include "sandbox/wasm/module.h"

enum { PAGES = 300 };

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    struct wasm_facts facts, again;
    struct cds_err err = {0};
    struct cds_buf out = cds_buf_init(size + WASM_PREPARE_EXTRA);
    cds_rc rc = wasm_module_check(data, size, PAGES, &facts, &err);
    assert(!rc || (rc == CDS_DENIED && !strncmp(err.rule, "wasm.", 5) && err.message[0]));
    if (!rc) {
        assert(!wasm_module_prepare(data, size, &facts, PAGES, &out, &err));
        rc = wasm_module_check((const uint8_t *)out.data, out.len, PAGES, &again, &err);
        /* The name of the start function is one that only we may export. */
        assert(facts.has_start ? rc == CDS_DENIED && !strcmp(err.rule, "wasm.export") : !rc);
        if (!rc)
            assert(!again.has_start && again.functions == facts.functions && again.exports == facts.exports &&
                   (!again.has_memory || again.memory_pages_max <= PAGES) && again.memory_pages_min == facts.memory_pages_min);
    }
    cds_buf_free(&out);
    return 0;
}
