/* apps/llmworker/confine.h: what the process next to an untrusted model file gives up before it opens it.
 *
 * Source:  seccomp(2), prctl(2), unshare(2), getrlimit(2).
 * Threads: call once, before any other thread exists.
 */
#pragma once

#include <stdint.h>
#include <sys/types.h>

#include "apps/llmworker/nodes.h"
#include "lib/base/err.h"

/**
 * Ends with the parent; no core file, few descriptors, no new privileges; an empty network namespace where the kernel allows it; and a
 * filter that refuses sockets, programs, other processes and opening files for writing. The filter is required: without it nothing starts.
 * With device files, these may be opened for reading and writing together, nothing for writing alone; Landlock keeps that to these files, and is
 * required then.
 *
 * @param parent  process that must still be the parent
 * @param nodes   of the GPU; NULL or empty: none
 * @return CDS_OK; CDS_DENIED; CDS_SYSTEM; CDS_UNAVAILABLE: device files and no Landlock
 */
CDS_MUST_USE cds_rc cds_worker_confine(pid_t parent, const struct cds_nodes *nodes, struct cds_err *reterr);
/** confine_nodes.c: the part of Landlock; no new privileges must be set. */
CDS_MUST_USE cds_rc cds_confine_nodes(const struct cds_nodes *nodes, struct cds_err *reterr);
/** Private memory (heap, stacks of threads, copies of weights; not the file that is mapped) may not grow beyond this: a model that would take the
 *  machine with it fails alone. */
CDS_MUST_USE cds_rc cds_worker_limit_memory(uint64_t bytes, struct cds_err *reterr);
