/* lib/base/compiler.h: attributes shared by every header.
 *
 * Threads: nothing runs.
 */
#pragma once

/** The caller must look at the result; ignoring it is a compile error under -Werror. */
#define CDS_MUST_USE __attribute__((warn_unused_result))
/** printf-like function: format at position f, first argument at position a (1-based). */
#define CDS_PRINTF(f, a) __attribute__((format(printf, f, a)))
/** Runs fn(&variable) when the variable leaves its scope. */
#define CDS_CLEANUP(fn) __attribute__((cleanup(fn)))
#define CDS_ARRAY_LEN(a) (sizeof(a) / sizeof((a)[0]))
