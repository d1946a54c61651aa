/* lib/http/client_options.c: what libcurl is told of one call: headers, method, body, sockets, limits. */
#include <stdlib.h>
#include <string.h>
#include <strings.h>

#include "lib/http/client_priv.h"

enum { CONNECT_MS = 5000 };

static size_t curl_read(char *to, size_t one, size_t count, void *user)
{
    struct cds_http_call *call = user;
    if (call->cancelled)
        return CURL_READFUNC_ABORT;
    size_t n = call->spec.on_body(call->spec.user, to, one * count);
    return call->cancelled ? CURL_READFUNC_ABORT : (n ? n : CURL_READFUNC_PAUSE);
}

/* libcurl closes a socket that it has not connected yet by itself, behind the back of whoever lent it: so it gets connected ones. */
static int curl_socket_made(void *user, curl_socket_t fd, curlsocktype purpose)
{
    return CURL_SOCKOPT_ALREADY_CONNECTED;
}

static curl_socket_t curl_socket_open(void *user, curlsocktype purpose, struct curl_sockaddr *address)
{
    const struct cds_http_call *call = user;
    int fd = purpose == CURLSOCKTYPE_IPCXN ? call->spec.socket_open(call->spec.socket_user) : -1;
    return fd < 0 ? CURL_SOCKET_BAD : fd;
}

static bool add_header(struct cds_http_call *call, const char *line)
{
    struct curl_slist *list = curl_slist_append(call->headers, line);
    if (!list)
        return false;
    call->headers = list;
    return true;
}

static bool has_header(const struct cds_http_call_spec *spec, const char *name)
{
    for (const char *const *line = spec->headers; line && *line; line++)
        if (!strncasecmp(*line, name, strlen(name)) && (*line)[strlen(name)] == ':')
            return true;
    return false;
}

bool http_call_headers(struct cds_http_call *call)
{
    for (const char *const *line = call->spec.headers; line && *line; line++)
        if (!add_header(call, *line))
            return false;
    /* What libcurl would add by itself: 100-continue costs a round trip, and a form type would be a lie. */
    return add_header(call, "Expect:") && (has_header(&call->spec, "Content-Type") || add_header(call, "Content-Type:"));
}

static CURLcode set_method(struct cds_http_call *call)
{
    const struct cds_http_call_spec *spec = &call->spec;
    CURL *e = call->easy;
    CURLcode rc = CURLE_OK;
    if (spec->on_body) {
        curl_easy_setopt(e, CURLOPT_UPLOAD, 1L);
        curl_easy_setopt(e, CURLOPT_READFUNCTION, curl_read);
        curl_easy_setopt(e, CURLOPT_READDATA, call);
        rc = curl_easy_setopt(e, CURLOPT_INFILESIZE_LARGE, (curl_off_t)spec->body_len);
    } else if (spec->body_len || !strcmp(spec->method, "POST") || !strcmp(spec->method, "PUT") || !strcmp(spec->method, "PATCH")) {
        rc = curl_easy_setopt(e, CURLOPT_POSTFIELDSIZE_LARGE, (curl_off_t)spec->body_len);
        if (!rc)
            rc = curl_easy_setopt(e, CURLOPT_COPYPOSTFIELDS, spec->body_len ? spec->body : "");
    }
    if (!rc && !strcmp(spec->method, "HEAD"))
        rc = curl_easy_setopt(e, CURLOPT_NOBODY, 1L);
    return rc ? rc : curl_easy_setopt(e, CURLOPT_CUSTOMREQUEST, spec->method);
}

static void set_socket(struct cds_http_call *call)
{
    const struct cds_http_call_spec *spec = &call->spec;
    if (!spec->socket_open)
        return;
    curl_easy_setopt(call->easy, CURLOPT_OPENSOCKETFUNCTION, curl_socket_open);
    curl_easy_setopt(call->easy, CURLOPT_OPENSOCKETDATA, call);
    curl_easy_setopt(call->easy, CURLOPT_SOCKOPTFUNCTION, curl_socket_made);
    curl_easy_setopt(call->easy, CURLOPT_CLOSESOCKETFUNCTION, spec->socket_close);
    curl_easy_setopt(call->easy, CURLOPT_CLOSESOCKETDATA, spec->socket_user); /* not the call: a connection may end after it */
    curl_easy_setopt(call->easy, CURLOPT_FRESH_CONNECT, 1L);                  /* a kept connection leads into another network */
    curl_easy_setopt(call->easy, CURLOPT_FORBID_REUSE, 1L);
}

CURLcode http_call_options(struct cds_http_call *call, long left_ms)
{
    CURL *e = call->easy;
    CURLcode rc = curl_easy_setopt(e, CURLOPT_URL, call->spec.url);
    if (!rc)
        rc = set_method(call);
    if (rc)
        return rc;
    set_socket(call);
    curl_easy_setopt(e, CURLOPT_PROTOCOLS_STR, "http,https");
    curl_easy_setopt(e, CURLOPT_HTTP_VERSION, (long)CURL_HTTP_VERSION_1_1);
    curl_easy_setopt(e, CURLOPT_PROXY, "");      /* never by way of an environment variable */
    curl_easy_setopt(e, CURLOPT_PATH_AS_IS, 1L); /* the path was checked where it came in; do not rewrite it */
    curl_easy_setopt(e, CURLOPT_NOSIGNAL, 1L);
    curl_easy_setopt(e, CURLOPT_CONNECTTIMEOUT_MS, left_ms < CONNECT_MS ? left_ms : (long)CONNECT_MS);
    curl_easy_setopt(e, CURLOPT_TIMEOUT_MS, left_ms);
    curl_easy_setopt(e, CURLOPT_ERRORBUFFER, call->curl_text);
    curl_easy_setopt(e, CURLOPT_PRIVATE, call);
    curl_easy_setopt(e, CURLOPT_HEADERFUNCTION, http_call_on_header);
    curl_easy_setopt(e, CURLOPT_HEADERDATA, call);
    curl_easy_setopt(e, CURLOPT_WRITEFUNCTION, http_call_on_body);
    curl_easy_setopt(e, CURLOPT_WRITEDATA, call);
    return curl_easy_setopt(e, CURLOPT_HTTPHEADER, call->headers);
}
