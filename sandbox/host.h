/* sandbox/host.h: what the engines of one broker share: the loop, whose rights jobs have, cgroups, folders, and the places for jobs.
 *
 * Source:  sandbox/confine/{identity,cgroup}.h; option run.slots.
 * Threads: loop thread only.
 * Owner:   the broker opens it before its engines and closes it after them.
 */
#pragma once

#include "lib/base/loop.h"
#include "sandbox/confine/cgroup.h"
#include "sandbox/confine/identity.h"

struct sandbox_host {
    struct cds_loop *loop; /**< borrowed */
    struct cds_job_identity who;
    struct cds_cgroups *cgroups;
    unsigned active, slots;     /**< jobs of all engines together */
    unsigned ending;            /**< jobs that are over, but whose namespaces the kernel still takes apart */
    char root_dir[512];         /**< empty; a job's root is mounted on it, in the job's own mounts only */
    char empty_dir[512];        /**< project of probes */
    struct egress_link *egress; /**< borrowed; NULL: no job has a network, whatever its project says */
    char preload_dir[512];      /**< sandbox/preload as installed */
    char scratch_dir[512];      /**< throw-away folders, see scratch.h */
};

struct sandbox_settings {
    const char *base_dir;   /**< folder of our own, for mounting; copied */
    const char *cgroup_key; /**< names our cgroups; copied */
    unsigned slots;         /**< jobs at once */
    bool no_cgroup;         /**< everything by rlimits (tests) */
    bool force_userns;      /**< as if not started by root (tests) */
};
/** Finds out what this machine offers and ends what a former start of the same key left behind. @param ret owned */
CDS_MUST_USE cds_rc sandbox_host_open(struct cds_loop *loop, const struct sandbox_settings *settings, struct sandbox_host **ret,
                                      struct cds_err *reterr);
/** Its engines are closed already. */
void sandbox_host_close(struct sandbox_host **host);
/** Takes a place for a job; give it back. @return CDS_OK; CDS_BUSY with retry_after_ms */
CDS_MUST_USE cds_rc sandbox_host_take(struct sandbox_host *host, struct cds_err *reterr);
void sandbox_host_give(struct sandbox_host *host);
/** "cgroup" or "rlimit": what holds memory and tasks; static. */
const char *sandbox_host_limits(const struct sandbox_host *host);
