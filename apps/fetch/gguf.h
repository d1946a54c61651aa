/* apps/fetch/gguf.h: the header of a GGUF file, read with a ceiling on everything.
 *
 * Source:  ggml docs/gguf.md (versions 2 and 3, little-endian); sizes of the number formats as in ggml of the pinned libllama.
 * Threads: pure functions.
 * Stricter than the loader: each tensor lies where the one before it ends, as ggml writes and demands it.
 */
#pragma once

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "lib/base/err.h"

enum {
    CDS_GGUF_HEADER_MAX = 256 << 20, /**< bytes of a header; larger is refused */
    CDS_GGUF_KEYS_MAX = 4096,
    CDS_GGUF_TENSORS_MAX = 65536,
    CDS_GGUF_TEXT_MAX = 64 /**< bytes of a name we keep, NUL included */
};

/** What the header says. Counts are 0 where the file says nothing. Texts are clean UTF-8. */
struct cds_gguf {
    char architecture[CDS_GGUF_TEXT_MAX]; /**< "llama" */
    char type[CDS_GGUF_TEXT_MAX];         /**< general.type: "model", "adapter", "mmproj"; "model" when absent */
    char name[CDS_GGUF_TEXT_MAX];         /**< general.name */
    char quantization[16];                /**< "Q4_K_M"; the commonest format of the weights when the file names none */
    uint64_t parameters;                  /**< sum over the tensors' shapes, never what a key claims */
    uint64_t tensor_bytes;                /**< with padding */
    uint64_t data_offset;                 /**< bytes of the header: the tensors begin here */
    uint64_t file_bytes;                  /**< least length of the whole file */
    uint32_t version, tensors, keys;
    uint32_t context, embedding, layers, heads, feed_forward, vocabulary;
    uint64_t kv_values;     /**< numbers that one token keeps in the cache, K and V of all layers */
    uint32_t pooling;       /**< 0: none, 1: mean, 2: cls, 3: last, 4: rank */
    bool causal;            /**< false: an encoder, for embeddings only */
    bool stateful;          /**< sequences cannot be cut anywhere: it has a recurrent state, or a window of attention */
    bool chat_template;     /**< the file has one */
    uint32_t part, parts;   /**< of a split model, part from 0; parts 0 or 1: one file */
    uint64_t split_tensors; /**< tensors of all parts */
};

/**
 * @param data  the first len bytes of the file
 * @param whole len is the length of the file: what is missing will not come
 * @return CDS_OK; CDS_BUSY: the header is longer than len (never with whole); CDS_BAD_PARAM: no usable GGUF file, and why;
 *         CDS_TOO_LARGE: over one of the ceilings
 */
CDS_MUST_USE cds_rc cds_gguf_read(const void *data, size_t len, bool whole, struct cds_gguf *ret, struct cds_err *reterr);
