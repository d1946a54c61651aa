/* sandbox/run.h: the process engine: python, node, sh, C and C++ in a jail of namespaces, cgroups or rlimits, landlock and seccomp.
 *
 * Source:  sandbox/sandbox.h (the interface), sandbox/job.h (the life of a job), schemas/rpc/run.exec.json.
 * Threads: loop thread only.
 */
#pragma once

#include "sandbox/host.h"
#include "sandbox/sandbox.h"

/** The shell of a terminal (language "shell"): bash where there is one. Static. */
const char *run_shell(void);
/** @param host  borrowed, outlives the engine @param pool  jails kept ready, see job_pool.h; 0: none */
CDS_MUST_USE cds_rc cds_run_engine_new(struct sandbox_host *host, unsigned pool, struct cds_engine **ret, struct cds_err *reterr);
/** Jails that are ready. */
size_t cds_run_engine_ready(const struct cds_engine *engine);
