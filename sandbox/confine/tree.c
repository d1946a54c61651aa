/* sandbox/confine/tree.c: see tree.h. */
#include "sandbox/confine/tree.h"

#include <dirent.h>
#include <fcntl.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "lib/base/cleanup.h"

enum { PROCESSES_MAX = 4096, SMALL_FILE = 4096 };

struct walk {
    pid_t pids[PROCESSES_MAX];
    unsigned count;
    uint32_t tasks;
};

/* The begin of a small file of a process; "" when it is gone. */
static const char *read_of(pid_t pid, const char *file, char text[static SMALL_FILE])
{
    char path[64];
    snprintf(path, sizeof(path), "/proc/%d/%s", (int)pid, file);
    CDS_CLEANUP(cds_close_fd) int fd = open(path, O_RDONLY | O_CLOEXEC);
    ssize_t n = fd < 0 ? -1 : read(fd, text, SMALL_FILE - 1);
    text[n > 0 ? n : 0] = '\0';
    return text;
}

/* Kilobytes behind "key:" at the begin of a line, in bytes. */
static uint64_t kilobytes(const char *text, const char *key)
{
    const char *at = strstr(text, key);
    return at && (at == text || at[-1] == '\n') ? strtoull(at + strlen(key), NULL, 10) * 1024 : 0;
}

static uint64_t cpu_of(pid_t pid)
{
    char text[SMALL_FILE];
    unsigned long long own_user, own_system, dead_user, dead_system;
    const char *name_end = strrchr(read_of(pid, "stat", text), ')'); /* the name may hold anything, even ")" */
    if (!name_end || sscanf(name_end + 1, " %*c %*d %*d %*d %*d %*d %*u %*u %*u %*u %*u %llu %llu %llu %llu", &own_user, &own_system, &dead_user,
                            &dead_system) != 4)
        return 0;
    return (own_user + own_system + dead_user + dead_system) * 1000000 / (unsigned long)sysconf(_SC_CLK_TCK);
}

static uint64_t memory_of(pid_t pid, bool exact)
{
    char text[SMALL_FILE];
    if (exact) {
        read_of(pid, "smaps_rollup", text);
        if (strstr(text, "\nPss_Anon:"))
            return kilobytes(text, "Pss_Anon:") + kilobytes(text, "Pss_Shmem:");
    }
    read_of(pid, "status", text);
    return kilobytes(text, "RssAnon:") + kilobytes(text, "RssShmem:");
}

static void add_children_of(pid_t pid, const char *tid, struct walk *w)
{
    char path[300];
    int child;
    snprintf(path, sizeof(path), "/proc/%d/task/%s/children", (int)pid, tid);
    CDS_CLEANUP(cds_close_file) FILE *f = fopen(path, "re");
    while (f && w->count < PROCESSES_MAX && fscanf(f, "%d", &child) == 1)
        w->pids[w->count++] = child;
}

/* Each thread may have children. */
static void add_children(pid_t pid, struct walk *w)
{
    char path[64];
    snprintf(path, sizeof(path), "/proc/%d/task", (int)pid);
    CDS_CLEANUP(cds_close_dir) DIR *dir = opendir(path);
    for (const struct dirent *e; dir && (e = readdir(dir));)
        if (e->d_name[0] != '.') {
            w->tasks++;
            add_children_of(pid, e->d_name, w);
        }
}

void cds_tree_look(pid_t root, uint64_t memory_bytes, struct cds_tree_usage *ret)
{
    struct walk w = {.pids = {root}, .count = 1};
    *ret = (struct cds_tree_usage){.cpu_us = 0};
    for (unsigned i = 0; i < w.count; i++) {
        add_children(w.pids[i], &w);
        ret->cpu_us += cpu_of(w.pids[i]);
        ret->memory_bytes += memory_of(w.pids[i], false);
    }
    ret->tasks = w.tasks;
    if (ret->memory_bytes <= memory_bytes)
        return;
    /* Pages that a fork shares were counted once for each process. */
    ret->memory_bytes = 0;
    for (unsigned i = 0; i < w.count; i++)
        ret->memory_bytes += memory_of(w.pids[i], true);
}
