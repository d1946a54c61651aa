/* lib/base/buf.c: see buf.h. */
#include "lib/base/buf.h"

#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

struct cds_buf cds_buf_init(size_t ceiling)
{
    return (struct cds_buf){.ceiling = ceiling};
}

void cds_buf_free(struct cds_buf *buf)
{
    if (!buf)
        return;
    free(buf->data);
    *buf = cds_buf_init(buf->ceiling);
}

void cds_buf_clear(struct cds_buf *buf)
{
    buf->len = 0;
    buf->failed = buf->no_memory = false;
    if (buf->data)
        buf->data[0] = '\0';
}

cds_rc cds_buf_trouble(const struct cds_buf *buf)
{
    return !buf->failed ? CDS_OK : buf->no_memory ? CDS_EXHAUSTED : CDS_TOO_LARGE;
}

static cds_rc grow(struct cds_buf *buf, size_t more)
{
    if (buf->failed)
        return cds_buf_trouble(buf);
    if (more > buf->ceiling || buf->len > buf->ceiling - more) {
        buf->failed = true;
        return CDS_TOO_LARGE;
    }
    size_t need = buf->len + more + 1;
    if (need <= buf->cap)
        return CDS_OK;
    size_t cap = buf->cap ? buf->cap : 64;
    while (cap < need)
        cap = cap > SIZE_MAX / 2 ? need : cap * 2;
    if (cap > buf->ceiling + 1)
        cap = buf->ceiling + 1;
    char *data = realloc(buf->data, cap);
    if (!data) {
        buf->failed = buf->no_memory = true;
        return CDS_EXHAUSTED;
    }
    buf->data = data;
    buf->cap = cap;
    return CDS_OK;
}

char *cds_buf_reserve(struct cds_buf *buf, size_t len)
{
    return grow(buf, len) ? NULL : buf->data + buf->len;
}

void cds_buf_commit(struct cds_buf *buf, size_t len)
{
    buf->len += len;
    buf->data[buf->len] = '\0';
}

cds_rc cds_buf_add(struct cds_buf *buf, const void *data, size_t len)
{
    cds_rc rc = grow(buf, len);
    if (rc)
        return rc;
    if (len)
        memcpy(buf->data + buf->len, data, len);
    cds_buf_commit(buf, len);
    return CDS_OK;
}

cds_rc cds_buf_add_str(struct cds_buf *buf, const char *text)
{
    return cds_buf_add(buf, text, strlen(text));
}

cds_rc cds_buf_addf(struct cds_buf *buf, const char *fmt, ...)
{
    va_list ap;
    va_start(ap, fmt);
    int need = vsnprintf(NULL, 0, fmt, ap);
    va_end(ap);
    if (need < 0) {
        buf->failed = buf->no_memory = true;
        return CDS_EXHAUSTED;
    }
    cds_rc rc = grow(buf, (size_t)need);
    if (rc)
        return rc;
    va_start(ap, fmt);
    vsnprintf(buf->data + buf->len, (size_t)need + 1, fmt, ap);
    va_end(ap);
    cds_buf_commit(buf, (size_t)need);
    return CDS_OK;
}

void cds_buf_consume(struct cds_buf *buf, size_t len)
{
    if (len == 0)
        return;
    memmove(buf->data, buf->data + len, buf->len - len + 1);
    buf->len -= len;
}

char *cds_buf_steal(struct cds_buf *buf, size_t *ret_len)
{
    if ((!buf->data && grow(buf, 0)) || !buf->data)
        return NULL;
    buf->data[buf->len] = '\0';
    char *data = buf->data;
    if (ret_len)
        *ret_len = buf->len;
    *buf = cds_buf_init(buf->ceiling);
    return data;
}
