/* sandbox/confine/cgroup_dir.h: where the hierarchies are, and small reads and writes in them. Private to sandbox/confine.
 *
 * Threads: loop thread only.
 */
#pragma once

#include <limits.h>
#include <stdbool.h>
#include <stdint.h>

/** Folder of the own cgroup in each hierarchy; "" where there is none. */
struct cds_cgroup_places {
    char v2[PATH_MAX];
    char v2_top[PATH_MAX]; /**< mount point of v2 */
    char memory[PATH_MAX], pids[PATH_MAX], cpuacct[PATH_MAX];
};
/** mountinfo and cgroup are the files of /proc/self (others in tests). */
void cds_cgroup_places_find(const char *mountinfo, const char *cgroup, struct cds_cgroup_places *ret);

/** 0 or errno. */
int cds_cgroup_write(int dir_fd, const char *file, const char *text);
/** The number in a file, or behind the word "key " in it; otherwise when it cannot be read. */
uint64_t cds_cgroup_read(int dir_fd, const char *file, const char *key, uint64_t otherwise);
/** True when the words of the file hold word ("memory" in cgroup.controllers). */
bool cds_cgroup_has_word(int dir_fd, const char *file, const char *word);
/** Kills and removes every folder below place whose name starts with prefix. */
void cds_cgroup_sweep(const char *place, const char *prefix);
