/* apps/preview/control.c: see control.h. */
#include "apps/preview/control.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/socket.h>
#include <unistd.h>

#include "apps/preview/door.h"
#include "lib/base/clock.h"
#include "lib/base/fd.h"
#include "lib/base/str.h"
#include "lib/log/log.h"
#include "lib/rpc/frame.h"

enum { FRAME_MAX = 256 * 1024, OUT_MAX = 1024 * 1024, CLIENTS_MAX = 8, GRANT_LEN = DOOR_KEY_LEN };

struct gateway {
    struct gateway *next, **prev;
    struct control *control;
    struct cds_peer *peer;
    struct opening *openings;
};

struct control {
    struct previews *all;
    struct gateway *gateways;
    unsigned count;
    int listen_fd;
    struct cds_watch *accept;
    char path[600];
};

/** A preview.open that waits for the sandbox. */
struct opening {
    struct opening *next, **prev;
    struct gateway *gateway;
    cds_json *id, *params;
};

static const char *text(const cds_json *params, const char *key)
{
    const char *value = cds_json_get_str(params, key);
    return value ? value : "";
}

static void send_answer(struct gateway *gateway, cds_json *answer)
{
    CDS_JSON_AUTO owned = answer;
    if (owned && cds_peer_send(gateway->peer, owned))
        cds_log(CDS_LOG_WARN, "the gateway could not be answered");
}

static void send_error(struct gateway *gateway, cds_json *id, const struct cds_err *err)
{
    if (id)
        send_answer(gateway, cds_rpc_error(id, err, NULL));
}

static void send_result(struct gateway *gateway, cds_json *id, cds_json *result)
{
    if (id)
        send_answer(gateway, cds_rpc_result(id, result));
    else
        cds_json_unref(result);
}

/* ---- open ---- */
static struct preview_wish wish_of(const cds_json *params)
{
    return (struct preview_wish){.user = text(params, "user"),
                                 .session = text(params, "session"),
                                 .project = text(params, "project"),
                                 .term_id = text(params, "term_id"),
                                 .run_id = text(params, "run_id"),
                                 .grant = text(params, "grant"),
                                 .port = (unsigned)cds_json_get_i64(params, "port", 0),
                                 .until_s = cds_json_get_i64(params, "expires_s", 0),
                                 .keyed = cds_json_true(cds_json_get(params, "keyed"), false)};
}

static void opening_free(struct opening *opening)
{
    if ((*opening->prev = opening->next))
        opening->next->prev = opening->prev;
    cds_json_unref(opening->id);
    cds_json_unref(opening->params);
    free(opening);
}

static void answer_open(struct opening *opening, struct preview *preview)
{
    char origin[320];
    const struct previews *all = opening->gateway->control->all;
    cds_json *result =
        cds_json_pack("{s:s,s:s,s:s,s:I}", "preview_id", preview->label, "url", preview_origin(preview, origin, sizeof(origin)), "ticket",
                      preview_ticket(preview), "expires_ms", (int64_t)cds_config_u64(all->config, CDS_OPT_PREVIEW_TICKET_MS));
    send_result(opening->gateway, opening->id, result);
}

static void on_door(void *user, struct door *door, const struct cds_err *err)
{
    struct opening *opening = user;
    struct previews *all = opening->gateway->control->all;
    struct preview_wish wish = wish_of(opening->params);
    struct cds_err failed;
    struct preview *preview = NULL;
    if (err)
        failed = *err;
    else if (!(preview = preview_of(all, &wish)) && preview_new(all, &wish, door, &preview, &failed))
        preview = NULL;
    if (preview)
        answer_open(opening, preview);
    else
        send_error(opening->gateway, opening->id, &failed);
    opening_free(opening);
}

static void call_open(struct gateway *gateway, const struct cds_rpc_request *request)
{
    struct cds_err err;
    struct previews *all = gateway->control->all;
    struct preview_wish wish = wish_of(request->params);
    if (strlen(wish.grant) != GRANT_LEN || !wish.user[0] || !wish.session[0] || !wish.port || wish.port > 65535) {
        cds_fail(&err, CDS_BAD_PARAM, __func__, "The gateway did not say whose preview this is, and of what.");
        send_error(gateway, request->id, &err);
        return;
    }
    struct opening *opening = calloc(1, sizeof(*opening));
    if (!opening) {
        cds_fail(&err, CDS_EXHAUSTED, __func__, "Out of memory.");
        send_error(gateway, request->id, &err);
        return;
    }
    opening->gateway = gateway;
    opening->id = cds_json_ref(request->id);
    opening->params = cds_json_ref(request->params);
    if ((opening->next = gateway->openings))
        opening->next->prev = &opening->next;
    opening->prev = &gateway->openings;
    gateway->openings = opening;
    /* One that is open needs no room. */
    if (!preview_of(all, &wish) && preview_room(all, wish.user, &err))
        on_door(opening, NULL, &err);
    else
        door_open(all, wish.grant, on_door, opening);
}

/* ---- the others ---- */
static cds_json *describe(const struct preview *preview)
{
    char origin[320];
    cds_json *one = cds_json_pack("{s:s,s:s,s:s,s:I,s:I,s:I}", "preview_id", preview->label, "project", preview->project, "url",
                                  preview_origin(preview, origin, sizeof(origin)), "port", (int64_t)preview->port, "age_ms",
                                  (int64_t)(cds_now_ms() - preview->opened_ms), "idle_ms", (int64_t)(cds_now_ms() - preview->used_ms));
    if (preview->term_id[0])
        cds_json_set(one, "term_id", cds_json_string(preview->term_id));
    if (preview->run_id[0])
        cds_json_set(one, "run_id", cds_json_string(preview->run_id));
    return one;
}

static bool is_of(const struct preview *preview, const cds_json *params)
{
    return cds_streq(preview->user, text(params, "user")) && cds_streq(preview->project, text(params, "project"));
}

static void call_list(struct gateway *gateway, const struct cds_rpc_request *request)
{
    cds_json *list = cds_json_array();
    for (const struct preview *preview = gateway->control->all->list; preview; preview = preview->next)
        if (is_of(preview, request->params))
            cds_json_append(list, describe(preview));
    send_result(gateway, request->id, cds_json_pack("{s:o}", "previews", list));
}

static void call_close(struct gateway *gateway, const struct cds_rpc_request *request)
{
    struct preview *preview = preview_find(gateway->control->all, text(request->params, "preview_id"));
    bool found = preview && is_of(preview, request->params);
    if (found)
        preview_end(preview, END_CLOSED);
    send_result(gateway, request->id, cds_json_pack("{s:b}", "closed", (int)found));
}

/* A user, or one session or key, has lost its rights; nobody named: whether keys hold is not known any more. */
static void end_all(const struct previews *all, const cds_json *params)
{
    const char *user = text(params, "user"), *session = text(params, "session");
    for (struct preview *preview = all->list, *next; preview; preview = next) {
        next = preview->next;
        if (*user ? cds_streq(preview->user, user) && (!*session || cds_streq(preview->session, session)) : preview->keyed)
            preview_end(preview, END_SESSION);
    }
}

static void on_request(void *user, struct cds_peer *peer, const struct cds_rpc_request *request, cds_json *message)
{
    struct gateway *gateway = user;
    struct cds_err err;
    (void)peer, (void)message;
    if (cds_streq(request->method, "preview.end_all")) {
        end_all(gateway->control->all, request->params);
        return;
    }
    previews_renew(gateway->control->all, text(request->params, "user"), text(request->params, "session"),
                   cds_json_get_i64(request->params, "expires_s", 0));
    if (cds_streq(request->method, "preview.open")) {
        call_open(gateway, request);
    } else if (cds_streq(request->method, "preview.list")) {
        call_list(gateway, request);
    } else if (cds_streq(request->method, "preview.close")) {
        call_close(gateway, request);
    } else {
        cds_fail(&err, CDS_NO_METHOD, __func__, "Previews have no method %.64s.", request->method);
        send_error(gateway, request->id, &err);
    }
}

/* ---- connections ---- */
static void gateway_gone(struct gateway *gateway)
{
    for (struct opening *opening = gateway->openings, *next; opening; opening = next) {
        next = opening->next;
        door_forget(gateway->control->all, opening);
        opening_free(opening);
    }
    if ((*gateway->prev = gateway->next))
        gateway->next->prev = gateway->prev;
    gateway->control->count--;
    if (gateway->control->count == 0)
        previews_unwatched(gateway->control->all);
    free(gateway);
}

static void on_close(void *user, struct cds_peer *peer, const char *reason)
{
    (void)peer;
    cds_log(CDS_LOG_INFO, "a connection of the gateway ended", CDS_LS("reason", reason));
    gateway_gone(user);
}

static bool may_connect(int fd)
{
    struct ucred who;
    socklen_t len = sizeof(who);
    return getsockopt(fd, SOL_SOCKET, SO_PEERCRED, &who, &len) == 0 && (who.uid == 0 || who.uid == geteuid());
}

static void on_accept(void *user, int fd, uint32_t events)
{
    static const struct cds_peer_ops ops = {on_request, on_close};
    struct control *control = user;
    struct cds_err err;
    int client = accept4(fd, NULL, NULL, SOCK_CLOEXEC | SOCK_NONBLOCK);
    (void)events;
    if (client < 0)
        return;
    struct gateway *gateway = may_connect(client) && control->count < CLIENTS_MAX ? calloc(1, sizeof(*gateway)) : NULL;
    if (!gateway || cds_peer_new(control->all->loop, client, FRAME_MAX, OUT_MAX, &ops, gateway, &gateway->peer, &err)) {
        cds_log(CDS_LOG_WARN, "a connection was refused");
        free(gateway);
        close(client);
        return;
    }
    gateway->control = control;
    if ((gateway->next = control->gateways))
        gateway->next->prev = &gateway->next;
    gateway->prev = &control->gateways;
    control->gateways = gateway;
    control->count++;
}

cds_rc control_open(struct previews *all, struct control **ret, struct cds_err *reterr)
{
    struct control *control = calloc(1, sizeof(*control));
    if (!control)
        return cds_fail(reterr, CDS_EXHAUSTED, __func__, "Out of memory.");
    control->all = all;
    control->listen_fd = -1;
    cds_config_path(all->config, "run/preview.sock", control->path, sizeof(control->path));
    *ret = control;
    cds_rc rc = cds_unix_listen(control->path, 0600, &control->listen_fd, reterr);
    return rc ? rc : cds_watch_add(all->loop, control->listen_fd, EPOLLIN, on_accept, control, &control->accept, reterr);
}

void control_close(struct control **place)
{
    struct control *control = *place;
    if (!control)
        return;
    *place = NULL;
    cds_watch_remove(&control->accept);
    if (control->listen_fd >= 0) {
        unlink(control->path);
        close(control->listen_fd);
    }
    for (struct gateway *gateway = control->gateways, *next; gateway; gateway = next) {
        next = gateway->next;
        cds_peer_close(&gateway->peer);
        gateway_gone(gateway);
    }
    free(control);
}
