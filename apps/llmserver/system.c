#include "apps/llmserver/system.h"

#include <stdio.h>
#include <string.h>
#include <unistd.h>

#include "apps/llmserver/backend.h"
#include "apps/llmserver/memory.h"
#include "lib/base/cleanup.h"
#include "lib/base/fd.h"

void cds_system_heard(struct cds_llm *app, cds_json *system)
{
    if (!cds_json_is(system, CDS_JSON_OBJECT))
        return;
    cds_json_ref(system);
    cds_json_unref(app->models.system);
    app->models.system = system;
}

/** A line of meminfo, bytes; null when it is not there. */
static cds_json *line_of(const char *text, const char *name)
{
    unsigned long long kib;
    const char *at = strstr(text, name);
    return at && sscanf(at + strlen(name), " %llu kB", &kib) == 1 ? cds_json_int((int64_t)kib * 1024) : cds_json_null();
}

static cds_json *memory(void)
{
    static const struct {
        const char *name, *line;
    } lines[] = {
        {"total_bytes", "MemTotal:"}, {"available_bytes", "MemAvailable:"}, {"swap_total_bytes", "SwapTotal:"}, {"swap_free_bytes", "SwapFree:"}};
    CDS_CLEANUP(cds_buf_free) struct cds_buf text = cds_buf_init(16384);
    cds_rc rc = cds_read_file("/proc/meminfo", &text, NULL);
    cds_json *all = cds_json_object();
    for (size_t i = 0; i < CDS_ARRAY_LEN(lines); i++)
        cds_json_set(all, lines[i].name, rc == CDS_OK && text.len ? line_of(text.data, lines[i].line) : cds_json_null());
    uint64_t room = cds_memory_free();
    cds_json_set(all, "room_bytes", room == UINT64_MAX ? cds_json_null() : cds_json_int((int64_t)room));
    return all;
}

cds_json *cds_system_show(const struct cds_llm *app)
{
    cds_json *shown = app->models.system ? cds_json_copy(app->models.system) : cds_json_object();
    if (!app->models.system)
        cds_json_set(shown, "devices", cds_json_null());
    cds_json_set(shown, "memory", memory());
    cds_json_set(shown, "backends", cds_backend_list(app));
    return shown;
}

cds_json *cds_system_resident(pid_t pid)
{
    char path[64];
    unsigned long long pages;
    CDS_CLEANUP(cds_buf_free) struct cds_buf text = cds_buf_init(256);
    snprintf(path, sizeof(path), "/proc/%d/statm", (int)pid);
    if (cds_read_file(path, &text, NULL) != CDS_OK || !text.len || sscanf(text.data, "%*u %llu", &pages) != 1)
        return cds_json_null();
    return cds_json_int((int64_t)pages * sysconf(_SC_PAGESIZE));
}
