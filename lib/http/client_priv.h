/* lib/http/client_priv.h: a call and its client, shared by client.c (life, loop, answers) and client_options.c (what libcurl is told of a call).
 *
 * Threads: loop thread only.
 */
#pragma once

#include <curl/curl.h>

#include "lib/base/buf.h"
#include "lib/http/client.h"

enum { HTTP_CLIENT_TYPE_MAX = 128 };

struct cds_http_call {
    struct cds_http_call *next, *prev;
    struct cds_http_client *client;
    struct cds_http_call_spec spec;
    CURL *easy;
    struct curl_slist *headers;
    struct cds_buf body;
    size_t header_bytes;
    int status;
    char content_type[HTTP_CLIENT_TYPE_MAX];
    bool added, to_add, head_done, has_type, paused, resume, cancelled, finished;
    CURLcode result;
    struct cds_err err; /* set when we ended the transfer ourselves */
    char curl_text[CURL_ERROR_SIZE];
};

struct cds_http_client {
    struct cds_loop *loop;
    CURLM *multi;
    struct cds_timer *timer; /* libcurl's */
    struct cds_timer *later; /* ours: wishes that could not be done at once */
    struct cds_http_call *calls, *dead;
    unsigned depth;        /* > 0: inside libcurl */
    bool wishes, settling; /* some call has a wish; they are being granted */
};

/** Header lines of the call for libcurl. @return false: out of memory */
bool http_call_headers(struct cds_http_call *call);
/** Everything else. left_ms: until its deadline */
CURLcode http_call_options(struct cds_http_call *call, long left_ms);
/* Callbacks of client.c. */
size_t http_call_on_header(char *data, size_t one, size_t count, void *user);
size_t http_call_on_body(char *data, size_t one, size_t count, void *user);
