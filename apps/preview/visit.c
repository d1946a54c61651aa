/* apps/preview/visit.c: a browser's request: whose is it, may it in, through which socket does it go, and which headers pass. See preview.h. */
#include <errno.h>
#include <netinet/in.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>
#include <sys/epoll.h>
#include <sys/socket.h>

#include "apps/preview/door.h"
#include "apps/preview/pages.h"
#include "apps/preview/rules.h"
#include "lib/base/clock.h"
#include "lib/base/str.h"
#include "lib/http/reply.h"
#include "lib/http/ws.h"
#include "lib/log/log.h"

enum {
    CALL_MS = 3600000,      /* one request, streams included */
    BODY_WAITS = 64 * 1024, /* of a request's body in memory */
    TUNNEL_WAITS = 256 * 1024,
    CONNECT_MS = 5000, /* a program whose queue is full does not answer for so long */
    ENTER_MAX = 256,   /* bytes of the form that brings a ticket */
    ORIGIN_MAX = 320
};

static const char program[] = "the program";

/** One request on its way. */
struct forward {
    struct forward *next, **prev;
    struct preview *preview; /* NULL: it has ended, why tells */
    enum preview_end why;
    const struct previews *all;
    struct cds_http_req *req;
    struct door *door;
    struct door_wait wait;
    struct socket_slot *slot;
    struct cds_watch *connecting;
    struct cds_timer *late; /* of the wait for a socket, then of its connection */
    unsigned port;
    char origin[ORIGIN_MAX];
};

/* ---- headers ---- */
static bool pass_in(void *user, const char *name, const char *value, struct cds_buf *changed)
{
    const struct forward *f = user;
    size_t own = strlen(f->origin);
    if (!strcasecmp(name, "Cookie"))
        return rules_strip_cookies(value, changed);
    /* To the program it is localhost that the browser shows. */
    if ((!strcasecmp(name, "Origin") && cds_streq(value, f->origin)) ||
        (!strcasecmp(name, "Referer") && !strncmp(value, f->origin, own) && (value[own] == '/' || !value[own])))
        cds_buf_addf(changed, "http://localhost:%u%s", f->port, value + own);
    return rules_passes_in(name);
}

static void more(void *user, void (*add)(void *list, const char *name, const char *value), void *list)
{
    const struct forward *f = user;
    char text[64], ip[46];
    const char *host = strstr(f->origin, "://");
    snprintf(text, sizeof(text), "localhost:%u", f->port);
    add(list, "Host", text);
    add(list, "X-Forwarded-For", cds_http_client_ip(f->req, ip));
    add(list, "X-Forwarded-Host", host + 3);
    add(list, "X-Forwarded-Proto", f->all->scheme);
}

static bool pass_back(void *user, const char *name, const char *value, struct cds_buf *changed)
{
    const struct forward *f = user;
    if (!strcasecmp(name, "Set-Cookie"))
        return rules_may_set_cookie(value);
    const char *path = !strcasecmp(name, "Location") ? rules_location(value, f->port) : NULL;
    if (path)
        cds_buf_add_str(changed, path);
    return rules_passes_back(name);
}

static void fail(void *user, struct cds_http_req *req, const struct cds_err *err)
{
    const struct forward *f = user;
    if (!f->preview)
        page_reply(req, page_of_end(f->why), f->port);
    else
        page_reply(req, err->code == CDS_TIMED_OUT ? PAGE_LATE : PAGE_NO_ANSWER, f->port);
}

static const struct cds_http_behind_rules rules = {
    .pass_in = pass_in, .more = more, .pass_back = pass_back, .fail = fail, .socket_open = door_socket_open, .socket_close = door_socket_close};

/* ---- one request ---- */
static void unlink_forward(struct forward *f)
{
    if (f->prev && (*f->prev = f->next))
        f->next->prev = f->prev;
    f->prev = NULL;
}

static void forward_free(void *user)
{
    struct forward *f = user;
    unlink_forward(f);
    if (f->preview)
        f->preview->used_ms = cds_now_ms();
    door_stop_waiting(f->door, &f->wait);
    cds_watch_remove(&f->connecting);
    cds_timer_remove(&f->late);
    if (f->slot && f->slot->owner == f) {
        f->slot->owner = NULL;
        if (!f->slot->opened)
            door_give_back(f->slot);
    }
    door_unref(f->door);
    free(f);
}

static void start(struct forward *f)
{
    const struct cds_http_behind behind = {.part = program,
                                           .address = "127.0.0.1",
                                           .port = (uint16_t)f->port,
                                           .deadline_ms = cds_now_ms() + CALL_MS,
                                           .idle_ms = (uint32_t)cds_config_u64(f->all->config, CDS_OPT_PREVIEW_IDLE_MS),
                                           .buffer_max = TUNNEL_WAITS,
                                           .rules = &rules,
                                           .user = f,
                                           .socket_user = f->slot};
    if (cds_http_wants_ws(f->req))
        cds_http_tunnel_behind(f->req, f->all->loop, &behind);
    else
        cds_http_proxy_behind(f->req, f->all->client, &behind);
}

/* Nobody listens, or its queue is full: the socket is free again before the browser is told. */
static void no_way(struct forward *f, enum page page)
{
    cds_watch_remove(&f->connecting);
    cds_timer_remove(&f->late);
    f->slot->owner = NULL;
    door_give_back(f->slot);
    f->slot = NULL;
    page_reply(f->req, f->preview ? page : page_of_end(f->why), f->port);
}

static void on_connected(void *user, int fd, uint32_t events)
{
    struct forward *f = user;
    int error = 0;
    socklen_t len = sizeof(error);
    if (getsockopt(fd, SOL_SOCKET, SO_ERROR, &error, &len) || error || (events & (EPOLLERR | EPOLLHUP)) || !f->preview) {
        no_way(f, PAGE_NO_ANSWER);
        return;
    }
    cds_watch_remove(&f->connecting);
    cds_timer_remove(&f->late);
    start(f);
}

static void on_not_connected(void *user)
{
    no_way(user, PAGE_LATE);
}

static void go(struct forward *f, struct socket_slot *slot)
{
    const struct sockaddr_in there = {.sin_family = AF_INET, .sin_port = htons((uint16_t)f->port), .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
    f->slot = slot;
    slot->owner = f;
    cds_timer_remove(&f->late);
    if (connect(slot->fd, (const struct sockaddr *)&there, sizeof(there)) == 0)
        start(f);
    else if (errno != EINPROGRESS || cds_watch_add(f->all->loop, slot->fd, EPOLLOUT, on_connected, f, &f->connecting, NULL) ||
             cds_timer_add(f->all->loop, cds_now_ms() + CONNECT_MS, on_not_connected, f, &f->late))
        no_way(f, PAGE_NO_ANSWER);
}

static void on_slot(struct door_wait *wait, struct socket_slot *slot)
{
    go((struct forward *)(void *)((char *)wait - offsetof(struct forward, wait)), slot);
}

static void on_late(void *user)
{
    struct forward *f = user;
    door_stop_waiting(f->door, &f->wait);
    page_reply(f->req, PAGE_BUSY, f->port);
}

static void forward(struct preview *preview, struct cds_http_req *req)
{
    struct forward *f = calloc(1, sizeof(*f));
    struct previews *all = preview->all;
    if (!f) {
        page_reply(req, PAGE_BUSY, preview->port);
        return;
    }
    *f = (struct forward){.preview = preview, .all = all, .req = req, .door = preview->door, .port = preview->port, .wait = {.on_slot = on_slot}};
    preview_origin(preview, f->origin, sizeof(f->origin));
    door_ref(f->door);
    if ((f->next = preview->forwards))
        f->next->prev = &f->next;
    f->prev = &preview->forwards;
    preview->forwards = f;
    preview->used_ms = cds_now_ms();
    cds_http_set_user(req, f, forward_free, forward_free);
    struct socket_slot *slot = door_take(f->door);
    if (slot)
        go(f, slot);
    else if (!door_wait(f->door, &f->wait) ||
             cds_timer_add(all->loop, cds_now_ms() + cds_config_u64(all->config, CDS_OPT_PREVIEW_WAIT_MS), on_late, f, &f->late))
        on_late(f);
}

void visits_end(struct preview *preview)
{
    enum preview_end why = END_CLOSED;
    preview_was(preview->all, preview->label, &why);
    while (preview->forwards) {
        struct forward *f = preview->forwards;
        unlink_forward(f);
        f->preview = NULL;
        f->why = why;
        if (f->wait.prev) {
            door_stop_waiting(f->door, &f->wait);
            cds_timer_remove(&f->late);
            page_reply(f->req, page_of_end(why), f->port);
        } else if (f->slot && f->slot->owner == f) {
            shutdown(f->slot->fd, SHUT_RDWR); /* whoever reads from it finds the end */
        }
    }
}

/* ---- the way in ---- */
static void enter(struct preview *preview, struct cds_http_req *req)
{
    size_t len = 0, ticket_len = 0;
    char cookie[256];
    const char *body = cds_http_body(req, &len), *ticket = rules_ticket(body, len, &ticket_len);
    if (!ticket || !preview_enter(preview, ticket, ticket_len)) {
        page_reply(req, PAGE_TICKET, preview->port);
        return;
    }
    snprintf(cookie, sizeof(cookie), "%s=%s; Path=/; HttpOnly; SameSite=Lax%s", preview_cookie_name(preview->all), preview->cookie,
             preview->all->https ? "; Secure" : "");
    cds_http_add_header(req, "Set-Cookie", cookie);
    explicit_bzero(cookie, sizeof(cookie));
    cds_http_add_header(req, "Location", "/");
    cds_http_add_header(req, "Cache-Control", "no-store");
    cds_http_add_header(req, "Referrer-Policy", "no-referrer");
    cds_log(CDS_LOG_INFO, "preview entered", CDS_LS("preview", preview->label), CDS_LS("user_id", preview->user));
    cds_http_reply(req, 303, NULL, "", 0);
}

static bool is_enter(const struct cds_http_req *req)
{
    return cds_streq(cds_http_path(req), "/.cds/enter") && cds_streq(cds_http_method(req), "POST");
}

/* May whoever sends this see the program? *ret_page tells why not. */
static bool may_see(const struct preview *preview, const struct cds_http_req *req, enum page *ret_page)
{
    char own[ORIGIN_MAX];
    const char *origin = cds_http_header(req, "Origin"), *method = cds_http_method(req);
    const char *cookie = rules_cookie(cds_http_header(req, "Cookie"), preview_cookie_name(preview->all), SECRET_LEN);
    *ret_page = PAGE_NO_COOKIE;
    if (!cookie || !preview_same_secret(cookie, preview->cookie))
        return false;
    /* Neighbours below preview.origin are the same site to a browser: cookies alone do not tell them apart. */
    bool looks = cds_streq(method, "GET") || cds_streq(method, "HEAD") || cds_streq(method, "OPTIONS");
    *ret_page = PAGE_ORIGIN;
    preview_origin(preview, own, sizeof(own));
    if (cds_http_wants_ws(req))
        return cds_streq(origin, own);
    return looks || !origin || cds_streq(origin, own);
}

/* The preview that this request may reach, or NULL: it is answered, or (at our own address) is for visit to answer. */
static struct preview *admit(const struct previews *all, struct cds_http_req *req, bool *ret_own)
{
    char label[LABEL_LEN + 1];
    enum preview_end why;
    enum page page;
    const char *host = cds_http_header(req, "Host");
    *ret_own = false;
    if (!rules_label(host, all->tail, label)) {
        *ret_own = host && (cds_starts_with(host, "127.0.0.1") || cds_starts_with(host, "[::1]") || cds_starts_with(host, "localhost:"));
        if (!*ret_own)
            page_reply(req, PAGE_ADDRESS, 0);
        return NULL;
    }
    struct preview *preview = preview_find(all, label);
    if (!preview)
        page_reply(req, preview_was(all, label, &why) ? page_of_end(why) : PAGE_UNKNOWN, 0);
    else if (is_enter(req) && cds_http_body_length(req) <= ENTER_MAX)
        return preview;
    else if (rules_is_ours(cds_http_path(req)))
        page_reply(req, PAGE_RESERVED, preview->port);
    else if (!may_see(preview, req, &page))
        page_reply(req, page, preview->port);
    else
        return preview;
    return NULL;
}

cds_rc visit_header(void *user, struct cds_http_req *req, struct cds_err *err)
{
    bool own = false;
    if (admit(user, req, &own)) {
        if (!is_enter(req))
            cds_http_stream_body(req, BODY_WAITS);
        return CDS_OK;
    }
    if (own && cds_http_body_length(req) == 0)
        return CDS_OK;
    if (own)
        page_reply(req, PAGE_ADDRESS, 0);
    return cds_fail(err, CDS_DENIED, __func__, "This is no address of a preview.");
}

static cds_rc ready(void *user, struct cds_err *err)
{
    (void)user, (void)err;
    return CDS_OK; /* without the sandbox there is nothing to show, and the gateway says so */
}

void visit(void *user, struct cds_http_req *req)
{
    static const enum cds_metric shown[] = {CDS_M_PREVIEWS_ACTIVE, CDS_M_COUNT};
    struct previews *all = user;
    bool own = false;
    struct preview *preview = admit(all, req, &own); /* again: it may have ended while the head was read */
    cds_metric_set(CDS_M_PREVIEWS_ACTIVE, NULL, all->count);
    if (!preview && own && !cds_http_ops(req, shown, ready, NULL))
        page_reply(req, PAGE_ADDRESS, 0);
    else if (preview && is_enter(req))
        enter(preview, req);
    else if (preview)
        forward(preview, req);
}
