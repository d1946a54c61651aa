/* apps/cyberdevstudio/services.c: see services.h. */
#include "apps/cyberdevstudio/services.h"

#include <limits.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

#include "apps/cyberdevstudio/parts.h"
#include "lib/base/str.h"

enum { NEEDS_MAX = 24 };

/** The list of files a service user has to reach, with room for their paths. */
struct needs {
    struct cds_need list[NEEDS_MAX + 1];
    char paths[NEEDS_MAX][PATH_MAX];
    int count;
};

/** Adds a file if it is there: what is missing for everybody is reported by the part that misses it. */
static void need(struct needs *needs, int mode, const char *folder, const char *tail)
{
    char *path = needs->paths[needs->count];
    if (needs->count >= NEEDS_MAX || snprintf(path, PATH_MAX, "%s%s", folder, tail) >= PATH_MAX || access(path, F_OK) != 0)
        return;
    needs->list[needs->count++] = (struct cds_need){path, mode};
}

static void gather(const struct cds_config *config, const char *home, const char *program_dir, struct needs *needs)
{
    static const char *const beside[] = {"/../share/ui",  "/../share/migrations", "/../share/models",
                                         "/../lib/llama", "/../lib/llama-vulkan", "/../lib/llama-cuda"};
    char program[128];
    need(needs, X_OK, home, "");
    need(needs, R_OK, home, "/studio.ini");
    for (int i = 0; i < CDS_PART_COUNT; i++)
        if (cds_part_defs[i].program && !cds_part_defs[i].stays_root) {
            snprintf(program, sizeof(program), "/%s", cds_part_defs[i].program);
            need(needs, R_OK | X_OK, program_dir, program);
        }
    need(needs, R_OK | X_OK, program_dir, "/cds-llmworker");
    need(needs, R_OK | X_OK, program_dir, "/cds-fetch");
    for (size_t i = 0; i < CDS_ARRAY_LEN(beside); i++)
        need(needs, R_OK | X_OK, program_dir, beside[i]);
    const char *model = cds_config_str(config, CDS_OPT_LLM_MODEL), *libs = cds_config_str(config, CDS_OPT_LLM_LIB_DIR);
    const char *page = cds_config_str(config, CDS_OPT_UI_DIR);
    if (model[0] == '/')
        need(needs, R_OK, model, "");
    if (libs[0] == '/')
        need(needs, R_OK | X_OK, libs, "");
    if (libs[0] == '/')
        need(needs, R_OK | X_OK, libs, "-vulkan");
    if (libs[0] == '/')
        need(needs, R_OK | X_OK, libs, "-cuda");
    if (page[0] == '/')
        need(needs, R_OK | X_OK, page, "");
}

void cds_services_identity(const struct cds_config *config, const char *home, const char *program_dir, bool may_create, struct cds_identity *ret,
                           char *note, size_t note_size)
{
    struct cds_err err = {0};
    struct needs needs = {.count = 0};
    const char *name = cds_config_str(config, CDS_OPT_RUN_USER);
    *ret = (struct cds_identity){.uid = geteuid(), .gid = getegid()};
    note[0] = '\0';
    if (geteuid() != 0)
        return;
    struct cds_identity other = {.change = true};
    cds_strcpy(other.name, sizeof(other.name), name);
    if (*name == '\0' || cds_streq(name, "root")) {
        snprintf(note, note_size, "The services run as root, as studio.run_user says; a user of its own is safer.");
        return;
    }
    cds_rc rc = may_create ? cds_sysuser_ensure(name, &other.uid, &other.gid, &err) : cds_sysuser_find(name, &other.uid, &other.gid, &err);
    if (rc != CDS_OK) {
        snprintf(note, note_size, "The services run as root: %s", err.message);
        return;
    }
    int missing = -1;
    gather(config, home, program_dir, &needs);
    if (cds_identity_probe(&other, needs.list, &missing, &err) != CDS_OK)
        snprintf(note, note_size, "The services run as root: %s", err.message);
    else if (missing >= 0 && missing < needs.count)
        snprintf(note, note_size, "The services run as root: user %s may not use %s; put it where every user can read it.", name,
                 needs.paths[missing]);
    else
        *ret = other;
}
