/* lib/http/dial.c: see dial.h. The rules of libcurl that client.c names hold here, too; nothing is changed while libcurl calls us. */
#include "lib/http/dial.h"

#include <curl/curl.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <unistd.h>

#include "lib/base/clock.h"
#include "lib/base/fd.h"
#include "lib/http/host_rule.h"

struct cds_dialer {
    struct cds_loop *loop;
    CURLM *multi;
    struct cds_timer *timer;
};

struct cds_dial {
    struct cds_dialer *dialer;
    CURL *easy;
    struct cds_dial_ops ops;
    void *user;
    char curl_text[CURL_ERROR_SIZE];
};

static void drop(struct cds_dial *dial)
{
    if (dial->easy) {
        curl_multi_remove_handle(dial->dialer->multi, dial->easy);
        curl_easy_cleanup(dial->easy);
    }
    free(dial);
}

/* libcurl keeps its own socket until it forgets the transfer: the receiver gets a second descriptor of it. */
static int take_socket(struct cds_dial *dial)
{
    curl_socket_t theirs = CURL_SOCKET_BAD;
    if (curl_easy_getinfo(dial->easy, CURLINFO_ACTIVESOCKET, &theirs) || theirs == CURL_SOCKET_BAD)
        return -1;
    int fd = fcntl(theirs, F_DUPFD_CLOEXEC, 0);
    if (fd >= 0 && cds_set_nonblock(fd, true)) {
        close(fd);
        return -1;
    }
    return fd;
}

static void finish(struct cds_dial *dial, CURLcode result)
{
    struct cds_err err;
    struct cds_dial_ops ops = dial->ops;
    void *user = dial->user;
    int fd = result == CURLE_OK ? take_socket(dial) : -1;
    if (fd < 0) {
        bool late = result == CURLE_OPERATION_TIMEDOUT, name = result == CURLE_COULDNT_RESOLVE_HOST;
        cds_fail(&err, late ? CDS_TIMED_OUT : CDS_UNAVAILABLE, __func__, "%s",
                 late   ? "The host did not answer in time."
                 : name ? "There is no address for this name."
                        : "The host could not be reached.");
        cds_err_detail(&err, "%s: %s", curl_easy_strerror(result), dial->curl_text);
    }
    drop(dial);
    ops.done(user, fd, fd < 0 ? &err : NULL);
}

static void act(struct cds_dialer *dialer, curl_socket_t fd, int mask)
{
    int running, left;
    CURLMsg *message;
    curl_multi_socket_action(dialer->multi, fd, mask, &running);
    while ((message = curl_multi_info_read(dialer->multi, &left))) {
        char *dial = NULL;
        CURLcode result = message->data.result;
        if (message->msg == CURLMSG_DONE && !curl_easy_getinfo(message->easy_handle, CURLINFO_PRIVATE, &dial) && dial)
            finish((struct cds_dial *)(void *)dial, result);
    }
}

static void on_socket_ready(void *user, int fd, uint32_t events)
{
    act(user, fd, (events & (EPOLLIN | EPOLLHUP | EPOLLERR) ? CURL_CSELECT_IN : 0) | (events & EPOLLOUT ? CURL_CSELECT_OUT : 0));
}

static void on_timer(void *user)
{
    act(user, CURL_SOCKET_TIMEOUT, 0);
}

static int curl_socket(CURL *easy, curl_socket_t fd, int what, void *user, void *known)
{
    struct cds_dialer *dialer = user;
    struct cds_watch *watch = known;
    uint32_t events = (what & CURL_POLL_IN ? EPOLLIN : 0u) | (what & CURL_POLL_OUT ? EPOLLOUT : 0u);
    if (what != CURL_POLL_REMOVE && watch && cds_watch_set(watch, events) == CDS_OK)
        return 0;
    cds_watch_remove(&watch);
    if (what != CURL_POLL_REMOVE && cds_watch_add(dialer->loop, fd, events, on_socket_ready, dialer, &watch, NULL))
        watch = NULL; /* its deadline ends it */
    curl_multi_assign(dialer->multi, fd, watch);
    return 0;
}

static int curl_timer(CURLM *multi, long ms, void *user)
{
    struct cds_dialer *dialer = user;
    cds_timer_set(dialer->timer, ms < 0 ? UINT64_MAX : cds_now_ms() + (uint64_t)ms);
    return 0;
}

static curl_socket_t curl_open(void *user, curlsocktype purpose, struct curl_sockaddr *address)
{
    const struct cds_dial *dial = user;
    if (purpose != CURLSOCKTYPE_IPCXN || !dial->ops.check(dial->user, &address->addr))
        return CURL_SOCKET_BAD;
    return socket(address->family, address->socktype | SOCK_CLOEXEC, address->protocol);
}

cds_rc cds_dialer_new(struct cds_loop *loop, struct cds_dialer **ret, struct cds_err *reterr)
{
    struct cds_dialer *dialer = calloc(1, sizeof(*dialer));
    if (!dialer || curl_global_init(CURL_GLOBAL_DEFAULT) || !(dialer->multi = curl_multi_init()) ||
        cds_timer_add(loop, UINT64_MAX, on_timer, dialer, &dialer->timer)) {
        if (dialer)
            curl_multi_cleanup(dialer->multi);
        free(dialer);
        return cds_fail(reterr, CDS_EXHAUSTED, __func__, "Out of memory.");
    }
    dialer->loop = loop;
    curl_multi_setopt(dialer->multi, CURLMOPT_SOCKETFUNCTION, curl_socket);
    curl_multi_setopt(dialer->multi, CURLMOPT_SOCKETDATA, dialer);
    curl_multi_setopt(dialer->multi, CURLMOPT_TIMERFUNCTION, curl_timer);
    curl_multi_setopt(dialer->multi, CURLMOPT_TIMERDATA, dialer);
    *ret = dialer;
    return CDS_OK;
}

void cds_dialer_free(struct cds_dialer **dialer)
{
    if (!*dialer)
        return;
    curl_multi_cleanup((*dialer)->multi);
    cds_timer_remove(&(*dialer)->timer);
    free(*dialer);
    *dialer = NULL;
}

static CURLcode set_options(struct cds_dial *dial, const char *url, long left_ms)
{
    CURL *e = dial->easy;
    curl_easy_setopt(e, CURLOPT_CONNECT_ONLY, 1L);
    curl_easy_setopt(e, CURLOPT_PROTOCOLS_STR, "http");
    curl_easy_setopt(e, CURLOPT_PROXY, ""); /* never by way of an environment variable */
    curl_easy_setopt(e, CURLOPT_NOSIGNAL, 1L);
    curl_easy_setopt(e, CURLOPT_QUICK_EXIT, 1L);        /* who gives up does not wait for the resolver */
    curl_easy_setopt(e, CURLOPT_DNS_CACHE_TIMEOUT, 0L); /* the resolver of the system remembers */
    curl_easy_setopt(e, CURLOPT_FRESH_CONNECT, 1L);
    curl_easy_setopt(e, CURLOPT_CONNECTTIMEOUT_MS, left_ms);
    curl_easy_setopt(e, CURLOPT_TIMEOUT_MS, left_ms);
    curl_easy_setopt(e, CURLOPT_ERRORBUFFER, dial->curl_text);
    curl_easy_setopt(e, CURLOPT_PRIVATE, dial);
    curl_easy_setopt(e, CURLOPT_OPENSOCKETDATA, dial);
    CURLcode rc = curl_easy_setopt(e, CURLOPT_OPENSOCKETFUNCTION, curl_open);
    return rc ? rc : curl_easy_setopt(e, CURLOPT_URL, url);
}

cds_rc cds_dial_start(struct cds_dialer *dialer, const char *host, uint16_t port, uint64_t deadline_ms, const struct cds_dial_ops *ops, void *user,
                      struct cds_dial **ret, struct cds_err *reterr)
{
    char url[CDS_HOST_MAX + 32], name[CDS_HOST_MAX + 1];
    int left_ms = cds_ms_left(deadline_ms);
    if (!cds_host_name(host, strlen(host), name) || port == 0)
        return cds_fail(reterr, CDS_BAD_PARAM, __func__, "This is not the name of a host.");
    if (left_ms == 0)
        return cds_fail(reterr, CDS_TIMED_OUT, __func__, "The deadline had passed before the connection began.");
    struct cds_dial *dial = calloc(1, sizeof(*dial));
    if (!dial)
        return cds_fail(reterr, CDS_EXHAUSTED, __func__, "Out of memory.");
    *dial = (struct cds_dial){.dialer = dialer, .ops = *ops, .user = user, .easy = curl_easy_init()};
    snprintf(url, sizeof(url), "http://%s:%u/", name, (unsigned)port);
    if (!dial->easy || set_options(dial, url, left_ms) || curl_multi_add_handle(dialer->multi, dial->easy)) {
        curl_easy_cleanup(dial->easy);
        free(dial);
        return cds_fail(reterr, CDS_EXHAUSTED, __func__, "Out of memory.");
    }
    *ret = dial;
    return CDS_OK;
}

void cds_dial_cancel(struct cds_dial **dial)
{
    if (*dial)
        drop(*dial);
    *dial = NULL;
}
