/* sandbox/probe.h: `cds-sandboxd --probe`: runs the real thing once and says on one line of standard output what works.
 *
 * {"engines":[{name,backend,works,boundary,limits,reason,remedy,took_ms}],"interpreters":{"python":{"works","took_ms","reason"},...}}
 * Threads: loop thread only.
 */
#pragma once

#include "sandbox/broker.h"

/** Runs the loop until every engine and every interpreter of the process engine has been tried, then prints.
 * @return true when the process engine works; another engine or an interpreter may be missing */
bool probe_all(struct broker *broker, int empty_project_fd);
