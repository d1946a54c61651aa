/* apps/cyberdevstudio/image.c: `image list|add|pull|remove`: the root images of microVMs, by the sandbox of the studio that runs.
 *
 * cds-sandboxd does the work (docs/adr/0047-images-by-name.md): what an image is made of is hostile and is read in a jail only. It takes a path of
 * this machine from root and from its own user, who may read it anyway. Ctrl+C closes the connection, which cancels what is being made. */
#include <limits.h>
#include <stdlib.h>
#include <string.h>

#include "apps/cyberdevstudio/acts.h"
#include "apps/cyberdevstudio/ask_sandbox.h"
#include "lib/base/cleanup.h"
#include "lib/base/str.h"

enum { LIST_MS = 10000, SPARE_MS = 30000, LANGUAGES_TEXT = 64 };

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

/* ---- acts ---- */
struct asked {
    const struct cds_command *cmd;
    const char *method;
    cds_json *params; /* owned */
    uint64_t ms;
};

static enum cds_exit ask(void *user)
{
    struct asked *asked = user;
    CDS_JSON_AUTO result = NULL;
    enum cds_exit code = cds_ask_sandbox(asked->cmd, asked->method, asked->params, asked->ms, &result);
    const cds_json *image = cds_json_get(result, "image");
    asked->params = NULL;
    if (code == CDS_EXIT_OK && image)
        print_image(image);
    return code;
}

/* name is words of the command, object the image; params are owned. */
static enum cds_exit act(const struct cds_command *cmd, const char *name, const char *object, struct asked *asked)
{
    struct cds_act one = {.name = name, .object = object};
    asked->cmd = cmd;
    enum cds_exit code = cds_sandbox_there(cmd) ? cds_act(cmd, &one, ask, asked) : CDS_EXIT_NOT_RUNNING;
    cds_json_unref(asked->params);
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
    enum cds_exit code = cds_ask_sandbox(cmd, "image.list", cds_json_pack("{s:b}", "from", 1), LIST_MS, &result);
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
    if (!has_words(cmd, 2, "a name and a file or folder: image add NAME TAR|DIR"))
        return CDS_EXIT_USAGE;
    if (!realpath(cmd->argv[1], path)) {
        fprintf(stderr, "cyberdevstudio: there is no file or folder %s.\n", cmd->argv[1]);
        return CDS_EXIT_FAILED;
    }
    struct asked asked = {.method = "image.add",
                          .params = cds_json_pack("{s:s,s:s}", "name", cmd->argv[0], "host_path", path),
                          .ms = cds_config_u64(cmd->config, CDS_OPT_IMAGE_MS) + SPARE_MS};
    return act(cmd, "image add", cmd->argv[0], &asked);
}

enum cds_exit cds_cmd_image_pull(const struct cds_command *cmd)
{
    if (!has_words(cmd, 2, "a name and what a registry calls it: image pull NAME REFERENCE"))
        return CDS_EXIT_USAGE;
    struct asked asked = {.method = "image.pull",
                          .params = cds_json_pack("{s:s,s:s}", "name", cmd->argv[0], "reference", cmd->argv[1]),
                          .ms = 2 * cds_config_u64(cmd->config, CDS_OPT_IMAGE_MS) + 2ULL * SPARE_MS};
    return act(cmd, "image pull", cmd->argv[0], &asked);
}

enum cds_exit cds_cmd_image_remove(const struct cds_command *cmd)
{
    if (!has_words(cmd, 1, "the name of an image"))
        return CDS_EXIT_USAGE;
    struct asked asked = {.method = "image.remove", .params = cds_json_pack("{s:s}", "name", cmd->argv[0]), .ms = SPARE_MS};
    enum cds_exit code = act(cmd, "image remove", cmd->argv[0], &asked);
    if (code == CDS_EXIT_OK)
        printf("%s was removed.\n", cmd->argv[0]);
    return code;
}
