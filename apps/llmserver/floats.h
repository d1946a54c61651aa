/* apps/llmserver/floats.h: vectors of 32-bit floats as JSON text.
 *
 * Every number is written so that reading it as a 32-bit float gives the same one. An answer may hold millions of them, so the common ones (below 1
 * and not tiny, as those of a normalised vector are) do not go through printf.
 * Threads: pure functions.
 */
#pragma once

#include "lib/base/buf.h"

/** Appends "[n,n,...]". @param bytes  little-endian floats, not aligned. What is no number becomes 0 */
void cds_floats_json(const unsigned char *bytes, size_t count, struct cds_buf *out);
