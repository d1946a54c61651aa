#include "apps/llmworker/text.h"

#include <string.h>

#include "lib/base/str.h"

void cds_text_reset(struct cds_text *text)
{
    text->part_len = 0;
    text->stop_count = 0;
    text->hit = 0;
    text->held_len = 0;
}

cds_rc cds_text_add_stop(struct cds_text *text, const char *stop, size_t len)
{
    if (len == 0 || len > CDS_STOP_BYTES_MAX || text->stop_count == CDS_STOP_MAX)
        return CDS_BAD_PARAM;
    unsigned at = text->stop_count++;
    memcpy(text->stop[at], stop, len);
    text->stop[at][len] = '\0';
    text->stop_len[at] = len;
    return CDS_OK;
}

/** Length of the character at data, 0 if the bytes there are not the beginning of a well-formed one. */
static size_t character(const char *data, size_t len)
{
    for (size_t n = 1; n <= 4 && n <= len; n++)
        if (cds_utf8_valid(data, n))
            return n;
    return 0;
}

/** Appends data to clean; every ill-formed byte becomes U+FFFD. */
static void repair(const char *data, size_t len, struct cds_buf *clean)
{
    if (cds_utf8_valid(data, len)) {
        (void)cds_buf_add(clean, data, len);
        return;
    }
    while (len > 0) {
        size_t n = character(data, len);
        (void)(n ? cds_buf_add(clean, data, n) : cds_buf_add_str(clean, "\xEF\xBF\xBD"));
        n = n ? n : 1;
        data += n;
        len -= n;
    }
}

/** Place of the stop string that begins first in data; len if there is none. */
static size_t find_stop(struct cds_text *text, const char *data, size_t len)
{
    size_t first = len;
    for (unsigned i = 0; i < text->stop_count; i++) {
        const char *hit = memmem(data, len, text->stop[i], text->stop_len[i]);
        if (hit && (size_t)(hit - data) < first) {
            first = (size_t)(hit - data);
            text->hit = i + 1;
        }
    }
    return first;
}

/** Length of the longest end of data that is the beginning of a stop string. */
static size_t undecided(const struct cds_text *text, const char *data, size_t len)
{
    size_t longest = 0;
    for (unsigned i = 0; i < text->stop_count; i++) {
        size_t most = text->stop_len[i] - 1 < len ? text->stop_len[i] - 1 : len;
        for (size_t n = most; n > longest; n--) {
            if (memcmp(data + len - n, text->stop[i], n) == 0)
                longest = n;
        }
    }
    return longest;
}

/** Whole characters arrived: looks for stop strings in held + data. */
static bool match(struct cds_text *text, const char *data, size_t len, struct cds_buf *out)
{
    if (text->stop_count == 0) {
        (void)cds_buf_add(out, data, len);
        return false;
    }
    CDS_CLEANUP(cds_buf_free) struct cds_buf all = cds_buf_init(text->held_len + len + 1);
    (void)cds_buf_add(&all, text->held, text->held_len);
    if (cds_buf_add(&all, data, len) != CDS_OK) {
        out->failed = true;
        return false;
    }
    text->held_len = 0;
    size_t stop = find_stop(text, all.data, all.len);
    if (stop < all.len) {
        (void)cds_buf_add(out, all.data, stop);
        return true;
    }
    size_t keep = undecided(text, all.data, all.len);
    (void)cds_buf_add(out, all.data, all.len - keep);
    memcpy(text->held, all.data + all.len - keep, keep);
    text->held_len = keep;
    return false;
}

bool cds_text_feed(struct cds_text *text, const char *data, size_t len, struct cds_buf *out)
{
    CDS_CLEANUP(cds_buf_free) struct cds_buf raw = cds_buf_init(text->part_len + len + 1);
    (void)cds_buf_add(&raw, text->part, text->part_len);
    if (cds_buf_add(&raw, data, len) != CDS_OK) {
        out->failed = true;
        return false;
    }
    if (raw.len == 0)
        return false;
    size_t whole = cds_utf8_complete(raw.data, raw.len);
    /* A character has at most 4 bytes; a longer rest is not the beginning of one. */
    if (raw.len - whole > 3)
        whole = raw.len - 3;
    text->part_len = raw.len - whole;
    memcpy(text->part, raw.data + whole, text->part_len);
    if (whole == 0)
        return false;
    CDS_CLEANUP(cds_buf_free) struct cds_buf clean = cds_buf_init(whole * 3 + 1);
    repair(raw.data, whole, &clean);
    if (clean.failed) {
        out->failed = true;
        return false;
    }
    return match(text, clean.data, clean.len, out);
}

void cds_text_end(struct cds_text *text, struct cds_buf *out)
{
    size_t part_len = text->part_len;
    text->part_len = 0;
    /* The replacement is text like any other: it may complete a stop string. */
    bool stopped = part_len > 0 && match(text, "\xEF\xBF\xBD", 3, out);
    if (!stopped)
        (void)cds_buf_add(out, text->held, text->held_len);
    text->held_len = 0;
}
