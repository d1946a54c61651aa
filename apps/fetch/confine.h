/* apps/fetch/confine.h: what this program gives up, as a reader of a model file and as the one process that talks to the internet.
 *
 * Source:  seccomp(2), prctl(2), setrlimit(2).
 * Threads: call once, before any other thread exists.
 */
#pragma once

#include <sys/types.h>

#include "lib/base/err.h"

/** Reads what is open, writes what is open, thinks. No new descriptors, no threads, no network; 10 s of CPU time, 1 GiB of memory.
 *  Required: without it no file is read. */
CDS_MUST_USE cds_rc cds_confine_reader(struct cds_err *reterr);
/** Network and files, but no programs, no privileges, no look into other processes; ends with its parent. */
CDS_MUST_USE cds_rc cds_confine_fetcher(pid_t parent, struct cds_err *reterr);
