/* sandbox/confine/cgroup_dir.h: where the hierarchies are, and small reads and writes in them. Private to sandbox/confine.
 *
 * Threads: loop thread only.
 */
#pragma once

#include <limits.h>
#include <stdbool.h>
#include <stdint.h>

/** Group below the own one that tasks are moved into where the kernel wants the own one empty (cgroups(7), "no internal processes"). */
#define CDS_CGROUP_LEAF "cds-studio"

/** Folder of the own cgroup in each hierarchy; "" where there is none. */
struct cds_cgroup_places {
    char v2[PATH_MAX];
    char v2_top[PATH_MAX]; /**< mount point of v2 */
    char memory[PATH_MAX], pids[PATH_MAX], cpuacct[PATH_MAX];
};
/** mountinfo and cgroup are the files of /proc/self (others in tests). The leaf is taken off: its parent is where groups are made. */
void cds_cgroup_places_find(const char *mountinfo, const char *cgroup, struct cds_cgroup_places *ret);

/** 0 or errno. */
int cds_cgroup_write(int dir_fd, const char *file, const char *text);
/** The number in a file, or behind the word "key " in it; otherwise when it cannot be read. */
uint64_t cds_cgroup_read(int dir_fd, const char *file, const char *key, uint64_t otherwise);
/** True when the words of the file hold word ("memory" in cgroup.controllers). */
bool cds_cgroup_has_word(int dir_fd, const char *file, const char *word);
/**
 * Lets the children of a v2 group have the controllers (NULL at the end).
 * @param may_move  all tasks of the group are ours to move into CDS_CGROUP_LEAF, should the kernel want the group empty
 * @return 0; EOPNOTSUPP: the group has no such controller; EBUSY: it has tasks in it; another errno
 */
int cds_cgroup_delegate(const char *place, const char *const *controllers, bool may_move);
/** True when systemd says that the group and what is in it belong to its service: it never touches such a group itself. */
bool cds_cgroup_is_delegated(const char *place);
/** Kills and removes every folder below place whose name starts with prefix. */
void cds_cgroup_sweep(const char *place, const char *prefix);
