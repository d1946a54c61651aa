#include "apps/llmworker/guard.h"

#include <string.h>

void cds_guard_mark(unsigned number, char mark[static CDS_MARK_LEN + 1])
{
    mark[0] = '\xEF';
    mark[1] = '\xB7';
    mark[2] = (char)(0x90 + number % CDS_MARKS);
    mark[3] = '\0';
}

unsigned cds_guard_marks_in(const char *text, size_t len)
{
    unsigned found = 0;
    for (size_t i = 0; i + 2 < len; i++) {
        unsigned char last = (unsigned char)text[i + 2];
        if (text[i] == '\xEF' && text[i + 1] == '\xB7' && last >= 0x90 && last < 0x90 + CDS_MARKS)
            found |= 1U << (last - 0x90);
    }
    return found;
}

/** Bytes of the character that begins with this byte; texts are checked UTF-8 by now. */
static size_t character_bytes(unsigned char first)
{
    return first < 0x80 ? 1 : first < 0xE0 ? 2 : first < 0xF0 ? 3 : 4;
}

/** Is there a control text of two or more characters at this place? */
static bool control_at(const char *text, size_t len, const char *const *controls, const bool first_bytes[256])
{
    if (!first_bytes[(unsigned char)text[0]])
        return false;
    for (size_t i = 0; controls[i]; i++) {
        size_t n = strlen(controls[i]);
        if (n <= len && n > character_bytes((unsigned char)text[0]) && memcmp(text, controls[i], n) == 0)
            return true;
    }
    return false;
}

cds_rc cds_guard_break(const char *text, size_t len, const char *const *controls, const char *mark, struct cds_buf *out)
{
    bool first_bytes[256] = {false};
    for (size_t i = 0; controls[i]; i++)
        first_bytes[(unsigned char)controls[i][0]] = true;
    size_t sent = 0;
    for (size_t at = 0; at < len;) {
        bool control = control_at(text + at, len - at, controls, first_bytes);
        size_t n = character_bytes((unsigned char)text[at]);
        at += n < len - at ? n : len - at;
        if (!control)
            continue;
        cds_rc rc = cds_buf_add(out, text + sent, at - sent);
        if (rc == CDS_OK)
            rc = cds_buf_add(out, mark, CDS_MARK_LEN);
        if (rc != CDS_OK)
            return rc;
        sent = at;
    }
    return cds_buf_add(out, text + sent, len - sent);
}

bool cds_guard_next(const char *text, size_t len, const char *mark, size_t *at, const char **ret_part, size_t *ret_len)
{
    while (*at < len) {
        const char *begin = text + *at;
        const char *hit = memmem(begin, len - *at, mark, CDS_MARK_LEN);
        size_t n = hit ? (size_t)(hit - begin) : len - *at;
        *at += n + (hit ? CDS_MARK_LEN : 0);
        if (n == 0)
            continue;
        *ret_part = begin;
        *ret_len = n;
        return true;
    }
    return false;
}
