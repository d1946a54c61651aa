/* apps/cyberdevstudio/model.c: `model list|pull|inspect|verify|remove`: the files of the models, without the model server.
 *
 * The work is done by cds-fetch as the user the services run as: a model file is not to be trusted, and the download must belong to them. A running
 * model server sees what changed at its next look. */
#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <signal.h>
#include <string.h>
#include <strings.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

#include "apps/cyberdevstudio/acts.h"
#include "apps/cyberdevstudio/capture.h"
#include "apps/cyberdevstudio/commands.h"
#include "apps/cyberdevstudio/services.h"
#include "apps/cyberdevstudio/spawn.h"
#include "lib/base/cleanup.h"
#include "lib/base/clock.h"
#include "lib/base/fd.h"
#include "lib/base/str.h"
#include "lib/config/fetch_command.h"
#include "lib/json/json.h"

enum { INSPECT_MS = 30000, LOOK_MS = 60000, VERIFY_MS = 3600000, OUT_MAX = 65536, MODELS_MAX = 256, SHOWN_MAX = 256 };

struct model_tools {
    const struct cds_command *cmd;
    char fetch[PATH_MAX + 16], dirs[2][PATH_MAX + 32];
    struct cds_identity who;
};

static void tools_of(const struct cds_command *cmd, struct model_tools *ret)
{
    char program_dir[PATH_MAX], note[512];
    const char *home = cds_config_home(cmd->config);
    *ret = (struct model_tools){.cmd = cmd};
    cds_program_dir(program_dir, sizeof(program_dir));
    snprintf(ret->fetch, sizeof(ret->fetch), "%s/cds-fetch", program_dir);
    snprintf(ret->dirs[0], sizeof(ret->dirs[0]), "%s/models", home);
    snprintf(ret->dirs[1], sizeof(ret->dirs[1]), "%.4000s/../share/models", program_dir);
    cds_services_identity(cmd->config, home, program_dir, false, &ret->who, note, sizeof(note));
}

static bool is_model(const char *name)
{
    size_t len = strlen(name);
    return len > 5 && name[0] != '.' && strcasecmp(name + len - 5, ".gguf") == 0;
}

/** A file by path, or by name in the folders of the models. @return false after a complaint */
static bool find_file(const struct model_tools *tools, const char *name, char path[static PATH_MAX], bool ours_only)
{
    struct stat st;
    bool plain = !strchr(name, '/');
    for (size_t i = 0; plain && i < (ours_only ? 1 : CDS_ARRAY_LEN(tools->dirs)); i++) {
        snprintf(path, PATH_MAX, "%.3800s/%.250s", tools->dirs[i], name);
        if (lstat(path, &st) == 0)
            return true;
    }
    if (!plain && !ours_only && strlen(name) < PATH_MAX && stat(name, &st) == 0 && realpath(name, path))
        return true;
    fprintf(stderr, "cyberdevstudio: there is no model file %s; \"cyberdevstudio model list\" shows them.\n", name);
    return false;
}

/** Runs cds-fetch; *ret is its line of JSON, owned. */
static cds_rc run_fetch(const struct model_tools *tools, const char *const *argv, uint64_t ms, cds_json **ret, struct cds_err *reterr)
{
    struct cds_capture_how how = {.argv = argv, .as = &tools->who, .deadline_ms = cds_now_ms() + ms, .max_bytes = OUT_MAX};
    CDS_CLEANUP(cds_capture_free) struct cds_capture got = {0};
    CDS_JSON_AUTO answer = NULL;
    cds_rc rc = cds_capture_run(&how, &got, reterr);
    if (rc != CDS_OK)
        return rc;
    if (!got.out.data || cds_json_parse(got.out.data, got.out.len, &answer, NULL) != CDS_OK)
        return cds_fail(reterr, CDS_SYSTEM, __func__, "The program that reads model files gave no answer (exit %d).", got.exit_code);
    const cds_json *error = cds_json_get(answer, "error");
    if (error) {
        const char *message = cds_json_get_str(error, "message"), *hint = cds_json_get_str(error, "hint");
        rc = cds_fail(reterr, cds_rc_from_openai(cds_json_get_str(error, "code")), __func__, "%s", message ? message : "The file cannot be used.");
        return hint && *hint ? cds_err_hint(reterr, "%s", hint) : rc;
    }
    *ret = cds_json_ref(answer);
    return CDS_OK;
}

/** With a word and a file. */
static cds_rc ask_fetch(const struct model_tools *tools, const char *word, const char *path, uint64_t ms, cds_json **ret, struct cds_err *reterr)
{
    const char *argv[] = {tools->fetch, word, path, NULL};
    return run_fetch(tools, argv, ms, ret, reterr);
}

static void print_json(const cds_json *value)
{
    CDS_CLEANUP(cds_free_ptr) char *text = cds_json_dumps(value, NULL);
    printf("%s\n", text ? text : "null");
}

/* --- what comes from a server -------------------------------------------------------------------------------------------- */

/** A file that is still at its server: its header alone is read. */
static enum cds_exit inspect_remote(const struct cds_command *cmd, const char *source)
{
    static struct cds_fetch_command command; /* large */
    struct model_tools tools;
    struct cds_err err = {0};
    CDS_JSON_AUTO answer = NULL;
    tools_of(cmd, &tools);
    cds_fetch_command(cmd->config, tools.fetch, tools.dirs[0], "look", source, "", LOOK_MS, &command);
    if (run_fetch(&tools, command.argv, LOOK_MS + INSPECT_MS, &answer, &err) != CDS_OK)
        return cds_complain(stderr, &err);
    print_json(answer);
    return CDS_EXIT_OK;
}

/** The SHA-256 the download wrote down, "" when there is none. */
static void recorded_hash(const char *path, char ret[static 65])
{
    char origin[PATH_MAX + 8];
    CDS_CLEANUP(cds_buf_free) struct cds_buf text = cds_buf_init(16384);
    CDS_JSON_AUTO record = NULL;
    snprintf(origin, sizeof(origin), "%s.origin", path);
    const char *hex = NULL;
    if (cds_read_file(origin, &text, NULL) == CDS_OK && text.len && cds_json_parse(text.data, text.len, &record, NULL) == CDS_OK)
        hex = cds_json_get_str(record, "sha256");
    cds_strcpy(ret, 65, hex ? hex : "");
}

/* --- list and inspect ---------------------------------------------------------------------------------------------------- */

static int by_name(const struct dirent **a, const struct dirent **b)
{
    return strcmp((*a)->d_name, (*b)->d_name);
}

static int only_models(const struct dirent *entry)
{
    return is_model(entry->d_name);
}

static cds_json *row_of(const struct model_tools *tools, const char *path, const char *name)
{
    struct cds_err err = {0};
    CDS_JSON_AUTO facts = NULL;
    cds_rc rc = ask_fetch(tools, "inspect", path, INSPECT_MS, &facts, &err);
    cds_json *row = cds_json_pack("{s:s,s:s}", "file", name, "path", path);
    cds_json_set(row, "facts", rc == CDS_OK ? cds_json_ref(facts) : cds_json_null());
    cds_json_set(row, "corrupt", rc == CDS_OK ? cds_json_null() : cds_json_string(err.message));
    return row;
}

static void print_row(const cds_json *row)
{
    const cds_json *facts = cds_json_get(row, "facts");
    const char *corrupt = cds_json_get_str(row, "corrupt");
    if (corrupt) {
        printf("%-48s unusable: %s\n", cds_json_get_str(row, "file"), corrupt);
        return;
    }
    printf("%-48s %8.1f M parameters  %-8s %6lld MiB  context %lld\n", cds_json_get_str(row, "file"),
           (double)cds_json_get_i64(facts, "parameters", 0) / 1e6, cds_json_get_str(facts, "quantization"),
           (long long)(cds_json_get_i64(facts, "file_bytes", 0) >> 20), (long long)cds_json_get_i64(facts, "context", 0));
}

enum cds_exit cds_cmd_model_list(const struct cds_command *cmd)
{
    struct cds_command rest = *cmd;
    bool json = cds_take_switch(&rest, "--json");
    struct model_tools tools;
    CDS_JSON_AUTO all = cds_json_array();
    if (!cds_no_more(&rest))
        return CDS_EXIT_USAGE;
    tools_of(cmd, &tools);
    for (size_t d = 0; d < CDS_ARRAY_LEN(tools.dirs); d++) {
        struct dirent **entries = NULL;
        int count = scandir(tools.dirs[d], &entries, only_models, by_name);
        for (int i = 0; i < count; i++) {
            char path[PATH_MAX];
            snprintf(path, sizeof(path), "%.3800s/%.250s", tools.dirs[d], entries[i]->d_name);
            if (cds_json_size(all) < MODELS_MAX)
                cds_json_append(all, row_of(&tools, path, entries[i]->d_name));
            free(entries[i]);
        }
        free(entries);
    }
    if (json)
        print_json(all);
    for (size_t i = 0; !json && i < cds_json_size(all); i++)
        print_row(cds_json_at(all, i));
    if (!json && cds_json_size(all) == 0)
        printf("There is no model file in %s.\n", tools.dirs[0]);
    return CDS_EXIT_OK;
}

/** The one argument of a command. @return NULL after a complaint */
static const char *one_argument(struct cds_command *rest, const char *what)
{
    if (rest->argc == 1 && !cds_starts_with(rest->argv[0], "--"))
        return rest->argv[0];
    fprintf(stderr, "cyberdevstudio: this command needs one argument: %s.\n", what);
    return NULL;
}

enum cds_exit cds_cmd_model_inspect(const struct cds_command *cmd)
{
    struct cds_command rest = *cmd;
    struct model_tools tools;
    struct cds_err err = {0};
    char path[PATH_MAX];
    CDS_JSON_AUTO facts = NULL;
    if (cds_cmd_model_inspects_server(cmd))
        return cds_cmd_model_inspect_server(cmd);
    const char *name = one_argument(&rest, "a model file, a source (hf:... or https://...), \"gpu\", or \"estimate\" or \"measure\" with a model");
    if (!name)
        return CDS_EXIT_USAGE;
    if (cds_starts_with(name, "hf:") || strstr(name, "://"))
        return inspect_remote(cmd, name);
    tools_of(cmd, &tools);
    if (!find_file(&tools, name, path, false))
        return CDS_EXIT_FAILED;
    if (ask_fetch(&tools, "inspect", path, INSPECT_MS, &facts, &err) != CDS_OK)
        return cds_complain(stderr, &err);
    print_json(facts);
    return CDS_EXIT_OK;
}

enum cds_exit cds_cmd_model_verify(const struct cds_command *cmd)
{
    struct cds_command rest = *cmd;
    struct model_tools tools;
    struct cds_err err = {0};
    char path[PATH_MAX], recorded[65];
    CDS_JSON_AUTO answer = NULL;
    const char *name = one_argument(&rest, "a model file");
    if (!name)
        return CDS_EXIT_USAGE;
    tools_of(cmd, &tools);
    if (!find_file(&tools, name, path, false))
        return CDS_EXIT_FAILED;
    if (ask_fetch(&tools, "verify", path, VERIFY_MS, &answer, &err) != CDS_OK)
        return cds_complain(stderr, &err);
    const char *hex = cds_json_get_str(answer, "sha256");
    recorded_hash(path, recorded);
    if (*recorded && !cds_streq(recorded, hex)) {
        fprintf(stderr, "cyberdevstudio: %s has changed since it was downloaded: its SHA-256 is %s, not %s. Remove it and pull it again.\n", name,
                hex, recorded);
        return CDS_EXIT_FAILED;
    }
    printf("%s  %s  %s\n", hex, name, *recorded ? "as downloaded" : "no record to compare with");
    return CDS_EXIT_OK;
}

/* --- remove -------------------------------------------------------------------------------------------------------------- */

struct removing {
    struct model_tools tools;
    const char *name;
};

static enum cds_exit remove_model(void *user)
{
    static const char *const beside[] = {"", ".origin", ".part", ".journal"};
    const struct removing *removing = user;
    char one[PATH_MAX + 16];
    bool any = false;
    for (size_t i = 0; i < CDS_ARRAY_LEN(beside); i++) {
        snprintf(one, sizeof(one), "%.3800s/%.250s%s", removing->tools.dirs[0], removing->name, beside[i]);
        any = unlink(one) == 0 || any;
    }
    if (!any) {
        fprintf(stderr, "cyberdevstudio: there is no model file %s in %s.\n", removing->name, removing->tools.dirs[0]);
        return CDS_EXIT_FAILED;
    }
    printf("%s was removed.\n", removing->name);
    return CDS_EXIT_OK;
}

enum cds_exit cds_cmd_model_remove(const struct cds_command *cmd)
{
    struct cds_command rest = *cmd;
    struct removing removing;
    const char *name = one_argument(&rest, "the name of a model file in the data folder");
    if (!name)
        return CDS_EXIT_USAGE;
    tools_of(cmd, &removing.tools);
    if (!is_model(name) || strchr(name, '/')) {
        fprintf(stderr, "cyberdevstudio: %s is no name of a model file; give the name without its folder.\n", name);
        return CDS_EXIT_USAGE;
    }
    removing.name = name;
    struct cds_act act = {.name = "model remove", .object = name};
    return cds_act(cmd, &act, remove_model, &removing);
}

/* --- pull ---------------------------------------------------------------------------------------------------------------- */

/** One line of cds-fetch. @return the last line was this one; *ret_fine says how it ended */
static bool tell_line(const char *text, size_t len, bool *ret_fine)
{
    CDS_JSON_AUTO line = NULL;
    if (cds_json_parse(text, len, &line, NULL) != CDS_OK) {
        fprintf(stderr, "%.*s\n", (int)len, text);
        return false;
    }
    const char *end = cds_json_get_str(line, "end"), *state = cds_json_get_str(line, "state");
    if (!end) {
        int64_t received = cds_json_get_i64(line, "received", 0), total = cds_json_get_i64(line, "total", 0);
        printf("%-12s %s  %lld of %lld MiB%s", state ? state : "", cds_json_get_str(line, "file"), (long long)(received >> 20),
               (long long)(total >> 20), isatty(STDOUT_FILENO) ? "\033[K\r" : "\n");
        fflush(stdout);
        return false;
    }
    *ret_fine = !cds_streq(end, "failed");
    if (*ret_fine) {
        const cds_json *files = cds_json_get(line, "files");
        for (size_t i = 0; i < cds_json_size(files); i++)
            printf("%s  %s\n", cds_json_str(cds_json_at(files, i)), cds_streq(end, "present") ? "is there already" : "is there now");
    } else {
        fprintf(stderr, "cyberdevstudio: %s %s\n", cds_json_get_str(line, "message"), cds_json_get_str(line, "hint"));
    }
    return true;
}

static bool tell_all(int fd)
{
    CDS_CLEANUP(cds_buf_free) struct cds_buf text = cds_buf_init(256 << 10);
    bool fine = false;
    for (;;) {
        char *room = cds_buf_reserve(&text, 4096), *end;
        ssize_t n = room ? read(fd, room, 4096) : 0;
        if (n < 0 && errno == EINTR)
            continue;
        if (n <= 0)
            return fine;
        cds_buf_commit(&text, (size_t)n);
        while (text.len && (end = memchr(text.data, '\n', text.len))) {
            tell_line(text.data, (size_t)(end - text.data), &fine);
            cds_buf_consume(&text, (size_t)(end - text.data) + 1);
        }
    }
}

static cds_rc run_pull(const struct model_tools *tools, const char *source, const char *sha256, bool *ret_fine, struct cds_err *reterr)
{
    static struct cds_fetch_command command; /* large */
    int pair[2];
    cds_fetch_command(tools->cmd->config, tools->fetch, tools->dirs[0], "pull", source, sha256,
                      cds_config_u64(tools->cmd->config, CDS_OPT_LLM_DOWNLOAD_MS), &command);
    if (pipe2(pair, O_CLOEXEC) != 0)
        return cds_fail_errno(reterr, errno, __func__, "No pipe could be opened.");
    CDS_CLEANUP(cds_close_fd) int from = pair[0];
    char lang[] = "LANG=C.UTF-8", *envp[] = {lang, NULL};
    struct cds_spawn what = {
        .program = tools->fetch, .argv = command.argv, .envp = envp, .as = &tools->who, .log_fd = pair[1], .ready_fd = -1, .input_fd = -1};
    pid_t pid = 0;
    cds_rc rc = cds_spawn_start(&what, &pid, reterr);
    close(pair[1]);
    if (rc != CDS_OK)
        return rc;
    *ret_fine = tell_all(from);
    while (waitpid(pid, NULL, 0) < 0 && errno == EINTR) {
    }
    return CDS_OK;
}

struct pulling {
    struct model_tools tools;
    const char *source, *sha256;
};

static enum cds_exit pull(void *user)
{
    const struct pulling *pulling = user;
    struct cds_err err = {0};
    bool fine = false;
    if (run_pull(&pulling->tools, pulling->source, pulling->sha256, &fine, &err) != CDS_OK)
        return cds_complain(stderr, &err);
    return fine ? CDS_EXIT_OK : CDS_EXIT_FAILED;
}

enum cds_exit cds_cmd_model_pull(const struct cds_command *cmd)
{
    struct cds_command rest = *cmd;
    struct pulling pulling = {.sha256 = ""};
    struct stat st;
    char shown[SHOWN_MAX];
    if (!cds_take_value(&rest, "--sha256", &pulling.sha256))
        return CDS_EXIT_USAGE;
    const char *source = one_argument(&rest, "a source: hf:owner/repo:quant, hf:owner/repo/file.gguf#branch or the https address of a .gguf file");
    if (!source)
        return CDS_EXIT_USAGE;
    if (stat(cds_config_home(cmd->config), &st) != 0) {
        fprintf(stderr, "cyberdevstudio: there is no data folder %s yet; start the studio once (cyberdevstudio up).\n", cds_config_home(cmd->config));
        return CDS_EXIT_FAILED;
    }
    pulling.source = source;
    tools_of(cmd, &pulling.tools);
    cds_fetch_shown(source, shown, sizeof(shown));
    /* An address may carry a password in front of "@". */
    struct cds_act act = {.name = "model pull", .object = strchr(shown, '@') ? NULL : shown};
    return cds_act(cmd, &act, pull, &pulling);
}
