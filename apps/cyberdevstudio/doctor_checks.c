/* apps/cyberdevstudio/doctor_checks.c: the single checks of `doctor`. */
#include <dlfcn.h>
#include <errno.h>
#include <limits.h>
#include <string.h>
#include <sys/wait.h>
#include <unistd.h>

#include "apps/cyberdevstudio/capture.h"
#include "apps/cyberdevstudio/client.h"
#include "apps/cyberdevstudio/doctor.h"
#include "apps/cyberdevstudio/home.h"
#include "apps/cyberdevstudio/parts.h"
#include "apps/cyberdevstudio/pg.h"
#include "apps/cyberdevstudio/ports.h"
#include "apps/cyberdevstudio/services.h"
#include "lib/base/cleanup.h"
#include "lib/base/clock.h"
#include "lib/base/str.h"
#include "lib/db/db.h"

/* Patience for what answers at once on an idle machine: a busy one is not to be called broken. */
enum { PROBE_MS = 180000, VERSION_MS = 60000, DATABASE_MS = 30000, OUT_MAX = 65536, PLACE_MAX = PATH_MAX + 256 };

static const char build_again[] = "Build the studio again: make build";

/** <program folder><tail> */
static char *beside(const char *tail, char buf[static PLACE_MAX])
{
    char dir[PATH_MAX];
    snprintf(buf, PLACE_MAX, "%s%s", cds_program_dir(dir, sizeof(dir)), tail);
    return buf;
}

void cds_check_programs(const struct cds_config *config, struct cds_findings *all)
{
    static const char *const extra[] = {"cds-llmworker", "cds-wasmworker"};
    char path[PLACE_MAX], tail[64], missing[256] = "";
    int count = 0, found = 0;
    for (size_t i = 0; i < CDS_PART_COUNT + CDS_ARRAY_LEN(extra); i++) {
        const char *program = i < CDS_PART_COUNT ? cds_part_defs[i].program : extra[i - CDS_PART_COUNT];
        if (!program)
            continue;
        count++;
        snprintf(tail, sizeof(tail), "/%s", program);
        if (access(beside(tail, path), X_OK) == 0)
            found++;
        else
            snprintf(missing + strlen(missing), sizeof(missing) - strlen(missing), " %s", program);
    }
    if (found == count)
        cds_found(all, "programs", CDS_WORKS, "", "all %d in %s", count, beside("", path));
    else
        cds_found(all, "programs", CDS_MISSING, build_again, "not in %s:%s", beside("", path), missing);
}

void cds_check_data_folder(const struct cds_config *config, struct cds_findings *all)
{
    char existing[PATH_MAX], note[512], dir[PATH_MAX];
    const char *home = cds_config_home(config);
    cds_strcpy(existing, sizeof(existing), home);
    for (char *slash; access(existing, F_OK) != 0 && (slash = strrchr(existing, '/')) && slash != existing;)
        *slash = '\0';
    pid_t pid = 0;
    bool running = cds_home_locked(home, &pid);
    if (access(existing, W_OK) != 0)
        cds_found(all, "data folder", CDS_MISSING, "Choose one you may write to with --studio.home=FOLDER.", "%s cannot be written by this user",
                  existing);
    else if (running)
        cds_found(all, "data folder", CDS_WORKS, "", "%s, in use by the studio that runs as process %d", home, (int)pid);
    else
        cds_found(all, "data folder", CDS_WORKS, "", "%s%s", home, cds_streq(existing, home) ? "" : " (made by the first start)");
    struct cds_err err = {0};
    if (cds_home_disk_check(existing, &err) == CDS_OK)
        cds_found(all, "disk", CDS_WORKS, "", "%.1f GB free", (double)cds_home_free_bytes(existing) / (1 << 30));
    else
        cds_found_err(all, "disk", &err);
    struct cds_identity who;
    const char *user = cds_config_str(config, CDS_OPT_RUN_USER);
    if (geteuid() != 0 || access(home, F_OK) != 0)
        return;
    if (*user && cds_sysuser_find(user, &who.uid, &who.gid, NULL) == CDS_NOT_FOUND) {
        cds_found(all, "service user", CDS_WORKS, "", "%s is made by the next start", user);
        return;
    }
    cds_services_identity(config, home, cds_program_dir(dir, sizeof(dir)), false, &who, note, sizeof(note));
    if (*note)
        cds_found(all, "service user", CDS_WEAK, "Read the sentence above; the studio works, with less protection.", "%s", note);
    else
        cds_found(all, "service user", CDS_WORKS, "", "services run as %s", who.name);
}

/* In the private cluster the kernel says who connects. Elsewhere a role without a password separates nothing. */
static void check_roles(const struct cds_config *config, struct cds_findings *all)
{
    static const char name[] = "database roles";
    static const enum cds_db_role services[] = {CDS_DB_APP, CDS_DB_AUTH};
    if (!cds_config_u64(config, CDS_OPT_DB_ROLES)) {
        cds_found(
            all, name, CDS_WEAK,
            "Give cds_app and cds_auth passwords, put them into a passfile that database.url names (passfile=FILE), and set database.roles = 1.",
            "all services connect as database.url says, so one that was taken over can change users, ledger and audit log");
        return;
    }
    for (size_t i = 0; i < CDS_ARRAY_LEN(services); i++) {
        char conninfo[CDS_DB_CONNINFO_MAX];
        struct cds_err err = {0};
        CDS_CLEANUP(cds_db_close) struct cds_db *db = NULL;
        cds_rc rc = cds_db_conninfo_as(config, services[i], conninfo, &err);
        if (rc == CDS_OK)
            rc = cds_db_open(conninfo, cds_now_ms() + DATABASE_MS, &db, &err);
        if (rc != CDS_OK) {
            cds_found(all, name, CDS_MISSING, "Look at its password, at the passfile, who may read that, and at pg_hba.conf of the server.",
                      "database.roles is 1, and %s cannot connect: %s", services[i] == CDS_DB_APP ? "cds_app" : "cds_auth", err.message);
            return;
        }
    }
    cds_found(all, name, CDS_WORKS, "", "services connect as cds_app and cds_auth");
}

static void check_connection(const struct cds_config *config, struct cds_findings *all, const char *what)
{
    char conninfo[2048];
    struct cds_err err = {0};
    CDS_CLEANUP(cds_db_close) struct cds_db *db = NULL;
    CDS_CLEANUP(cds_rows_free) struct cds_rows *rows = NULL;
    cds_rc rc = cds_db_open(cds_db_conninfo(config, conninfo, sizeof(conninfo)), cds_now_ms() + DATABASE_MS, &db, &err);
    if (rc == CDS_OK)
        rc = cds_db_exec(db, "SHOW server_version", 0, NULL, true, &rows, &err);
    if (rc == CDS_OK)
        cds_found(all, "database", CDS_WORKS, "", "%s answers, PostgreSQL %s", what, cds_rows_str(rows, 0, 0));
    else
        cds_found_err(all, "database", &err);
}

void cds_check_database(const struct cds_config *config, struct cds_findings *all)
{
    char folder[PATH_MAX];
    struct cds_err err = {0};
    int major = 0;
    if (*cds_config_str(config, CDS_OPT_DB_URL)) {
        check_connection(config, all, "database.url");
        check_roles(config, all);
        return;
    }
    if (cds_pg_find(config, folder, sizeof(folder), &major, &err) == CDS_OK)
        cds_found(all, "postgresql", CDS_WORKS, "", "version %d in %s", major, folder);
    else
        cds_found_err(all, "postgresql", &err);
    if (cds_home_locked(cds_config_home(config), NULL))
        check_connection(config, all, "the private cluster");
}

void cds_check_ports(const struct cds_config *config, struct cds_findings *all)
{
    struct cds_err err = {0};
    CDS_JSON_AUTO status = NULL;
    if (cds_ask_supervisor(config, "status", cds_now_ms() + DATABASE_MS, NULL, &status, &err) == CDS_OK) {
        cds_found(all, "ports", CDS_WORKS, "", "in use by the running studio");
        if (!cds_found_parts(all, status))
            cds_found(all, "parts", CDS_MISSING, "Stop it with \"cyberdevstudio down\" and start it again.", "the running studio does not list them");
        return;
    }
    err = (struct cds_err){0};
    if (cds_ports_check(config, cds_now_ms(), &err) == CDS_OK)
        cds_found(all, "ports", CDS_WORKS, "", "%u, %u, %u, %u and %u are free", (unsigned)cds_config_u64(config, CDS_OPT_UI_PORT),
                  (unsigned)cds_config_u64(config, CDS_OPT_PREVIEW_PORT), (unsigned)cds_config_u64(config, CDS_OPT_API_PORT),
                  (unsigned)cds_config_u64(config, CDS_OPT_AUTH_PORT), (unsigned)cds_config_u64(config, CDS_OPT_LLM_PORT));
    else
        cds_found_err(all, "ports", &err);
}

/** Loads the library in a child process: one built for another processor may end it. */
static bool library_loads(const char *path, char *why, size_t size)
{
    int fds[2];
    if (pipe(fds) != 0)
        return false;
    pid_t pid = fork();
    if (pid == 0) {
        const char *text = dlopen(path, RTLD_NOW | RTLD_LOCAL) ? "" : dlerror();
        ssize_t n = write(fds[1], text, strnlen(text, 250));
        _exit(n > 0 ? 1 : 0);
    }
    close(fds[1]);
    ssize_t n = pid > 0 ? read(fds[0], why, size - 1) : 0;
    why[n > 0 ? n : 0] = '\0';
    close(fds[0]);
    int status = -1;
    while (pid > 0 && waitpid(pid, &status, 0) < 0 && errno == EINTR)
        ;
    if (status != 0 && !*why)
        snprintf(why, size, "loading it ended the process");
    return status == 0;
}

/** libllama carries its version in its name: "libllama.so", "libllama.v0.5.0.so"; "libllama-common.so" is another one. */
static bool is_llama(const char *name)
{
    size_t len = strlen(name);
    return cds_starts_with(name, "libllama.") && len > 3 && cds_streq(name + len - 3, ".so");
}

/** First file of a folder whose name fits. @return false when there is none */
static bool find_file(const char *folder, bool (*fits)(const char *name), char *path, size_t size)
{
    CDS_CLEANUP(cds_close_dir) DIR *dir = opendir(folder);
    for (struct dirent *entry; dir && (entry = readdir(dir));)
        if (fits(entry->d_name)) {
            snprintf(path, size, "%s/%s", folder, entry->d_name);
            return true;
        }
    return false;
}

static void check_library(const struct cds_config *config, struct cds_findings *all)
{
    char folder[PLACE_MAX], path[PLACE_MAX + 256], why[256] = "";
    const char *given = cds_config_str(config, CDS_OPT_LLM_LIB_DIR);
    if (*given)
        cds_strcpy(folder, sizeof(folder), given);
    else
        beside("/../lib/llama", folder);
    if (!find_file(folder, is_llama, path, sizeof(path)))
        cds_found(all, "libllama", CDS_MISSING, "Fetch it with tools/setup, or name its folder with --llm.lib_dir=FOLDER.", "no libllama in %s",
                  folder);
    else if (library_loads(path, why, sizeof(why)))
        cds_found(all, "libllama", CDS_WORKS, "", "%s loads", path);
    else
        cds_found(all, "libllama", CDS_MISSING, "Fetch it again with tools/setup.", "%s: %s", path, why);
    cds_check_gpu(config, folder, all);
}

static bool is_gguf(const char *path)
{
    char magic[4] = "";
    CDS_CLEANUP(cds_close_file) FILE *f = fopen(path, "re");
    return f && fread(magic, 1, 4, f) == 4 && memcmp(magic, "GGUF", 4) == 0;
}

static bool is_default_model(const char *name)
{
    return cds_streq(name, CDS_MODEL_DEFAULT_FILE);
}

static bool is_model(const char *name)
{
    size_t len = strlen(name);
    return len > 5 && cds_streq(name + len - 5, ".gguf");
}

void cds_check_model(const struct cds_config *config, struct cds_findings *all)
{
    char path[PLACE_MAX + 256], folder[PLACE_MAX], shared[PLACE_MAX];
    const char *model = cds_config_str(config, CDS_OPT_LLM_MODEL);
    check_library(config, all);
    cds_config_path(config, "models", folder, sizeof(folder));
    beside("/../share/models", shared);
    if (cds_streq(model, "none")) {
        cds_found(all, "model", CDS_WEAK, "Set llm.model to a GGUF file to chat.", "llm.model is \"none\"");
        return;
    }
    if (model[0] == '/')
        cds_strcpy(path, sizeof(path), model);
    else if (*model)
        snprintf(path, sizeof(path), "%s/%s", folder, model);
    else if (!find_file(folder, is_default_model, path, sizeof(path)) && !find_file(shared, is_default_model, path, sizeof(path)) &&
             !find_file(folder, is_model, path, sizeof(path)) && !find_file(shared, is_model, path, sizeof(path)))
        path[0] = '\0';
    if (*model && model[0] != '/' && access(path, R_OK) != 0)
        snprintf(path, sizeof(path), "%s/%s", shared, model);
    if (!*path)
        cds_found(all, "model", CDS_MISSING, "Fetch the default model with tools/setup, or put a GGUF file there.", "no GGUF file in %s", folder);
    else if (is_gguf(path))
        cds_found(all, "model", CDS_WORKS, "", "%s", path);
    else
        cds_found(all, "model", CDS_MISSING, "Fetch the default model with tools/setup, or correct llm.model.", "%s is not a readable GGUF file",
                  path);
}

void cds_check_page(const struct cds_config *config, struct cds_findings *all)
{
    char folder[PLACE_MAX], path[PLACE_MAX + 32];
    const char *given = cds_config_str(config, CDS_OPT_UI_DIR);
    if (*given)
        cds_strcpy(folder, sizeof(folder), given);
    else
        beside("/../share/ui", folder);
    snprintf(path, sizeof(path), "%s/index.html", folder);
    if (access(path, R_OK) == 0)
        cds_found(all, "page", CDS_WORKS, "", "%s", folder);
    else
        cds_found(all, "page", CDS_MISSING, build_again, "%s is not there", path);
}

void cds_check_sandbox(const struct cds_config *config, struct cds_findings *all)
{
    char program[PLACE_MAX], home_flag[PATH_MAX + 32];
    struct cds_err err = {0};
    CDS_CLEANUP(cds_capture_free) struct cds_capture got = {0};
    snprintf(home_flag, sizeof(home_flag), "--studio.home=%s", cds_config_home(config));
    const char *const argv[] = {beside("/cds-sandboxd", program), home_flag, "--probe", NULL};
    struct cds_capture_how how = {.argv = argv, .deadline_ms = cds_now_ms() + PROBE_MS, .max_bytes = OUT_MAX};
    if (cds_capture_run(&how, &got, &err) != CDS_OK) {
        cds_found_err(all, "sandbox", &err);
        return;
    }
    /* Log lines may stand before the answer: it is the last line. */
    char *last = got.out.data ? strrchr(got.out.data, '\n') : NULL;
    last = last ? last + 1 : got.out.data;
    if (got.timed_out)
        cds_found(all, "sandbox", CDS_MISSING, "Try again when the machine is less busy", "cds-sandboxd --probe did not end within %d s: %.200s",
                  PROBE_MS / 1000, last ? last : "");
    else if (!last || !cds_found_engines(all, last, strlen(last)))
        cds_found(all, "sandbox", CDS_MISSING, build_again, "cds-sandboxd --probe gave no answer: %.200s", last ? last : "");
}

/** Where a job finds a program: its root has /usr of the host. @return false when it is in none of them */
static bool find_language(const char *program, char *path, size_t size)
{
    static const char *const folders[] = {"/usr/local/bin", "/usr/bin", "/bin"};
    for (size_t i = 0; i < CDS_ARRAY_LEN(folders); i++) {
        snprintf(path, size, "%s/%s", folders[i], program);
        if (access(path, X_OK) == 0)
            return true;
    }
    return false;
}

void cds_check_languages(const struct cds_config *config, struct cds_findings *all)
{
    static const struct {
        const char *name, *program, *package;
    } languages[] = {{"python", "python3", "python3"}, {"node", "node", "nodejs"}, {"c", "gcc", "gcc libc6-dev"}, {"sh", "sh", "dash"}};
    for (size_t i = 0; i < CDS_ARRAY_LEN(languages); i++) {
        const char *program = languages[i].program, *package = languages[i].package;
        char path[64] = "", installed[256], remedy[128], name[32];
        snprintf(name, sizeof(name), "run %s", languages[i].name);
        snprintf(remedy, sizeof(remedy), "Install it: apt install %s", package);
        if (!find_language(program, path, sizeof(path))) {
            cds_found(all, name, CDS_MISSING, remedy, "%s is not in /usr/local/bin, /usr/bin or /bin", program);
            continue;
        }
        const char *const argv[] = {path, "--version", NULL};
        CDS_CLEANUP(cds_capture_free) struct cds_capture got = {0};
        struct cds_capture_how how = {.argv = argv, .deadline_ms = cds_now_ms() + VERSION_MS, .max_bytes = 256};
        if (cds_streq(program, "sh")) /* it has no --version */
            cds_found_language(all, languages[i].name, package, path);
        else if (cds_capture_run(&how, &got, NULL) == CDS_OK && got.exit_code == 0 && got.out.data) {
            snprintf(installed, sizeof(installed), "%s (%.*s)", path, (int)strcspn(got.out.data, "\n"), got.out.data);
            cds_found_language(all, languages[i].name, package, installed);
        } else
            cds_found(all, name, CDS_MISSING, remedy, "%s does not start", path);
    }
}
