#include "apps/llmworker/think.h"

#include <string.h>

#include "lib/base/str.h"

void cds_think_begin(struct cds_think *think, const char *start, const char *end, bool begun)
{
    *think = (struct cds_think){.state = CDS_THINK_AFTER, .held = cds_buf_init((size_t)CDS_THINK_HELD_MAX * 4)};
    if (!start || !end || !*start || !*end || strlen(start) > CDS_THINK_TAG_MAX || strlen(end) > CDS_THINK_TAG_MAX)
        return;
    cds_strcpy(think->start, sizeof(think->start), start);
    cds_strcpy(think->end, sizeof(think->end), end);
    think->state = begun ? CDS_THINK_INSIDE : CDS_THINK_BEFORE;
    think->trimming = true;
}

void cds_think_clear(struct cds_think *think)
{
    cds_buf_free(&think->held);
}

static bool is_space(char c)
{
    return c == ' ' || c == '\n' || c == '\r' || c == '\t';
}

/** Length of the longest end of data that is the beginning of tag. */
static size_t undecided(const char *data, size_t len, const char *tag)
{
    size_t most = strlen(tag) - 1 < len ? strlen(tag) - 1 : len;
    for (size_t n = most; n > 0; n--)
        if (memcmp(data + len - n, tag, n) == 0)
            return n;
    return 0;
}

static void skip_space(struct cds_think *think)
{
    size_t n = 0;
    while (think->trimming && n < think->held.len && is_space(think->held.data[n]))
        n++;
    cds_buf_consume(&think->held, n);
    if (think->held.len)
        think->trimming = false;
}

/** At the very beginning: a thought, or none. @return false: more is needed */
static bool decide(struct cds_think *think, bool last)
{
    size_t tag = strlen(think->start), space = 0;
    while (space < think->held.len && is_space(think->held.data[space]))
        space++;
    const char *text = think->held.data + space;
    size_t len = think->held.len - space, n = len < tag ? len : tag;
    bool same = len == 0 || memcmp(text, think->start, n) == 0;
    if (same && len < tag && !last && space < CDS_THINK_HELD_MAX)
        return false;
    if (same && len >= tag) {
        cds_buf_consume(&think->held, space + tag);
        think->state = CDS_THINK_INSIDE;
    } else {
        think->state = CDS_THINK_AFTER;
        think->trimming = false;
    }
    return true;
}

/** Inside a thought. @return false: more is needed */
static bool think_on(struct cds_think *think, bool last, struct cds_buf *thought)
{
    skip_space(think);
    const char *hit = think->held.len ? memmem(think->held.data, think->held.len, think->end, strlen(think->end)) : NULL;
    size_t len = hit ? (size_t)(hit - think->held.data) : think->held.len;
    size_t keep = hit || last ? 0 : undecided(think->held.data, len, think->end);
    size_t certain = len - keep;
    /* White space before the end tag is not part of the thought, unless there is too much of it to wait. */
    while (certain > 0 && is_space(think->held.data[certain - 1]) && len - certain < CDS_THINK_HELD_MAX)
        certain--;
    (void)cds_buf_add(thought, think->held.data ? think->held.data : "", certain);
    cds_buf_consume(&think->held, hit ? len + strlen(think->end) : certain);
    if (!hit)
        return false;
    think->state = CDS_THINK_AFTER;
    think->trimming = true;
    return true;
}

void cds_think_feed(struct cds_think *think, const char *data, size_t len, bool last, struct cds_buf *thought, struct cds_buf *text)
{
    if (think->state == CDS_THINK_AFTER && think->held.len == 0 && !think->trimming) {
        (void)cds_buf_add(text, data, len);
        return;
    }
    if (cds_buf_add(&think->held, data, len) != CDS_OK) {
        text->failed = true;
        return;
    }
    if (think->state == CDS_THINK_BEFORE && !decide(think, last))
        return;
    if (think->state == CDS_THINK_INSIDE && !think_on(think, last, thought))
        return;
    skip_space(think);
    (void)cds_buf_add(text, think->held.data ? think->held.data : "", think->held.len);
    cds_buf_consume(&think->held, think->held.len);
}
