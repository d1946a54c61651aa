/* sandbox/wasm/module.h: looks at a WebAssembly module before any compiler sees it, and makes the copy that is compiled.
 *
 * Source:  WebAssembly Core Specification 2.0, section 5 (binary format); limits: section 7.2 and docs/adr/0026-wasm-engine.md.
 * Threads: safe; no state. Memory: nothing but what wasm_module_prepare returns is allocated.
 * Trust:   the bytes are hostile. Each section is walked once, in order, with a ceiling for every count; function bodies are measured, not decoded:
 *          their instructions are validated by the compiler, in the jail.
 * Rules:   a refusal is CDS_DENIED with its rule: wasm.malformed, wasm.unsupported, wasm.too_big, wasm.import, wasm.memory, wasm.threads,
 * wasm.export.
 */
#pragma once

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "lib/base/buf.h"
#include "lib/base/err.h"

enum {
    WASM_MODULE_MAX = 16 << 20,  /**< bytes of a module, inclusive */
    WASM_FUNCTIONS_MAX = 20000,  /**< functions with a body */
    WASM_FUNCTION_MAX = 1 << 20, /**< bytes of one body */
    WASM_LOCALS_MAX = 50000,     /**< locals of one function */
    WASM_PARAMS_MAX = 1000,      /**< parameters, and results, of one type */
    WASM_ENTRIES_MAX = 100000,   /**< types, imports, globals, exports, segments: of each kind */
    WASM_IMPORTS_MAX = 1000,     /**< imported functions */
    WASM_TABLES_MAX = 16,        /**< tables */
    WASM_TABLE_MAX = 1 << 20,    /**< elements a table begins with */
    WASM_ELEMENTS_MAX = 1 << 20, /**< elements of all element segments */
    WASM_NAME_MAX = 1024,        /**< bytes of the name of an import or export */
    WASM_PAGE = 65536,           /**< bytes of a page of memory */
    WASM_PAGES_MAX = 65536       /**< pages a 32-bit memory can have */
};
/** The copy that is compiled exports its start function under this name, so that it is run under the fuel of the job and not before. */
#define WASM_START_EXPORT "cds:start"

struct wasm_facts {
    bool has_start; /**< a start section */
    bool wasi;      /**< imports functions of WASI */
    bool has_memory;
    uint32_t memory_pages_min, memory_pages_max; /**< max: WASM_PAGES_MAX when the module names none */
    uint32_t functions, imports, exports, start; /**< counts; start: index of the start function */
    size_t code_bytes, data_bytes;
    /* Where sections lie, for wasm_module_prepare: of the whole section with its head, 0 and 0 when absent. */
    struct wasm_span {
        size_t at, len;
    } memory_section, export_section, start_section;
    struct wasm_span export_entries; /**< behind the count */
};

/**
 * @param pages_max  pages of memory the job may have
 * @return CDS_OK; CDS_DENIED with a rule and a sentence
 */
CDS_MUST_USE cds_rc wasm_module_check(const uint8_t *data, size_t len, uint32_t pages_max, struct wasm_facts *ret, struct cds_err *reterr);

/**
 * The module as it is compiled: memory can grow to pages_max and no further (memory.grow answers -1), and the start function is an export.
 * @param facts  of the same bytes by wasm_module_check
 * @param out    empty; its ceiling is at least len + WASM_PREPARE_EXTRA
 * @return CDS_OK; CDS_TOO_LARGE; CDS_EXHAUSTED
 */
enum { WASM_PREPARE_EXTRA = 128 };
CDS_MUST_USE cds_rc wasm_module_prepare(const uint8_t *data, size_t len, const struct wasm_facts *facts, uint32_t pages_max, struct cds_buf *out,
                                        struct cds_err *reterr);
