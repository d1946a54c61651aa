/* sandbox/run_priv.h: what the files of the process engine share.
 *
 * Threads: loop thread only.
 */
#pragma once

#include "sandbox/job.h"
#include "sandbox/run.h"

/** Hook of the process engine: how a language is started. @return CDS_OK; CDS_BAD_PARAM; CDS_NOT_FOUND: the interpreter is not here */
CDS_MUST_USE cds_rc run_command(struct jail_engine *engine, const struct cds_job_spec *spec, struct jail_command *ret, struct cds_err *reterr);
