/* apps/fetch/inspect.h: a GGUF file looked at by a process that can do nothing else.
 *
 * Source:  apps/fetch/gguf.h, apps/fetch/confine.h.
 * Threads: cds_inspect_here ends up confined for good; cds_inspect forks, so call it from the main thread.
 */
#pragma once

#include "lib/json/json.h"

enum { CDS_INSPECT_MS = 15000, CDS_INSPECT_TEXT_MAX = 4096 };

/** Confines this process, reads the file behind fds[0] (and those of its further parts) and writes one line of JSON to out: the facts of struct
 *  cds_gguf, parameters and lengths of all parts together, or {"error":{code, message}}. Descriptors that could not be opened are -1.
 *  limit: bytes that are there of the only file; UINT64_MAX: whole files. @return exit status */
int cds_inspect_here(const int *fds, unsigned count, uint64_t limit, int out);
/** The same with one file in a forked child, whose answer is checked. @return CDS_OK; CDS_BUSY: the header is longer than limit; CDS_BAD_PARAM (and
 * why) */
CDS_MUST_USE cds_rc cds_inspect(int fd, uint64_t limit, cds_json **ret, struct cds_err *reterr);
