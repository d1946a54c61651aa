/* apps/cyberdevstudio/ask_sandbox.c: see ask_sandbox.h. Ctrl+C closes the connection, which cancels what is being done. */
#include "apps/cyberdevstudio/ask_sandbox.h"

#include <limits.h>
#include <stdlib.h>

#include "lib/base/cleanup.h"
#include "lib/base/clock.h"
#include "lib/base/fd.h"
#include "lib/rpc/frame.h"

enum { FRAME_MAX = 4 << 20 };

struct asking {
    struct cds_loop *loop;
    cds_json *result; /* owned; NULL: err */
    struct cds_err err;
};

static void on_done(void *user, cds_json *result, const struct cds_err *err)
{
    struct asking *a = user;
    if (result)
        a->result = cds_json_copy(result);
    else
        a->err = *err;
    cds_loop_stop(a->loop);
}

static void on_request(void *user, struct cds_peer *peer, const struct cds_rpc_request *request, cds_json *message)
{
    (void)user, (void)peer, (void)request, (void)message; /* the sandbox asks nothing of us */
}

static void on_close(void *user, struct cds_peer *peer, const char *reason)
{
    (void)user, (void)peer, (void)reason; /* on_done was told */
}

static cds_rc ask_over(struct asking *a, int *fd, const char *method, cds_json *params, uint64_t ms, struct cds_err *reterr)
{
    static const struct cds_peer_ops ops = {on_request, on_close};
    struct cds_peer *peer = NULL;
    cds_rc rc = cds_peer_new(a->loop, *fd, FRAME_MAX, FRAME_MAX, &ops, a, &peer, reterr);
    if (rc) {
        cds_json_unref(params);
        return rc;
    }
    cds_steal_fd(fd);
    if (!cds_peer_call(peer, method, params, cds_now_ms() + ms, on_done, NULL, a))
        rc = cds_fail(reterr, CDS_UNAVAILABLE, __func__, "The sandbox takes no calls at the moment.");
    else
        cds_loop_run(a->loop);
    cds_peer_close(&peer);
    return rc;
}

static cds_rc reach(const struct cds_command *cmd, int *ret_fd)
{
    char path[PATH_MAX];
    cds_rc rc = cds_unix_connect(cds_config_path(cmd->config, "run/sandboxd.sock", path, sizeof(path)), ret_fd, NULL);
    if (rc)
        fprintf(stderr, "cyberdevstudio: the studio on %s does not run, or is not yours; start it with: cyberdevstudio up\n",
                cds_config_home(cmd->config));
    return rc;
}

bool cds_sandbox_there(const struct cds_command *cmd)
{
    CDS_CLEANUP(cds_close_fd) int fd = -1;
    return reach(cmd, &fd) == CDS_OK;
}

enum cds_exit cds_ask_sandbox(const struct cds_command *cmd, const char *method, cds_json *params, uint64_t ms, cds_json **ret)
{
    struct asking a = {.result = NULL};
    struct cds_err err = {0};
    CDS_CLEANUP(cds_close_fd) int fd = -1;
    if (reach(cmd, &fd)) {
        cds_json_unref(params);
        return CDS_EXIT_NOT_RUNNING;
    }
    cds_rc rc = cds_loop_new(&a.loop, &err);
    if (rc)
        cds_json_unref(params);
    else
        rc = ask_over(&a, &fd, method, params, ms, &err);
    cds_loop_free(&a.loop);
    if (rc || !a.result)
        return cds_complain(stderr, rc ? &err : &a.err);
    *ret = a.result;
    return CDS_EXIT_OK;
}
