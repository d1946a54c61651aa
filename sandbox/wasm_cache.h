/* sandbox/wasm_cache.h: compiled modules, kept by the broker alone.
 *
 * A worker leaves compiled code in a memory file and seals it before the module runs; the broker copies it, marks it with its own key and keeps
 * it: in memory as a sealed file, from which later workers get a copy, and on disk as <key>.aot. What comes from disk is used only when its mark
 * fits; anything else is removed and the module is compiled again.
 *
 * Key:     SHA-256 over the module's bytes, the library, the worker (which holds the table of costs), the processor's features and the memory
 *          the module may have: another of any of these is another key.
 * File:    "CDSAOT1\n", key, code, HMAC-SHA-256 over all before. The key of the mark is <folder>/key, made at first use, worth nothing elsewhere.
 * Threads: loop thread; copying and writing happen on a thread of its own.
 * Limits:  one piece 32 MiB, on disk 256 MiB, in memory 64 MiB and 64 pieces; the longest unused goes first.
 */
#pragma once

#include "lib/base/err.h"
#include "lib/base/loop.h"
#include "sandbox/wasm_digest.h"

struct wasm_cache;
struct wasm_cache_limits {
    size_t memory_bytes, disk_bytes;
};
struct wasm_cache_counts {
    unsigned from_memory, from_disk, kept, refused, evicted; /**< refused: the mark did not fit; evicted: from disk */
    unsigned writing;                                        /**< pieces on their way to the disk */
};

/** @param dir  folder of the cache, made when it is not there; NULL: in memory only @param limits NULL: the usual ones */
CDS_MUST_USE cds_rc wasm_cache_open(struct cds_loop *loop, const char *dir, const struct wasm_cache_limits *limits, struct wasm_cache **ret,
                                    struct cds_err *reterr);
void wasm_cache_free(struct wasm_cache **cache);
/** Sealed memory file with the code of that key; borrowed until the next call. -1: there is none. */
int wasm_cache_find(struct wasm_cache *cache, const uint8_t key[static WASM_DIGEST]);
/** Keeps what a worker left in fd (duplicated), if it is sealed and not too large. Silent: a cache may forget. */
void wasm_cache_keep(struct wasm_cache *cache, const uint8_t key[static WASM_DIGEST], int fd);
/** The library did not take this piece: forget it. */
void wasm_cache_drop(struct wasm_cache *cache, const uint8_t key[static WASM_DIGEST]);
void wasm_cache_count(const struct wasm_cache *cache, struct wasm_cache_counts *ret);
