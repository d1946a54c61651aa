#include "apps/llmworker/nodes.h"

#include <dirent.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

#include "lib/base/cleanup.h"
#include "lib/base/str.h"

static const char *const names[] = {"cpu", "vulkan", "cuda"};

bool cds_backend_parse(const char *name, enum cds_backend *ret)
{
    for (unsigned i = 0; i < CDS_ARRAY_LEN(names); i++)
        if (cds_streq(name, names[i])) {
            *ret = (enum cds_backend)i;
            return true;
        }
    return false;
}

const char *cds_backend_name(enum cds_backend backend)
{
    return names[backend];
}

/** "renderD128" of "renderD": nothing but digits behind it. */
static bool is_numbered(const char *name, const char *before)
{
    size_t len = strlen(before);
    return cds_starts_with(name, before) && name[len] && strspn(name + len, "0123456789") == strlen(name + len);
}

static bool is_render(const char *name)
{
    return is_numbered(name, "renderD");
}

static bool is_nvidia(const char *name)
{
    return is_numbered(name, "nvidia") || cds_streq(name, "nvidiactl") || cds_streq(name, "nvidia-uvm");
}

static void add_from(const char *folder, bool (*fits)(const char *name), struct cds_nodes *ret)
{
    CDS_CLEANUP(cds_close_dir) DIR *dir = opendir(folder);
    for (const struct dirent *entry; dir && (entry = readdir(dir)) && ret->count < CDS_NODES_MAX;) {
        char *path = ret->paths[ret->count];
        int n = fits(entry->d_name) ? snprintf(path, CDS_NODE_BYTES, "%s/%s", folder, entry->d_name) : 0;
        if (n <= 0 || n >= CDS_NODE_BYTES)
            continue;
        if (access(path, R_OK | W_OK) == 0)
            ret->count++;
        else
            cds_strcpy(ret->denied, sizeof(ret->denied), path);
    }
}

void cds_nodes_find(enum cds_backend backend, const char *dev, struct cds_nodes *ret)
{
    char dri[CDS_NODE_BYTES];
    *ret = (struct cds_nodes){.count = 0};
    snprintf(dri, sizeof(dri), "%.100s/dri", dev);
    if (backend == CDS_BACKEND_VULKAN)
        add_from(dri, is_render, ret);
    if (backend != CDS_BACKEND_CPU)
        add_from(dev, is_nvidia, ret);
}
