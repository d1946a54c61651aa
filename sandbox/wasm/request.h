/* sandbox/wasm/request.h: what the engine hands to cds-wasmworker, and over which descriptors.
 *
 * 0, 1, 2: standard streams of the module. 4: the report, lines of JSON (see worker_report.h). 5: the request, a memory file with this head,
 * the values, the texts, the module and compiled code behind each other. 6: a memory file for compiled code (AOT_LEAVE); for a worker that was
 * started ahead (argument "wait") it is a pipe on which one byte says that the request is there.
 * Both sides are built together: no version but the magic.
 * Threads: safe; the layout only.
 */
#pragma once

#include <stdint.h>

enum { WASM_FD_REPORT = 4, WASM_FD_REQUEST = 5, WASM_FD_AOT = 6 };
enum { WASM_REQUEST_MAGIC = 0x31716377 };
enum {
    WASM_AOT_USE = 1,   /**< compiled code of this module stands behind it, for which the broker vouches */
    WASM_AOT_LEAVE = 2, /**< the worker writes compiled code to descriptor 6 and seals it before it runs any of it */
    WASM_CALL = 4       /**< the first text is an export to call with the values; else it is the name of the program and _start runs */
};
enum { WASM_AOT_MAX = 32 << 20 /**< bytes of compiled code that are kept */ };

struct wasm_request {
    uint32_t magic, flags;
    uint32_t pages_max;   /**< pages of memory the module may have */
    uint32_t value_count; /**< struct wasm_wire_value each */
    uint32_t arg_count, env_count;
    uint32_t text_bytes; /**< first text, arguments, variables; each with its NUL */
    uint32_t module_bytes;
    uint32_t aot_bytes; /**< 0 without AOT_USE */
    uint32_t zero;
    uint64_t fuel; /**< instructions it may execute */
};

struct wasm_wire_value {
    uint32_t type; /**< enum cds_wasm_type */
    uint32_t zero;
    uint64_t bits;
};
