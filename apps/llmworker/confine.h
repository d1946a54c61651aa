/* apps/llmworker/confine.h: what the process next to an untrusted model file gives up before it opens it.
 *
 * Source:  seccomp(2), prctl(2), unshare(2), getrlimit(2).
 * Threads: call once, before any other thread exists.
 */
#pragma once

#include <stdint.h>
#include <sys/types.h>

#include "lib/base/err.h"

/**
 * Ends with the parent; no core file, few descriptors, no new privileges; an empty network namespace where the kernel allows it; and a
 * filter that refuses sockets, programs, other processes and opening files for writing. The filter is required: without it nothing starts.
 *
 * @param parent  process that must still be the parent
 * @return CDS_OK; CDS_DENIED; CDS_SYSTEM
 */
CDS_MUST_USE cds_rc cds_worker_confine(pid_t parent, struct cds_err *reterr);
/** Private memory (heap, stacks of threads, copies of weights; not the file that is mapped) may not grow beyond this: a model that would take the
 *  machine with it fails alone. */
CDS_MUST_USE cds_rc cds_worker_limit_memory(uint64_t bytes, struct cds_err *reterr);
