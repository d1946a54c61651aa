/* sandbox/run.h: the process engine: python, node, sh and C in a jail of namespaces, cgroups or rlimits, landlock and seccomp.
 *
 * Source:  sandbox/sandbox.h (the interface), sandbox/confine/jail.h (the order of steps), schemas/rpc/run.exec.json.
 * Threads: loop thread only.
 */
#pragma once

#include "sandbox/confine/identity.h"
#include "sandbox/sandbox.h"

struct cds_run_settings {
    const char *base_dir;   /**< folder of our own, for mounting; copied */
    const char *cgroup_key; /**< names our cgroups; copied */
    unsigned slots;         /**< jobs at once */
    bool no_cgroup;         /**< everything by rlimits (tests) */
    bool force_userns;      /**< as if not started by root (tests) */
};
CDS_MUST_USE cds_rc cds_run_engine_new(struct cds_loop *loop, const struct cds_run_settings *settings, struct cds_engine **ret,
                                       struct cds_err *reterr);
/** Whose files jobs see as their own. */
const struct cds_job_identity *cds_run_engine_identity(const struct cds_engine *engine);
unsigned cds_run_engine_active(const struct cds_engine *engine);
