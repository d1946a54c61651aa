/* apps/cyberdevstudio/client.h: the command line's end of the control socket (control.c has the other).
 *
 * Threads: main thread only. It blocks until the answer or the deadline.
 */
#pragma once

#include "lib/config/config.h"
#include "lib/json/json.h"

/**
 * Asks the running supervisor.
 * @param line     "status" or "down"
 * @param ret_fd   may be NULL: the connection is closed; else it stays open for the caller (down: its end is the supervisor's end)
 * @return CDS_OK; CDS_NOT_FOUND when none runs on the data folder; CDS_DENIED when it belongs to another user; CDS_TIMED_OUT, CDS_INTERNAL
 */
CDS_MUST_USE cds_rc cds_ask_supervisor(const struct cds_config *config, const char *line, uint64_t deadline_ms, int *ret_fd, cds_json **ret,
                                       struct cds_err *reterr);
