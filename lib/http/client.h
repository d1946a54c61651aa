/* lib/http/client.h: HTTP client for service-to-service calls, libcurl multi on our loop. The only folder that includes curl.h.
 *
 * Threads: loop thread only.
 */
#pragma once

#include <stdbool.h>

#include "lib/base/loop.h"

struct cds_http_client;
struct cds_http_call;

CDS_MUST_USE cds_rc cds_http_client_new(struct cds_loop *loop, struct cds_http_client **ret, struct cds_err *reterr);
void cds_http_client_free(struct cds_http_client **client);

struct cds_http_call_spec {
    const char *method, *url;
    const char *const *headers; /**< "Name: value" lines, NULL-terminated, or NULL */
    const void *body;           /**< copied */
    size_t body_len;
    /** Streams body_len bytes instead of body: writes up to max of them. 0: none there yet; cds_http_call_resume asks again. */
    size_t (*on_body)(void *user, char *to, size_t max);
    /** Another socket than one of libcurl's: open hands out one that is connected and does not block, for this call alone; close gets it back,
     *  at the latest when the call is freed. open may answer -1: the other side is not to be reached. Both NULL: libcurl's own. */
    int (*socket_open)(void *socket_user);
    int (*socket_close)(void *socket_user, int fd); /**< returns 0 */
    void *socket_user;
    uint64_t deadline_ms;  /**< absolute; for the whole call, streams included */
    size_t body_max_bytes; /**< ceiling of a collected answer (on_data NULL) */
    /** Status and headers are there (before any data). content_type may be NULL. */
    void (*on_head)(void *user, int status, const char *content_type);
    /** A header line of the answer, name and value, before on_head. May be NULL. */
    void (*on_header)(void *user, const char *name, const char *value);
    /** A piece of the body. Return false to pause until cds_http_call_resume (this piece is kept and given again). NULL: collect.
     *  The status alone never makes a call fail: look at it. */
    bool (*on_data)(void *user, const char *data, size_t len);
    /** The end, exactly once: status (0 if none came), collected body (borrowed), err NULL on success. The call is freed after it. */
    void (*on_done)(void *user, int status, const char *body, size_t len, const struct cds_err *err);
    void *user;
};
CDS_MUST_USE cds_rc cds_http_call_start(struct cds_http_client *client, const struct cds_http_call_spec *spec, struct cds_http_call **ret,
                                        struct cds_err *reterr);
void cds_http_call_resume(struct cds_http_call *call);
/** Ends it without on_done, from any place. Sets *call to NULL; no-op on NULL. */
void cds_http_call_cancel(struct cds_http_call **call);
