/* sandbox/run_priv.h: what the files of the process engine share.
 *
 * Threads: loop thread only.
 */
#pragma once

#include "sandbox/confine/cgroup.h"
#include "sandbox/run.h"

enum { RUN_ARGS_MAX = 80, RUN_PIECE = 64 * 1024, RUN_POLL_MS = 50, RUN_PATH_MAX = 4200 };

struct run_engine {
    struct cds_engine base;
    struct cds_loop *loop;
    struct cds_job_identity who;
    struct cds_cgroups *cgroups;
    struct cds_job *jobs;
    unsigned active, slots;
    char root_dir[512];  /**< empty; a job's root is mounted on it, in the job's own mounts only */
    char empty_dir[512]; /**< project of the probe */
};

/** How a language is started; filled by run_command. */
struct run_command {
    const char *argv[RUN_ARGS_MAX + 16];
    const char *code_name; /**< file below /tmp that gets the code */
    bool big_address_space;
    char path[RUN_PATH_MAX]; /**< memory for one argument */
};
/** @return CDS_OK; CDS_NOT_FOUND: the interpreter is not on this machine */
CDS_MUST_USE cds_rc run_command(const struct cds_job_spec *spec, struct run_command *ret, struct cds_err *reterr);
