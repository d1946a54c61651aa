/* sandbox/confine/cgroup.h: limits and figures of a job by control groups: pure v2, hybrid (limits in v1, kill and CPU time in v2), or none, where a
 * look at /proc takes their place.
 *
 * Source:  cgroups(7), Documentation/admin-guide/cgroup-v2.rst, cgroup-v1/{memory,pids}.rst.
 * Threads: loop thread only.
 * Names:   <own cgroup>/cds-<key>.<n>; the key belongs to one data folder, so that a start finds and ends what a crash of its own left.
 */
#pragma once

#include <stdbool.h>
#include <stdint.h>
#include <sys/types.h>

#include "lib/base/err.h"
#include "sandbox/sandbox.h"

enum cds_cgroup_kind { CDS_CGROUP_NONE, CDS_CGROUP_HYBRID, CDS_CGROUP_V2 };

struct cds_cgroups;
struct cds_cgroup;

struct cds_cgroup_usage {
    uint64_t cpu_us;        /**< CPU time of all tasks since acquire; UINT64_MAX: unknown */
    uint64_t peak_bytes;    /**< 0: unknown */
    uint64_t oom_kills;     /**< tasks the kernel killed for memory since acquire */
    uint64_t tasks_refused; /**< forks refused since acquire */
    bool memory_over;       /**< NONE: the tree was seen with more than its limit; nobody but the caller ends it */
    bool tasks_over;        /**< the same */
};

/**
 * Looks for hierarchies it may write to and removes leftovers of the key. Where there are none the kind is NONE and reason says why.
 * @param key   1..16 letters and digits
 * @param none  do not look: everything by rlimits (tests)
 */
CDS_MUST_USE cds_rc cds_cgroups_open(const char *key, bool none, struct cds_cgroups **ret, struct cds_err *reterr);
void cds_cgroups_free(struct cds_cgroups **groups);
enum cds_cgroup_kind cds_cgroups_kind(const struct cds_cgroups *groups);
/** Why there is no cgroup; "" when there is. Borrowed. */
const char *cds_cgroups_reason(const struct cds_cgroups *groups);

/** A group with these limits, new or used again. With NONE it only remembers whom to look at: usage is what was seen, and kill does nothing. */
CDS_MUST_USE cds_rc cds_cgroup_acquire(struct cds_cgroups *groups, const struct cds_run_limits *limits, struct cds_cgroup **ret,
                                       struct cds_err *reterr);
/** Descriptor for CLONE_INTO_CGROUP, or -1. Borrowed. */
int cds_cgroup_clone_fd(const struct cds_cgroup *group);
/**
 * Moves the calling thread, the only one of its process, into the v1 hierarchies; system calls only. Whoever moves itself by `tasks` spares the
 * kernel the lock that a move by somebody else takes: a grace period, 10 ms and more. 0, or -1 with errno.
 */
int cds_cgroup_join(const struct cds_cgroup *group);
/** With NONE: this is whom to look at. pid is the caller's child, not waited for yet. */
CDS_MUST_USE cds_rc cds_cgroup_watch(struct cds_cgroup *group, pid_t pid, struct cds_err *reterr);
/** From here on usage counts: what was used before belongs to making the group ready. */
void cds_cgroup_mark(struct cds_cgroup *group);
void cds_cgroup_kill(struct cds_cgroup *group);
void cds_cgroup_usage(struct cds_cgroup *group, struct cds_cgroup_usage *ret);
/** Gives it back; every task in it is dead. */
void cds_cgroup_release(struct cds_cgroups *groups, struct cds_cgroup **group);
