#include "apps/api/csv.h"

#include <string.h>

#include "lib/base/str.h"

static bool is_formula(const char *text)
{
    static const char *const starts[] = {"=", "+", "-", "@", "\t", "\r", "\n", "\xef\xbc\x9d", "\xef\xbc\x8b", "\xef\xbc\x8d", "\xef\xbc\xa0"};
    for (size_t i = 0; i < CDS_ARRAY_LEN(starts); i++)
        if (cds_starts_with(text, starts[i]))
            return true;
    return false;
}

void csv_text(struct cds_buf *out, const char *text)
{
    if (!text || !*text)
        return;
    size_t len = strlen(text);
    bool quotes = strpbrk(text, ",;\"\r\n\t") || *text == ' ' || text[len - 1] == ' ';
    if (quotes)
        (void)cds_buf_add_str(out, "\"");
    /* A blank in front of a formula is no guard: some programs take it away. */
    if (is_formula(text + strspn(text, " ")))
        (void)cds_buf_add_str(out, "'");
    for (const char *c = text; *c; c++) {
        if (*c == '"')
            (void)cds_buf_add_str(out, "\"");
        (void)cds_buf_add(out, c, 1);
    }
    if (quotes)
        (void)cds_buf_add_str(out, "\"");
}

void csv_plain(struct cds_buf *out, const char *text)
{
    (void)cds_buf_add_str(out, text ? text : "");
}

void csv_next(struct cds_buf *out)
{
    (void)cds_buf_add_str(out, ",");
}

void csv_end(struct cds_buf *out)
{
    (void)cds_buf_add_str(out, "\r\n");
}
