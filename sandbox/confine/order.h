/* sandbox/confine/order.h: what a jail that was made ahead is told to run: one memory file, written by the broker, read inside the jail.
 *
 * Layout:  u32 argc, argc texts; u32 envc, envc texts; u32 filec, filec pairs of a path (text) and a content.
 *          A text is u32 length, then so many bytes, the last of which is NUL. A content is u32 length, then so many bytes. Little endian.
 * Source:  read by sandbox/confine/order.c (programs that are executed) and by the files of sandbox/preload (interpreters that are there already).
 * Threads: safe; no state.
 */
#pragma once

#include "lib/base/buf.h"
#include "sandbox/sandbox.h"

enum { CDS_ORDER_TEXTS = 192, CDS_ORDER_MAX = 8 << 20 };

/** @param argv,env  NULL-terminated @return CDS_OK; CDS_TOO_LARGE; CDS_BAD_PARAM: more than CDS_ORDER_TEXTS - 1 arguments or variables */
CDS_MUST_USE cds_rc cds_order_write(struct cds_buf *buf, const char *const *argv, const char *const *env, const struct cds_job_file *files,
                                    size_t file_count, struct cds_err *reterr);
