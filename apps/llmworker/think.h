/* apps/llmworker/think.h: cuts an answer into thought and text at the tags of the model.
 *
 * Source:  chat templates of reasoning models ("<think>" ... "</think>"); OpenAI-like servers' reasoning_content.
 * Threads: one owner.
 * What may be the beginning of a tag, and white space that may be the end of a thought, is held back until the next piece decides.
 */
#pragma once

#include <stdbool.h>
#include <stddef.h>

#include "lib/base/buf.h"

enum { CDS_THINK_TAG_MAX = 63, CDS_THINK_HELD_MAX = 4096 };

struct cds_think {
    enum { CDS_THINK_BEFORE, CDS_THINK_INSIDE, CDS_THINK_AFTER } state;
    bool trimming; /**< white space at the beginning of a part is dropped */
    char start[CDS_THINK_TAG_MAX + 1], end[CDS_THINK_TAG_MAX + 1];
    struct cds_buf held;
};
/** begun: the prompt has opened the thought already. A tag that is empty or too long: everything is text. */
void cds_think_begin(struct cds_think *think, const char *start, const char *end, bool begun);
void cds_think_clear(struct cds_think *think);
/** Appends what is certain. last: nothing follows. */
void cds_think_feed(struct cds_think *think, const char *data, size_t len, bool last, struct cds_buf *thought, struct cds_buf *text);
