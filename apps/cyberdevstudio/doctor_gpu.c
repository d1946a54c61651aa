/* apps/cyberdevstudio/doctor_gpu.c: what models can compute with beside the CPU: builds of libllama that are installed, GPUs that are there. */
#include <glob.h>
#include <limits.h>
#include <string.h>
#include <unistd.h>

#include "apps/cyberdevstudio/doctor.h"
#include "lib/base/str.h"

/** @return files that fit the pattern; *ret_denied, holding PATH_MAX bytes: one that this user may not open, "" without */
static size_t count(const char *pattern, char *ret_denied)
{
    glob_t found = {0};
    size_t files = glob(pattern, 0, NULL, &found) == 0 ? found.gl_pathc : 0;
    for (size_t i = 0; i < files; i++)
        if (access(found.gl_pathv[i], R_OK | W_OK) != 0)
            cds_strcpy(ret_denied, PATH_MAX, found.gl_pathv[i]);
    globfree(&found);
    return files;
}

void cds_check_gpu(const struct cds_config *config, const char *lib_dir, struct cds_findings *all)
{
    static const char *const names[] = {"cuda", "vulkan"};
    char installed[32] = "", file[PATH_MAX + 64], denied[PATH_MAX] = "", nvidia_denied[PATH_MAX] = "";
    const char *wish = cds_config_str(config, CDS_OPT_LLM_BACKEND);
    size_t nvidia = count("/dev/nvidia[0-9]*", nvidia_denied), render = count("/dev/dri/renderD*", denied);
    if (*nvidia_denied)
        cds_strcpy(denied, sizeof(denied), nvidia_denied);
    for (size_t i = 0; i < CDS_ARRAY_LEN(names); i++) {
        snprintf(file, sizeof(file), "%.4000s-%s/libllama-common.so", lib_dir, names[i]);
        if (access(file, R_OK) == 0)
            snprintf(installed + strlen(installed), sizeof(installed) - strlen(installed), "%s%s", *installed ? ", " : "", names[i]);
    }
    bool set = !cds_streq(wish, "auto") && !cds_streq(wish, "cpu");
    const char *have = *installed ? installed : "none";
    if (set && !strstr(installed, wish))
        cds_found(all, "gpu", CDS_MISSING, "Install it: CDS_BACKENDS=vulkan (or cuda, or both) make setup.",
                  "llm.backend is %.32s, which is not installed (installed: %s)", wish, have);
    else if (*denied && *installed)
        cds_found(all, "gpu", CDS_WEAK, "Add the user of the services to the group of that file (render or video).",
                  "backends installed: %s; %.200s may not be opened", have, denied);
    else if (!*installed && nvidia + render)
        cds_found(all, "gpu", CDS_WEAK, "Install it: CDS_BACKENDS=vulkan (or cuda, or both) make setup.",
                  "there is a GPU, and models compute on the CPU: no backend for it is installed");
    else
        cds_found(all, "gpu", CDS_WORKS, "", "backends installed: %s; device files of GPUs: %zu", have, nvidia + render);
}
