/* apps/cyberdevstudio/image.c: `image list|add|pull|remove`: the root images of microVMs, by the sandbox of the studio that runs.
 *
 * cds-sandboxd does the work (docs/adr/0047-images-by-name.md): what an image is made of is hostile and is read in a jail only. It takes a path of
 * this machine from root and from its own user, who may read it anyway. Ctrl+C closes the connection, which cancels what is being made. */
#include <limits.h>
#include <stdlib.h>
#include <string.h>

#include "apps/cyberdevstudio/commands.h"
#include "lib/base/cleanup.h"
#include "lib/base/clock.h"
#include "lib/base/fd.h"
#include "lib/base/str.h"
#include "lib/rpc/frame.h"

enum { LIST_MS = 10000, SPARE_MS = 30000, FRAME_MAX = 4 << 20, LANGUAGES_TEXT = 64 };

/* ---- one call ---- */
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

/* Steals params. */
static enum cds_exit ask(const struct cds_command *cmd, const char *method, cds_json *params, uint64_t ms, cds_json **ret)
{
    char path[PATH_MAX];
    struct asking a = {.result = NULL};
    struct cds_err err = {0};
    CDS_CLEANUP(cds_close_fd) int fd = -1;
    if (cds_unix_connect(cds_config_path(cmd->config, "run/sandboxd.sock", path, sizeof(path)), &fd, NULL)) {
        cds_json_unref(params);
        fprintf(stderr, "cyberdevstudio: the studio on %s does not run, or is not yours; start it with: cyberdevstudio up\n",
                cds_config_home(cmd->config));
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

/* ---- words ---- */
static void languages_of(const cds_json *image, char ret[static LANGUAGES_TEXT])
{
    const cds_json *list = cds_json_get(image, "languages");
    ret[0] = '\0';
    for (size_t i = 0; i < cds_json_size(list); i++) {
        const char *one = cds_json_str(cds_json_at(list, i));
        size_t at = strlen(ret);
        snprintf(ret + at, LANGUAGES_TEXT - at, "%s%s", at ? "," : "", one ? one : "");
    }
}

static void print_image(const cds_json *image)
{
    char languages[LANGUAGES_TEXT];
    const char *digest = cds_json_get_str(image, "digest"), *from = cds_json_get_str(image, "from");
    languages_of(image, languages);
    printf("%-24s %8.1f MiB  %-16s %-9s %.12s  %s\n", cds_json_get_str(image, "name"), (double)cds_json_get_i64(image, "size_bytes", 0) / 1048576,
           languages, cds_json_get_str(image, "source"), digest && *digest ? digest : "-", from ? from : "");
}

/** Exactly so many words. @return false after a complaint */
static bool has_words(const struct cds_command *cmd, int count, const char *what)
{
    for (int i = 0; i < cmd->argc; i++)
        if (cds_starts_with(cmd->argv[i], "--"))
            count = -1;
    if (cmd->argc == count)
        return true;
    fprintf(stderr, "cyberdevstudio: this command needs %s.\n", what);
    return false;
}

static enum cds_exit print_added(enum cds_exit code, const cds_json *result)
{
    if (code == CDS_EXIT_OK)
        print_image(cds_json_get(result, "image"));
    return code;
}

/* ---- commands ---- */
enum cds_exit cds_cmd_image_list(const struct cds_command *cmd)
{
    struct cds_command rest = *cmd;
    bool json = cds_take_switch(&rest, "--json");
    CDS_JSON_AUTO result = NULL;
    if (!cds_no_more(&rest))
        return CDS_EXIT_USAGE;
    enum cds_exit code = ask(cmd, "image.list", cds_json_pack("{s:b}", "from", 1), LIST_MS, &result);
    const cds_json *images = cds_json_get(result, "images");
    if (code != CDS_EXIT_OK)
        return code;
    if (json) {
        CDS_CLEANUP(cds_free_ptr) char *text = cds_json_dumps(images, NULL);
        puts(text ? text : "[]");
    }
    for (size_t i = 0; !json && i < cds_json_size(images); i++)
        print_image(cds_json_at(images, i));
    if (!json && cds_json_size(images) == 0)
        puts("There is no image; `make micro` makes the default one.");
    return CDS_EXIT_OK;
}

enum cds_exit cds_cmd_image_add(const struct cds_command *cmd)
{
    char path[PATH_MAX];
    CDS_JSON_AUTO result = NULL;
    if (!has_words(cmd, 2, "a name and a file or folder: image add NAME TAR|DIR"))
        return CDS_EXIT_USAGE;
    if (!realpath(cmd->argv[1], path)) {
        fprintf(stderr, "cyberdevstudio: there is no file or folder %s.\n", cmd->argv[1]);
        return CDS_EXIT_FAILED;
    }
    const uint64_t ms = cds_config_u64(cmd->config, CDS_OPT_IMAGE_MS) + SPARE_MS;
    return print_added(ask(cmd, "image.add", cds_json_pack("{s:s,s:s}", "name", cmd->argv[0], "host_path", path), ms, &result), result);
}

enum cds_exit cds_cmd_image_pull(const struct cds_command *cmd)
{
    CDS_JSON_AUTO result = NULL;
    if (!has_words(cmd, 2, "a name and what a registry calls it: image pull NAME REFERENCE"))
        return CDS_EXIT_USAGE;
    const uint64_t ms = 2 * cds_config_u64(cmd->config, CDS_OPT_IMAGE_MS) + 2ULL * SPARE_MS;
    return print_added(ask(cmd, "image.pull", cds_json_pack("{s:s,s:s}", "name", cmd->argv[0], "reference", cmd->argv[1]), ms, &result), result);
}

enum cds_exit cds_cmd_image_remove(const struct cds_command *cmd)
{
    CDS_JSON_AUTO result = NULL;
    if (!has_words(cmd, 1, "the name of an image"))
        return CDS_EXIT_USAGE;
    enum cds_exit code = ask(cmd, "image.remove", cds_json_pack("{s:s}", "name", cmd->argv[0]), SPARE_MS, &result);
    if (code == CDS_EXIT_OK)
        printf("%s was removed.\n", cmd->argv[0]);
    return code;
}
