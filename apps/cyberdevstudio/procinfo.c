/* apps/cyberdevstudio/procinfo.c: see procinfo.h. */
#include "apps/cyberdevstudio/procinfo.h"

#include <dirent.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "lib/base/cleanup.h"
#include "lib/base/str.h"

enum { DEPTH_MAX = 64 /* a chain of parents longer than this is a broken reading */ };

/** Parses one /proc/<pid>/stat. The name stands in parentheses and may itself hold blanks and parentheses. */
static bool read_stat(pid_t pid, struct cds_proc *ret)
{
    char path[64], text[1024];
    snprintf(path, sizeof(path), "/proc/%d/stat", (int)pid);
    CDS_CLEANUP(cds_close_file) FILE *f = fopen(path, "re");
    size_t n = f ? fread(text, 1, sizeof(text) - 1, f) : 0;
    text[n] = '\0';
    char *open = strchr(text, '('), *close = strrchr(text, ')');
    if (!open || !close || close < open)
        return false;
    *ret = (struct cds_proc){.pid = pid};
    *close = '\0';
    cds_strcpy(ret->name, sizeof(ret->name), open + 1);
    char state = 0;
    int ppid = 0;
    long long rss_pages = 0;
    /* Fields 3 and 4, then 24 (rss). */
    if (sscanf(close + 2, "%c %d %*d %*d %*d %*d %*u %*u %*u %*u %*u %*u %*u %*d %*d %*d %*d %*d %*d %*u %*u %lld", &state, &ppid, &rss_pages) != 3)
        return false;
    ret->ppid = (pid_t)ppid;
    ret->zombie = state == 'Z';
    ret->rss_bytes = rss_pages > 0 ? (uint64_t)rss_pages * (uint64_t)sysconf(_SC_PAGESIZE) : 0;
    return true;
}

int cds_proc_list(struct cds_proc *list, int max)
{
    CDS_CLEANUP(cds_close_dir) DIR *dir = opendir("/proc");
    int count = 0;
    for (struct dirent *entry; dir && count < max && (entry = readdir(dir));) {
        uint64_t pid;
        if (cds_parse_u64(entry->d_name, 1, INT32_MAX, &pid) == CDS_OK && read_stat((pid_t)pid, &list[count]))
            count++;
    }
    return count;
}

uint64_t cds_proc_pss_bytes(pid_t pid)
{
    char path[64], line[256];
    snprintf(path, sizeof(path), "/proc/%d/smaps_rollup", (int)pid);
    CDS_CLEANUP(cds_close_file) FILE *f = fopen(path, "re");
    unsigned long long kb = 0;
    while (f && fgets(line, sizeof(line), f))
        if (sscanf(line, "Pss: %llu kB", &kb) == 1)
            return kb * 1024;
    return 0;
}

bool cds_proc_is_below(const struct cds_proc *list, int count, const struct cds_proc *proc, pid_t ancestor)
{
    for (int depth = 0; depth < DEPTH_MAX && proc; depth++) {
        if (proc->ppid == ancestor)
            return true;
        const struct cds_proc *parent = NULL;
        for (int i = 0; i < count && !parent; i++)
            if (list[i].pid == proc->ppid)
                parent = &list[i];
        proc = parent;
    }
    return false;
}
