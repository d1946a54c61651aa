/* apps/cyberdevstudio/procinfo.h: what /proc tells about processes.
 *
 * Source:  proc(5).
 * Threads: safe.
 */
#pragma once

#include <stdbool.h>
#include <stdint.h>
#include <sys/types.h>

enum { CDS_PROC_MAX = 4096 /**< most processes looked at in one pass */ };

struct cds_proc {
    pid_t pid, ppid;
    uint64_t rss_bytes;
    char name[32]; /**< as the kernel has it, at most 15 bytes, "" when unreadable */
    bool zombie;
};

/** All processes, at most max; 0 when /proc cannot be read. list is written by the call. */
int cds_proc_list(struct cds_proc *list, int max);
/** Proportional share of memory (smaps_rollup), 0 when it may not be read. */
uint64_t cds_proc_pss_bytes(pid_t pid);
/** True when pid is a descendant of ancestor in list. */
bool cds_proc_is_below(const struct cds_proc *list, int count, const struct cds_proc *proc, pid_t ancestor);
