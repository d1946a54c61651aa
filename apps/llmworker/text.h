/* apps/llmworker/text.h: from token pieces to text that may be sent: whole UTF-8 characters, stop strings cut out.
 *
 * Source:  Unicode 15 section 3.9 (U+FFFD for ill-formed bytes); OpenAI API reference, "stop".
 * Threads: one owner at a time.
 * A token may hold a part of a character, and a stop string may be spread over many tokens: what might still become one of
 * the two is held back until the next piece decides.
 */
#pragma once

#include <stdbool.h>
#include <stddef.h>

#include "lib/base/buf.h"

enum { CDS_STOP_MAX = 5 /**< four of a request, and that of its template */, CDS_STOP_BYTES_MAX = 256 };

struct cds_text {
    char part[8]; /**< bytes of a character that is not complete yet */
    size_t part_len;
    unsigned stop_count;
    unsigned hit; /**< number of the stop string that was completed, from 1 on; 0: none */
    size_t stop_len[CDS_STOP_MAX];
    char stop[CDS_STOP_MAX][CDS_STOP_BYTES_MAX + 1];
    size_t held_len;
    char held[CDS_STOP_BYTES_MAX]; /**< end of the text that is the beginning of a stop string */
};

/** Forgets everything, also the stop strings. */
void cds_text_reset(struct cds_text *text);
/** Adds a stop string of 1..CDS_STOP_BYTES_MAX bytes. @return CDS_OK; CDS_BAD_PARAM (length, or more than CDS_STOP_MAX) */
CDS_MUST_USE cds_rc cds_text_add_stop(struct cds_text *text, const char *stop, size_t len);
/**
 * Takes the bytes of one token and appends what is certain to out (well-formed UTF-8).
 * @return true when a stop string was completed: out ends right before it and the text is over
 */
bool cds_text_feed(struct cds_text *text, const char *data, size_t len, struct cds_buf *out);
/** The end without a stop string: appends what was held back; half a character becomes U+FFFD. */
void cds_text_end(struct cds_text *text, struct cds_buf *out);
