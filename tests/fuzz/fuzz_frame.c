// link: cds_rpc
/* tests/fuzz/fuzz_frame.c: the bytes of the other side. The first byte says in what pieces they arrive and whether callbacks close. */
#include <stdlib.h>
#include <sys/socket.h>
#include <unistd.h>

#include "lib/base/clock.h"
#include "lib/rpc/frame.h"

struct seen {
    struct cds_peer *peer;
    bool eager; /* closes at the first chance */
    int dones;
};

static void on_request(void *user, struct cds_peer *peer, const struct cds_rpc_request *request, cds_json *message)
{
    struct seen *seen = user;
    CDS_JSON_AUTO answer = cds_rpc_result(request->id, cds_json_bool(true));
    (void)!cds_peer_send(peer, answer);
    if (seen->eager)
        cds_peer_close(&seen->peer);
}

static void on_close(void *user, struct cds_peer *peer, const char *reason)
{
    ((struct seen *)user)->peer = NULL;
}

static void on_done(void *user, cds_json *result, const struct cds_err *err)
{
    struct seen *seen = user;
    if ((result != NULL) == (err != NULL))
        abort();
    seen->dones++;
    if (seen->eager)
        cds_peer_close(&seen->peer);
}

static void on_note(void *user, const char *method, cds_json *params)
{
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    static const struct cds_peer_ops ops = {.on_request = on_request, .on_close = on_close};
    struct seen seen = {0};
    struct cds_loop *loop = NULL;
    int pair[2];
    if (size < 1 || size > 65536)
        return 0;
    if (cds_loop_new(&loop, NULL) || socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0, pair) ||
        cds_peer_new(loop, pair[0], 65536, 65536, &ops, &seen, &seen.peer, NULL))
        abort();
    seen.eager = data[0] & 1;
    size_t step = 1 + (data[0] >> 1) * 8u;
    int calls = 0;
    for (int i = 0; i < 3; i++)
        calls += cds_peer_call(seen.peer, "m", cds_json_object(), cds_now_ms() + 600000, on_done, on_note, &seen) > 0;
    for (size_t at = 1; at < size; at += step) {
        if (send(pair[1], data + at, size - at < step ? size - at : step, MSG_NOSIGNAL) < 0)
            break;
        cds_loop_once(loop, 0);
    }
    cds_peer_close(&seen.peer);
    if (seen.dones != calls) /* each call is answered exactly once */
        abort();
    close(pair[1]);
    cds_loop_free(&loop);
    return 0;
}
