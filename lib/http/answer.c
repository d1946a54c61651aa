/* lib/http/answer.c: answers: whole bodies, files, streams, problem documents, upgrades.
 *
 * An answer is prepared at once and handed to libmicrohttpd by the access handler, which is running or is called again after the resume.
 */
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>
#include <sys/socket.h>
#include <unistd.h>

#include "lib/base/fd.h"
#include "lib/base/str.h"
#include "lib/http/reply.h"
#include "lib/http/server_priv.h"
#include "lib/json/problem.h"

enum { STREAM_BLOCK = 4096, FILE_BLOCK = 32 * 1024 };

/* ---- headers ---- */
void cds_http_add_header(struct cds_http_req *req, const char *name, const char *value)
{
    if (req->extra_count == HTTP_EXTRA_HEADERS || !name || !value)
        return;
    struct http_header header = {strdup(name), strdup(value)};
    if (!header.name || !header.value) {
        free(header.name);
        free(header.value);
        return;
    }
    req->extra[req->extra_count++] = header;
}

bool http_has_extra(const struct cds_http_req *req, const char *name)
{
    for (unsigned i = 0; i < req->extra_count; i++)
        if (!strcasecmp(req->extra[i].name, name))
            return true;
    return false;
}

void http_give(struct cds_http_req *req, int status, struct MHD_Response *response)
{
    if (req->answered || req->gone) { /* a second answer is a fault of the handler; the first one stands */
        if (response)
            MHD_destroy_response(response);
        return;
    }
    req->answered = true;
    req->status = status;
    req->response = response;
    if (response) {
        for (unsigned i = 0; i < req->extra_count; i++)
            MHD_add_response_header(response, req->extra[i].name, req->extra[i].value);
        MHD_add_response_header(response, "x-request-id", req->id);
        if (req->server->draining && status != 101)
            MHD_add_response_header(response, "Connection", "close");
    }
    http_wake(req);
}

/* ---- whole bodies ---- */
static void give_typed(struct cds_http_req *req, int status, const char *content_type, struct MHD_Response *response)
{
    if (response && content_type)
        MHD_add_response_header(response, "Content-Type", content_type);
    http_give(req, status, response);
}

/** What we say it is, it is: a browser that guesses might find a page with a script in an error. Answers of others, handed on, keep their own
 * headers. */
static void do_not_guess(struct cds_http_req *req)
{
    if (!http_has_extra(req, "X-Content-Type-Options"))
        cds_http_add_header(req, "X-Content-Type-Options", "nosniff");
}

static void give(struct cds_http_req *req, int status, const char *content_type, struct MHD_Response *response)
{
    do_not_guess(req);
    give_typed(req, status, content_type, response);
}

void cds_http_reply(struct cds_http_req *req, int status, const char *content_type, const void *body, size_t len)
{
    /* MHD_RESPMEM_MUST_COPY does not write to the memory, whatever its type says. */
    give(req, status, content_type,
         MHD_create_response_from_buffer(len, len ? (void *)(uintptr_t)body : (void *)(uintptr_t) "", MHD_RESPMEM_MUST_COPY));
}

void http_give_body(struct cds_http_req *req, int status, const char *content_type, char *body, size_t len)
{
    struct MHD_Response *response = body ? MHD_create_response_from_buffer(len, body, MHD_RESPMEM_MUST_FREE) : NULL;
    if (!response)
        free(body);
    give(req, status, content_type, response);
}

void cds_http_file(struct cds_http_req *req, int status, const char *content_type, int fd, uint64_t size)
{
    struct MHD_Response *response;
    if (size == 0) {
        close(fd);
        response = MHD_create_response_from_buffer(0, (void *)(uintptr_t) "", MHD_RESPMEM_PERSISTENT);
    } else {
        response = MHD_create_response_from_fd64(size, fd);
        if (!response)
            close(fd);
    }
    give(req, status, content_type, response);
}

/* ---- errors ---- */
static void add_error_headers(struct cds_http_req *req, const struct cds_err *err)
{
    if (err->retry_after_ms && !http_has_extra(req, "Retry-After")) {
        char seconds[16];
        snprintf(seconds, sizeof(seconds), "%u", (err->retry_after_ms - 1) / 1000 + 1);
        cds_http_add_header(req, "Retry-After", seconds);
        snprintf(seconds, sizeof(seconds), "%u", err->retry_after_ms);
        cds_http_add_header(req, "Retry-After-Ms", seconds);
    }
    if (err->code == CDS_UNAUTHENTICATED && !http_has_extra(req, "WWW-Authenticate"))
        cds_http_add_header(req, "WWW-Authenticate", "Bearer realm=\"cyberdevstudio\"");
    if (err->code == CDS_BUDGET_EXCEEDED || err->code == CDS_EXHAUSTED)
        cds_http_add_header(req, "x-should-retry", "false"); /* the clients of OpenAI would try again, and it is as full a second later */
    if (!http_has_extra(req, "Cache-Control"))
        cds_http_add_header(req, "Cache-Control", "no-store");
}

static void give_json(struct cds_http_req *req, int status, const char *content_type, const cds_json *value)
{
    size_t len = 0;
    char *text = cds_json_dumps(value, &len);
    http_give_body(req, status, content_type, text, len);
}

/** Takes answer. */
static void reply_as(struct cds_http_req *req, int status, const struct cds_err *err, cds_json *answer)
{
    CDS_JSON_AUTO owned = answer;
    add_error_headers(req, err);
    give_json(req, status, "application/json", owned);
}

void cds_http_reply_openai_err(struct cds_http_req *req, const struct cds_err *err)
{
    reply_as(req, err->code ? cds_rc_http(err->code) : 500, err, cds_openai_error(err));
}

/** Number of the shape of errors at this address (the longest beginning counts); HTTP_SHAPES: a problem document. */
static size_t shape_of(const struct cds_http_req *req)
{
    size_t best = HTTP_SHAPES, longest = 0;
    for (size_t i = 0; i < HTTP_SHAPES && req->server->shapes[i].below; i++) {
        const char *below = req->server->shapes[i].below;
        if (cds_starts_with(req->path, below) && strlen(below) >= longest) {
            best = i;
            longest = strlen(below);
        }
    }
    return best;
}

void http_reply_err_as(struct cds_http_req *req, int status, const struct cds_err *err)
{
    size_t shape = shape_of(req);
    if (shape < HTTP_SHAPES) {
        reply_as(req, status, err, req->server->shapes[shape].shape(err, req->id));
        return;
    }
    CDS_JSON_AUTO problem = cds_problem(err, req->id);
    if (status != cds_rc_http(err->code))
        cds_json_set(problem, "status", cds_json_int(status));
    add_error_headers(req, err);
    give_json(req, status, "application/problem+json", problem);
}

void cds_http_reply_err(struct cds_http_req *req, const struct cds_err *err)
{
    http_reply_err_as(req, err->code ? cds_rc_http(err->code) : 500, err);
}

/* ---- JSON ---- */
void cds_http_reply_json(struct cds_http_req *req, int status, const cds_json *value)
{
    give_json(req, status, "application/json", value);
}

/* ---- streams ---- */
static ssize_t read_stream(void *cls, uint64_t pos, char *buf, size_t max)
{
    struct cds_http_req *req = cls;
    struct http_stream *stream = &req->stream;
    size_t have = stream->out.len - stream->head;
    if (req->gone || stream->abort) {
        /* libmicrohttpd marks the connection as closed and, when this was its first look for content, forgets to come back and close it. */
        shutdown(req->conn->fd, SHUT_RDWR);
        return MHD_CONTENT_READER_END_WITH_ERROR;
    }
    if (!have && stream->finished)
        return MHD_CONTENT_READER_END_OF_STREAM;
    if (!have) {
        /* Nothing to say: sleep until a write. Returning 0 without suspending would spin. */
        http_watch_gone(req);
        req->suspended = true;
        MHD_suspend_connection(req->con);
        return 0;
    }
    size_t n = have < max ? have : max;
    memcpy(buf, stream->out.data + stream->head, n);
    stream->head += n;
    if (stream->head == stream->out.len) {
        cds_buf_clear(&stream->out);
        stream->head = 0;
    } else if (stream->head > stream->out.len / 2) {
        cds_buf_consume(&stream->out, stream->head);
        stream->head = 0;
    }
    if (stream->was_busy && have - n < stream->max / 2) {
        stream->was_busy = false;
        if (stream->on_drain && !stream->finished)
            stream->on_drain(stream->drain_user);
    }
    return (ssize_t)n;
}

void http_stream_start(struct cds_http_req *req, int status, const char *content_type, size_t buffer_max, uint64_t size)
{
    if (req->answered || req->gone)
        return;
    req->stream.open = true;
    req->stream.max = buffer_max;
    /* Sent bytes stay in front of unsent ones until they outnumber them: twice the ceiling is the most memory. */
    req->stream.out = cds_buf_init(2 * buffer_max + 1);
    http_watch_gone(req);
    if (!http_has_extra(req, "Cache-Control"))
        cds_http_add_header(req, "Cache-Control", "no-store");
    if (content_type && !strncmp(content_type, "text/event-stream", 17))
        cds_http_add_header(req, "X-Accel-Buffering", "no"); /* a reverse proxy in front must not hold events back */
    give_typed(req, status, content_type,
               MHD_create_response_from_callback(size == UINT64_MAX ? MHD_SIZE_UNKNOWN : size, STREAM_BLOCK, read_stream, req, NULL));
}

void cds_http_stream_begin(struct cds_http_req *req, int status, const char *content_type, size_t buffer_max)
{
    do_not_guess(req);
    http_stream_start(req, status, content_type, buffer_max, UINT64_MAX);
}

cds_rc cds_http_stream_write(struct cds_http_req *req, const void *data, size_t len)
{
    struct http_stream *stream = &req->stream;
    if (req->gone || !stream->open || stream->finished)
        return CDS_CANCELLED;
    if (len > stream->max)
        return CDS_TOO_LARGE;
    if (len > stream->max - (stream->out.len - stream->head)) {
        stream->was_busy = true;
        return CDS_BUSY;
    }
    if (cds_buf_add(&stream->out, data, len)) {
        cds_http_stream_finish(req, true);
        return CDS_EXHAUSTED;
    }
    http_wake(req);
    return CDS_OK;
}

void cds_http_stream_on_drain(struct cds_http_req *req, void (*fn)(void *user), void *user)
{
    req->stream.on_drain = fn;
    req->stream.drain_user = user;
}

void cds_http_stream_finish(struct cds_http_req *req, bool abort)
{
    if (req->gone || !req->stream.open || req->stream.finished)
        return;
    req->stream.finished = true;
    req->stream.abort = abort;
    http_wake(req);
}

cds_rc cds_http_sse(struct cds_http_req *req, const char *event, const cds_json *value)
{
    CDS_CLEANUP(cds_buf_free) struct cds_buf text = cds_buf_init(req->stream.max);
    if (event)
        cds_buf_addf(&text, "event: %s\n", event);
    cds_buf_add_str(&text, "data: ");
    cds_rc rc = cds_json_dump(value, &text);
    cds_buf_add_str(&text, "\n\n");
    if (rc || text.failed)
        return rc ? rc : CDS_TOO_LARGE;
    return cds_http_stream_write(req, text.data, text.len);
}

/* ---- upgrades ---- */
static void on_upgraded(void *cls, struct MHD_Connection *con, void *con_cls, const char *extra, size_t extra_len, MHD_socket fd,
                        struct MHD_UpgradeResponseHandle *handle)
{
    struct cds_http_req *req = cls;
    cds_watch_remove(&req->gone_watch);
    req->upgraded = true;
    req->conn->deadline_ms = UINT64_MAX;
    void *user = req->hook_user;
    req->hook_end = NULL; /* from here the owner of the socket ends itself */
    int on = 1, off = 0;
    setsockopt(fd, IPPROTO_TCP, TCP_CORK, &off, sizeof(off)); /* libmicrohttpd leaves it as the 101 needed it; no-ops on unix sockets */
    setsockopt(fd, IPPROTO_TCP, TCP_NODELAY, &on, sizeof(on));
    (void)!cds_set_nonblock(fd, true); /* set already by accept4 of libmicrohttpd; upgraded sockets of other builds may block */
    req->on_upgrade(user, fd, handle, extra, extra_len);
}

void http_give_upgrade(struct cds_http_req *req, http_upgrade_fn *fn)
{
    req->on_upgrade = fn;
    struct MHD_Response *response = MHD_create_response_for_upgrade(on_upgraded, req);
    http_give(req, 101, response);
}
