/* apps/api/logs.c: GET /stream/logs: the studio's log over WebSocket.
 *
 * The supervisor is the only writer of logs/studio.jsonl; this file reads it from behind. A line's sequence number is the offset of its
 * end in the file, so ?after=<seq> goes on without gap or double until the file is rotated, which the reader notices by its inode.
 * Admins see all lines, others those that carry their own user_id. */
#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "apps/api/message.h"
#include "lib/base/clock.h"
#include "lib/base/str.h"
#include "lib/http/ws.h"
#include "lib/log/log.h"

enum {
    POLL_MS = 200,
    PIECE = 64 * 1024,        /* read per reader and tick: one slow reader cannot hold the loop */
    BACKLOG = 64 * 1024,      /* bytes shown to a new reader */
    LOG_LINE_MAX = 16 * 1024, /* longer lines are skipped */
    READERS_MAX = 64,
    OUT_MAX = 1024 * 1024
};

struct reader {
    struct reader *next;
    struct logs *logs;
    struct cds_http_req *req;
    struct cds_credential_wait *wait;
    struct cds_ws *ws;
    struct cds_credential who;
    ino_t inode;
    off_t offset; /* of the next unread byte */
};

struct logs {
    struct api *api;
    struct cds_timer *tick;
    struct reader *readers;
    unsigned count;
    char path[512];
};

static void unlink_reader(struct reader *reader)
{
    struct reader **place = &reader->logs->readers;
    while (*place && *place != reader)
        place = &(*place)->next;
    if (*place) {
        *place = reader->next;
        reader->logs->count--;
    }
    if (!reader->logs->readers)
        cds_timer_set(reader->logs->tick, UINT64_MAX);
}

static bool may_see(const struct reader *reader, const cds_json *line)
{
    return reader->who.role == CDS_ROLE_ADMIN || cds_streq(cds_json_get_str(line, "user_id"), reader->who.claims.user_id);
}

/* Sends one line; false when the reader cannot take more. */
static bool send_line(struct reader *reader, const char *text, size_t len, off_t seq)
{
    CDS_JSON_AUTO line = NULL;
    if (len == 0 || len > LOG_LINE_MAX || cds_json_parse(text, len, &line, NULL) || !may_see(reader, line))
        return true;
    CDS_JSON_AUTO frame = cds_json_pack("{s:I,s:O}", "seq", (int64_t)seq, "line", line);
    size_t n;
    char *out = frame ? cds_json_dumps(frame, &n) : NULL;
    bool ok = !out || !cds_ws_send(reader->ws, out, n);
    free(out);
    return ok;
}

/* Reads what is new for one reader. */
static void read_on(struct reader *reader, int fd)
{
    char *piece = malloc(PIECE);
    ssize_t n = piece ? pread(fd, piece, PIECE, reader->offset) : -1;
    size_t from = 0;
    for (ssize_t i = 0; i < n; i++) {
        if (piece[i] != '\n')
            continue;
        off_t seq = reader->offset + i + 1;
        if (!send_line(reader, piece + from, (size_t)i - from, seq)) {
            free(piece); /* the socket is being closed; on_close frees the reader later */
            return;
        }
        from = (size_t)i + 1;
    }
    if (n == PIECE && from == 0)
        from = PIECE; /* a line longer than a piece: skipped */
    reader->offset += (off_t)from;
    free(piece);
}

static void on_tick(void *user)
{
    struct logs *logs = user;
    struct stat st;
    int fd = open(logs->path, O_RDONLY | O_CLOEXEC);
    if (fd >= 0 && fstat(fd, &st) == 0) {
        for (struct reader *r = logs->readers, *next; r; r = next) {
            next = r->next;
            if (!r->ws)
                continue;
            if (r->inode != st.st_ino || r->offset > st.st_size) { /* rotated: go on at the new file's start */
                r->inode = st.st_ino;
                r->offset = 0;
            }
            if (cds_ws_pending(r->ws) < OUT_MAX / 2)
                read_on(r, fd);
        }
    }
    if (fd >= 0)
        close(fd);
    if (logs->readers)
        cds_timer_set(logs->tick, cds_now_ms() + POLL_MS);
}

cds_rc api_logs_new(struct api *api, struct logs **ret, struct cds_err *reterr)
{
    struct logs *logs = calloc(1, sizeof(*logs));
    if (!logs || cds_timer_add(api->loop, UINT64_MAX, on_tick, logs, &logs->tick)) {
        free(logs);
        return cds_fail(reterr, CDS_EXHAUSTED, __func__, "Out of memory.");
    }
    logs->api = api;
    cds_config_path(api->config, "logs/studio.jsonl", logs->path, sizeof(logs->path));
    *ret = logs;
    return CDS_OK;
}

void api_logs_free(struct logs **logs)
{
    if (!*logs)
        return;
    cds_timer_remove(&(*logs)->tick);
    free(*logs);
    *logs = NULL;
}

/* ---- one reader ---- */
static void on_text(void *user, struct cds_ws *ws, const char *data, size_t len)
{
    (void)user, (void)ws, (void)data, (void)len; /* readers have nothing to say; filters live in the page */
}

static void on_close(void *user, struct cds_ws *ws)
{
    struct reader *reader = user;
    unlink_reader(reader);
    free(reader);
}

static void on_gone(void *user)
{
    struct reader *reader = user;
    cds_credential_forget(&reader->wait);
    free(reader);
}

/* Where this reader begins: behind ?after=, or a little before the end. */
static void set_start(struct reader *reader, const char *after)
{
    struct stat st;
    uint64_t seq;
    if (stat(reader->logs->path, &st))
        return;
    reader->inode = st.st_ino;
    if (after && !cds_parse_u64(after, 0, (uint64_t)st.st_size, &seq)) {
        reader->offset = (off_t)seq;
        return;
    }
    reader->offset = st.st_size > BACKLOG ? st.st_size - BACKLOG : 0;
    char *tail = reader->offset ? malloc(BACKLOG) : NULL;
    int fd = tail ? open(reader->logs->path, O_RDONLY | O_CLOEXEC) : -1;
    ssize_t n = fd >= 0 ? pread(fd, tail, BACKLOG, reader->offset) : 0;
    const char *newline = n > 0 ? memchr(tail, '\n', (size_t)n) : NULL;
    if (newline)
        reader->offset += newline - tail + 1; /* begin with a whole line */
    if (fd >= 0)
        close(fd);
    free(tail);
}

static void on_credential(void *user, const struct cds_credential *who, const struct cds_err *err)
{
    static const struct cds_ws_ops ops = {on_text, on_close};
    struct reader *reader = user;
    struct logs *logs = reader->logs;
    struct cds_http_req *req = reader->req;
    struct cds_err refused;
    reader->wait = NULL;
    cds_http_set_user(req, NULL, NULL, NULL);
    if (!err && logs->count >= READERS_MAX) {
        cds_fail(&refused, CDS_BUSY, __func__, "%d log readers are connected already; close one.", READERS_MAX);
        err = &refused;
    }
    if (err) {
        free(reader);
        cds_http_reply_err(req, err);
        return;
    }
    reader->who = *who;
    set_start(reader, cds_http_query(req, "after"));
    if (cds_ws_accept(req, api_allowed_origin(logs->api, req), "cds.logs.v1", 4096, OUT_MAX, &ops, reader, &reader->ws)) {
        free(reader);
        return;
    }
    reader->next = logs->readers;
    logs->readers = reader;
    logs->count++;
    cds_timer_set(logs->tick, cds_now_ms());
}

void api_logs_ws(struct api *api, struct cds_http_req *req)
{
    bool offered;
    char token[CDS_JWT_MAX];
    struct cds_err err;
    struct reader *reader = calloc(1, sizeof(*reader));
    api_ws_bearer(req, "cds.logs.v1", token, sizeof(token), &offered);
    if (!offered || !reader) {
        free(reader);
        cds_fail(&err, offered ? CDS_EXHAUSTED : CDS_BAD_REQUEST, __func__, "%s",
                 offered ? "Out of memory." : "This socket speaks the subprotocol cds.logs.v1; offer it, with cds.bearer.<token> beside it.");
        cds_http_reply_err(req, &err);
        return;
    }
    reader->logs = api->logs;
    reader->req = req;
    cds_http_set_user(req, reader, on_gone, NULL);
    cds_credential_check(api->creds, token, on_credential, reader, &reader->wait);
}
