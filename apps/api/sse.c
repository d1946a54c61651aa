/* apps/api/sse.c: see sse.h. */
#include "apps/api/sse.h"

#include <string.h>

#include "lib/base/str.h"

struct cds_sse cds_sse_init(size_t event_max)
{
    return (struct cds_sse){.line = cds_buf_init(event_max + 16), .data = cds_buf_init(event_max), .id = -1};
}

void cds_sse_free(struct cds_sse *sse)
{
    cds_buf_free(&sse->line);
    cds_buf_free(&sse->data);
}

/* A complete line: a field is added, an empty line dispatches the event. */
static cds_rc take_line(struct cds_sse *sse, cds_sse_fn *fn, void *user, bool *ret_stop)
{
    const char *line = sse->line.data ? sse->line.data : "";
    size_t len = sse->line.len;
    cds_rc rc = CDS_OK;
    if (len == 0) {
        if (sse->has_data)
            *ret_stop = !fn(user, sse->data.data ? sse->data.data : "", sse->data.len);
        cds_buf_clear(&sse->data);
        sse->has_data = false;
    } else if (len >= 5 && !memcmp(line, "data:", 5)) {
        size_t from = len > 5 && line[5] == ' ' ? 6 : 5;
        if (sse->has_data)
            rc = cds_buf_add(&sse->data, "\n", 1);
        if (!rc)
            rc = cds_buf_add(&sse->data, line + from, len - from);
        sse->has_data = true;
    } else if (len > 3 && !memcmp(line, "id:", 3)) {
        uint64_t id;
        /* The line ends with a NUL byte behind it. */
        if (!cds_parse_u64(line + (line[3] == ' ' ? 4 : 3), 0, INT64_MAX, &id))
            sse->id = (int64_t)id;
    }
    cds_buf_clear(&sse->line);
    return rc;
}

cds_rc cds_sse_feed(struct cds_sse *sse, const char *bytes, size_t len, cds_sse_fn *fn, void *user)
{
    bool stop = false;
    for (size_t i = 0; i < len && !stop;) {
        cds_rc rc;
        if (sse->after_cr && bytes[i] == '\n') { /* the second half of CR LF */
            sse->after_cr = false;
            i++;
            continue;
        }
        sse->after_cr = false;
        size_t n = 0;
        while (i + n < len && bytes[i + n] != '\n' && bytes[i + n] != '\r')
            n++;
        if ((rc = cds_buf_add(&sse->line, bytes + i, n)))
            return rc;
        i += n;
        if (i == len)
            break;
        sse->after_cr = bytes[i++] == '\r';
        if ((rc = take_line(sse, fn, user, &stop)))
            return rc;
    }
    return CDS_OK;
}
