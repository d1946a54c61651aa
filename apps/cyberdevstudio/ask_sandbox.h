/* apps/cyberdevstudio/ask_sandbox.h: one call to the sandbox of the studio that runs, which takes them from root and from its own user.
 *
 * Source:  sandbox/broker.h (methods), lib/rpc/frame.h.
 * Threads: main thread only; it waits for the answer.
 */
#pragma once

#include "apps/cyberdevstudio/commands.h"
#include "lib/json/json.h"

/** Steals params. *ret is owned by the caller. @return CDS_EXIT_OK; after a complaint CDS_EXIT_NOT_RUNNING or what its error means */
enum cds_exit cds_ask_sandbox(const struct cds_command *cmd, const char *method, cds_json *params, uint64_t ms, cds_json **ret);
/** Does it answer? @return false after the complaint that cds_ask_sandbox would make */
bool cds_sandbox_there(const struct cds_command *cmd);
