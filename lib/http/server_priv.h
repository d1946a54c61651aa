/* lib/http/server_priv.h: what the files of lib/http share about a server, its connections and its requests. Not for others.
 *
 * Order of a request: on_uri (server.c) makes it, on_access (request.c) checks the head, collects the body, calls the handler and hands the
 * prepared answer to libmicrohttpd, on_completed (server.c) frees it.
 * Threads: loop thread only.
 */
#pragma once

#include <microhttpd.h>

#include "lib/base/buf.h"
#include "lib/http/server.h"
#include "lib/json/json.h"

enum {
    HTTP_HEADER_BLOCK = 32 * 1024, /**< memory of one connection: header ceiling and write buffer (431 and 414 beyond) */
    HTTP_TARGET_MAX = 8 * 1024,    /**< longest request target, bytes */
    HTTP_SHAPES = 4,               /**< addresses whose errors have a shape of their own */
    HTTP_EXTRA_HEADERS = 48,       /**< most headers one answer may get by cds_http_add_header */
    HTTP_TICK_MS = 250,            /**< how often deadlines of connections are looked at */
    HTTP_DRAIN_TICK_MS = 20,       /**< the same while draining */
};

/** One TCP or unix connection: what it is doing and until when it may. */
struct http_conn {
    struct http_conn *next, **prev;
    struct cds_http_server *server;
    int fd;
    uint64_t deadline_ms; /**< UINT64_MAX while the handler works */
    bool busy;            /**< between request line and end of answer */
    char ip[46];
};

/** A connection that left HTTP (WebSocket or tunnel); kept in a list so that a drain reaches it. */
struct http_upgraded {
    struct http_upgraded *next, **prev;
    void (*close)(struct http_upgraded *self, uint16_t code); /**< politely */
    void (*cut)(struct http_upgraded *self);                  /**< now; self is freed */
};

/** Called with the raw socket once the 101 was sent; extra is what the client sent behind its request. */
typedef void http_upgrade_fn(void *user, int fd, struct MHD_UpgradeResponseHandle *handle, const void *extra, size_t extra_len);

struct http_header {
    char *name, *value;
};

/** The queue between a streaming handler and the content reader. */
struct http_stream {
    struct cds_buf out;
    size_t head, max; /**< first unsent byte; ceiling of unsent bytes */
    bool open, finished, abort, was_busy;
    void (*on_drain)(void *user);
    void *drain_user;
};

struct cds_http_req {
    struct cds_http_req *next, **prev;
    struct cds_http_server *server;
    struct http_conn *conn;
    struct MHD_Connection *con;
    char *target; /**< as sent, with query */
    const char *method, *path;
    struct cds_buf body;
    uint64_t length; /**< of the body, as the head says */
    void (*on_body)(void *user);
    void *on_body_user;
    char id[40];
    uint64_t started_ms, started_ns;
    struct cds_watch *gone_watch;
    struct http_header extra[HTTP_EXTRA_HEADERS];
    unsigned extra_count;
    struct MHD_Response *response;
    int status;
    bool http11, body_streams, head_seen, dispatched, suspended, answered, queued, gone, upgraded;
    struct http_stream stream;
    void *user;
    void (*on_gone)(void *user), (*on_done)(void *user);
    void *hook_user; /**< proxy, WebSocket or tunnel: called once at the end, whatever the end is */
    void (*hook_end)(void *hook_user);
    http_upgrade_fn *on_upgrade;
    void (*on_end)(void *user, int status); /**< once, at the very end */
    void *on_end_user;
};

struct cds_http_server {
    struct cds_loop *loop;
    struct MHD_Daemon *mhd;
    struct cds_http_limits limits;
    cds_http_header_fn *on_header;
    cds_http_handler_fn *on_request;
    void *user;
    struct {
        const char *below;                                                     /**< static text; NULL: free */
        cds_json *(*shape)(const struct cds_err *err, const char *request_id); /**< of its errors */
    } shapes[HTTP_SHAPES];
    bool trust_request_id, draining, quiesced, running;
    bool again; /**< a connection was resumed while MHD_run ran */
    struct cds_watch *mhd_watch;
    struct cds_timer *run_timer, *tick;
    struct http_conn *conns;
    struct cds_http_req *reqs;
    struct http_upgraded *upgraded;
    uint64_t drain_deadline_ms;
    void (*drained)(void *user);
    void *drained_user;
};

/* server.c */
/** Lets libmicrohttpd run in this batch of the loop. */
void http_kick(struct cds_http_server *server);
void http_upgraded_add(struct cds_http_server *server, struct http_upgraded *up);
void http_upgraded_remove(struct http_upgraded *up);

/* request.c */
enum MHD_Result http_on_access(void *cls, struct MHD_Connection *con, const char *url, const char *method, const char *version, const char *data,
                               size_t *size, void **req_cls);
/** Resumes a suspended connection; no-op otherwise. */
void http_wake(struct cds_http_req *req);
/** Watches the client's socket for its end while nothing is read from it. */
void http_watch_gone(struct cds_http_req *req);
/** Calls the end hook, once. */
void http_end_hook(struct cds_http_req *req);
/** Tells the owner of the request that the client left, once. */
void http_tell_gone(struct cds_http_req *req);
/** True when the handler owes nothing more. */
bool http_is_complete(const struct cds_http_req *req);
/** Copies every header of the request to fn; for the proxy. */
void http_each_header(const struct cds_http_req *req, void (*fn)(void *user, const char *name, const char *value), void *user);
/** True if the comma list holds the token (no case). */
bool http_has_token(const char *list, const char *token);

/* answer.c */
/** Takes the response as the answer of req (NULL: out of memory, the connection is closed) and adds headers. */
void http_give(struct cds_http_req *req, int status, struct MHD_Response *response);
/** Whole answer from malloc'ed memory, owned. */
void http_give_body(struct cds_http_req *req, int status, const char *content_type, char *body, size_t len);
/** Starts a stream; size is UINT64_MAX when unknown (chunked). */
void http_stream_start(struct cds_http_req *req, int status, const char *content_type, size_t buffer_max, uint64_t size);
/** Answers 101; fn gets the socket. */
void http_give_upgrade(struct cds_http_req *req, http_upgrade_fn *fn);
/** As cds_http_reply_err, with a status of its own (411 has no error code). */
void http_reply_err_as(struct cds_http_req *req, int status, const struct cds_err *err);
bool http_has_extra(const struct cds_http_req *req, const char *name);
