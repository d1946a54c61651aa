/* apps/llmserver/system.h: what models compute with here: devices, memory, what the library can do.
 *
 * This process has no libllama: a model process says it in its hello, and what the last one said stays when it is gone.
 * Source:  proc(5) meminfo, pid/statm; apps/llmworker/loading.h.
 * Threads: loop thread only.
 */
#pragma once

#include <sys/types.h>

#include "apps/llmserver/app.h"

/** Keeps what a model process says about devices; borrowed, no object: nothing. */
void cds_system_heard(struct cds_llm *app, cds_json *system);
/** {"memory": {...}, "devices": [...], ...}: devices is null until a model process has come up; owned by the caller. */
cds_json *cds_system_show(const struct cds_llm *app);
/** Bytes of a process that are in memory, mapped weights too; JSON null when it is gone. Owned by the caller. */
cds_json *cds_system_resident(pid_t pid);
