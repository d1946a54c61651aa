/* lib/http/client.c: libcurl's multi interface as a guest of our loop.
 *
 * Two rules of libcurl shape this file. Its socket and timer callbacks must return 0, or every transfer of the handle dies. And a handle
 * may not be added or removed while libcurl is calling us: such wishes wait in the call and are done after libcurl returned.
 */
#include "lib/http/client_priv.h"

#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>
#include <sys/epoll.h>

#include "lib/base/clock.h"
#include "lib/base/str.h"

enum { CONNECTIONS_MAX = 1024, IDLE_CONNECTIONS = 64, HEADERS_MAX = 64 * 1024 };

/* ---- wishes ---- */
/* Takes the call out of everything; the record itself lives until bury, so that a walk over the list never meets freed memory. */
static void retire(struct cds_http_client *client, struct cds_http_call *call)
{
    if (call->added)
        curl_multi_remove_handle(client->multi, call->easy);
    if (call->easy)
        curl_easy_cleanup(call->easy);
    curl_slist_free_all(call->headers);
    cds_buf_free(&call->body);
    if (call->next)
        call->next->prev = call->prev;
    if (call->prev)
        call->prev->next = call->next;
    else
        client->calls = call->next;
    call->next = client->dead;
    client->dead = call;
}

static void bury(struct cds_http_client *client)
{
    while (client->dead) {
        struct cds_http_call *call = client->dead;
        client->dead = call->next;
        free(call);
    }
}

static void wish(struct cds_http_client *client)
{
    client->wishes = true;
    if (!client->settling)
        cds_timer_set(client->later, cds_now_ms());
}

static void fill_error(const struct cds_http_call *call, struct cds_err *err)
{
    if (call->err.code) {
        *err = call->err;
        return;
    }
    cds_rc code = call->result == CURLE_OPERATION_TIMEDOUT ? CDS_TIMED_OUT : CDS_UNAVAILABLE;
    if (call->result == CURLE_OUT_OF_MEMORY)
        code = CDS_EXHAUSTED;
    cds_fail(err, code, __func__, "%s",
             code == CDS_TIMED_OUT ? "The other side did not answer in time." : "The other side could not be reached, or broke off.");
    cds_err_detail(err, "%s: %s", curl_easy_strerror(call->result), call->curl_text);
}

static void end_call(struct cds_http_client *client, struct cds_http_call *call)
{
    struct cds_err err;
    bool failed = call->result != CURLE_OK || call->err.code;
    if (failed)
        fill_error(call, &err);
    void (*done)(void *, int, const char *, size_t, const struct cds_err *) = call->spec.on_done;
    call->cancelled = true; /* a cancel from inside on_done must not free it twice */
    if (done)
        done(call->spec.user, call->status, call->body.data ? call->body.data : "", call->body.len, failed ? &err : NULL);
    retire(client, call);
}

static void fail_later(struct cds_http_call *call, CURLcode result)
{
    call->result = result;
    call->finished = true;
    call->client->wishes = true;
}

static void add_now(struct cds_http_call *call)
{
    call->to_add = false;
    call->added = curl_multi_add_handle(call->client->multi, call->easy) == CURLM_OK;
    if (!call->added) {
        fail_later(call, CURLE_OUT_OF_MEMORY);
        wish(call->client);
    }
}

/* One wish of one call; true when the list may have changed. */
static bool grant(struct cds_http_client *client, struct cds_http_call *call)
{
    if (call->cancelled) {
        retire(client, call);
        return true;
    }
    if (call->to_add) {
        add_now(call);
        return true;
    }
    if (call->resume && !call->finished) {
        call->resume = call->paused = false;
        client->depth++;
        curl_easy_pause(call->easy, CURLPAUSE_CONT); /* may call on_data from inside */
        client->depth--;
        return true;
    }
    if (call->finished) {
        end_call(client, call);
        return true;
    }
    return false;
}

static void collect_finished(struct cds_http_client *client)
{
    CURLMsg *message;
    int left;
    while ((message = curl_multi_info_read(client->multi, &left))) {
        struct cds_http_call *call = NULL;
        if (message->msg != CURLMSG_DONE)
            continue;
        curl_easy_getinfo(message->easy_handle, CURLINFO_PRIVATE, &call);
        if (call)
            fail_later(call, message->data.result);
    }
}

/* Runs outside libcurl: ends finished calls, adds new ones, removes cancelled ones. Callbacks may make new wishes meanwhile. */
static void settle(struct cds_http_client *client)
{
    if (client->depth || client->settling)
        return;
    collect_finished(client);
    client->settling = true;
    while (client->wishes) {
        client->wishes = false;
        for (struct cds_http_call *call = client->calls; call;)
            call = grant(client, call) ? client->calls : call->next;
        collect_finished(client);
    }
    client->settling = false;
    bury(client);
}

static void on_later(void *user)
{
    settle(user);
}

/* ---- libcurl on the loop ---- */
static void act(struct cds_http_client *client, curl_socket_t fd, int mask)
{
    int running;
    client->depth++;
    curl_multi_socket_action(client->multi, fd, mask, &running);
    client->depth--;
    settle(client);
}

static void on_socket_ready(void *user, int fd, uint32_t events)
{
    int mask = (events & (EPOLLIN | EPOLLHUP | EPOLLERR) ? CURL_CSELECT_IN : 0) | (events & EPOLLOUT ? CURL_CSELECT_OUT : 0);
    act(user, fd, mask);
}

static void on_timer(void *user)
{
    act(user, CURL_SOCKET_TIMEOUT, 0);
}

static int curl_socket(CURL *easy, curl_socket_t fd, int what, void *user, void *known)
{
    struct cds_http_client *client = user;
    struct cds_watch *watch = known;
    uint32_t events = (what & CURL_POLL_IN ? EPOLLIN : 0u) | (what & CURL_POLL_OUT ? EPOLLOUT : 0u);
    if (what != CURL_POLL_REMOVE && watch && cds_watch_set(watch, events) == CDS_OK)
        return 0;
    /* Removed, new, or a number that was closed and given out again meanwhile. */
    cds_watch_remove(&watch);
    if (what != CURL_POLL_REMOVE && cds_watch_add(client->loop, fd, events, on_socket_ready, client, &watch, NULL))
        watch = NULL; /* the deadline of the call ends it */
    curl_multi_assign(client->multi, fd, watch);
    return 0;
}

static int curl_timer(CURLM *multi, long ms, void *user)
{
    struct cds_http_client *client = user;
    cds_timer_set(client->timer, ms < 0 ? UINT64_MAX : cds_now_ms() + (uint64_t)ms);
    return 0;
}

/* ---- what libcurl hands over ---- */
static void on_header_line(struct cds_http_call *call, char *line)
{
    char *colon = strchr(line, ':');
    if (!colon)
        return;
    *colon = '\0';
    const char *value = colon + 1 + strspn(colon + 1, " \t");
    if (!strcasecmp(line, "Content-Type")) {
        cds_strcpy(call->content_type, sizeof(call->content_type), value);
        call->has_type = true;
    }
    if (call->spec.on_header)
        call->spec.on_header(call->spec.user, line, value);
}

static void finish_head(struct cds_http_call *call)
{
    call->head_done = true;
    if (call->spec.on_head)
        call->spec.on_head(call->spec.user, call->status, call->has_type ? call->content_type : NULL);
}

size_t http_call_on_header(char *data, size_t one, size_t count, void *user)
{
    struct cds_http_call *call = user;
    size_t len = one * count, text_len = len;
    if (call->cancelled)
        return 0;
    if (call->head_done)
        return len; /* trailers */
    if ((call->header_bytes += len) > HEADERS_MAX) {
        cds_fail(&call->err, CDS_TOO_LARGE, __func__, "The other side answered with too many headers.");
        return 0;
    }
    while (text_len && (data[text_len - 1] == '\r' || data[text_len - 1] == '\n'))
        text_len--;
    if (text_len >= 5 && !strncmp(data, "HTTP/", 5)) {
        long status = 0;
        curl_easy_getinfo(call->easy, CURLINFO_RESPONSE_CODE, &status);
        call->status = (int)status;
        return len;
    }
    if (call->status < 200) /* 100 Continue and its like come before the answer */
        return len;
    if (!text_len) {
        finish_head(call);
        return call->cancelled ? 0 : len;
    }
    char *line = strndup(data, text_len);
    if (!line)
        return 0;
    on_header_line(call, line);
    free(line);
    return call->cancelled ? 0 : len;
}

size_t http_call_on_body(char *data, size_t one, size_t count, void *user)
{
    struct cds_http_call *call = user;
    size_t len = one * count;
    if (call->cancelled)
        return 0;
    if (call->spec.on_data) {
        bool taken = call->spec.on_data(call->spec.user, data, len);
        if (call->cancelled)
            return 0;
        if (!taken) {
            call->paused = true;
            return CURL_WRITEFUNC_PAUSE; /* libcurl keeps this piece and stops reading: the other side waits */
        }
        return len;
    }
    if (cds_buf_add(&call->body, data, len)) {
        cds_fail(&call->err, CDS_TOO_LARGE, __func__, "The other side answered with more than %zu bytes.", call->spec.body_max_bytes);
        return 0;
    }
    return len;
}

/* ---- starting ---- */
cds_rc cds_http_call_start(struct cds_http_client *client, const struct cds_http_call_spec *spec, struct cds_http_call **ret, struct cds_err *reterr)
{
    int left_ms = cds_ms_left(spec->deadline_ms);
    if (left_ms == 0)
        return cds_fail(reterr, CDS_TIMED_OUT, __func__, "The deadline of the call had passed before it began.");
    struct cds_http_call *call = calloc(1, sizeof(*call));
    if (!call)
        return cds_fail(reterr, CDS_EXHAUSTED, __func__, "Out of memory.");
    call->client = client;
    call->spec = *spec;
    call->body = cds_buf_init(spec->body_max_bytes ? spec->body_max_bytes : 1);
    call->easy = curl_easy_init();
    if ((call->next = client->calls))
        call->next->prev = call;
    client->calls = call;
    if (!call->easy || !http_call_headers(call) || http_call_options(call, left_ms) != CURLE_OK) {
        retire(client, call);
        return cds_fail(reterr, CDS_BAD_PARAM, __func__, "The call could not be prepared; its address may be malformed.");
    }
    call->spec.headers = NULL; /* borrowed by the caller's frame only */
    call->spec.body = NULL;
    call->spec.method = call->spec.url = NULL;
    call->to_add = true;
    *ret = call;
    /* Adding only arms the timer of libcurl: on_done cannot come before the caller holds the call. */
    if (client->depth)
        wish(client);
    else
        add_now(call);
    return CDS_OK;
}

void cds_http_call_resume(struct cds_http_call *call)
{
    call->resume = true;
    wish(call->client);
}

void cds_http_call_cancel(struct cds_http_call **call_place)
{
    struct cds_http_call *call = *call_place;
    if (!call)
        return;
    *call_place = NULL;
    if (call->cancelled)
        return;
    struct cds_http_client *client = call->client;
    call->cancelled = true;
    if (client->depth)
        wish(client);
    else
        retire(client, call);
    if (!client->depth && !client->settling)
        bury(client);
}

/* ---- life ---- */
static void set_up_library(void)
{
    curl_global_init(CURL_GLOBAL_ALL);
}

cds_rc cds_http_client_new(struct cds_loop *loop, struct cds_http_client **ret, struct cds_err *reterr)
{
    static pthread_once_t once = PTHREAD_ONCE_INIT;
    pthread_once(&once, set_up_library);
    struct cds_http_client *client = calloc(1, sizeof(*client));
    if (!client)
        return cds_fail(reterr, CDS_EXHAUSTED, __func__, "Out of memory.");
    client->loop = loop;
    client->multi = curl_multi_init();
    if (!client->multi || cds_timer_add(loop, UINT64_MAX, on_timer, client, &client->timer) ||
        cds_timer_add(loop, UINT64_MAX, on_later, client, &client->later)) {
        cds_http_client_free(&client);
        return cds_fail(reterr, CDS_EXHAUSTED, __func__, "Out of memory.");
    }
    curl_multi_setopt(client->multi, CURLMOPT_SOCKETFUNCTION, curl_socket);
    curl_multi_setopt(client->multi, CURLMOPT_SOCKETDATA, client);
    curl_multi_setopt(client->multi, CURLMOPT_TIMERFUNCTION, curl_timer);
    curl_multi_setopt(client->multi, CURLMOPT_TIMERDATA, client);
    curl_multi_setopt(client->multi, CURLMOPT_MAX_TOTAL_CONNECTIONS, (long)CONNECTIONS_MAX);
    curl_multi_setopt(client->multi, CURLMOPT_MAXCONNECTS, (long)IDLE_CONNECTIONS);
    *ret = client;
    return CDS_OK;
}

void cds_http_client_free(struct cds_http_client **client_place)
{
    struct cds_http_client *client = *client_place;
    if (!client)
        return;
    *client_place = NULL;
    for (struct cds_http_call *call = client->calls, *next; call; call = next) {
        next = call->next;
        retire(client, call);
    }
    bury(client);
    if (client->multi)
        curl_multi_cleanup(client->multi); /* closes idle connections: curl_socket removes their watches */
    cds_timer_remove(&client->timer);
    cds_timer_remove(&client->later);
    free(client);
}
