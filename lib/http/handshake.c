/* lib/http/handshake.c: see handshake.h. */
#include "lib/http/handshake.h"

#include <string.h>
#include <strings.h>

#include "lib/base/cleanup.h"
#include "lib/base/str.h"

enum { LINE_MAX_BYTES = 4096 };

/* ---- reading the answer ---- */
static int parse_status(const char *line, size_t len)
{
    int status = 0;
    if (len < 12 || !cds_starts_with(line, "HTTP/1.") || (line[7] != '0' && line[7] != '1') || line[8] != ' ')
        return -1;
    for (int i = 9; i < 12; i++) {
        if (line[i] < '0' || line[i] > '9')
            return -1;
        status = status * 10 + (line[i] - '0');
    }
    return status >= 100 && (len == 12 || line[12] == ' ') ? status : -1;
}

static void take(char *line, struct http_handshake *ret, uint64_t *length)
{
    char *colon = strchr(line, ':');
    if (!colon)
        return;
    *colon = '\0';
    const char *value = colon + 1 + strspn(colon + 1, " \t");
    const struct {
        const char *name;
        char *place;
        size_t size;
    } rows[] = {{"Sec-WebSocket-Accept", ret->accept, sizeof(ret->accept)},
                {"Sec-WebSocket-Protocol", ret->protocol, sizeof(ret->protocol)},
                {"Content-Type", ret->type, sizeof(ret->type)},
                {"WWW-Authenticate", ret->challenge, sizeof(ret->challenge)},
                {"Retry-After", ret->retry_after, sizeof(ret->retry_after)},
                {"Sec-WebSocket-Version", ret->version, sizeof(ret->version)}};
    for (size_t i = 0; i < CDS_ARRAY_LEN(rows); i++)
        if (!strcasecmp(line, rows[i].name))
            cds_strcpy(rows[i].place, rows[i].size, value);
    if (!strcasecmp(line, "Content-Length") && cds_parse_u64(value, 0, HTTP_HANDSHAKE_MAX, length))
        *length = UINT64_MAX;
}

int http_handshake_parse(const char *data, size_t len, struct http_handshake *ret)
{
    uint64_t length = 0;
    memset(ret, 0, sizeof(*ret));
    const char *end = memmem(data, len, "\r\n\r\n", 4);
    if (!end)
        return 0;
    ret->head_len = (size_t)(end - data) + 4;
    for (const char *at = data; at < end + 2;) {
        const char *stop = memmem(at, (size_t)(end + 2 - at), "\r\n", 2);
        size_t n = (size_t)(stop - at);
        char line[LINE_MAX_BYTES];
        if (at == data && (ret->status = parse_status(at, n)) < 0)
            return -1;
        if (n >= sizeof(line) || memchr(at, '\0', n))
            return -1;
        memcpy(line, at, n);
        line[n] = '\0';
        if (at != data)
            take(line, ret, &length);
        at = stop + 2;
    }
    if (ret->status == 101)
        return *ret->accept ? 1 : -1;
    if (length > HTTP_HANDSHAKE_MAX - ret->head_len)
        return -1;
    ret->body_len = (size_t)length;
    return len - ret->head_len >= length ? 1 : 0;
}

/* ---- writing the request ---- */
struct writing {
    const struct cds_http_behind *behind;
    struct cds_buf *out;
    const char *connection;
    bool host; /* said by the rules */
};

static bool is_one_of(const char *name, const char *const *names, size_t count)
{
    for (size_t i = 0; i < count; i++)
        if (!strcasecmp(name, names[i]))
            return true;
    return false;
}

static void pass(void *user, const char *name, const char *value)
{
    static const char *const always[] = {"Sec-WebSocket-Key", "Sec-WebSocket-Version", "Sec-WebSocket-Protocol"};
    static const char *const never[] = {
        "Host", "Connection", "Upgrade", "Sec-WebSocket-Extensions", "Content-Length", "Transfer-Encoding", "Keep-Alive", "Proxy-Connection",
        "TE",   "Trailer",    "Expect",  "Proxy-Authorization"};
    struct writing *writing = user;
    CDS_CLEANUP(cds_buf_free) struct cds_buf changed = cds_buf_init(HTTP_HEADER_BLOCK);
    const struct cds_http_behind *behind = writing->behind;
    if (strpbrk(value, "\r\n") || is_one_of(name, never, CDS_ARRAY_LEN(never)))
        return;
    if (!is_one_of(name, always, CDS_ARRAY_LEN(always)) &&
        (http_has_token(writing->connection, name) || !behind->rules->pass_in(behind->user, name, value, &changed)))
        return;
    cds_buf_addf(writing->out, "%s: %s\r\n", name, changed.len ? changed.data : value);
}

static void add(void *user, const char *name, const char *value)
{
    struct writing *writing = user;
    writing->host |= !strcasecmp(name, "Host");
    cds_buf_addf(writing->out, "%s: %s\r\n", name, value);
}

cds_rc http_handshake_request(const struct cds_http_req *req, const struct cds_http_behind *behind, struct cds_buf *out)
{
    struct writing writing = {.behind = behind, .out = out, .connection = cds_http_header(req, "Connection")};
    const char *bracket = strchr(behind->address, ':') ? "[" : "";
    cds_buf_addf(out, "GET %s HTTP/1.1\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n", cds_http_target(req));
    http_each_header(req, pass, &writing);
    behind->rules->more(behind->user, add, &writing);
    if (!writing.host)
        cds_buf_addf(out, "Host: %s%s%s:%u\r\n", bracket, behind->address, *bracket ? "]" : "", behind->port);
    cds_buf_add_str(out, "\r\n");
    return out->failed ? CDS_TOO_LARGE : CDS_OK;
}
