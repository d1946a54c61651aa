/* apps/api/csv.h: fields of a comma separated file that people open in a table program.
 *
 * Source:  RFC 4180; OWASP "CSV Injection".
 * Threads: pure functions.
 */
#pragma once

#include "lib/base/buf.h"

/**
 * Appends one field. Text that a table program would take for a formula (it begins with = + - @, their full-width forms, a tab or a line end) gets an
 * apostrophe before it; text with a separator, a quote, a line end or a blank at an edge is quoted. NULL: an empty field.
 */
void csv_text(struct cds_buf *out, const char *text);
/** Appends text that holds none of these: our own numbers, times and ids. NULL: an empty field. */
void csv_plain(struct cds_buf *out, const char *text);
/** "," between fields. */
void csv_next(struct cds_buf *out);
/** The end of a line. */
void csv_end(struct cds_buf *out);
