/* lib/rpc/frame_calls.c: the calls of a peer and where each received message goes. */
#include <stdlib.h>
#include <string.h>

#include "lib/base/clock.h"
#include "lib/rpc/frame_peer.h"

/* --- open calls ---------------------------------------------------------------------------------------------------------- */

static struct open_call *find_call(const struct cds_peer *peer, int64_t id)
{
    size_t low = 0, high = peer->call_count;
    while (low < high) {
        size_t mid = low + (high - low) / 2;
        if (peer->calls[mid].id == id)
            return &peer->calls[mid];
        if (peer->calls[mid].id < id)
            low = mid + 1;
        else
            high = mid;
    }
    return NULL;
}

static struct open_call remove_call(struct cds_peer *peer, struct open_call *call)
{
    struct open_call copy = *call;
    size_t at = (size_t)(call - peer->calls);
    peer->call_count--;
    memmove(call, call + 1, (peer->call_count - at) * sizeof(*call));
    return copy;
}

static void set_timer(struct cds_peer *peer)
{
    uint64_t first = UINT64_MAX;
    for (size_t i = 0; i < peer->call_count; i++) {
        if (peer->calls[i].deadline_ms < first)
            first = peer->calls[i].deadline_ms;
    }
    cds_timer_set(peer->timer, first);
}

static bool add_call(struct cds_peer *peer, const struct open_call *call)
{
    if (peer->call_count == CDS_PEER_CALLS_MAX)
        return false;
    if (peer->call_count == peer->call_cap) {
        size_t cap = peer->call_cap ? peer->call_cap * 2 : 8;
        struct open_call *calls = realloc(peer->calls, cap * sizeof(*calls));
        if (!calls)
            return false;
        peer->calls = calls;
        peer->call_cap = cap;
    }
    peer->calls[peer->call_count++] = *call;
    return true;
}

int64_t cds_peer_call(struct cds_peer *peer, const char *method, cds_json *params, uint64_t deadline_ms, cds_peer_done_fn *done,
                      cds_peer_note_fn *on_note, void *user)
{
    struct open_call call = {++peer->last_id, deadline_ms, done, on_note, user};
    CDS_JSON_AUTO message = cds_rpc_call(call.id, method, params);
    if (!message || !add_call(peer, &call))
        return 0;
    if (cds_peer_send(peer, message)) {
        /* Sending calls nobody back, so the call is still the last one. */
        peer->call_count--;
        return 0;
    }
    set_timer(peer);
    return call.id;
}

void cds_peer_forget(struct cds_peer *peer, int64_t call)
{
    struct open_call *found = find_call(peer, call);
    if (!found)
        return;
    remove_call(peer, found);
    set_timer(peer);
}

void cds_peer_fail_calls(struct cds_peer *peer)
{
    struct cds_err err;
    cds_fail(&err, CDS_UNAVAILABLE, __func__, "The part of the studio that works on this stopped.");
    cds_err_hint(&err, "It is started again by itself; try once more in a moment.");
    /* done may forget other calls, so the list is looked at anew each time. */
    while (peer->call_count) {
        struct open_call call = remove_call(peer, &peer->calls[0]);
        call.done(call.user, NULL, &err);
    }
}

void cds_peer_expire(void *user)
{
    struct cds_peer *peer = user;
    struct cds_err err;
    uint64_t now = cds_now_ms();
    cds_fail(&err, CDS_TIMED_OUT, __func__, "The answer did not come before the deadline.");
    /* done may forget calls, and make new ones, which wait for the next turn of the loop; what a forgotten one makes us step over
     * is found then, too, because the timer is set to it. */
    int64_t newest = peer->last_id;
    cds_peer_enter(peer);
    for (size_t i = 0; i < peer->call_count && !peer->closed && peer->calls[i].id <= newest;) {
        if (peer->calls[i].deadline_ms > now) {
            i++;
            continue;
        }
        struct open_call call = remove_call(peer, &peer->calls[i]);
        call.done(call.user, NULL, &err);
    }
    if (!peer->closed)
        set_timer(peer);
    cds_peer_leave(peer);
}

/* --- received messages --------------------------------------------------------------------------------------------------- */

static void take_answer(struct cds_peer *peer, const cds_json *message)
{
    cds_json *result = cds_json_get(message, "result"), *error = cds_json_get(message, "error");
    if (!result == !error) {
        cds_peer_break(peer, "The other side sent an answer that holds not exactly one of result and error.");
        return;
    }
    struct open_call *found = find_call(peer, cds_json_get_i64(message, "id", 0));
    if (!found) /* timed out or forgotten meanwhile */
        return;
    struct open_call call = remove_call(peer, found);
    set_timer(peer);
    if (result) {
        call.done(call.user, result, NULL);
    } else {
        struct cds_err err;
        cds_rpc_error_parse(error, &err);
        call.done(call.user, NULL, &err);
    }
}

static void take_request(struct cds_peer *peer, cds_json *message)
{
    struct cds_rpc_request request;
    if (cds_rpc_parse_request(message, &request, NULL)) {
        cds_peer_break(peer, "The other side sent a message that is no JSON-RPC request.");
        return;
    }
    const struct open_call *call = request.id ? NULL : find_call(peer, cds_json_get_i64(request.params, "call", 0));
    if (call && call->on_note)
        call->on_note(call->user, request.method, request.params);
    else if (!call && peer->ops->on_request)
        peer->ops->on_request(peer->user, peer, &request, message);
}

void cds_peer_message(struct cds_peer *peer, const char *text, size_t len)
{
    CDS_JSON_AUTO message = NULL;
    struct cds_err err;
    if (cds_json_parse(text, len, &message, &err)) {
        cds_peer_break(peer,
                       err.code == CDS_EXHAUSTED ? "There is not enough memory to receive." : "The other side sent a message that is not JSON.");
        return;
    }
    if (cds_json_get(message, "method"))
        take_request(peer, message);
    else if (cds_json_get(message, "id"))
        take_answer(peer, message);
    else
        cds_peer_break(peer, "The other side sent a message that is neither request nor answer.");
}
