/* apps/egress/head.c: see head.h. */
#include "apps/egress/head.h"

#include <stdio.h>
#include <string.h>
#include <strings.h>

#include "lib/base/compiler.h"
#include "lib/base/str.h"

enum { METHOD_MAX = 20, HTTP_PORT = 80, LENGTH_DIGITS = 15 };

struct span {
    const char *at;
    size_t len;
};

/* What is known while the head is read. */
struct reading {
    struct egress_head *head;
    struct span method, authority, path, host, length, connection;
    unsigned hosts, lengths, connections, count;
    bool old; /* HTTP/1.0 */
};

static cds_rc bad(struct cds_err *reterr, const char *why)
{
    cds_fail(reterr, CDS_BAD_REQUEST, "egress_head_parse", "%s", why);
    return CDS_BAD_REQUEST;
}

static bool is_token(struct span s)
{
    static const char more[] = "!#$%&'*+-.^_`|~";
    for (size_t i = 0; i < s.len; i++) {
        char c = s.at[i];
        if (!((c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || (c >= '0' && c <= '9') || (c && strchr(more, c))))
            return false;
    }
    return s.len > 0;
}

static bool equal(struct span s, const char *text)
{
    return s.len == strlen(text) && !strncasecmp(s.at, text, s.len);
}

static struct span trim(struct span s)
{
    while (s.len && (*s.at == ' ' || *s.at == '\t')) {
        s.at++;
        s.len--;
    }
    while (s.len && (s.at[s.len - 1] == ' ' || s.at[s.len - 1] == '\t'))
        s.len--;
    return s;
}

/* HOST, HOST:PORT or [ADDRESS]:PORT. */
static bool take_authority(struct span s, uint16_t usual, struct egress_head *head)
{
    const char *close = s.len && s.at[0] == '[' ? memchr(s.at, ']', s.len) : NULL;
    const char *colon = close ? (close + 1 < s.at + s.len ? close + 1 : NULL) : memchr(s.at, ':', s.len);
    size_t host_len = colon ? (size_t)(colon - s.at) : s.len, shown = 0;
    unsigned port = 0;
    if (host_len == 0 || (s.at[0] == '[' && !close) || (colon && *colon != ':'))
        return false;
    for (size_t i = 0; i < host_len; i++)
        if (s.at[i] <= ' ' || s.at[i] >= 0x7f || strchr("@/\\?#", s.at[i]))
            return false;
    size_t digits = colon ? s.len - host_len - 1 : 0;
    for (size_t i = 0; i < digits; i++) {
        char c = colon[1 + i];
        if (c < '0' || c > '9' || (port = port * 10 + (unsigned)(c - '0')) > UINT16_MAX)
            return false;
    }
    if (colon ? port == 0 : usual == 0)
        return false;
    head->port = colon ? (uint16_t)port : usual;
    for (; shown < host_len && shown < sizeof(head->asked) - 1; shown++)
        head->asked[shown] = s.at[shown];
    head->asked[shown] = '\0';
    head->good_host = cds_host_name(s.at, host_len, head->host);
    return true;
}

static cds_rc take_target(struct reading *r, struct span target, struct cds_err *reterr)
{
    static const char scheme[] = "http://";
    r->head->connect = r->method.len == 7 && !memcmp(r->method.at, "CONNECT", 7);
    if (r->head->connect) {
        r->authority = target;
        return take_authority(target, 0, r->head) ? CDS_OK : bad(reterr, "CONNECT names a host and a port, like pypi.org:443.");
    }
    if (target.len < sizeof(scheme) - 1 || strncasecmp(target.at, scheme, sizeof(scheme) - 1) != 0)
        return bad(reterr, "This is a proxy: it takes CONNECT host:port, and METHOD http://host/path.");
    r->authority = (struct span){target.at + sizeof(scheme) - 1, target.len - (sizeof(scheme) - 1)};
    size_t len = 0;
    while (len < r->authority.len && !strchr("/?#", r->authority.at[len]))
        len++;
    r->path = (struct span){r->authority.at + len, r->authority.len - len};
    r->authority.len = len;
    return take_authority(r->authority, HTTP_PORT, r->head) ? CDS_OK : bad(reterr, "The address names no host, or an odd one.");
}

static cds_rc take_request_line(struct reading *r, struct span line, struct cds_err *reterr)
{
    const char *first = memchr(line.at, ' ', line.len);
    const char *second = first ? memchr(first + 1, ' ', line.len - (size_t)(first + 1 - line.at)) : NULL;
    if (!second)
        return bad(reterr, "The request line is not METHOD TARGET HTTP/1.1.");
    r->method = (struct span){line.at, (size_t)(first - line.at)};
    struct span target = {first + 1, (size_t)(second - first - 1)}, version = {second + 1, line.len - (size_t)(second + 1 - line.at)};
    bool newer = version.len == 8 && !memcmp(version.at, "HTTP/1.1", 8);
    r->old = version.len == 8 && !memcmp(version.at, "HTTP/1.0", 8);
    if (!is_token(r->method) || r->method.len > METHOD_MAX || (!newer && !r->old))
        return bad(reterr, "The request line is not METHOD TARGET HTTP/1.1.");
    return take_target(r, target, reterr);
}

static cds_rc take_header(struct reading *r, struct span name, struct span value, struct cds_err *reterr)
{
    if (++r->count > EGRESS_HEADERS_MAX)
        return bad(reterr, "The request has too many headers.");
    if (equal(name, "Host")) {
        r->host = value;
        r->hosts++;
    } else if (equal(name, "Content-Length")) {
        r->length = value;
        r->lengths++;
    } else if (equal(name, "Connection")) {
        r->connection = value;
        r->connections++;
    } else if (equal(name, "Transfer-Encoding")) {
        return bad(reterr, "This proxy forwards bodies of a known length only: send Content-Length, or use https.");
    }
    return CDS_OK;
}

/* The next line without its end; at moves behind it. False at the empty line. */
static bool next_line(const char **at, const char *end, struct span *ret)
{
    const char *stop = memmem(*at, (size_t)(end - *at), "\r\n", 2);
    if (!stop)
        return false;
    *ret = (struct span){*at, (size_t)(stop - *at)};
    *at = stop + 2;
    return ret->len > 0;
}

static bool split_header(struct span line, struct span *name, struct span *value)
{
    const char *colon = memchr(line.at, ':', line.len);
    if (!colon)
        return false;
    *name = (struct span){line.at, (size_t)(colon - line.at)};
    *value = trim((struct span){colon + 1, line.len - name->len - 1});
    return is_token(*name);
}

/* Two spellings of one target: case, a dot at the end, the usual port. */
static bool same_host(struct span host, const struct egress_head *head)
{
    struct egress_head other = {.port = 0};
    if (!take_authority(host, head->port, &other) || other.good_host != head->good_host)
        return false;
    bool no_port = !memchr(host.at, ':', host.len);
    return (other.port == head->port || no_port) && (head->good_host ? !strcmp(other.host, head->host) : !strcasecmp(other.asked, head->asked));
}

static cds_rc check(struct reading *r, struct cds_err *reterr)
{
    struct egress_head *head = r->head;
    if (r->hosts > 1 || r->lengths > 1 || r->connections > 1 || (!r->old && !head->connect && r->hosts == 0))
        return bad(reterr, "The request must have one Host, and each of Content-Length and Connection at most once.");
    /* Without a port it is the usual one, not whatever the target has. */
    bool names_port = r->hosts && memchr(r->host.at, ':', r->host.len);
    if (r->hosts && (!same_host(r->host, head) || (!head->connect && !names_port && head->port != HTTP_PORT)))
        return bad(reterr, "The header Host names another host than the target of the request.");
    for (size_t i = 0; i < r->length.len; i++)
        if (r->length.at[i] < '0' || r->length.at[i] > '9' || i >= LENGTH_DIGITS)
            return bad(reterr, "Content-Length is not a number of bytes.");
    if (r->lengths && (r->length.len == 0 || head->connect))
        return bad(reterr, "Content-Length is not a number of bytes.");
    for (size_t i = 0; i < r->length.len; i++)
        head->body_bytes = head->body_bytes * 10 + (uint64_t)(r->length.at[i] - '0');
    return CDS_OK;
}

/* ---- for the origin ---- */
/* Does the header Connection name it? */
static bool is_named(struct span list, struct span name)
{
    for (size_t at = 0; at < list.len;) {
        const char *comma = memchr(list.at + at, ',', list.len - at);
        size_t len = comma ? (size_t)(comma - list.at) - at : list.len - at;
        struct span one = trim((struct span){list.at + at, len});
        if (one.len == name.len && !strncasecmp(one.at, name.at, one.len))
            return true;
        at += len + 1;
    }
    return false;
}

static bool stays_here(const struct reading *r, struct span name)
{
    static const char *const names[] = {"Host", "Connection", "Keep-Alive", "TE", "Trailer", "Upgrade"};
    for (size_t i = 0; i < CDS_ARRAY_LEN(names); i++)
        if (equal(name, names[i]))
            return true;
    if (name.len >= 6 && !strncasecmp(name.at, "Proxy-", 6))
        return true;
    return !equal(name, "Content-Length") && is_named(r->connection, name);
}

static cds_rc rewrite(const struct reading *r, const char *at, const char *end, struct cds_buf *out, struct cds_err *reterr)
{
    struct span line, name, value;
    const char *slash = r->path.len && *r->path.at == '/' ? "" : "/";
    size_t path_len = 0;
    while (path_len < r->path.len && r->path.at[path_len] != '#')
        path_len++;
    cds_buf_clear(out);
    cds_rc rc = cds_buf_addf(out, "%.*s %s%.*s HTTP/1.1\r\nHost: %.*s\r\n", (int)r->method.len, r->method.at, slash, (int)path_len, r->path.at,
                             (int)r->authority.len, r->authority.at);
    while (!rc && next_line(&at, end, &line))
        if (split_header(line, &name, &value) && !stays_here(r, name))
            rc = cds_buf_addf(out, "%.*s: %.*s\r\n", (int)name.len, name.at, (int)value.len, value.at);
    if (!rc)
        rc = cds_buf_add_str(out, "Connection: close\r\n\r\n");
    return rc ? cds_fail(reterr, CDS_TOO_LARGE, __func__, "The head of the request is too long.") : CDS_OK;
}

/* Only printable ASCII, tabs in values, bytes of UTF-8, and CR with LF behind it. */
static bool clean(const char *data, size_t len)
{
    for (size_t i = 0; i < len; i++) {
        unsigned char c = (unsigned char)data[i];
        if (c == '\r' ? i + 1 >= len || data[i + 1] != '\n' : c == '\n' ? i == 0 || data[i - 1] != '\r' : (c < ' ' && c != '\t') || c == 0x7f)
            return false;
    }
    return true;
}

cds_rc egress_head_parse(const char *data, size_t len, struct egress_head *ret, struct cds_buf *rewritten, struct cds_err *reterr)
{
    struct egress_head head = {.port = 0};
    struct reading r = {.head = &head};
    struct span line, name, value;
    const char *end = memmem(data, len < EGRESS_HEAD_MAX ? len : EGRESS_HEAD_MAX, "\r\n\r\n", 4), *at = data;
    if (!end && len >= EGRESS_HEAD_MAX)
        return cds_fail(reterr, CDS_TOO_LARGE, __func__, "The head of the request is longer than %d bytes.", EGRESS_HEAD_MAX);
    if (!end)
        return cds_fail(reterr, CDS_BUSY, __func__, "The head of the request is not complete.");
    end += 4;
    head.len = (size_t)(end - data);
    if (!clean(data, head.len))
        return bad(reterr, "The head of the request has bytes that do not belong there.");
    cds_rc rc = next_line(&at, end, &line) ? take_request_line(&r, line, reterr) : bad(reterr, "The request has no request line.");
    const char *headers = at;
    while (!rc && next_line(&at, end, &line))
        rc = split_header(line, &name, &value) ? take_header(&r, name, value, reterr) : bad(reterr, "A line of the head is not NAME: VALUE.");
    if (!rc)
        rc = check(&r, reterr);
    if (!rc && !head.connect)
        rc = rewrite(&r, headers, end, rewritten, reterr);
    if (!rc)
        *ret = head;
    return rc;
}
