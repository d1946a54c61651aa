/* lib/base/buf.h: a growing byte buffer with a ceiling.
 *
 * Threads: one owner at a time.
 * Memory:  data is owned by the buffer; always NUL-terminated behind len (the NUL is not counted).
 * A failed append sets `failed` and leaves the content as it was; later appends fail too, so a builder may check once.
 */
#pragma once

#include <stdbool.h>
#include <stddef.h>

#include "lib/base/compiler.h"
#include "lib/base/err.h"

struct cds_buf {
    char *data;     /**< NULL until the first append */
    size_t len;     /**< bytes used */
    size_t cap;     /**< bytes allocated */
    size_t ceiling; /**< most bytes len may reach, > 0 */
    bool failed;    /**< an append was refused (ceiling or memory) */
    bool no_memory; /**< with failed: it was memory */
};

/** An empty buffer that may hold at most ceiling bytes. */
struct cds_buf cds_buf_init(size_t ceiling);
/** Frees the data; the buffer may be used again. Accepts NULL. Fit for CDS_CLEANUP(cds_buf_free). */
void cds_buf_free(struct cds_buf *buf);
/** Why appends are refused: CDS_TOO_LARGE, CDS_EXHAUSTED; CDS_OK when none was. */
cds_rc cds_buf_trouble(const struct cds_buf *buf);
/** len = 0, failed = false; keeps the memory. */
void cds_buf_clear(struct cds_buf *buf);
/** @return CDS_OK, CDS_TOO_LARGE (ceiling), CDS_EXHAUSTED (memory) */
cds_rc cds_buf_add(struct cds_buf *buf, const void *data, size_t len);
cds_rc cds_buf_add_str(struct cds_buf *buf, const char *text);
cds_rc cds_buf_addf(struct cds_buf *buf, const char *fmt, ...) CDS_PRINTF(2, 3);
/** Makes room for len more bytes and returns the place to write them; add cds_buf_commit afterwards. NULL: refused. */
char *cds_buf_reserve(struct cds_buf *buf, size_t len);
/** Counts len bytes that were written at the place cds_buf_reserve returned. */
void cds_buf_commit(struct cds_buf *buf, size_t len);
/** Removes the first len bytes (len <= buf->len). */
void cds_buf_consume(struct cds_buf *buf, size_t len);
/** Hands the data to the caller, who frees it with free(); the buffer is empty afterwards. Never NULL unless out of memory. */
char *cds_buf_steal(struct cds_buf *buf, size_t *ret_len);
