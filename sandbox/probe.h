/* sandbox/probe.h: `cds-sandboxd --probe`: runs the real thing once and says on one line of standard output what works.
 *
 * {"engines":[{name,works,boundary,limits,reason,took_ms}],"interpreters":{"python":{"works","took_ms","reason"},...}}
 * Threads: loop thread only.
 */
#pragma once

#include "sandbox/sandbox.h"

/** Runs the loop until everything has been tried, then prints. @return true when the engine works; an interpreter may be missing */
bool probe_all(struct cds_loop *loop, struct cds_engine *engine, int empty_project_fd, struct cds_err *reterr);
