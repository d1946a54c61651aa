/* apps/llmworker/guard.h: text of a user never becomes a control token of the model.
 *
 * A chat template writes control tokens ("<|im_end|>") as text, so the rendered prompt has to be read with special tokens on, and then a
 * user who types such a text could end his own turn and begin one of the system. So every control text inside a message is broken by a
 * mark behind its first character before the template sees it; the rendered prompt is cut at the marks, and the parts are turned into
 * tokens one by one: together they are the same text, but no part holds the control text.
 * The mark is one of the 32 Unicode noncharacters U+FDD0..U+FDEF, one that no message contains.
 * Threads: pure functions.
 */
#pragma once

#include <stdbool.h>
#include <stddef.h>

#include "lib/base/buf.h"

enum { CDS_MARK_LEN = 3, CDS_MARKS = 32 };
/** UTF-8 of mark number 0..CDS_MARKS-1. */
void cds_guard_mark(unsigned number, char mark[static CDS_MARK_LEN + 1]);
/** Bit n is set when the text contains mark n. */
unsigned cds_guard_marks_in(const char *text, size_t len);
/** Appends text to out with the mark behind the first character of each control text. @return CDS_OK, CDS_TOO_LARGE, CDS_EXHAUSTED */
CDS_MUST_USE cds_rc cds_guard_break(const char *text, size_t len, const char *const *controls, const char *mark, struct cds_buf *out);
/** Next part of a rendered prompt: from *at up to the mark or the end. false when everything was returned. */
bool cds_guard_next(const char *text, size_t len, const char *mark, size_t *at, const char **ret_part, size_t *ret_len);
