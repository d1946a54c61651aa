/* apps/api/leaf_sandbox.c: fs.*, run.*, term.*, image.* and sandbox.probe over the socket of cds-sandboxd. */
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "apps/api/message.h"
#include "apps/api/runs.h"
#include "lib/base/clock.h"
#include "lib/base/fd.h"
#include "lib/base/str.h"
#include "lib/log/log.h"
#include "lib/rpc/frame.h"

enum { RETRY_FIRST_MS = 50, RETRY_MAX_MS = 1000, HOLD_POLL_MS = 20 };

struct sandbox_link {
    struct api *api;
    struct cds_peer *peer; /* NULL while not connected */
    struct cds_timer *retry;
    uint32_t wait_ms;
    char path[512];
};

/* State of one call at the sandbox. */
struct work {
    int64_t peer_call;
    char run_id[37];       /* of a run that has started; "" otherwise */
    struct cds_buf out[2]; /* stdout, stderr of a call that cannot stream */
    bool collects;
    struct cds_timer *hold; /* runs while the sandbox is asked to send no more of a terminal */
};

/* ---- connection ---- */
static void on_request(void *user, struct cds_peer *peer, const struct cds_rpc_request *request, cds_json *message)
{
    (void)user, (void)peer, (void)request, (void)message; /* the sandbox asks nothing of us */
}

static void on_close(void *user, struct cds_peer *peer, const char *reason)
{
    struct sandbox_link *link = user;
    link->peer = NULL;
    cds_log(CDS_LOG_WARN, "the connection to the sandbox ended", CDS_LS("reason", reason));
    link->wait_ms = RETRY_FIRST_MS;
    cds_timer_set(link->retry, cds_now_ms() + link->wait_ms);
}

static void connect_now(void *user)
{
    static const struct cds_peer_ops ops = {on_request, on_close};
    struct sandbox_link *link = user;
    struct cds_err err;
    int fd = -1;
    cds_rc rc = cds_unix_connect(link->path, &fd, &err);
    if (!rc && (rc = cds_peer_new(link->api->loop, fd, API_FRAME_MAX, (size_t)API_FRAME_MAX * 4, &ops, link, &link->peer, &err)))
        link->peer = NULL;
    if (!rc) {
        cds_log(CDS_LOG_INFO, "connected to the sandbox");
        api_access_tell_sandbox(link->api);
        return;
    }
    link->wait_ms = link->wait_ms * 2 > RETRY_MAX_MS ? RETRY_MAX_MS : link->wait_ms * 2;
    cds_timer_set(link->retry, cds_now_ms() + link->wait_ms);
}

cds_rc sandbox_link_new(struct api *api, struct sandbox_link **ret, struct cds_err *reterr)
{
    struct sandbox_link *link = calloc(1, sizeof(*link));
    if (!link || cds_timer_add(api->loop, UINT64_MAX, connect_now, link, &link->retry)) {
        free(link);
        return cds_fail(reterr, CDS_EXHAUSTED, __func__, "Out of memory.");
    }
    link->api = api;
    link->wait_ms = RETRY_FIRST_MS;
    cds_config_path(api->config, "run/sandboxd.sock", link->path, sizeof(link->path));
    connect_now(link);
    *ret = link;
    return CDS_OK;
}

void sandbox_link_free(struct sandbox_link **link)
{
    if (!*link)
        return;
    cds_timer_remove(&(*link)->retry);
    cds_peer_close(&(*link)->peer);
    free(*link);
    *link = NULL;
}

struct cds_peer *sandbox_link_peer(struct sandbox_link *link, struct cds_err *reterr)
{
    if (!link->peer) {
        cds_fail(reterr, CDS_UNAVAILABLE, __func__, "The sandbox is not reachable at the moment; it is being started again.");
        cds_err_hint(reterr, "Try again in a few seconds.");
        if (reterr)
            reterr->retry_after_ms = 1000;
    }
    return link->peer;
}

cds_rc sandbox_link_ready(const struct sandbox_link *link, struct cds_err *reterr)
{
    return link->peer ? CDS_OK : cds_fail(reterr, CDS_UNAVAILABLE, __func__, "cds-sandboxd is not connected.");
}

void sandbox_end_all(struct api *api, const char *user_id, const char *session_id)
{
    struct cds_peer *peer = api->sandbox ? api->sandbox->peer : NULL;
    cds_json *params = cds_json_pack("{s:s}", "user", user_id);
    if (session_id)
        cds_json_set(params, "session", cds_json_string(session_id));
    CDS_JSON_AUTO note = cds_rpc_notification("term.end_all", params);
    if (peer && note && cds_peer_send(peer, note))
        cds_log(CDS_LOG_ERROR, "the sandbox could not be told whose terminals end", CDS_LS("user_id", user_id));
}

/* ---- one call ---- */
static void work_free(struct call *call)
{
    struct work *work = call->leaf;
    if (!work)
        return;
    cds_timer_remove(&work->hold);
    cds_buf_free(&work->out[0]);
    cds_buf_free(&work->out[1]);
    free(work);
    call->leaf = NULL;
}

/* A notification about this call; steals params. False: it could not be sent. */
static bool tell(struct call *call, const char *method, cds_json *params)
{
    const struct work *work = call->leaf;
    struct cds_peer *peer = sandbox_link_peer(call->api->sandbox, NULL);
    cds_json_set(params, "call", cds_json_int(work->peer_call));
    CDS_JSON_AUTO note = cds_rpc_notification(method, params);
    if (peer && note && !cds_peer_send(peer, note))
        return true;
    if (peer)
        cds_log(CDS_LOG_WARN, "the sandbox could not be told", CDS_LS("request_id", call->request_id), CDS_LS("method", method));
    return false;
}

static bool tell_cancel(struct call *call)
{
    return tell(call, "run.cancel", cds_json_object());
}

/* ---- terminals: a slow reader slows its terminal instead of filling our memory ---- */
static bool is_attach(const struct call *call)
{
    return call->method && cds_streq(call->method->name, "term.attach");
}

bool sandbox_ack(struct call *attach, int64_t seq)
{
    if (!is_attach(attach) || !attach->leaf)
        return false;
    tell(attach, "term.ack", cds_json_pack("{s:I}", "seq", seq));
    return true;
}

static size_t waiting_for_client(const struct call *call)
{
    const struct message_spec *spec = &call->message->spec;
    return spec->pending ? spec->pending(spec->user) : 0;
}

static void on_hold_poll(void *user)
{
    struct call *call = user;
    struct work *work = call->leaf;
    if (waiting_for_client(call) > API_WS_HOLD / 2) {
        cds_timer_set(work->hold, cds_now_ms() + HOLD_POLL_MS);
        return;
    }
    cds_timer_remove(&work->hold);
    tell(call, "term.hold", cds_json_pack("{s:b}", "hold", 0));
}

static void hold_if_slow(struct call *call)
{
    struct work *work = call->leaf;
    if (!work->hold && waiting_for_client(call) > API_WS_HOLD &&
        !cds_timer_add(call->api->loop, cds_now_ms() + HOLD_POLL_MS, on_hold_poll, call, &work->hold))
        tell(call, "term.hold", cds_json_pack("{s:b}", "hold", 1));
}

static void drop(struct call *call)
{
    const struct work *work = call->leaf;
    struct cds_peer *peer = sandbox_link_peer(call->api->sandbox, NULL);
    tell_cancel(call);
    if (work->run_id[0])
        runs_gone(call, work->run_id, "cancelled");
    if (peer)
        cds_peer_forget(peer, work->peer_call);
    work_free(call);
}

/* Bytes that are not UTF-8, and NUL, become U+FFFD, so that the result is JSON that everybody can read. */
static cds_json *text_of(const struct cds_buf *buf)
{
    static const char replacement[] = "\xef\xbf\xbd";
    if (!buf->data || buf->len == 0)
        return cds_json_string("");
    if (cds_utf8_valid(buf->data, buf->len) && !memchr(buf->data, '\0', buf->len))
        return cds_json_stringn(buf->data, buf->len);
    struct cds_buf clean CDS_CLEANUP(cds_buf_free) = cds_buf_init(buf->len * 3 + 1);
    for (size_t i = 0; i < buf->len;) {
        size_t n = 1;
        while (n <= 4 && !(i + n <= buf->len && buf->data[i] && cds_utf8_valid(buf->data + i, n)))
            n++;
        if (n <= 4 ? cds_buf_add(&clean, buf->data + i, n) : cds_buf_add_str(&clean, replacement))
            break;
        i += n <= 4 ? n : 1;
    }
    return cds_json_stringn(clean.data ? clean.data : "", clean.len);
}

static void on_result(void *user, cds_json *result, const struct cds_err *err)
{
    struct call *call = user;
    const struct work *work = call->leaf;
    if (work->run_id[0] && result)
        runs_ended(call, result);
    else if (work->run_id[0])
        runs_gone(call, work->run_id, "engine_failed");
    cds_json *answer = result ? cds_json_copy(result) : NULL;
    if (answer && work->collects) {
        cds_json_set(answer, "stdout", text_of(&work->out[0]));
        cds_json_set(answer, "stderr", text_of(&work->out[1]));
    }
    work_free(call);
    if (err)
        call_fail(call, err);
    else
        call_succeed(call, answer);
}

static void collect(struct work *work, const cds_json *params)
{
    struct cds_buf *buf = &work->out[cds_streq(cds_json_get_str(params, "stream"), "stderr")];
    const cds_json *data = cds_json_get(params, "data");
    size_t len = cds_json_str_len(data);
    if (!cds_json_get_str(params, "encoding")) {
        cds_rc rc = cds_buf_add(buf, cds_json_str(data), len);
        (void)rc; /* the sandbox keeps the same ceiling and counts what it drops */
        return;
    }
    char *place = cds_buf_reserve(buf, len);
    size_t n = 0;
    if (place && !cds_base64_decode(cds_json_str(data), len, (unsigned char *)place, &n))
        cds_buf_commit(buf, n);
}

static void on_note(void *user, const char *method, cds_json *params)
{
    struct call *call = user;
    struct work *work = call->leaf;
    if (cds_streq(method, "run.started") && cds_json_get_str(params, "run_id")) {
        cds_strcpy(work->run_id, sizeof(work->run_id), cds_json_get_str(params, "run_id"));
        runs_started(call, params);
    }
    if (work->collects) {
        if (cds_streq(method, "run.output") && cds_json_get_str(params, "data"))
            collect(work, params);
        return;
    }
    cds_json *out = cds_json_copy(params);
    cds_json_del(out, "call");
    if (!is_attach(call)) {
        call_notify(call, method, out);
        return;
    }
    call_pass_on(call, method, out); /* numbered by the bytes of the terminal */
    if (call->leaf)
        hold_if_slow(call);
}

/* Terminals and their ports belong to a user, and changes of images are logged with theirs, so the sandbox is told whose call this is; the client
 * cannot, its schema knows no such member. */
static cds_json *params_of(const struct call *call)
{
    static const char *const theirs[] = {"term.", "preview.", "image."};
    bool told = false;
    for (size_t i = 0; i < CDS_ARRAY_LEN(theirs); i++)
        told = told || cds_starts_with(call->method->name, theirs[i]);
    if (!told)
        return cds_json_ref(call->params);
    cds_json *params = cds_json_copy(call->params);
    cds_json_set(params, "user", cds_json_string(call_who(call)->claims.user_id));
    if (cds_streq(call->method->name, "term.open"))
        cds_json_set(params, "session", cds_json_string(call_who(call)->claims.session_id));
    if (is_attach(call) && !call_streams(call))
        cds_json_set(params, "collect", cds_json_bool(true));
    return params;
}

static void send_to_sandbox(struct call *call)
{
    struct cds_err err;
    call->leaf_cancel = NULL; /* that of the wait for the owner */
    struct cds_peer *peer = sandbox_link_peer(call->api->sandbox, &err);
    struct work *work = peer ? calloc(1, sizeof(*work)) : NULL;
    if (!work) {
        if (peer)
            cds_fail(&err, CDS_EXHAUSTED, __func__, "Out of memory.");
        call_fail(call, &err);
        return;
    }
    size_t ceiling = (size_t)cds_config_u64(call->api->config, CDS_OPT_RUN_OUTPUT_BYTES) * 2 + 65536;
    work->out[0] = cds_buf_init(ceiling);
    work->out[1] = cds_buf_init(ceiling);
    work->collects = call->method->streams && !call_streams(call) && !is_attach(call);
    call->ends_with_token = is_attach(call) || cds_streq(call->method->name, "fs.watch");
    call->leaf = work;
    /* One id through all logs. The parameters have been checked and are ours alone. */
    cds_json_set(call->params, "request_id", cds_json_string(call->request_id));
    /* A little longer than our own deadline, which is the one that answers the client. */
    work->peer_call = cds_peer_call(peer, call->method->name, params_of(call), call->deadline_ms + 1000, on_result, on_note, call);
    if (work->peer_call == 0) {
        work_free(call);
        cds_fail(&err, CDS_BUSY, __func__, "The sandbox has more waiting than it can take.");
        err.retry_after_ms = 1000;
        call_fail(call, &err);
        return;
    }
    const bool adds = cds_streq(call->method->name, "image.add") || cds_streq(call->method->name, "image.pull"); /* long, too */
    call->leaf_cancel = call->method->streams || adds ? tell_cancel : NULL;
    call->leaf_drop = drop;
}

/* A program may get a network; a look at a file never does. */
static void start_with_network(struct call *call)
{
    project_network_then(call, send_to_sandbox);
}

void sandbox_start(struct call *call)
{
    bool program = cds_streq(call->method->name, "run.exec") || cds_streq(call->method->name, "term.open");
    if (cds_streq(call->method->name, "fs.watch") && !call_streams(call)) {
        struct cds_err err;
        cds_fail(&err, CDS_BAD_REQUEST, __func__, "%s tells what happens while it is open, which needs a WebSocket.", call->method->name);
        cds_err_hint(&err, "Call it with an id over /ws.");
        call_fail(call, &err);
        return;
    }
    if (cds_json_get(call->params, "project"))
        project_check(call, program ? start_with_network : send_to_sandbox);
    else
        send_to_sandbox(call);
}
